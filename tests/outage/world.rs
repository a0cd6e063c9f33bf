//! Jobs, one host and one downstream in virtual time: the host's own state machines, the rest modelled.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use windlass::clock::{Chance, UnixMs};
use windlass::job::gates::{Gates, Lane, PluginLimits};
use windlass::job::health::{BreakerPolicy, Ended, HealthPolicy, LimiterPolicy, Sign};
use windlass::job::live::{Again, Handed, LiveSet, Unfinished};
use windlass::job::retry::{Verdict, decide};
use windlass::job::{Disposition, IdSource, Jitter, OutcomeKind, PluginStanding, RetryPolicy};

use super::downstream::{Answer, Downstream, SECOND, Us};

/// When virtual time begins, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_000_000_000;
const HOST_CONCURRENCY: u32 = 256;

/// What decides when a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Ours.
    Windlass,
    /// Exponential backoff alone, with that jitter.
    Backoff(Jitter),
}

impl Method {
    fn health(self) -> HealthPolicy {
        match self {
            Self::Windlass => HealthPolicy::default(),
            Self::Backoff(_) => HealthPolicy {
                breaker: BreakerPolicy { failures: u32::MAX, error_rate: 2.0, ..BreakerPolicy::default() },
                limiter: LimiterPolicy {
                    initial: HOST_CONCURRENCY,
                    floor: HOST_CONCURRENCY,
                    ceiling: HOST_CONCURRENCY,
                },
                count_rate_limits: true,
            },
        }
    }

    fn retry(self) -> RetryPolicy {
        let jitter = if let Self::Backoff(jitter) = self { jitter } else { Jitter::Equal };
        // Without a breaker the jobs would be used up long before an outage of an hour is over.
        RetryPolicy { jitter, max_attempts: if self == Self::Windlass { 20 } else { 10_000 }, ..RetryPolicy::default() }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Calls that did no good.
    pub wasted: u64,
    /// Failures that were counted against a job although the breaker was open when the attempt began.
    pub burned: u64,
    /// Jobs that were given up.
    pub discarded: u64,
    /// When each job was completed.
    pub completions: Vec<Us>,
    /// When each call began.
    pub calls: Vec<Us>,
    /// How many ran at once, sampled at each call.
    pub at_once: Vec<(Us, u32)>,
    /// When the breaker opened first.
    pub tripped_at: Option<Us>,
}

impl Report {
    /// The moment by which such a share of the jobs was completed.
    pub fn completed_by(&self, share: f64) -> Us {
        let mut sorted = self.completions.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * share) as usize]
    }

    /// The most calls in any second from then on.
    pub fn peak_per_second(&self, from: Us) -> u64 {
        peak(self.calls.iter().copied().filter(|at| *at >= from))
    }

    /// Completions per second between two moments.
    pub fn goodput(&self, from: Us, to: Us) -> f64 {
        let count = self.completions.iter().filter(|at| (from..to).contains(at)).count();
        count as f64 * SECOND as f64 / (to - from) as f64
    }

    /// The mean of how many ran at once between two moments.
    pub fn mean_at_once(&self, from: Us, to: Us) -> f64 {
        let within: Vec<_> =
            self.at_once.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, count)| f64::from(*count)).collect();
        within.iter().sum::<f64>() / within.len().max(1) as f64
    }
}

