//! Starts attempts: whenever something may have become due, and there is room.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::executor::Executor;
use super::{Parts, SharedGates};

/// So many jobs at most are handed out in one go, so that a long backlog does not delay the loop's other duties.
const CLAIM_MAX: usize = 256;
/// How long to leave a store alone that refused to hand out jobs.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// Tokio's timer counts in milliseconds and a year of them is plenty.
const SLEEP_MAX: Duration = Duration::from_secs(86_400);

/// Claims and starts, for ever.
pub(super) async fn run(parts: Parts, executor: Executor, attempts: TaskTracker) {
    loop {
        match round(&parts, &executor, &attempts).await {
            Round::More => tokio::task::yield_now().await,
            Round::Until(pause) => {
                tokio::select! {
                    biased;
                    () = parts.store.changed() => {}
                    () = parts.wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

enum Round {
    /// There may be more to start at once.
    More,
    /// Nothing to do for so long, unless woken.
    Until(Duration),
}

async fn round(parts: &Parts, executor: &Executor, attempts: &TaskTracker) -> Round {
    let most = CLAIM_MAX.min(executor.room().await);
    if most == 0 || parts.store.health().is_err() {
        return Round::Until(STORE_PAUSE);
    }
    let claimed = match parts.store.claim(most, parts.clock.now(), &mut SharedGates(&parts.gates)).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::error!(%error, "the store hands out no jobs");
            // Whatever changes meanwhile: what it gave back would wake us at once.
            tokio::time::sleep(STORE_PAUSE).await;
            return Round::More;
        }
    };
    let count = claimed.len();
    for job in claimed {
        // Boxed, as a task's future is moved several times on its way, and this one is large.
        attempts.spawn(Box::pin(executor.clone().attempt(job)));
    }
    if count == most { Round::More } else { Round::Until(until_next(parts).await) }
}

async fn until_next(parts: &Parts) -> Duration {
    match parts.store.next_due().await {
        Ok(Some(due)) => due.since(parts.clock.now()).min(SLEEP_MAX),
        Ok(None) => SLEEP_MAX,
        Err(_) => STORE_PAUSE,
    }
}
