//! One attempt: an instance, called once under its limits, and thrown away, unless its operator allows another use.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

use crate::clock::{Clock, Stopwatch};
use crate::config::AttemptLimits;
use crate::job::{Evidence, HostFault, LogLevel, Outcome};
use crate::lock::lock;

use calls_out::CallsOut;
pub(super) use calls_out::HandedOver;

use super::aside::{Aside, Beside};
use super::bindings::windlass::plugin::types::{AttributeParam as Attribute, Job};
use super::cpu::CpuMeter;
use super::egress::{Egress, Grants};
use super::heavy::{Guest, Habit};
use super::ledger::{LINE_BYTES_MAX, Ledger, Scarce};
use super::outcome::{self, Phase};
use super::state::{self, State};
use super::warm::{Instance, WarmPool};
use super::{Call, Revision};

mod calls_out;

/// What an attempt may use and what is written down of it. Outlives the instance.
#[derive(Debug)]
pub(super) struct Attempt {
    /// When it began, for durations.
    pub(super) started: Stopwatch,
    /// How long it may take.
    pub(super) wall: Duration,
    /// What else it may use.
    pub(super) limits: AttemptLimits,
    /// What it was granted.
    pub(super) grants: Arc<Grants>,
    /// The way out; none while a component is only tried.
    pub(super) egress: Option<Arc<Egress>>,
    /// Where the times of its calls come from.
    pub(super) clock: Arc<dyn Clock>,
    /// The calls that may still go out at the same time.
    pub(super) requests: Arc<Semaphore>,
    /// The CPU time it took.
    pub(super) cpu: Arc<CpuMeter>,
    /// The most that it held.
    pub(super) memory_peak_bytes: Arc<AtomicU64>,
    /// Where the guest puts what it waits for.
    pub(super) aside: Arc<Aside>,
    /// The calls whose records are open.
    pub(super) calls_out: CallsOut,
    requests_made: AtomicU32,
    call_bytes: AtomicU64,
    /// What the heads of answers take that the guest has not taken, and what may lie there of bodies that it has not read.
    pub(super) untaken_bytes: AtomicUsize,
    ledger: Mutex<Ledger>,
}

impl Attempt {
    /// Starts the clock of an attempt.
    pub(super) fn start(
        limits: AttemptLimits,
        wall: Duration,
        grants: Arc<Grants>,
        egress: Option<Arc<Egress>>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let started = Stopwatch::start();
        Arc::new(Self {
            started,
            wall,
            limits,
            grants,
            egress,
            clock,
            requests: Arc::new(Semaphore::new(requests_at_once(&limits))),
            cpu: Arc::default(),
            memory_peak_bytes: Arc::default(),
            aside: Arc::default(),
            calls_out: CallsOut::default(),
            requests_made: AtomicU32::new(0),
            call_bytes: AtomicU64::new(0),
            untaken_bytes: AtomicUsize::new(0),
            ledger: Mutex::new(Ledger::new(started, &limits)),
        })
    }

    /// How long it may still take.
    pub(super) fn left(&self) -> Duration {
        self.wall.saturating_sub(self.started.elapsed())
    }

    /// Counts one more request; false where there have been as many as there may be.
    pub(super) fn one_more_request(&self) -> bool {
        self.requests_made.fetch_add(1, Ordering::Relaxed) < self.limits.requests_total
    }

    /// Whether any of its requests has no whole answer yet.
    pub(super) fn has_requests_out(&self) -> bool {
        // In this order: one that was handed over has its permit before it no longer counts as such.
        self.calls_out.has_handed_over() || self.requests.available_permits() < requests_at_once(&self.limits)
    }

