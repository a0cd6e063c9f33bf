//! Everything outside of the host, and what outlives it: time, the disk, the downstreams, the people, and a witness who
//! sees all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use windlass::clock::{Chance, Clock, UnixMs};
use windlass::job::{Gates, IdSource, JobId, JobSpec, RetryPolicy};
use windlass::store::{Lease, NewJob, Retention};

use crate::book::{Begun, Book, Job};
use crate::downstream::Downstream;
use crate::draw::Draw as _;
use crate::plan::{DOWNSTREAMS, Event, PLUGINS, Plan};
use crate::plugins::{Shelf, Source};
use crate::tally::Tally;
use crate::trace::{Effect, Trace};

/// When the simulated world begins.
const EPOCH: UnixMs = UnixMs(1_767_323_045_000);

/// The world of one seed.
pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    state: Mutex<State>,
    /// Fires when the host dies, or something was seen that must not be.
    pub died: Notify,
}

/// What changes.
pub struct State {
    pub book: Book,
    pub ids: IdSource,
    pub disk: Disk,
    pub tracks: BTreeMap<i64, Track>,
    /// Requests under an idempotency key that were answered.
    pub requests: Vec<NewJob>,
    pub shelf: Shelf,
    /// Since when each plugin is paused, by the host's clock.
    pub paused: [Option<UnixMs>; PLUGINS.len()],
    pub downstreams: Vec<Downstream>,
    pub life: Life,
    /// By how much the wall clock runs ahead of true time, in milliseconds.
    pub wall_ahead: i64,
    /// Attempts that were under way when the host died last.
    pub left_behind: Vec<(Lease, Begun)>,
    /// The lives that ended in order, with everything recorded.
    pub orderly: BTreeSet<u32>,
    /// The life that ends now had all the time that it takes to keep what it knows of downstreams.
    pub has_kept_health: bool,
    /// The policy of the host.
    pub retry: RetryPolicy,
    pub counts_rate_limits: bool,
    /// How many of the plan's events have happened.
    pub happened: usize,
    pub is_healed: bool,
    pub tally: Tally,
    pub trace: Trace,
    violation: Option<String>,
}

/// How the disk does.
#[derive(Default)]
pub struct Disk {
    /// How long the next commit takes.
    pub stall_ms: Option<i64>,
    /// Full until this true time.
    pub full_until: i64,
    /// The next write fails, on disk or not.
    pub fails: Option<bool>,
}

/// What the witness knows of a job.
#[derive(Clone, Debug)]
pub struct Track {
    /// The how manieth it was.
    pub number: usize,
    pub spec: Arc<JobSpec>,
    /// Under which key every attempt must come.
    pub key: String,
    /// Somebody was told that it is accepted.
    pub is_promised: bool,
    /// It was final, and was deleted in due time.
    pub is_deleted: bool,
    /// How often the downstream did it.
    pub effects: u32,
    /// In which life it was done and answered, unless it was called off in that life.
    pub done_in: Option<u32>,
    /// The attempt that was a probe when it ended, and called: its failure counts for nothing.
    pub probe: Option<u32>,
    /// How many rate limits it was spared, those of probes apart.
    pub spared: u32,
    /// Since when it might run, by the host's clock, in which life.
    pub changed: (u32, UnixMs),
    /// The attempt that ran when the job was cancelled last, by its life and number, and when that was.
    pub called_off: Option<(u32, u32, UnixMs)>,
}

/// One life of the host.
#[derive(Default)]
pub struct Life {
    pub n: u32,
    pub is_dead: bool,
    /// After so many more effects it dies.
    pub fuse: Option<u32>,
    /// True time at its start.
    pub began: i64,
    started: Option<Instant>,
    /// What the wall clock said at its start.
    pub wall: UnixMs,
    pub ready_at: Option<UnixMs>,
    pub failed_at: Option<UnixMs>,
    pub gates: Option<Arc<Mutex<Gates>>>,
    pub running: BTreeMap<i64, Running>,
    pub source: Option<Arc<Source>>,
}

/// An attempt under way, as the witness sees it.
#[derive(Clone, Debug)]
pub struct Running {
    pub number: usize,
    pub plugin: usize,
    pub downstream: usize,
    pub limit_key: Option<String>,
    /// The request is with the downstream, which has not done it.
    pub is_out: bool,
}

