//! The values that the set takes in, keeps and hands out.

use std::cmp::Reverse;

use super::JobId;
use super::lanes::ReadyKey;
use crate::clock::UnixMs;
use crate::job::gates::Probed;
use crate::job::state::State;

/// An unfinished job, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id.
    pub id: JobId,
    /// Higher runs first.
    pub priority: i16,
    /// When the next attempt is due.
    pub due: UnixMs,
    /// The number of the last attempt that ended; 0 before the first.
    pub attempts: u32,
    /// How many of them failed and count.
    pub failed: u32,
    /// How many rate limits were not held against it while it was in memory. The disk does not tell them from other
    /// attempts that do not count: a job that is read back is spared anew.
    pub spared: u16,
    /// A person's retry promised it an attempt, and none has counted since.
    pub owed: bool,
    /// The store's number for the newest attempt row; 0 where there is none.
    pub newest: i64,
    /// The store has written `newest` on the job's own row too, so that it is found there.
    pub anchored: bool,
    /// It waits for the operator's grants.
    pub held: bool,
    /// It was found at the opening: an earlier run of the host may have died of it.
    pub suspect: bool,
    /// When the attempt began that a dead host left behind, where there is one.
    pub interrupted: Option<UnixMs>,
}

impl Unfinished {
    /// A job that has had no attempt, of priority 0 and due since ever.
    #[must_use]
    pub fn new(id: JobId) -> Self {
        let (priority, due, attempts, failed, spared, newest) = (0, UnixMs(0), 0, 0, 0, 0);
        let (owed, anchored, held, suspect, interrupted) = (false, false, false, false, None);
        Self { id, priority, due, attempts, failed, spared, owed, newest, anchored, held, suspect, interrupted }
    }
}

/// A job that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Its id.
    pub id: JobId,
    /// Grows with each claim.
    pub token: i64,
    /// The attempt now beginning, from 1.
    pub attempt: u32,
    /// How many counted attempts failed before.
    pub failed_before: u32,
    /// See [`Unfinished::spared`].
    pub spared: u16,
    /// See [`Unfinished::owed`].
    pub owed: bool,
    /// When the attempt began.
    pub started_at: UnixMs,
    /// See [`Unfinished::suspect`].
    pub suspect: bool,
}

/// Where an unfinished job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its time has not come, or came so lately that no claim has noticed.
    Delayed,
    /// It may be handed out.
    Ready,
    /// It waits for the operator's grants.
    Held,
    /// An attempt under an older right has not ended yet: the job was cancelled and retried while it ran.
    Barred,
    /// A dead host left its attempt behind.
    Interrupted {
        /// When that attempt began.
        started_at: UnixMs,
    },
    /// An attempt is under way.
    Running {
        /// The token of its right.
        token: i64,
        /// When it began.
        started_at: UnixMs,
    },
}

/// What a result under a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The right holds.
    Holds,
    /// The job was cancelled while this attempt ran.
    Ghost,
    /// The right is unknown.
    Void,
}

/// An unfinished job in memory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The random bits of its id.
    pub(super) tail: i64,
    /// When the next attempt is due, or the running one was.
    pub due: UnixMs,
    /// See [`Unfinished::newest`].
    pub newest: i64,
    token: i64,
    started_at: UnixMs,
    pub(super) lane: u32,
    /// See [`Unfinished::attempts`].
    pub attempts: u32,
    /// See [`Unfinished::failed`].
    pub failed: u32,
    /// Higher runs first.
    pub priority: i16,
    pub(super) spared: u16,
    stand: Stand,
    pub(super) suspect: bool,
    pub(super) anchored: bool,
    pub(super) owed: bool,
    /// See [`Again::steps_back`].
    pub(super) is_behind: bool,
}

/// There may be a million of them.
const _: () = assert!(size_of::<Entry>() == 64);

/// A [`Phase`] without what belongs to it, which an entry keeps beside it: so it takes one byte and not eight.
#[derive(Clone, Copy, Debug)]
enum Stand {
    Delayed,
    Ready,
    Held,
    Barred,
    Interrupted,
    Running,
}

