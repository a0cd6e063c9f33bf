//! Records the ends of attempts, as many at once as wait.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ends::Unrecorded;
use super::{FULL_PAUSE, Parts};
use crate::store::{Finish, Finished, StoreError};

/// How far apart two goes are: under load fewer and larger ones cost the disk and the processor less, and nobody waits
/// for them as for a 202. The first after a pause is at once, and so is one after a full one.
const PACE: Duration = Duration::from_millis(1);

/// Records until every sender is gone and nothing waits. Once `give_up` fires, a full store is not waited for any more.
pub(super) async fn run(parts: Parts, mut unrecorded: Unrecorded, give_up: CancellationToken) {
    // By the runtime's clock, on which sleeps are measured: it decides nothing, and a simulation moves it.
    let mut not_before = Instant::now();
    while let Some(batch) = unrecorded.next(pause(not_before)).await {
        let pace = if batch.is_full() { Duration::ZERO } else { PACE };
        not_before = Instant::now() + pace;
        record(&parts, &batch.finishes, &give_up).await;
    }
}

/// Waits until then; not at all where that is past, as a timer would take a turn.
async fn pause(until: Instant) {
    if until > Instant::now() {
        tokio::time::sleep_until(until).await;
    }
}

/// Records one batch. A store that is full is asked again until there is room: what happened must not be forgotten. A
/// store that failed is final, and the attempts are repeated when it is opened again.
async fn record(parts: &Parts, batch: &[Finish], give_up: &CancellationToken) {
    loop {
        match parts.store.finish(batch).await {
            Ok(answers) => return note(parts, batch, &answers),
            Err(error) if error.is_passing() && !give_up.is_cancelled() => {
                tracing::warn!(%error, attempts = batch.len(), "ended attempts wait for room in the store");
                give_up.run_until_cancelled(tokio::time::sleep(FULL_PAUSE)).await;
            }
            Err(StoreError::Damaged(_)) if batch.len() > 1 => {
                // One job's rows are not as they should be: the others' attempts did not happen in vain.
                for finish in batch {
                    Box::pin(record(parts, std::slice::from_ref(finish), give_up)).await;
                }
                return;
            }
            Err(error) => {
                tracing::error!(%error, attempts = batch.len(), "ended attempts cannot be recorded; they will be repeated");
                return;
            }
        }
    }
}

fn note(parts: &Parts, batch: &[Finish], answers: &[Finished]) {
    for (finish, answer) in batch.iter().zip(answers) {
        parts.metrics.attempt_ended(*answer);
        tracing::debug!(
            job.id = %finish.lease.job,
            attempt = finish.attempt,
            outcome = finish.kind.name(),
            error = finish.error.as_deref(),
            "an attempt ended"
        );
    }
}
