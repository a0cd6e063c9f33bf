//! The world that the state machines are put into.

#[path = "acts.rs"]
mod acts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use windlass::clock::{Chance, UnixMs};
use windlass::job::gates::{Admission, Admit, Gates, Lane, Opened, PluginLimits};
use windlass::job::health::{Ended, Sign};
use windlass::job::live::{Again, Handed, LiveSet, Standing, Unfinished};
use windlass::job::retry::{Verdict, decide};
use windlass::job::units::TimeSpan;
use windlass::job::{Disposition, EndState, IdSource, Jitter, JobId, OutcomeKind, PluginStanding, RetryPolicy};

/// How long things go wrong in each.
const TROUBLE: Duration = Duration::from_secs(2 * 3_600);
const PLUGINS: [&str; 3] = ["erp", "hook", "pay"];
const JOBS: u32 = 200;
const HOST_CONCURRENCY: u32 = 12;

/// What the store has on disk of a job.
#[derive(Clone, Debug)]
struct Record {
    id: JobId,
    lane: Lane,
    priority: i16,
    due: UnixMs,
    attempts: u32,
    failed: u32,
    held: bool,
    start_on_disk: Option<UnixMs>,
    end: Option<EndState>,
    /// The attempt under way in the present life of the host: when it began.
    running: Option<UnixMs>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// The group commit that carries a start.
    StartOnDisk {
        life: u32,
        place: i64,
    },
    AttemptEnds {
        life: u32,
        place: i64,
        token: i64,
    },
    Crash,
    Cancel,
    RetryAct,
    EditGrants,
    PluginGoes(usize),
    PluginComes(usize),
    Pause(usize, bool),
}

pub struct World {
    chance: Chance,
    now: UnixMs,
    heals_at: UnixMs,
    events: BinaryHeap<Reverse<(UnixMs, u64, Event)>>,
    scheduled: u64,
    ids: IdSource,
    disk: BTreeMap<i64, Record>,
    handed: BTreeMap<(i64, i64), Handed>,
    live: LiveSet,
    gates: Gates,
    missing: [bool; PLUGINS.len()],
    paused: [bool; PLUGINS.len()],
    policy: RetryPolicy,
    life: u32,
    tokens: i64,
    /// Each job's fate while trouble lasts: by how often its attempts fail.
    trouble: f64,
}

impl World {
    /// The world of that seed.
    pub fn new(seed: u64) -> Self {
        let chance = Chance::seeded(seed);
        let start = UnixMs(1_000_000);
        let jitter = [Jitter::None, Jitter::Equal, Jitter::Full][pick(&chance, 3)];
        let policy = RetryPolicy {
            jitter,
            max_attempts: 3 + pick(&chance, 20) as u32,
            cap: TimeSpan::from_secs(300),
            ..RetryPolicy::default()
        };
        let trouble = chance.unit();
        let mut world = Self {
            chance,
            now: start,
            heals_at: start.after(TROUBLE),
            events: BinaryHeap::new(),
            scheduled: 0,
            ids: IdSource::after(0),
            disk: BTreeMap::new(),
            handed: BTreeMap::new(),
            live: LiveSet::new(10_000, 1),
            gates: Gates::new(HOST_CONCURRENCY),
            missing: [false; PLUGINS.len()],
            paused: [false; PLUGINS.len()],
            policy,
            life: 0,
            tokens: 1,
            trouble,
        };
        world.open_gates();
        world.script();
        world
    }

    /// All that is on disk, as text.
    pub fn history(&self) -> String {
        format!("{:?}", self.disk)
    }

    fn at_random(&mut self, event: Event) {
        let at = self.now.after(TROUBLE.mul_f64(self.chance.unit()));
        self.schedule(at, event);
    }