/// What a recorded attempt changes about a job that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// When the next attempt is due.
    pub due: UnixMs,
    /// It waits for the operator's grants.
    pub held: bool,
    /// The number of the attempt that ended.
    pub attempts: u32,
    /// How many attempts failed and count.
    pub failed: u32,
    /// The attempt was a rate limit that is not held against the job.
    pub is_spared: bool,
    /// It was sent to look after these, and failed as they did. Others go first the next time: else one that always fails,
    /// and is more urgent, would be the one that is sent for ever.
    pub steps_back: Option<Probed>,
    /// The store's number for the attempt's row.
    pub newest: i64,
}

impl Phase {
    /// Whether a job in this phase must stay in memory.
    pub(super) fn is_pinned(self) -> bool {
        matches!(self, Self::Barred | Self::Interrupted { .. } | Self::Running { .. })
    }
}

impl Entry {
    /// What is kept of a job in that phase and that lane.
    pub(super) fn of(job: &Unfinished, phase: Phase, lane: u32) -> Self {
        let mut entry = Self {
            tail: job.id.tail(),
            due: job.due,
            newest: job.newest,
            token: 0,
            started_at: UnixMs(0),
            lane,
            attempts: job.attempts,
            failed: job.failed,
            priority: job.priority,
            spared: job.spared,
            stand: Stand::Ready,
            suspect: job.suspect,
            anchored: job.anchored,
            owed: job.owed,
            is_behind: false,
        };
        entry.set_phase(phase);
        entry
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let (token, started_at) = (self.token, self.started_at);
        match self.stand {
            Stand::Delayed => Phase::Delayed,
            Stand::Ready => Phase::Ready,
            Stand::Held => Phase::Held,
            Stand::Barred => Phase::Barred,
            Stand::Interrupted => Phase::Interrupted { started_at },
            Stand::Running => Phase::Running { token, started_at },
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        (self.stand, self.token, self.started_at) = match phase {
            Phase::Delayed => (Stand::Delayed, 0, UnixMs(0)),
            Phase::Ready => (Stand::Ready, 0, UnixMs(0)),
            Phase::Held => (Stand::Held, 0, UnixMs(0)),
            Phase::Barred => (Stand::Barred, 0, UnixMs(0)),
            Phase::Interrupted { started_at } => (Stand::Interrupted, 0, started_at),
            Phase::Running { token, started_at } => (Stand::Running, token, started_at),
        };
    }

    /// It goes on after an attempt.
    pub(super) fn go_on(&mut self, again: &Again) {
        self.owed &= again.failed <= self.failed;
        self.spared = self.spared.saturating_add(again.is_spared.into());
        (self.due, self.attempts, self.failed) = (again.due, again.attempts, again.failed);
        self.is_behind = again.steps_back.is_some();
        // It has not killed the host.
        self.suspect = false;
    }

    /// Its place among the ready jobs of its lane.
    pub(super) fn order(&self, place: i64) -> ReadyKey {
        (Reverse((!self.is_behind).then_some(self.priority)), self.due, place)
    }

    /// The job's state, as people see it.
    #[must_use]
    pub fn state(&self, now: UnixMs) -> State {
        match self.stand {
            Stand::Running | Stand::Interrupted => State::Running,
            Stand::Ready | Stand::Held => State::Available,
            Stand::Delayed | Stand::Barred => waiting_state(self.due, self.attempts, now),
        }
    }

    /// The job that this is the memory of.
    #[must_use]
    pub fn waiting(&self, id: JobId) -> Unfinished {
        Unfinished {
            id,
            priority: self.priority,
            due: self.due,
            attempts: self.attempts,
            failed: self.failed,
            spared: self.spared,
            owed: self.owed,
            newest: self.newest,
            anchored: self.anchored,
            held: self.phase() == Phase::Held,
            suspect: self.suspect,
            interrupted: None,
        }
    }

    /// When the attempt under way began, where one is.
    #[must_use]
    pub fn running_since(&self) -> Option<UnixMs> {
        matches!(self.stand, Stand::Running | Stand::Interrupted).then_some(self.started_at)
    }
}

/// The state of a job that waits for its time, with so many attempts behind it.
#[must_use]
pub fn waiting_state(due: UnixMs, attempts: u32, now: UnixMs) -> State {
    match (due <= now, attempts) {
        (true, _) => State::Available,
        (false, 0) => State::Scheduled,
        (false, _) => State::Retryable,
    }
}