impl World {
    /// The world in which everything is drawn from the seed.
    pub fn of(seed: u64, is_told: bool) -> Arc<Self> {
        let chance = Chance::seeded(seed);
        let plan = Plan::draw(&chance);
        Self::new(chance, plan, is_told)
    }

    pub fn new(chance: Chance, plan: Plan, is_told: bool) -> Arc<Self> {
        let state = State {
            book: Book::default(),
            ids: IdSource::after(0),
            disk: Disk::default(),
            tracks: BTreeMap::new(),
            requests: Vec::new(),
            shelf: Shelf::draw(&chance),
            paused: [None; PLUGINS.len()],
            downstreams: vec![Downstream::default(); PLUGINS.len() * DOWNSTREAMS.len()],
            life: Life::default(),
            wall_ahead: 0,
            left_behind: Vec::new(),
            orderly: BTreeSet::new(),
            has_kept_health: false,
            retry: plan.config.retry.policy(),
            counts_rate_limits: plan.config.breaker.count_rate_limits,
            happened: 0,
            is_healed: false,
            tally: Tally::default(),
            trace: if is_told { Trace::told() } else { Trace::default() },
            violation: None,
        };
        Arc::new(Self { plan, chance, state: Mutex::new(state), died: Notify::new() })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something takes effect, in that life of the host: here it may die. What is dead has no effects any more.
    pub async fn effect(&self, life: u32, effect: Effect) {
        let is_over = {
            let mut state = self.state();
            let is_over = state.life.n != life || state.life.is_dead || state.burns_down();
            if !is_over {
                state.note(effect);
            }
            is_over
        };
        if is_over {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Waits for ever where the host is dead.
    pub async fn live_on(&self, life: u32) {
        let is_over = {
            let state = self.state();
            state.life.n != life || state.life.is_dead
        };
        if is_over {
            std::future::pending::<()>().await;
        }
    }

    /// Something was seen that must not be.
    pub fn accuse(&self, what: String) {
        self.state().accuse(what);
        self.died.notify_one();
    }

    /// The host starts, in the runtime that this is called in.
    pub fn begin_life(&self) -> (u32, SimClock) {
        let mut state = self.state();
        let began = state.now();
        let wall = state.wall();
        let started = Instant::now();
        let n = state.life.n + 1;
        let dies_at_once = n > 1 && !state.is_healed && self.chance.happens(0.05);
        let fuse = dies_at_once.then(|| self.chance.below(8) as u32);
        state.life = Life { n, fuse, began, started: Some(started), wall, ..Life::default() };
        state.book.reopen();
        // Who was paused in an earlier life is so from the beginning.
        let paused = state.book.standings().paused_plugins;
        state.paused = PLUGINS.map(|name| paused.iter().any(|paused| paused == name).then_some(UnixMs(i64::MIN)));
        state.note(Effect::Life(n));
        (n, SimClock { started, wall })
    }

    /// The host is gone; the next one starts so much later. The next runtime has no past: what elapsed is put down here.
    pub fn end_life(&self, pause_ms: i64) {
        let mut state = self.state();
        state.note(Effect::Gone);
        state.life.is_dead = true;
        state.left_behind.clear();
        let left: Vec<_> = std::mem::take(&mut state.life.running).into_iter().collect();
        for (place, running) in left {
            let job = state.book.jobs.get(&place);
            let left = job
                .and_then(|job| Some((job.id, job.attempt?)))
                .and_then(|(job, begun)| Some((Lease { job, token: begun.token? }, begun)));
            state.left_behind.extend(left);
            // What was sent is done though nobody waits for the answer.
            if running.is_out && self.chance.unit() < 0.5 {
                state.tally.count("late effect of a dead host");
                state.done(place);
            }
        }
        let (now, has_kept_health) = (state.now(), std::mem::take(&mut state.has_kept_health));
        (state.life.gates, state.life.source) = (None, None);
        for downstream in &mut state.downstreams {
            downstream.outage.beginnings += 1;
            // What was asked for last may not have come on disk where the host died, or its disk was full to the end.
            downstream.asked = downstream.asked.filter(|_| has_kept_health);
        }
        state.life.started = None;
        state.life.began = now + pause_ms;
    }
}

impl State {
    /// True time, in milliseconds since the beginning.
    pub fn now(&self) -> i64 {
        let elapsed = self.life.started.map_or(0, |started| started.elapsed().as_millis());
        self.life.began + i64::try_from(elapsed).expect("some days")
    }

    /// What the wall clock says.
    pub fn wall(&self) -> UnixMs {
        UnixMs(EPOCH.0 + self.now() + self.wall_ahead)
    }

    /// What the host's clock says.
    pub fn host_now(&self) -> UnixMs {
        UnixMs(self.life.wall.0 + self.now() - self.life.began)
    }

    pub fn note(&mut self, effect: Effect) {
        let now = self.now();
        self.trace.note(now, effect);
    }

    pub fn accuse(&mut self, what: String) {
        self.trace.remark(&what);
        self.violation.get_or_insert(what);
        self.life.is_dead = true;
    }

    /// What was seen first of what must not be.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Whether the host dies now.
    fn burns_down(&mut self) -> bool {
        let Some(fuse) = &mut self.life.fuse else { return false };
        if *fuse > 0 {
            *fuse -= 1;
            return false;
        }
        let when = if self.life.ready_at.is_some() { "crash between effects" } else { "crash during the start" };
        self.tally.count(when);
        self.life.is_dead = true;
        true
    }

    /// The next thing that happens from outside, if it is due by then.
    pub fn next_event(&self, plan: &Plan) -> Option<(i64, Event)> {
        plan.events.get(self.happened).copied()
    }

    /// A job is on disk.
    pub fn is_accepted(&mut self, id: JobId, spec: &JobSpec) {
        let track = Track {
            number: self.tracks.len(),
            spec: Arc::new(spec.clone()),
            key: spec.idempotency_key.clone().unwrap_or_else(|| id.to_string()),
            is_promised: false,
            is_deleted: false,
            effects: 0,
            done_in: None,
            probe: None,
            spared: 0,
            changed: (self.life.n, self.host_now()),
            called_off: None,
        };
        self.tracks.insert(id.place(), track);
    }

    /// A program was told that its job is accepted.
    pub fn promise(&mut self, id: JobId, job: NewJob) {
        let Some(track) = self.tracks.get_mut(&id.place()) else {
            return self.accuse(format!("{id} is promised, and was never on disk"));
        };
        if job.spec.idempotency_key.as_ref().is_some_and(|key| *key != track.key) {
            let told = format!("a repeat is told of the job {}, which has another key", track.number);
            return self.accuse(told);
        }
        if !std::mem::replace(&mut track.is_promised, true) {
            self.tally.count("job");
        }
        if job.spec.idempotency_key.is_some() {
            self.requests.push(job);
        }
    }

    /// What must hold at the end of time: whatever was promised came to its end, and was deleted after its time.
    pub fn conclude(&mut self) {
        let lost = self.tracks.values().find(|track| track.is_promised && !track.is_deleted);
        if let Some(lost) = lost.map(|track| format!("job {} was promised, and is lost", track.number)) {
            self.accuse(lost);
        }
    }

    /// Jobs are deleted.
    pub fn prune(&mut self, retention: Retention, now: UnixMs, most: usize) -> usize {
        let ended = |job: &Job| Some((job.id.place(), job.end?));
        let before: Vec<_> = self.book.jobs.values().filter_map(ended).collect();
        let pruned = self.book.prune(retention, now, most);
        for (place, (end, at)) in before.into_iter().filter(|_| pruned > 0) {
            if self.book.jobs.contains_key(&place) {
                continue;
            }
            if at.after(retention.of(end)) > self.host_now() {
                self.accuse(format!("{end:?} at {at}, and deleted at {}", self.host_now()));
            }
            self.tracks.get_mut(&place).expect("it was accepted").is_deleted = true;
        }
        self.tally.add("job pruned", pruned as u64);
        pruned
    }

    /// The downstream did what a job asked for.
    pub fn done(&mut self, place: i64) {
        let Some(track) = self.tracks.get_mut(&place) else { return };
        track.effects += 1;
    }

    /// A job may be able to run since now.
    pub fn touch(&mut self, place: i64) {
        let changed = (self.life.n, self.host_now());
        if let Some(track) = self.tracks.get_mut(&place) {
            track.changed = changed;
        }
    }
}

/// The host's clock: the wall clock as it stood at the start, carried on by the runtime's.
#[derive(Clone, Debug)]
pub struct SimClock {
    started: Instant,
    wall: UnixMs,
}

impl Clock for SimClock {
    fn now(&self) -> UnixMs {
        self.wall.after(self.started.elapsed())
    }
}