    /// Counts what went through a call of the guest.
    pub(super) fn passed(&self, bytes: u64) {
        self.call_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What went through the guest's calls.
    pub(super) fn call_bytes(&self) -> u64 {
        self.call_bytes.load(Ordering::Relaxed)
    }

    /// Something was not granted: the operator's to mend, who is told of it once.
    pub(super) fn deny(&self, remedy: &str) {
        // Names and origins can be the guest's own words.
        let remedy = self.grants.secrets.mask(remedy);
        self.ledger().deny(&remedy);
        self.grants.note_denied(&remedy, self.clock.now());
    }

    /// What is written down.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Keeps what the guest said, without its secrets. Of what it says at once no more is looked at than could be kept with
    /// as much again that is cleaned away: the guest is not asked meanwhile how long it goes on.
    pub(super) fn log(&self, level: LogLevel, message: &str) {
        let most = 2 * self.limits.output.as_usize().max(LINE_BYTES_MAX);
        let masked = self.grants.secrets.opening(message, most);
        let mut ledger = self.ledger();
        ledger.log(level, &masked);
        if message.len() > most {
            ledger.drop_line(message.len() - most);
        }
    }

    /// What is known of it by now; empties the ledger.
    pub(super) fn evidence(&self, revision: Option<String>) -> Evidence {
        let mut ledger = self.ledger();
        // They were written down as they ended.
        ledger.exchanges.sort_by_key(|exchange| exchange.started_at);
        let is_cut = ledger.dropped_bytes > 0;
        self.grants.secrets.mask_lines(&mut ledger.log, is_cut);
        Evidence {
            cpu_us: u64::try_from(self.cpu.spent().as_micros()).unwrap_or(u64::MAX),
            memory_peak_bytes: self.memory_peak_bytes.load(Ordering::Relaxed),
            revision,
            log: std::mem::take(&mut ledger.log),
            log_dropped_bytes: ledger.dropped_bytes,
            log_dropped_lines: ledger.dropped_lines,
            exchanges_dropped: ledger.exchanges_dropped,
            exchanges: std::mem::take(&mut ledger.exchanges),
            calls: ledger.calls,
            crowded: ledger.crowded.is_some(),
            not_begun: ledger.crowded.as_ref().is_some_and(|crowded| crowded.of == Scarce::Instances),
        }
    }
}

fn requests_at_once(limits: &AttemptLimits) -> usize {
    usize::try_from(limits.requests).unwrap_or(Semaphore::MAX_PERMITS)
}

/// Runs one attempt to its outcome, whatever happens.
pub(super) async fn run(
    revision: &Arc<Revision>,
    attempt: &Arc<Attempt>,
    call: Call,
    warm: Option<Arc<WarmPool>>,
    habit: &Arc<Habit>,
    cancelled: &CancellationToken,
) -> Outcome {
    let threads = revision.code.runtime.heavy.clone();
    let guest = Box::pin(guest(revision.clone(), attempt.clone(), call, warm));
    let guest = Beside::new(attempt.aside.clone(), guest);
    // A panic may come of where the guest goes as well.
    let guest = async { Guest::new(attempt.cpu.clone(), threads, habit.clone(), guest).await };
    let guest = tokio::time::timeout(attempt.wall, AssertUnwindSafe(guest).catch_unwind());
    let outcome = tokio::select! {
        biased;
        () = cancelled.cancelled() => Outcome::Host(HostFault::Cancelled, "the job was cancelled".to_owned()),
        ended = guest => match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => outcome::host_panic(),
            Err(_elapsed) => outcome::deadline(attempt),
        },
    };
    habit.note(attempt.cpu.spent());
    attempt.calls_out.ended().await;
    let outcome = outcome::denied_instead(outcome::crowded_instead(outcome, attempt), attempt);
    outcome::masked(outcome, attempt)
}

/// The instance's whole life. Dropping this future ends it.
async fn guest(revision: Arc<Revision>, attempt: Arc<Attempt>, call: Call, warm: Option<Arc<WarmPool>>) -> Outcome {
    let code = &revision.code;
    let _awake = code.machine.ticker.begin();
    let mut instance = match warm.as_ref().and_then(|warm| warm.take(&attempt)) {
        Some(instance) => instance,
        None => {
            let mut store = state::store(&code.machine, code.held_bytes, attempt.clone());
            let started = match store.data().check_memory() {
                Ok(()) => code.pre.instantiate_async(&mut store).await,
                Err(exceeded) => Err(exceeded.into()),
            };
            match started {
                Ok(plugin) => Instance { store, plugin, jobs: 0 },
                Err(error) => return outcome::of_error(&error, Phase::Start, store.data()),
            }
        }
    };
    let (id, enqueued_at) = (call.job.to_string(), call.enqueued_at.to_string());
    let attributes: Vec<_> = call.attributes.iter().map(|(name, value)| Attribute { name, value }).collect();
    let job = Job {
        id: &id,
        attempt: call.attempt,
        max_attempts: call.max_attempts,
        idempotency_key: &call.idempotency_key,
        content_type: &call.content_type,
        payload: &call.payload,
        enqueued_at: &enqueued_at,
        remaining_ms: u32::try_from(attempt.left().as_millis()).unwrap_or(u32::MAX),
        attributes: &attributes,
    };
    let answer = match instance.plugin.windlass_plugin_handler().call_run(&mut instance.store, job).await {
        Ok(answer) => answer,
        Err(error) => return outcome::of_error(&error, Phase::Run, instance.store.data()),
    };
    if let Err(exceeded) = instance.store.data().check_calls() {
        return outcome::host_calls(exceeded, &attempt);
    }
    if let Some(warm) = warm
        && !instance.has_calls().await
    {
        warm.keep(instance);
    }
    match answer {
        Ok(completion) => outcome::completed(completion, &attempt),
        Err(failure) => outcome::failed(&failure, &attempt),
    }
}

/// A store's type, in one place.
pub(super) type GuestStore = Store<State>;

#[cfg(test)]
mod at_limits;
#[cfg(test)]
mod signs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting;
