//! The one thread that writes: group by group, each a transaction, synced before anybody is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use super::Shared;
use super::begun::{self, Begun};
use super::checkpoint::Checkpoints;
use super::effect::Effect;
use super::end::End;
use super::enqueue::{Prepared, Ticket};
use super::fault::{self, Fault, Outcome};
use super::intake::{self, Aside, Intake};
use super::recover::Numbers;
use super::statements::Statements;
use crate::clock::{Chance, UnixMs};
use crate::job::{IdSource, JobId};
use crate::store::{Acted, Enqueued, Finished, Lease, Pruned, Retention, Standing, StoreError};

/// How many calls one transaction serves at most.
const GROUP_OPS_MAX: usize = 4_096;
/// How long the beginning of an attempt waits for a commit that carries it. A host that dies within it does not know of
/// the attempt; of a job that it finds at its start it writes the beginning first.
const RIDE_MAX: Duration = Duration::from_millis(10);
/// How long beginnings that the store had no room for wait at most for the next try.
const OWED_MAX: Duration = Duration::from_millis(500);

/// Where an answer goes.
pub(super) type To<T> = oneshot::Sender<Result<T, StoreError>>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Op {
    Enqueue {
        jobs: Vec<Prepared>,
        now: UnixMs,
        ticket: Ticket,
        to: To<Vec<Enqueued>>,
    },
    Start {
        begun: Vec<Begun>,
        to: To<()>,
    },
    /// Attempts began that nobody waits for: they are in [`Shared::begun`].
    Begun,
    Release {
        leases: Vec<Lease>,
        to: To<()>,
    },
    Finish {
        ends: Vec<End>,
        to: To<Vec<Finished>>,
    },
    Cancel {
        id: JobId,
        now: UnixMs,
        to: To<Acted>,
    },
    Retry {
        id: JobId,
        now: UnixMs,
        to: To<Acted>,
    },
    Unhold {
        plugin: String,
        to: To<()>,
    },
    Prune {
        retention: Retention,
        now: UnixMs,
        most: usize,
        to: To<Pruned>,
    },
    SetStanding {
        standing: Standing,
        to: To<()>,
    },
}

/// What one transaction holds.
#[derive(Default)]
pub(super) struct Group {
    pub(super) effects: Vec<Effect>,
    /// Attempts that begin, and that are no longer under way.
    pub(super) begun: begun::Changes,
    /// Jobs that this group changes. A further change of one waits for the next group, so that each is judged by what
    /// is in memory.
    pub(super) touched: FxHashSet<i64>,
    answers: Vec<Answer>,
}

impl Group {
    /// Keeps an answer until the group's fate is known, and passes on whether the work went well. Who met a damaged row
    /// has written nothing yet: what is on disk is read first. So it is told to that caller, and the others of the group are
    /// served. Who met what SQLite will not take may have written a part of it: the group is undone, and the others are told
    /// that they can come again.
    fn answer<T: Send + 'static>(&mut self, to: To<T>, answer: Outcome<T>) -> Outcome<()> {
        let (answer, outcome) = match answer {
            Ok(answer) => (Ok(answer), Ok(())),
            Err(fault) if fault.is_damage() => (Err(StoreError::from(&fault)), Ok(())),
            Err(fault) if fault.is_senseless() => {
                let (error, beside) = (StoreError::from(&fault), Fault::Beside(fault.to_string()));
                self.answers.push(Box::new(move |_| _ = to.send(Err(error))));
                return Err(beside);
            }
            Err(fault) => (Err(StoreError::Failed("a failed group was committed".to_owned())), Err(fault)),
        };
        // Nobody may wait any more.
        self.answers.push(Box::new(move |fate| _ = to.send(fate.and(answer))));
        outcome
    }
}

/// The writer's own state.
pub(super) struct Writer<'c> {
    checkpoints: Checkpoints,
    pub(super) conn: &'c Connection,
    pub(super) statements: Statements<'c>,
    pub(super) shared: Arc<Shared>,
    pub(super) ids: IdSource,
    pub(super) chance: Arc<Chance>,
    pub(super) numbers: Numbers,
    pub(super) begun: begun::OnDisk,
    /// The numbers of the revisions that have been seen.
    pub(super) revisions: HashMap<String, i64>,
    /// The first token after each plugin's grants were edited last, in this process.
    pub(super) edited: HashMap<String, i64>,
    /// The highest place at the opening: what is at or before it may have killed a host.
    pub(super) opening_place: i64,
    /// Beginnings were not written, as the group that carried them was refused.
    owes_begun: bool,
}

