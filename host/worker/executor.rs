//! One attempt, as a straight line: find the plugin, run it, decide, pass on to be recorded.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Handler, Parts};
use crate::job::gates::Lane;
use crate::job::retry::{Verdict, decide};
use crate::job::{Disposition, Evidence, HostFault, Outcome, RetryPolicy};
use crate::plugin::Call;
use crate::store::{Claimed, Finish};

/// Runs attempts.
#[derive(Clone)]
pub(super) struct Executor {
    pub(super) parts: Parts,
    pub(super) finishes: mpsc::Sender<Finish>,
    /// Fires when running attempts must be handed back.
    pub(super) stop_now: CancellationToken,
}

/// The place of a running attempt; dropping it gives it back.
struct Place<'a> {
    parts: &'a Parts,
    lane: Lane,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.parts.gates().release(&self.lane);
        self.parts.wake.notify_one();
    }
}

impl Executor {
    /// How many more attempts may begin before ended ones must have been recorded.
    pub(super) fn room(&self) -> usize {
        self.finishes.capacity()
    }

    /// Runs one attempt to its end.
    pub(super) async fn attempt(self, claimed: Claimed) {
        let place = Place { parts: &self.parts, lane: Lane::new(&claimed.spec.plugin, &claimed.spec.downstream) };
        let Some(handler) = self.parts.handlers.find(&claimed.spec.plugin) else {
            return self.give_back(claimed, place).await;
        };
        let policy = self.parts.policy(Some(&*handler), &claimed.spec);
        let (outcome, evidence) = self.run(&*handler, &claimed, &policy).await;
        // The room is free when the guest is gone, not when the disk is done.
        drop(place);
        let finish = self.finish(claimed, outcome, evidence, &policy);
        self.pass_on(finish).await;
    }

    /// The plugin went away between the claim and the start: the claim leaves no trace.
    async fn give_back(&self, claimed: Claimed, place: Place<'_>) {
        drop(place);
        if let Err(error) = self.parts.store.release(vec![claimed.lease]).await {
            tracing::error!(%error, job.id = %claimed.lease.job, "a job could not be given back");
        }
    }

    /// Runs the handler until it ends, the job is cancelled, or the host must stop.
    async fn run(&self, handler: &dyn Handler, claimed: &Claimed, policy: &RetryPolicy) -> (Outcome, Evidence) {
        let ended = CancellationToken::new();
        let mut attempt = std::pin::pin!(handler.run(call(claimed, policy), &ended));
        let fault = tokio::select! {
            done = &mut attempt => return done,
            () = self.parts.store.ended(claimed.lease.job) => None,
            () = self.stop_now.cancelled() => Some(HostFault::Interrupted),
        };
        ended.cancel();
        let (outcome, evidence) = attempt.await;
        match (fault, &outcome) {
            (Some(fault), Outcome::Host(HostFault::Cancelled, _)) => {
                (Outcome::Host(fault, "the host stopped during the attempt".to_owned()), evidence)
            }
            _ => (outcome, evidence),
        }
    }

    fn finish(&self, claimed: Claimed, outcome: Outcome, evidence: Evidence, policy: &RetryPolicy) -> Finish {
        let finished_at = self.parts.clock.now();
        let took = finished_at.since(claimed.started_at);
        self.parts.metrics.attempt_ran(&claimed.spec.plugin, outcome.kind(), took);
        let verdict = Verdict {
            kind: outcome.kind(),
            delay_ms: outcome.delay_ms(),
            failed_before: claimed.failed_before,
            at: finished_at,
        };
        let disposition = match &outcome {
            // Handed back by a host that stops: nobody's fault, so it does not count.
            Outcome::Host(HostFault::Interrupted, _) => Disposition::Retry { at: finished_at, counted: false },
            _ => decide(policy, verdict, self.parts.chance.unit()),
        };
        Finish {
            lease: claimed.lease,
            attempt: claimed.attempt,
            started_at: claimed.started_at,
            finished_at,
            kind: verdict.kind,
            error: outcome.message().map(str::to_owned),
            code: outcome.code().map(str::to_owned),
            delay_ms: verdict.delay_ms,
            result: if let Outcome::Completed(completion) = outcome { Some(completion) } else { None },
            evidence,
            disposition,
        }
    }

    async fn pass_on(&self, finish: Finish) {
        let id = finish.lease.job;
        if self.finishes.send(finish).await.is_err() {
            tracing::error!(job.id = %id, "an ended attempt could not be recorded; it will be repeated");
        }
    }
}

fn call(claimed: &Claimed, policy: &RetryPolicy) -> Call {
    let spec = &claimed.spec;
    let id = claimed.lease.job;
    let labels = spec.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone()));
    let traceparent = spec.traceparent.iter().map(|value| ("traceparent".to_owned(), value.clone()));
    Call {
        job: id,
        attempt: claimed.attempt,
        max_attempts: policy.max_attempts,
        idempotency_key: spec.idempotency_key.clone().unwrap_or_else(|| id.to_string()),
        content_type: spec.content_type.clone(),
        payload: spec.payload.clone(),
        enqueued_at: claimed.created_at,
        attributes: labels.chain(traceparent).collect(),
        deadline: spec.deadline.map(|deadline| deadline.0),
    }
}
