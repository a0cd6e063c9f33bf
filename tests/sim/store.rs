//! The store, modelled: the book is its disk, and the order of dispatch is the host's own [`LiveSet`].
//!
//! As in the real one, whatever waits is committed as one group and answered after the commit, the start of an attempt
//! rides the next commit, and what is far away is on disk only. Each step is an effect, where the host can die.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use windlass::clock::{LAST_MOMENT, UnixMs};
use windlass::job::live::{Handed, LiveSet, Unfinished};
use windlass::job::{Admission, JobId};
use windlass::store::{Claimed, Lease, StoreError};

use crate::book::Job;
use crate::plan::PLUGINS;
use crate::refusals::Refusals;
use crate::world::{SimClock, State, World};

#[path = "calls.rs"]
mod calls;
#[path = "writer.rs"]
mod writer;

/// See the module.
pub struct SimStore {
    world: Arc<World>,
    life: u32,
    clock: SimClock,
    memory: Mutex<Memory>,
    /// Something waits to be written.
    work: Notify,
    changed: Notify,
    waiters: Mutex<HashMap<i64, Arc<Notify>>>,
    seen: AtomicI64,
    /// A moment that had passed at the opening, whatever the clock says now: it may have stepped back.
    passed: UnixMs,
    /// What is at or before this place was found at the opening.
    opening_place: i64,
}

/// What dies with the host.
struct Memory {
    live: LiveSet,
    waiting: Vec<Op>,
    /// Jobs whose starts are not on disk yet.
    begun: Vec<i64>,
    failed: Option<StoreError>,
    refusals: Refusals,
    /// When jobs of each plugin were on disk only last, and when the disk was slow.
    partial_at: [UnixMs; PLUGINS.len()],
    slow_at: UnixMs,
    /// Jobs that became final in the group that is being written.
    ended: Vec<JobId>,
}

/// What a write is carried out on.
struct Desk<'a> {
    state: &'a mut State,
    memory: &'a mut Memory,
    seen: UnixMs,
}

/// A call that waits to be written: what it is, and what it does.
struct Op {
    name: &'static str,
    act: Deed,
}

/// Without a desk the store has failed.
type Deed = Box<dyn FnOnce(Option<&mut Desk<'_>>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

impl SimStore {
    /// Opens what is on disk.
    pub fn open(world: &Arc<World>, life: u32, clock: SimClock) -> Arc<Self> {
        let mut live = LiveSet::new(world.plan.held_jobs_max, i64::from(life) << 40);
        let state = world.state();
        let finished = |job: &Job| job.attempts.last().and_then(|attempt| attempt.finished_at);
        let seen = state.book.jobs.values().flat_map(|job| finished(job).into_iter().chain([job.created_at])).max();
        let seen = seen.unwrap_or_default();
        for job in state.book.unfinished() {
            live.insert(&Unfinished { suspect: true, ..unfinished(job) }, job.spec.lane(), seen);
        }
        for job in state.book.jobs.values() {
            if let Some(left) = job.ghost {
                let interrupted = Some(left.started_at);
                live.leave_ghost(&Unfinished { interrupted, ..unfinished(job) }, job.spec.lane().to_lane());
            }
        }
        let opening_place = state.book.jobs.keys().next_back().copied().unwrap_or(0);
        drop(state);
        let partial_at = PLUGINS.map(|plugin| if live.is_partial_of(plugin) { LAST_MOMENT } else { UnixMs(0) });
        let memory = Memory {
            live,
            waiting: Vec::new(),
            begun: Vec::new(),
            failed: None,
            refusals: Refusals::default(),
            partial_at,
            slow_at: UnixMs(0),
            ended: Vec::new(),
        };
        Arc::new(Self {
            world: world.clone(),
            life,
            clock,
            memory: Mutex::new(memory),
            work: Notify::new(),
            changed: Notify::new(),
            waiters: Mutex::default(),
            seen: AtomicI64::new(seen.0),
            passed: seen,
            opening_place,
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<i64, Arc<Notify>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, now: UnixMs) -> UnixMs {
        UnixMs(self.seen.fetch_max(now.0, Ordering::Relaxed).max(now.0))
    }

    fn seen(&self) -> UnixMs {
        UnixMs(self.seen.load(Ordering::Relaxed))
    }

    fn failure(&self) -> Result<(), StoreError> {
        self.memory().failed.clone().map_or(Ok(()), Err)
    }

    /// Queues a write, and waits for its answer.
    async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.world.live_on(self.life).await;
        self.failure()?;
        let (to, answer) = oneshot::channel();
        let act = move |desk: Option<&mut Desk<'_>>| -> Answer {
            let answer = desk.map(act);
            Box::new(move |fate| {
                let answer = fate.map(|()| answer.expect("what is committed was carried out"));
                // Nobody may wait any more.
                _ = to.send(answer);
            })
        };
        self.memory().waiting.push(Op { name, act: Box::new(act) });
        self.work.notify_one();
        answer.await.unwrap_or_else(|_| Err(StoreError::Failed("its writer is gone".to_owned())))
    }

    /// Jobs that were handed out, with what was asked for.
    fn claimed(&self, handed: &[Handed]) -> Vec<Claimed> {
        let mut state = self.world.state();
        let mut claimed = Vec::with_capacity(handed.len());
        for job in handed {
            let place = job.id.place();
            let known = &state.book.jobs[&place];
            let of_job = Claimed {
                lease: Lease { job: job.id, token: job.token },
                spec: Arc::new(known.spec.clone()),
                created_at: known.created_at,
                attempt: job.attempt,
                failed_before: job.failed_before,
                spared: job.spared,
                owed: job.owed,
                started_at: job.started_at,
            };
            let is_ghost = known.ghost.is_some();
            if (job.attempt, job.failed_before) != (known.last_n() + 1, known.failed)
                || job.owed != known.owed && !is_ghost
            {
                let told = format!("{job:?} was handed out: {known:?}");
                state.accuse(told);
            }
            state.book.begin(&of_job);
            claimed.push(of_job);
        }
        claimed
    }

    /// What is to be done in them cannot be read now.
    fn put_back(&self, handed: &[Handed], now: UnixMs, admission: &mut dyn Admission) -> StoreError {
        self.world.state().tally.count("claim that could not be read");
        let mut memory = self.memory();
        memory.refusals.host(now);
        for job in handed {
            let lane = memory.live.release(job.id.place(), job.token, LAST_MOMENT).expect("it was just handed out");
            admission.withdrawn(&lane, job.started_at, now);
        }
        StoreError::Busy("too many open files".to_owned())
    }

    fn wake(&self, id: JobId) {
        if let Some(bell) = self.waiters().remove(&id.place()) {
            bell.notify_waiters();
        }
    }
}

/// A job as the order of dispatch takes it in.
fn unfinished(job: &Job) -> Unfinished {
    Unfinished {
        id: job.id,
        priority: job.spec.priority,
        due: job.due,
        attempts: job.last_n(),
        failed: job.failed,
        spared: 0,
        owed: job.owed,
        newest: i64::try_from(job.attempts.len()).expect("few"),
        anchored: false,
        held: job.held,
        suspect: false,
        interrupted: job.attempt.filter(|begun| begun.token.is_none()).map(|begun| begun.started_at),
    }
}
