//! Deletes finished jobs that are past their retention.

use std::time::Duration;

use super::Parts;
use crate::store::Retention;

/// So many jobs go in one transaction, so that pruning never holds up the queue for long.
const PRUNE_MAX: usize = 1_000;

/// It is not looked for them more often than that, however short they are kept.
const LEAST: Duration = Duration::from_secs(1);

/// Prunes, for ever.
pub(super) async fn run(parts: Parts) {
    loop {
        tokio::time::sleep(poll(&parts).await).await;
    }
}

/// Prunes once and says how long to wait before the next time.
async fn poll(parts: &Parts) -> Duration {
    let settings = &parts.config.retention;
    let retention =
        Retention { completed: settings.completed.0, cancelled: settings.cancelled.0, discarded: settings.discarded.0 };
    // Who keeps them for less than that means it.
    let shortest = retention.completed.min(retention.cancelled).min(retention.discarded).max(LEAST);
    let every = settings.every.0.min(shortest);
    match parts.store.prune(retention, parts.clock.now(), PRUNE_MAX).await {
        Ok(pruned) if pruned.more => Duration::ZERO,
        Ok(_) => every,
        Err(error) => {
            tracing::warn!(%error, "finished jobs could not be deleted");
            every
        }
    }
}