impl<'c> Writer<'c> {
    /// To end before its connection: the last one that is closed puts the WAL away.
    pub(super) fn new(
        conn: &'c Connection,
        shared: Arc<Shared>,
        mut numbers: Numbers,
        chance: Arc<Chance>,
        checkpoints: Checkpoints,
    ) -> Self {
        let begun = std::mem::take(&mut numbers.begun);
        let (ids, opening_place) = (IdSource::after(numbers.last_place), numbers.last_place);
        let (revisions, edited) = (HashMap::new(), HashMap::new());
        let statements = Statements::new(conn);
        let owes_begun = false;
        Self {
            conn,
            statements,
            shared,
            ids,
            chance,
            numbers,
            begun,
            revisions,
            edited,
            opening_place,
            owes_begun,
            checkpoints,
        }
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(mut self, incoming: &Receiver<Op>) {
        let (mut waiting, mut look_again) = (Intake::default(), None);
        loop {
            let owed = self.owes_begun.then_some(OWED_MAX);
            if !gather(incoming, &mut waiting, owed.into_iter().chain(look_again).min()) {
                break;
            }
            // After what waits was received: the beginning of whatever ends in it is among these.
            let begun = self.shared.take_begun();
            if !(waiting.is_empty() && begun.is_empty()) {
                self.write(&mut waiting, begun);
            }
            look_again = self.reload();
            if waiting.is_idle() {
                waiting.extend(incoming.try_recv());
            }
            self.checkpoint(waiting.is_idle());
        }
        self.close();
    }

    /// Writes one group: what waits, but for further changes of a job that the group has changed already, and one large
    /// batch at most.
    fn write(&mut self, waiting: &mut Intake, begun: Vec<Begun>) {
        let mut group = Group::default();
        group.begun.begin(begun);
        let before = self.conn.total_changes();
        let written =
            self.shared.health().and_then(|()| self.fill(&mut group, waiting).map_err(|fault| self.roll_back(&fault)));
        self.owes_begun = false;
        match written {
            Ok(()) => {
                // Who only had something repeated was given no room.
                if self.conn.total_changes() != before {
                    self.shared.is_full.store(false, Ordering::Relaxed);
                }
                self.apply(group);
            }
            Err(error) => {
                if let StoreError::Full(_) = error {
                    self.shared.is_full.store(true, Ordering::Relaxed);
                }
                // After the failure of the whole store nothing of what waits is tried. Nor does it wait for as long as
                // another program holds the lock: then no group could begin, and nobody's call was taken out.
                if self.shared.failed.get().is_some() || group.answers.is_empty() {
                    waiting.take_all().for_each(|op| op.refuse(&mut group));
                }
                // Nobody else tells of them again. They are there before anybody can try again what ends them.
                if self.shared.failed.get().is_none() && !group.begun.begun.is_empty() {
                    self.owes_begun = true;
                    _ = self.shared.add_begun(std::mem::take(&mut group.begun.begun));
                }
                group.answers.into_iter().for_each(|answer| answer(Err(error.clone())));
            }
        }
    }

    fn fill(&mut self, group: &mut Group, waiting: &mut Intake) -> Outcome<()> {
        self.numbers.group_attempts_from = self.numbers.attempts_next;
        self.statements.get("BEGIN IMMEDIATE")?.execute(())?;
        let (mut has_large, mut aside, mut carried) = (false, Aside::default(), Ok(()));
        while carried.is_ok()
            && let Some(op) = waiting.next(has_large)
        {
            if aside.is_passed_by(&op, &group.touched) {
                has_large |= intake::is_large(&op);
                carried = self.carry_out(op, group);
            } else {
                aside.add(op);
            }
        }
        waiting.put_back(aside);
        carried?;
        self.begun.write(&mut group.begun, &mut self.statements)?;
        self.statements.get("COMMIT")?.execute(()).map_err(fault::of_commit)?;
        Ok(())
    }

    fn carry_out(&mut self, op: Op, group: &mut Group) -> Outcome<()> {
        match op {
            Op::Enqueue { jobs, now, ticket, to } => {
                let answer = self.enqueue(jobs, now, group);
                drop(ticket);
                group.answer(to, answer)
            }
            Op::Start { begun, to } => {
                group.begun.begin(begun);
                group.answer(to, Ok(()))
            }
            Op::Begun => Ok(()),
            Op::Release { leases, to } => {
                let answer = self.release(leases, group);
                group.answer(to, answer)
            }
            Op::Finish { ends, to } => {
                let answer = self.finish(ends, group);
                group.answer(to, answer)
            }
            Op::Cancel { id, now, to } => {
                let answer = self.cancel(id, now, group);
                group.answer(to, answer)
            }
            Op::Retry { id, now, to } => {
                let answer = self.retry(id, now, group);
                group.answer(to, answer)
            }
            Op::Unhold { plugin, to } => {
                let answer = self.unhold(plugin, group);
                group.answer(to, answer)
            }
            Op::Prune { retention, now, most, to } => {
                let answer = self.prune(retention, now, most, group);
                group.answer(to, answer)
            }
            Op::SetStanding { standing, to } => {
                let answer = self.set_standing(standing);
                group.answer(to, answer)
            }
        }
    }

    /// Undoes the group. What is not the disk's fullness, a foreign lock or a senseless value is final: a sync that
    /// failed once is not tried again as if it could succeed.
    fn roll_back(&mut self, fault: &Fault) -> StoreError {
        self.revisions.clear();
        let error = StoreError::from(fault);
        let undone = self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
        if undone && !fault.is_final() {
            return error;
        }
        self.shared.poison(&error);
        self.shared.failure()
    }

    /// What was committed takes place in memory; then everybody is answered.
    fn apply(&mut self, group: Group) {
        self.begun.apply(group.begun);
        let claimable = group.effects.iter().any(Effect::is_claimable);
        let ended: Vec<i64> = group.effects.iter().filter_map(Effect::ended).collect();
        self.shared.apply(group.effects);
        if claimable {
            self.shared.changed.notify_one();
        }
        self.shared.waiters.wake(ended.into_iter());
        group.answers.into_iter().for_each(|answer| answer(Ok(())));
    }

    /// Sees to the WAL. Here and not inside a commit, so that nobody waits for it and its failure is seen.
    fn checkpoint(&mut self, is_idle: bool) {
        if self.shared.health().is_err() {
            return;
        }
        // Where the disk is full, or someone else reads, the WAL keeps what could not be copied.
        if let Err(fault) = self.checkpoints.after_group(self.conn, is_idle)
            && fault.is_final()
        {
            self.shared.poison(&StoreError::from(&fault));
        }
    }
}

/// Takes up what waits, and waits for something where nothing does. Beginnings alone stay a moment for company: the next
/// commit carries them at no cost, and the end of a short attempt makes its beginning needless. Where something is owed it
/// waits for nothing longer than that. False where nobody can ask any more and nothing waits.
fn gather(incoming: &Receiver<Op>, waiting: &mut Intake, owed: Option<Duration>) -> bool {
    if waiting.is_empty() {
        let first = match owed {
            Some(most) => incoming.recv_timeout(most),
            None => incoming.recv().map_err(RecvTimeoutError::from),
        };
        match first {
            Ok(first) => waiting.extend([first]),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    waiting.extend(incoming.try_iter().take(GROUP_OPS_MAX - 1));
    if waiting.is_idle() {
        waiting.take_all().for_each(drop);
        if let Ok(op) = incoming.recv_timeout(RIDE_MAX) {
            waiting.extend([op]);
            waiting.extend(incoming.try_iter().take(GROUP_OPS_MAX - 1));
        }
    }
    true
}

impl Op {
    /// The existing jobs that this changes.
    pub(super) fn places(&self) -> impl Iterator<Item = i64> {
        let (one, ends, leases): (_, &[End], &[Lease]) = match self {
            Self::Cancel { id, .. } | Self::Retry { id, .. } => (Some(id.place()), &[], &[]),
            Self::Finish { ends, .. } => (None, ends, &[]),
            Self::Release { leases, .. } => (None, &[], leases),
            _ => (None, &[], &[]),
        };
        let ends = ends.iter().map(End::place);
        one.into_iter().chain(ends).chain(leases.iter().map(|lease| lease.job.place()))
    }

    /// Answers that nothing was done: the group's fate is a failure. Attempts that begin do so all the same, and nobody tells
    /// of them again.
    fn refuse(mut self, group: &mut Group) {
        if let Self::Start { begun, .. } = &mut self {
            group.begun.begin(std::mem::take(begun));
        }
        let lost = || Fault::Damaged(String::new());
        _ = match self {
            Self::Enqueue { to, .. } => group.answer(to, Err(lost())),
            Self::Begun => Ok(()),
            Self::Finish { to, .. } => group.answer(to, Err(lost())),
            Self::Cancel { to, .. } | Self::Retry { to, .. } => group.answer(to, Err(lost())),
            Self::Prune { to, .. } => group.answer(to, Err(lost())),
            Self::Start { to, .. }
            | Self::Release { to, .. }
            | Self::Unhold { to, .. }
            | Self::SetStanding { to, .. } => group.answer(to, Err(lost())),
        };
    }
}
