//! One attempt, as a straight line: find the plugin, run it, decide, pass on to be recorded.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ends::{Ends, Room, bytes_of};
use super::{Handler, Parts, policy, until_room};
use crate::clock::UnixMs;
use crate::job::gates::{Judged, Lane};
use crate::job::health::{Change, Ended, Sign};
use crate::job::retry::{Verdict, decide};
use crate::job::{Disposition, Evidence, HostFault, Outcome, OutcomeKind, RetryPolicy};
use crate::plugin::Call;
use crate::store::{Claimed, Finish};

/// Runs attempts.
#[derive(Clone)]
pub(super) struct Executor {
    pub(super) parts: Parts,
    pub(super) ends: Ends,
    /// Takes the downstreams whose health is to be kept.
    pub(super) changed: mpsc::UnboundedSender<Lane>,
    /// Fires when running attempts must be handed back.
    pub(super) stop_now: CancellationToken,
}

/// The place of a running attempt; dropping it gives it back, and says nothing of the downstream.
struct Place<'a> {
    parts: &'a Parts,
    lane: Option<Lane>,
    started_at: UnixMs,
}

impl<'a> Place<'a> {
    fn of(parts: &'a Parts, claimed: &Claimed) -> Self {
        let lane = claimed.spec.lane().to_lane();
        Self { parts, lane: Some(lane), started_at: claimed.started_at }
    }

    /// Gives it back, with what the attempt says of its downstream. Tells people what changed.
    fn end(mut self, sign: Sign, evidence: &Evidence, changed: &mpsc::UnboundedSender<Lane>) -> Judged {
        let lane = self.lane.take().expect("a place ends once");
        let ended = Ended { started_at: self.started_at, sign, latency: evidence.calls.latency() };
        let judged = self.parts.gates().end(&lane, &ended, self.parts.clock.now(), self.parts.chance.unit());
        self.parts.wake.notify_one();
        if let Some(change) = &judged.change {
            tell(&lane, change, &ended.sign);
            self.parts.metrics.health_changed(&lane.plugin, change);
        }
        if judged.to_keep {
            // Nobody keeps it any more where the host has stopped.
            let _ = changed.send(lane.whole().into_owned());
        }
        judged
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.parts.gates().give_back(&lane, self.started_at, self.parts.clock.now());
            self.parts.wake.notify_one();
        }
    }
}

fn tell(lane: &Lane, change: &Change, sign: &Sign) {
    let (plugin, downstream) = (&*lane.plugin, &*lane.downstream);
    let cause = match sign {
        Sign::Ill(cause) | Sign::Busy(_, cause) | Sign::Unfit(cause) => cause.as_str(),
        Sign::Well | Sign::Silent | Sign::Nothing => "",
    };
    match change {
        Change::Opened => tracing::warn!(plugin, downstream, cause, "a downstream is down: its jobs wait"),
        Change::PluginUnfit => tracing::warn!(plugin, cause, "a plugin fails by itself: its jobs wait"),
        Change::PluginFit => tracing::info!(plugin, "a plugin works again: its jobs go on"),
        Change::Closed => tracing::info!(plugin, downstream, "a downstream is back: its jobs go on"),
        Change::HeldUntil(until) => {
            tracing::warn!(plugin, downstream, %until, cause, "a downstream asked everybody to wait");
        }
    }
}

impl Executor {
    /// How many more attempts may begin before ended ones must have been recorded; waits until it is one at least.
    pub(super) async fn room(&self) -> usize {
        self.ends.room().await
    }

    /// Runs one attempt to its end.
    pub(super) async fn attempt(self, claimed: Claimed) {
        let place = Place::of(&self.parts, &claimed);
        let Some(handler) = self.parts.handlers.find(&claimed.spec.plugin) else {
            return self.give_back(claimed, place).await;
        };
        let of_all = self.parts.policy_of_all(Some(&*handler));
        let policy = policy(of_all, &claimed);
        if claimed.failed_before >= policy.max_attempts {
            return self.give_up(&claimed, &policy, place).await;
        }
        let (outcome, evidence) = self.run(&*handler, &claimed, &policy).await;
        // Before the place is free, so that who takes it does not seem to have begun earlier.
        let finished_at = self.parts.clock.now();
        let room = self.ends.room_for(bytes_of(&outcome, &evidence)).await;
        let sign = Sign::of(&outcome, &evidence, of_all.cap.0);
        let is_rate_limit = matches!(sign, Sign::Busy(..));
        // The place is free when the guest is gone, not when the disk is done: what is to be written has its room.
        let judged = place.end(sign, &evidence, &self.changed);
        let is_free = judged.is_free || evidence.not_begun;
        let forgives = || self.parts.gates().health_policy().forgives(claimed.spared, policy.max_attempts);
        let is_spared = is_rate_limit && !is_free && forgives();
        let finish = self.finish(claimed, finished_at, outcome, evidence, &policy, is_free || is_spared);
        self.pass_on(Finish { is_spared, steps_back: judged.found_ill, ..finish }, room).await;
    }

    /// The plugin went away between the claim and the start: the claim leaves no trace. A store that is full is asked
    /// until there is room, or the host stops: a job that stays handed out does not run before the next start.
    async fn give_back(&self, claimed: Claimed, place: Place<'_>) {
        drop(place);
        let lease = claimed.lease;
        let given_back = until_room("jobs to be given back", || self.parts.store.release(vec![lease]));
        if let Some(Err(error)) = self.stop_now.run_until_cancelled(given_back).await {
            tracing::error!(%error, job.id = %lease.job, "a job could not be given back");
        }
    }

    /// The job has no attempts left: the host died during the last one while it was not known how many there are, or its
    /// plugin's file allows fewer than it did.
    async fn give_up(&self, claimed: &Claimed, policy: &RetryPolicy, place: Place<'_>) {
        drop(place);
        let (at, kind) = (self.parts.clock.now(), OutcomeKind::Interrupted);
        let (failed, most) = (claimed.failed_before, policy.max_attempts);
        let finish = Finish {
            error: Some(format!("this attempt did not begin: {failed} have failed, of {most} that the job may have")),
            ..Finish::bare(claimed.lease, claimed.attempt, claimed.started_at, at, kind, Disposition::Discard)
        };
        self.pass_on(finish, self.ends.room_for(0).await).await;
    }

    /// Runs the handler until it ends, the job is cancelled, or the host must stop.
    async fn run(&self, handler: &dyn Handler, claimed: &Claimed, policy: &RetryPolicy) -> (Outcome, Evidence) {
        let ended = CancellationToken::new();
        let mut attempt = std::pin::pin!(handler.run(call(claimed, policy), &ended));
        let fault = tokio::select! {
            biased;
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

    fn finish(
        &self,
        claimed: Claimed,
        finished_at: UnixMs,
        outcome: Outcome,
        evidence: Evidence,
        policy: &RetryPolicy,
        is_free: bool,
    ) -> Finish {
        let took = finished_at.since(claimed.started_at);
        self.parts.metrics.attempt_ran(&claimed.spec.plugin, outcome.kind(), took);
        // However long the host has no room, its jobs ask ever more rarely.
        let tries_before = if evidence.not_begun { claimed.attempt.saturating_sub(1) } else { claimed.failed_before };
        let verdict = Verdict {
            kind: outcome.kind(),
            delay_ms: outcome.delay_ms(),
            failed_before: tries_before,
            at: finished_at,
            is_free,
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
            is_spared: false,
            steps_back: None,
            disposition,
        }
    }

    async fn pass_on(&self, finish: Finish, room: Room) {
        let id = finish.lease.job;
        if !self.ends.send(finish, room).await {
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
