//! Starts attempts: whenever something may have become due, and there is room.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::executor::Executor;
use super::{Parts, SharedGates};

/// So many jobs at most are handed out in one go, so that a long backlog does not delay the loop's other duties.
const CLAIM_MAX: usize = 256;
/// How long to leave a store alone that refused to hand out jobs.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long to sleep at most. The timers stand still while the machine sleeps, and what came due meanwhile waits no longer
/// than this, as a retry may.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Claims and starts until it is told to stop. Only what waits is broken off: a claim that is under way comes to its end,
/// as what it hands out runs nowhere else.
pub(super) async fn run(parts: Parts, executor: Executor, attempts: TaskTracker, stop: CancellationToken) {
    while let Some(room) = stop.run_until_cancelled(executor.room()).await {
        match round(&parts, &executor, &attempts, room).await {
            Round::More => tokio::task::yield_now().await,
            Round::Until(pause) => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = parts.store.changed() => {}
                    () = parts.wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // Whatever changes meanwhile: what it gave back would wake us at once.
            Round::Refused => _ = stop.run_until_cancelled(tokio::time::sleep(STORE_PAUSE)).await,
        }
    }
}

enum Round {
    /// There may be more to start at once.
    More,
    /// Nothing to do for so long, unless woken.
    Until(Duration),
    /// The store hands out nothing.
    Refused,
}

async fn round(parts: &Parts, executor: &Executor, attempts: &TaskTracker, room: usize) -> Round {
    let most = CLAIM_MAX.min(room);
    if most == 0 || parts.store.health().is_err() {
        return Round::Until(STORE_PAUSE);
    }
    let claimed = match parts.store.claim(most, parts.clock.now(), &mut SharedGates(&parts.gates)).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::error!(%error, "the store hands out no jobs");
            return Round::Refused;
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
