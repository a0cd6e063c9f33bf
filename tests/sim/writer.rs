//! The one task that writes, and what it watches for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windlass::clock::{Clock as _, LAST_MOMENT, UnixMs};
use windlass::job::Gates;
use windlass::job::live::{Nearest, Read, Reload, ReloadDue, Tally, Unfinished};
use windlass::store::{Claimed, StoreError};

use super::{Answer, Desk, Memory, Op, SimStore, unfinished};
use crate::book::Job;
use crate::draw::Draw as _;
use crate::plan::PLUGINS;
use crate::trace::Effect;

/// What becomes of a group.
enum Fate {
    Committed,
    /// It is on disk, and nobody will know.
    Lost(StoreError),
    Refused(StoreError),
}

impl SimStore {
    /// Serves as long as the host lives.
    pub async fn write(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            let stall = {
                let mut state = self.world.state();
                let stall = state.disk.stall_ms.take();
                state.tally.add("slow commit", u64::from(stall.is_some()));
                stall
            };
            if stall.is_some() {
                self.memory().slow_at = LAST_MOMENT;
            }
            let pause = stall.unwrap_or_else(|| self.world.chance.below(3) as i64);
            tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
            if stall.is_some() {
                self.memory().slow_at = self.clock.now();
            }
            self.write_group().await;
            self.reload();
        }
    }

    async fn write_group(&self) {
        let ops = std::mem::take(&mut self.memory().waiting);
        self.world.effect(self.life, Effect::Commits(ops.len())).await;
        let (fate, ops) = self.carry_out(ops);
        if let Fate::Committed = fate {
            self.world.effect(self.life, Effect::Committed).await;
        }
        let ended = std::mem::take(&mut self.memory().ended);
        match fate {
            Fate::Committed => {
                self.changed.notify_one();
                ended.into_iter().for_each(|id| self.wake(id));
                for (name, answer) in ops {
                    self.world.effect(self.life, Effect::Told(name)).await;
                    answer(Ok(()));
                }
            }
            Fate::Refused(error) | Fate::Lost(error) => {
                ops.into_iter().for_each(|(_, answer)| answer(Err(error.clone())));
                if self.failure().is_err() {
                    self.waiters().drain().for_each(|(_, bell)| bell.notify_waiters());
                    self.changed.notify_one();
                }
            }
        }
    }

    /// Writes a group, or does not.
    fn carry_out(&self, ops: Vec<Op>) -> (Fate, Vec<(&'static str, Answer)>) {
        let (mut state, mut memory) = (self.world.state(), self.memory());
        let fate = match (memory.failed.clone(), state.disk.fails.take()) {
            (Some(error), _) => Fate::Refused(error),
            (None, Some(is_on_disk)) => {
                let when = ["write that failed before the commit", "write that failed after the commit"];
                state.tally.count(when[usize::from(is_on_disk)]);
                let error = StoreError::Failed("input/output error".to_owned());
                memory.failed = Some(error.clone());
                state.life.failed_at = Some(self.clock.now());
                if is_on_disk { Fate::Lost(error) } else { Fate::Refused(error) }
            }
            (None, None) if state.now() < state.disk.full_until => {
                state.tally.count("full disk");
                Fate::Refused(StoreError::Full("no space left".to_owned()))
            }
            (None, None) => Fate::Committed,
        };
        if let Fate::Refused(_) = fate {
            return (fate, ops.into_iter().map(|op| (op.name, (op.act)(None))).collect());
        }
        for place in std::mem::take(&mut memory.begun) {
            if let Some(job) = state.book.jobs.get_mut(&place) {
                job.note_start();
            }
        }
        let mut desk = Desk { state: &mut state, memory: &mut memory, seen: self.seen() };
        let answers = ops.into_iter().map(|op| (op.name, (op.act)(Some(&mut desk)))).collect();
        memory.note_partial(self.clock.now());
        (fate, answers)
    }

    /// Reads back the nearest jobs that are on disk only, where the memory has room again.
    fn reload(self: &Arc<Self>) {
        let due = self.memory().live.begin_reload(self.up());
        let store = Arc::clone(self);
        let reload = match due {
            ReloadDue::Never | ReloadDue::UnderWay => return,
            ReloadDue::In(pause) => {
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    store.work.notify_one();
                });
                return;
            }
            ReloadDue::Now(reload) => reload,
        };
        tokio::spawn(async move {
            let pause = || Duration::from_millis(store.world.chance.below(20) as u64);
            tokio::time::sleep(pause()).await;
            let read = store.nearest(&reload);
            tokio::time::sleep(pause()).await;
            store.world.state().tally.count("reload");
            let mut memory = store.memory();
            memory.live.merge(&reload, &read, store.up(), store.seen());
            memory.note_partial(store.clock.now());
            drop(memory);
            store.changed.notify_one();
            store.work.notify_one();
        });
    }

    /// A moment of the host's clock, which never goes back.
    fn up(&self) -> Duration {
        self.clock.now().since(UnixMs(0))
    }

    fn nearest(&self, reload: &Reload) -> Read {
        let state = self.world.state();
        let found = |job: &Job| Unfinished { suspect: job.id.place() <= self.opening_place, ..unfinished(job) };
        let mut nearest = Nearest::new(reload);
        state.book.unfinished().for_each(|job| nearest.see(found(job), job.spec.lane()));
        nearest.read()
    }

    /// What looks wrong at this moment, and is where it lasts.
    pub fn what_is_wrong(&self, gates: &Mutex<Gates>) -> Option<String> {
        let (state, memory) = (self.world.state(), self.memory());
        let gates = gates.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.failed.is_some() || memory.slow_at == LAST_MOMENT {
            return None;
        }
        let (taken, runs) = (gates.running() as usize, state.life.running.len());
        if taken != runs {
            return Some(format!("{taken} places are taken, and {runs} attempts run"));
        }
        let (kept, known) = (memory.live.unfinished(), state.book.unfinished().count() as u64);
        if kept != known {
            return Some(format!("{kept} jobs are unfinished in memory, and {known} on disk"));
        }
        let now = self.clock.now();
        // What waits on disk only waits for those of its plugin that are in memory, and for nobody else.
        let mut waiting = state.book.unfinished().filter(|job| job.is_claimable(now) && !memory.is_behind(job));
        let forgotten = waiting.find(|job| gates.why_waiting(&job.spec.lane().to_lane(), now).is_none())?;
        Some(format!("nothing keeps back {forgotten:?}, and nobody takes it"))
    }

    /// None begins early, and none late whose way was open.
    pub(super) fn check_times(&self, claimed: &[Claimed], closed: &[UnixMs], seen: UnixMs) {
        let now = self.clock.now();
        let (partial_at, slow_at) = {
            let memory = self.memory();
            (memory.partial_at, memory.slow_at)
        };
        let mut state = self.world.state();
        for (claimed, closed_at) in claimed.iter().zip(closed) {
            let job = &state.book.jobs[&claimed.lease.job.place()];
            let track = &state.tracks[&claimed.lease.job.place()];
            let (due, held, number) = (job.due, job.held, track.number);
            let plugin = PLUGINS.iter().position(|name| *name == job.spec.plugin).expect("one of ours");
            let changed = if track.changed.0 == self.life { track.changed.1 } else { UnixMs(0) };
            if held || due > now && due > seen {
                state.accuse(format!("job {number} begins early, at {now}: it is due at {due}"));
            }
            let Some(host_ready) = state.life.ready_at else { continue };
            let ready = if due <= self.passed { host_ready } else { due.max(host_ready) }.max(changed);
            if ready > *closed_at && ready > partial_at[plugin] && ready > slow_at {
                state.tally.count("attempt that nothing kept back");
                if now.since(ready) > Duration::from_secs(1) {
                    state.accuse(format!("job {number} begins late, at {now}: it was ready at {ready}"));
                }
            }
        }
    }
}

impl Memory {
    /// Remembers when jobs of each plugin were on disk only last.
    fn note_partial(&mut self, now: UnixMs) {
        for (plugin, partial_at) in PLUGINS.iter().zip(&mut self.partial_at) {
            match (self.live.is_partial_of(plugin), *partial_at == LAST_MOMENT) {
                (true, _) => *partial_at = LAST_MOMENT,
                (false, true) => *partial_at = now,
                (false, false) => {}
            }
        }
    }

    /// Whether it is on disk only, and others of its plugin that are in memory wait too.
    fn is_behind(&self, job: &Job) -> bool {
        let plugin = &job.spec.plugin;
        let waits = |tally: Tally| tally.jobs() > tally.running;
        self.live.get(job.id).is_none()
            && self.live.is_partial_of(plugin)
            && self.live.by_plugin().any(|(name, tally)| **name == **plugin && waits(tally))
    }
}
