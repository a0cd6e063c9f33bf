//! The book: what every store must remember and answer, told as simply as it can be told.
//!
//! The real store is held against it (`tests/store_model.rs`), and in the simulation (`tests/sim.rs`) it is the disk.
//! What a crash spares and what it does not lie apart: [`Job::attempt`] is the right of an attempt under way, which dies
//! with the host; [`Job::start`] is what the disk knows of it.

use std::collections::{BTreeMap, BTreeSet};

use windlass::clock::UnixMs;
use windlass::job::health::Kept;
use windlass::job::{Completion, EndState, JobId, JobSpec, Lane};
use windlass::store::{Act, AttemptView, Enqueued, Keyed, NewJob, Standing, Standings};

mod finish;
mod people;
mod view;

pub use finish::{Begun, Worth};

/// Everything of one store.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The jobs, by place.
    pub jobs: BTreeMap<i64, Job>,
    keys: BTreeMap<String, Key>,
    paused: BTreeSet<String>,
    downstreams: BTreeMap<Lane, Kept>,
    /// The first token after each plugin's grants were edited last. A crash forgets it.
    edited: BTreeMap<String, i64>,
    /// Attempts of cancelled jobs that were pruned meanwhile still run somewhere. A crash forgets them.
    strays: BTreeMap<i64, i64>,
    /// Jobs that became final since the opening.
    pub ended: BTreeMap<&'static str, u64>,
}

/// A job, and all that happened to it.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub spec: JobSpec,
    pub created_at: UnixMs,
    pub due: UnixMs,
    pub held: bool,
    /// The attempts that ended, oldest first.
    pub attempts: Vec<AttemptView>,
    /// How many of them failed and count.
    pub failed: u32,
    /// A person's retry promised it an attempt, and none has counted since.
    pub owed: bool,
    pub acts: Vec<Act>,
    pub result: Option<Completion>,
    pub end: Option<(EndState, UnixMs)>,
    /// The start of an attempt, as the disk has it.
    pub start: Option<Begun>,
    /// The attempt under way, or left behind by a dead host. Not on disk.
    pub attempt: Option<Begun>,
    /// An attempt that still runs though its job was cancelled, or that a dead host left behind. Not on disk.
    pub ghost: Option<Begun>,
}

#[derive(Clone, Debug)]
struct Key {
    id: JobId,
    digest: [u8; 32],
    created_at: UnixMs,
}

impl Book {
    /// What becomes of each of these jobs. `new_id` makes ids, which must rise.
    pub fn enqueue(&mut self, jobs: &[NewJob], now: UnixMs, mut new_id: impl FnMut() -> JobId) -> Vec<Enqueued> {
        let mut keys = self.keys.clone();
        let mut answers: Vec<_> = jobs.iter().map(|job| judge(&mut keys, job, now, &mut new_id)).collect();
        if answers.iter().any(|answer| matches!(answer, Enqueued::KeyReused(_))) {
            let withheld = |answer: &mut _| {
                if matches!(answer, Enqueued::Created(_)) {
                    *answer = Enqueued::Withheld;
                }
            };
            answers.iter_mut().for_each(withheld);
            return answers;
        }
        self.keys = keys;
        for (job, answer) in jobs.iter().zip(&answers) {
            if let Enqueued::Created(id) = answer {
                self.jobs.insert(id.place(), Job::new(*id, job.spec.clone(), now));
            }
        }
        answers
    }

    /// What is remembered under a key.
    pub fn keyed(&self, key: &str) -> Option<Keyed> {
        self.keys.get(key).map(|key| Keyed { id: key.id, request_digest: key.digest })
    }

    /// The job of that id.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id.place()).filter(|job| job.id == id)
    }

    /// The jobs that are not final.
    pub fn unfinished(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.end.is_none())
    }

    /// How plugins and downstreams stand.
    pub fn standings(&self) -> Standings {
        let downstreams = self.downstreams.iter().map(|(lane, kept)| (lane.clone(), kept.clone())).collect();
        Standings { paused_plugins: self.paused.iter().cloned().collect(), downstreams }
    }

    /// One of them stands so now.
    pub fn set_standing(&mut self, standing: Standing) {
        match standing {
            Standing::Plugin { name, paused: true } => _ = self.paused.insert(name),
            Standing::Plugin { name, paused: false } => _ = self.paused.remove(&name),
            Standing::Downstream { lane, kept } if kept.is_empty() => _ = self.downstreams.remove(&lane),
            Standing::Downstream { lane, kept } => _ = self.downstreams.insert(lane, kept),
        }
    }

    /// The store is opened anew, after a crash or not: what was in memory is gone, and starts without an end are found.
    pub fn reopen(&mut self) {
        (self.edited, self.ended, self.strays) = Default::default();
        for job in self.jobs.values_mut() {
            let left = job.start.map(|start| Begun { token: None, ..start });
            // Where the job is final it was cancelled, and the host died before the attempt ended.
            (job.attempt, job.ghost) = if job.end.is_none() { (left, None) } else { (None, left) };
        }
    }
}

fn judge(keys: &mut BTreeMap<String, Key>, job: &NewJob, now: UnixMs, new_id: &mut impl FnMut() -> JobId) -> Enqueued {
    let Some(name) = &job.spec.idempotency_key else { return Enqueued::Created(new_id()) };
    match keys.get(name) {
        Some(key) if key.digest == job.request_digest => Enqueued::Replayed(key.id),
        Some(key) => Enqueued::KeyReused(key.id),
        None => {
            let id = new_id();
            keys.insert(name.clone(), Key { id, digest: job.request_digest, created_at: now });
            Enqueued::Created(id)
        }
    }
}

impl Job {
    fn new(id: JobId, spec: JobSpec, now: UnixMs) -> Self {
        let due = spec.run_at;
        Self {
            id,
            spec,
            created_at: now,
            due,
            held: false,
            attempts: Vec::new(),
            failed: 0,
            owed: false,
            acts: Vec::new(),
            result: None,
            end: None,
            start: None,
            attempt: None,
            ghost: None,
        }
    }

    /// The number of the last attempt that ended; 0 before the first.
    pub fn last_n(&self) -> u32 {
        self.attempts.last().map_or(0, |attempt| attempt.n)
    }

    /// Whether it may be handed out at that moment.
    pub fn is_claimable(&self, now: UnixMs) -> bool {
        self.end.is_none() && !self.held && self.due <= now && self.attempt.is_none() && self.ghost.is_none()
    }
}
