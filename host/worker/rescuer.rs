//! Takes over attempts whose host died: each is recorded as interrupted, counted, and its job runs again at once. Of a job
//! that was cancelled it is recorded alone.

use super::{Parts, policy};
use crate::job::retry::{Verdict, decide};
use crate::job::{Disposition, OutcomeKind};
use crate::store::{Claimed, Finish, StoreError};

/// Rescues what there is.
pub(super) async fn run(parts: &Parts) -> Result<(), StoreError> {
    let interrupted = parts.store.rescue(parts.clock.now()).await?;
    if interrupted.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        attempts = interrupted.len(),
        "the host died during these attempts; those of their jobs run again that were not cancelled"
    );
    let finishes: Vec<_> = interrupted.into_iter().map(|claimed| finish(parts, claimed)).collect();
    parts.store.finish(&finishes).await.map(drop)
}

fn finish(parts: &Parts, claimed: Claimed) -> Finish {
    let handler = parts.handlers.find(&claimed.spec.plugin);
    let policy = policy(parts.policy_of_all(handler.as_deref()), &claimed);
    let finished_at = parts.clock.now();
    let kind = OutcomeKind::Interrupted;
    let verdict =
        Verdict { kind, delay_ms: None, failed_before: claimed.failed_before, at: finished_at, is_free: false };
    // How many attempts a job has is its plugin's to say, and that may be missing now: whoever runs the job decides then.
    let is_said = handler.is_some() || claimed.spec.retry.max_attempts.is_some();
    let disposition = if is_said {
        decide(&policy, verdict, parts.chance.unit())
    } else {
        Disposition::Retry { at: finished_at, counted: true }
    };
    Finish {
        error: Some("the host died during the attempt".to_owned()),
        ..Finish::bare(claimed.lease, claimed.attempt, claimed.started_at, finished_at, kind, disposition)
    }
}
