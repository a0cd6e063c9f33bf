//! Records the ends of attempts, as many at once as wait.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{FULL_PAUSE, Parts};
use crate::store::{Finish, Finished};

/// So many are recorded in one go.
const BATCH_MAX: usize = 512;
/// How far apart two goes are: under load fewer and larger ones cost the disk and the processor less, and nobody waits
/// for them as for a 202. The first after a pause is at once.
const PACE: Duration = Duration::from_millis(1);

/// Records until every sender is gone and nothing waits. Once `give_up` fires, a full store is not waited for any more.
pub(super) async fn run(parts: Parts, mut unrecorded: mpsc::Receiver<Finish>, give_up: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    // By the runtime's clock, on which sleeps are measured: it decides nothing, and a simulation moves it.
    let mut not_before = Instant::now();
    while unrecorded.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if not_before > Instant::now() {
            tokio::time::sleep_until(not_before).await;
            while batch.len() < BATCH_MAX
                && let Ok(finish) = unrecorded.try_recv()
            {
                batch.push(finish);
            }
        }
        not_before = Instant::now() + PACE;
        record(&parts, std::mem::take(&mut batch), &give_up).await;
    }
}

/// Records one batch. A store that is full is asked again until there is room: what happened must not be forgotten. A
/// store that failed is final, and the attempts are repeated when it is opened again.
async fn record(parts: &Parts, batch: Vec<Finish>, give_up: &CancellationToken) {
    loop {
        match parts.store.finish(batch.clone()).await {
            Ok(answers) => return note(parts, &batch, &answers),
            Err(error) if error.is_passing() && !give_up.is_cancelled() => {
                tracing::warn!(%error, attempts = batch.len(), "ended attempts wait for room in the store");
                give_up.run_until_cancelled(tokio::time::sleep(FULL_PAUSE)).await;
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
        parts.metrics.attempt_ended(finish, *answer);
        tracing::debug!(
            job.id = %finish.lease.job,
            attempt = finish.attempt,
            outcome = finish.kind.name(),
            error = finish.error.as_deref(),
            "an attempt ended"
        );
    }
}