    fn schedule(&mut self, at: UnixMs, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn open_gates(&mut self) {
        self.gates = Gates::new(HOST_CONCURRENCY);
        for (index, name) in PLUGINS.into_iter().enumerate() {
            let standing = if self.missing[index] { PluginStanding::Missing } else { PluginStanding::Ready };
            self.gates.set_standing(name, standing);
            self.gates.set_paused(name, self.paused[index]);
            let concurrency = (index == 0).then_some(2);
            self.gates.set_limits(name, PluginLimits { concurrency, ..PluginLimits::default() });
        }
    }

    /// Runs to the end of all events and due jobs.
    pub fn run(&mut self) {
        loop {
            self.pump();
            let due = self.live.next_due();
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = due.into_iter().chain(event).min() else { break };
            assert!(next > self.now || event == Some(next), "the dispatcher would spin at {}", self.now);
            self.now = self.now.max(next);
            if event == Some(next) {
                let Reverse((_, _, event)) = self.events.pop().expect("peeked");
                self.happen(event);
            }
            self.check();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::StartOnDisk { life, place } if life == self.life => self.start_on_disk(place),
            Event::AttemptEnds { life, place, token } if life == self.life => self.attempt_ends(place, token),
            // What a dead host had in hand never comes about.
            Event::StartOnDisk { .. } | Event::AttemptEnds { .. } => {}
            Event::Crash => self.crash(),
            Event::Cancel => self.cancel(),
            Event::RetryAct => self.retry_act(),
            Event::EditGrants => self.edit_grants(),
            Event::PluginGoes(plugin) => self.set_missing(plugin, true),
            Event::PluginComes(plugin) => self.set_missing(plugin, false),
            Event::Pause(plugin, paused) => {
                self.paused[plugin] = paused;
                self.gates.set_paused(PLUGINS[plugin], paused);
            }
        }
    }

    fn arrive(&mut self) {
        let id = self.ids.next(self.now, &self.chance);
        let lane = Lane::new(PLUGINS[pick(&self.chance, 3)], ["a", "b"][pick(&self.chance, 2)]);
        let later = Duration::from_millis([0, 0, 700, 90_000][pick(&self.chance, 4)]);
        let priority = [0, 0, 5, -5][pick(&self.chance, 4)];
        let due = self.now.after(later);
        let record = Record {
            id,
            lane,
            priority,
            due,
            attempts: 0,
            failed: 0,
            held: false,
            start_on_disk: None,
            end: None,
            running: None,
        };
        self.take_in(&record, false);
        self.disk.insert(id.place(), record);
    }

    fn take_in(&mut self, record: &Record, suspect: bool) {
        let job = Unfinished {
            id: record.id,
            priority: record.priority,
            due: record.due,
            attempts: record.attempts,
            failed: record.failed,
            newest: 0,
            anchored: false,
            held: record.held,
            suspect,
            interrupted: record.start_on_disk,
        };
        self.live.insert(&job, &record.lane, self.now);
    }

    /// Hands out all that may start, as the dispatcher does, and checks each.
    fn pump(&mut self) {
        for handed in self.live.claim(usize::MAX, self.now, &mut Watched(&mut self.gates)) {
            let place = handed.id.place();
            let record = self.disk.get_mut(&place).expect("a job that was handed out is on disk");
            assert!(record.end.is_none() && !record.held, "{record:?} ran though it is over or held");
            assert!(record.running.is_none(), "{record:?} ran twice at once");
            assert!(record.due <= self.now, "{record:?} ran early, at {}", self.now);
            assert_eq!((handed.attempt, handed.failed_before), (record.attempts + 1, record.failed));
            assert!(record.failed < self.policy.max_attempts + 10, "{record:?} has no attempt left");
            record.running = Some(self.now);
            let commit = if handed.suspect { self.now } else { self.now.after(Duration::from_millis(1)) };
            self.schedule(commit, Event::StartOnDisk { life: self.life, place });
            let lasts = Duration::from_millis(1 + pick(&self.chance, 5_000) as u64);
            self.schedule(self.now.after(lasts), Event::AttemptEnds { life: self.life, place, token: handed.token });
            self.tokens = self.tokens.max(handed.token + 1);
            self.handed.insert((place, handed.token), handed);
        }
    }

    fn start_on_disk(&mut self, place: i64) {
        if let Some(record) = self.disk.get_mut(&place) {
            record.start_on_disk = record.running;
        }
    }

    fn attempt_ends(&mut self, place: i64, token: i64) {
        let handed = self.handed.remove(&(place, token)).expect("it was handed out");
        let lane = self.disk[&place].lane.clone();
        let standing = self.live.standing(place, token);
        let (kind, delay_ms) = self.outcome();
        let sign = if standing == Standing::Holds { sign(kind, delay_ms, self.policy.cap.0) } else { Sign::Nothing };
        let latency = Some(self.now.since(handed.started_at));
        let is_limit = matches!(sign, Sign::Busy(..));
        let ended = Ended { started_at: handed.started_at, sign, latency };
        let judged = self.gates.end(&lane, &ended, self.now, self.chance.unit());
        let is_free = judged.was_probe || is_limit && handed.attempt - 1 - handed.failed_before < 5;
        let record = self.disk.get_mut(&place).expect("on disk");
        (record.running, record.start_on_disk) = (None, None);
        match standing {
            Standing::Holds => self.record_end(place, handed, (kind, delay_ms), is_free),
            Standing::Ghost => {
                record.attempts = record.attempts.max(handed.attempt);
                self.live.lay_ghost(place, Some(1), self.now);
            }
            Standing::Void => panic!("an attempt of this life has no standing"),
        }
    }

    /// What the downstream does to an attempt.
    fn outcome(&self) -> (OutcomeKind, Option<u32>) {
        if self.now >= self.heals_at || self.chance.unit() >= self.trouble {
            return (OutcomeKind::Completed, None);
        }
        let kinds = [
            OutcomeKind::TryAgain,
            OutcomeKind::RateLimited,
            OutcomeKind::UnknownOutcome,
            OutcomeKind::Trap,
            OutcomeKind::Reject,
            OutcomeKind::Denied,
        ];
        let delay_ms = [None, Some(0), Some(40_000), Some(u32::MAX)][pick(&self.chance, 4)];
        (kinds[pick(&self.chance, kinds.len())], delay_ms)
    }

    fn record_end(&mut self, place: i64, handed: Handed, (kind, delay_ms): (OutcomeKind, Option<u32>), is_free: bool) {
        let verdict = Verdict { kind, delay_ms, failed_before: handed.failed_before, at: self.now, is_free };
        let disposition = decide(&self.policy, verdict, self.chance.unit());
        let record = self.disk.get_mut(&place).expect("on disk");
        record.attempts = handed.attempt;
        record.start_on_disk = None;
        let end = match disposition {
            Disposition::Complete => Some(EndState::Completed),
            Disposition::Discard => Some(EndState::Discarded),
            Disposition::Cancel => Some(EndState::Cancelled),
            Disposition::Retry { at, counted } => {
                assert!(at >= self.now && at <= self.now.after(self.policy.cap.0), "{at} after {}", self.now);
                (record.due, record.failed) = (at, record.failed + u32::from(counted));
                None
            }
            Disposition::Hold => {
                record.held = true;
                None
            }
        };
        record.end = end;
        if end.is_some() {
            self.live.end(place, true);
        } else {
            let again = Again {
                due: record.due,
                held: record.held,
                attempts: record.attempts,
                failed: record.failed,
                newest: 1,
            };
            self.live.go_on(place, again, self.now);
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        assert!(self.gates.running() <= HOST_CONCURRENCY);
        let probes = self.gates.health_policy().breaker.probes;
        let mut down = BTreeMap::new();
        for (lane, health) in self.gates.known() {
            assert!(health.opening().is_none_or(|opening| opening.out <= probes), "{lane:?}: {health:?}");
            if health.opening().is_some() {
                *down.entry(lane.plugin.clone()).or_default() += 1;
            }
        }
        assert_eq!(*self.gates.down(), down, "who is down is counted as it changes");
        for name in ["a", "b"] {
            assert!(self.gates.running_in(&Lane::new(PLUGINS[0], name)) <= 2);
        }
        assert_eq!(self.live.unfinished(), self.disk.values().filter(|record| record.end.is_none()).count() as u64);
    }

    /// What must hold at the end of time.
    pub fn conclude_all(&self) {
        for record in self.disk.values() {
            assert!(record.end.is_some(), "{record:?} never came to its end");
        }
        let longest = self.policy.cap.0 * self.policy.max_attempts + TROUBLE;
        assert!(self.now <= self.heals_at.after(longest), "it took until {}", self.now);
        assert_eq!(self.gates.running(), 0, "a place was never given back");
    }
}

/// The gates, watched: whoever holds a place leaves the last one to the others while there are any.
struct Watched<'a>(&'a mut Gates);

impl Admission for Watched<'_> {
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit {
        let held = self.0.running_of(&lane.plugin);
        let answer = self.0.admit(lane, now);
        let is_alone = PLUGINS.iter().all(|name| *name == &*lane.plugin || self.0.running_of(name) == 0);
        if answer == Admit::Yes && held > 0 && !is_alone {
            assert!(self.0.running() < HOST_CONCURRENCY, "{lane:?} took the last place");
        }
        answer
    }

    fn opened(&mut self) -> Opened {
        self.0.opened()
    }
}

/// What an outcome says of the downstream.
fn sign(kind: OutcomeKind, delay_ms: Option<u32>, cap: Duration) -> Sign {
    match kind {
        OutcomeKind::Completed | OutcomeKind::Reject => Sign::Well,
        OutcomeKind::RateLimited => {
            let delay = delay_ms.map(|ms| Duration::from_millis(ms.into()).min(cap));
            Sign::Busy(delay, "429".to_owned())
        }
        OutcomeKind::TryAgain | OutcomeKind::UnknownOutcome => Sign::Ill("503".to_owned()),
        OutcomeKind::Trap => Sign::Unfit("unreachable".to_owned()),
        _ => Sign::Nothing,
    }
}

fn pick(chance: &Chance, count: usize) -> usize {
    ((chance.unit() * count as f64) as usize).min(count - 1)
}