/// The most moments in any sliding second.
fn peak(moments: impl Iterator<Item = Us>) -> u64 {
    let moments: Vec<_> = moments.collect();
    let (mut first, mut most) = (0, 0);
    for (last, at) in moments.iter().enumerate() {
        while moments[first] <= at - SECOND {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as u64
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { priority: i16, is_hopeless: bool },
    AnswerComes { place: i64, started: Us, kind: &'static str, delay_ms: Option<u32> },
}

/// See the module.
pub struct World {
    chance: Chance,
    now: Us,
    events: BinaryHeap<Reverse<(Us, u64, Event)>>,
    scheduled: u64,
    ids: IdSource,
    live: LiveSet,
    gates: Gates,
    downstream: Downstream,
    handed: HashMap<i64, Handed>,
    hopeless: HashSet<i64>,
    method: Method,
    policy: RetryPolicy,
    last_probe: Option<Us>,
    pub report: Report,
}

impl World {
    /// A host that does it so, and that downstream.
    pub fn new(seed: u64, method: Method, downstream: Downstream) -> Self {
        let mut gates = Gates::judging(HOST_CONCURRENCY, method.health());
        gates.set_standing("erp", PluginStanding::Ready);
        gates.set_limits("erp", PluginLimits::default());
        Self {
            chance: Chance::seeded(seed),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            ids: IdSource::after(0),
            live: LiveSet::new(10_000_000, 1),
            gates,
            downstream,
            handed: HashMap::new(),
            hopeless: HashSet::new(),
            method,
            policy: method.retry(),
            last_probe: None,
            report: Report::default(),
        }
    }

    /// A job arrives then.
    pub fn arrive(&mut self, at: Us) {
        self.schedule(at, Event::Arrive { priority: 0, is_hopeless: false });
    }

    /// A job of that priority arrives then which its downstream answers as if it were down, whenever it is asked.
    pub fn arrive_hopeless(&mut self, at: Us, priority: i16) {
        self.schedule(at, Event::Arrive { priority, is_hopeless: true });
    }

    fn schedule(&mut self, at: Us, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn ms(&self) -> UnixMs {
        UnixMs(EPOCH_MS + self.now / 1_000)
    }

    /// Runs until every job is final, or until then.
    pub fn run(&mut self, until: Us) {
        loop {
            self.pump();
            let due = self.live.next_due().map(|due| (due.0 - EPOCH_MS) * 1_000);
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = due.into_iter().chain(event).min().filter(|next| *next <= until) else { return };
            self.now = self.now.max(next);
            if event == Some(next) {
                let Reverse((_, _, event)) = self.events.pop().expect("peeked");
                match event {
                    Event::Arrive { priority, is_hopeless } => self.take_in(priority, is_hopeless),
                    Event::AnswerComes { place, started, kind, delay_ms } => {
                        let kind = OutcomeKind::from_name(kind).expect("a known kind");
                        self.answered(place, started, kind, delay_ms);
                    }
                }
            }
        }
    }

    fn take_in(&mut self, priority: i16, is_hopeless: bool) {
        let id = self.ids.next(self.ms(), &self.chance);
        if is_hopeless {
            self.hopeless.insert(id.place());
        }
        let job = Unfinished { priority, due: self.ms(), ..Unfinished::new(id) };
        self.live.insert(&job, ("erp", "erp"), self.ms());
    }

    fn pump(&mut self) {
        let lane = Lane::new("erp", "erp");
        for handed in self.live.claim(usize::MAX, self.ms(), &mut self.gates) {
            let place = handed.id.place();
            assert!(self.handed.insert(place, handed).is_none(), "a job runs twice at once");
            if let Some(opening) = self.gates.health(&lane).and_then(|health| health.opening()) {
                assert!(opening.out <= self.gates.health_policy().breaker.probes, "too many probes: {opening:?}");
                if let Some(last) = self.last_probe.filter(|_| opening.successes == 0) {
                    let spacing = self.gates.health_policy().breaker.probe;
                    assert!(self.now - last >= spacing.as_micros() as Us, "probes at {last} and {}", self.now);
                }
                self.last_probe = Some(self.now);
            } else {
                self.last_probe = None;
            }
            self.report.calls.push(self.now);
            let mut answer = self.downstream.call(self.now, &self.chance);
            if self.hopeless.contains(&place) {
                answer = Answer { kind: OutcomeKind::TryAgain, delay_ms: None, ..answer };
            }
            self.report.at_once.push((self.now, self.gates.running()));
            let event =
                Event::AnswerComes { place, started: self.now, kind: answer.kind.name(), delay_ms: answer.delay_ms };
            self.schedule(answer.at, event);
        }
    }

    fn answered(&mut self, place: i64, started: Us, kind: OutcomeKind, delay_ms: Option<u32>) {
        self.downstream.inside -= 1;
        let handed = self.handed.remove(&place).expect("it was handed out");
        let lane = Lane::new("erp", "erp");
        let sign = match kind {
            // Plain backoff looks at nothing else.
            _ if self.method != Method::Windlass => Sign::Well,
            OutcomeKind::Completed => Sign::Well,
            OutcomeKind::RateLimited => {
                Sign::Busy(delay_ms.map(|ms| Duration::from_millis(ms.into())), "429".to_owned())
            }
            _ => Sign::Ill("503".to_owned()),
        };
        let is_limit = matches!(sign, Sign::Busy(..));
        let latency = Some(Duration::from_micros((self.now - started) as u64));
        let ended = Ended { started_at: handed.started_at, sign, latency };
        let was_probe = self.gates.health(&lane).is_some_and(|health| health.is_probe(handed.started_at));
        let judged = self.gates.end(&lane, &ended, self.ms(), self.chance.unit());
        if let (None, Some(opening)) =
            (self.report.tripped_at, self.gates.health(&lane).and_then(|health| health.opening()))
        {
            self.report.tripped_at = Some((opening.since.0 - EPOCH_MS) * 1_000);
        }
        let forgives = self.gates.health_policy().forgives(handed.spared, self.policy.max_attempts);
        let is_spared = is_limit && !judged.is_free && forgives;
        let is_free = judged.is_free || is_spared;
        let verdict = Verdict { kind, delay_ms, failed_before: handed.failed_before, at: self.ms(), is_free };
        self.report.wasted += u64::from(kind != OutcomeKind::Completed);
        match decide(&self.policy, verdict, self.chance.unit()) {
            Disposition::Complete => {
                self.report.completions.push(self.now);
                self.live.end(place);
            }
            Disposition::Retry { at, counted } => {
                self.report.burned += u64::from(counted && was_probe);
                let failed = handed.failed_before + u32::from(counted);
                let (attempts, steps_back) = (handed.attempt, judged.found_ill);
                let again = Again { due: at, held: false, attempts, failed, is_spared, steps_back, newest: 1 };
                self.live.go_on(place, again, self.ms());
            }
            Disposition::Discard | Disposition::Cancel | Disposition::Hold => {
                self.report.discarded += 1;
                self.live.end(place);
            }
        }
    }
}
