//! How many use a connection, and its early end where nobody does: its socket is needed, or it is no good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::clock::Stopwatch;

use super::pace::{Leave, Pace, Work};

/// How long a connection is kept before it may be closed for another: who waits may be about to use it.
const KEPT_MS: u64 = 50;
/// The same for one over which no answer came yet: a request that it is too early for is not sent again.
const KEPT_FRESH_MS: u64 = 1_000;
/// For so long after the last who used it left, what is still written counts as its use. Later that is no more than what
/// its downstream asks for, such as answers to its pings.
const FINISHED_MS: u32 = 1_000;
/// So much may come while nobody uses it: what was on its way when an answer was given up, and what servers say of
/// themselves, such as settings, tickets and pings.
const UNASKED_US: u64 = 512_000;

/// How a connection is used. Reads and writes over it cost an atomic operation more by this, and no lock.
#[derive(Debug)]
pub(super) struct Usage {
    /// A [`Standing`]: in one word, so that nobody closes what somebody begins to use.
    standing: AtomicU64,
    made: Stopwatch,
    /// An answer came over it.
    has_answered: AtomicBool,
    /// When the last who used it left, in milliseconds since it was made.
    left_ms: AtomicU32,
    /// What came since then.
    unasked_us: AtomicU64,
    pace: Pace,
    /// Whoever reads waits for leave.
    is_paced: AtomicBool,
    /// It takes no further request.
    is_retired: AtomicBool,
    /// The origin that it was made for.
    origin: OnceLock<String>,
    reader: AtomicWaker,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    phase: Phase,
    /// The requests that are on it, and those whose answers are not done with.
    users: u32,
    /// When the last of them left it, or something was written without them, in milliseconds since it was made.
    since_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is being made.
    Making,
    /// It can be used.
    Open,
    /// It is to end, if it is not used before that is seen. It has no users.
    ToClose,
    /// It was ended. It has no users, and gets none.
    Closed,
}

/// A connection that was of no use when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// For how long.
    pub(super) ms: u64,
    seen: Standing,
}

const USERS_BITS: u32 = 30;

impl From<Standing> for u64 {
    fn from(standing: Standing) -> Self {
        let low = (standing.phase as u32) << USERS_BITS | standing.users;
        Self::from(standing.since_ms) << 32 | Self::from(low)
    }
}

impl From<u64> for Standing {
    fn from(word: u64) -> Self {
        let (low, since_ms) = (word as u32, (word >> 32) as u32);
        let phase = match low >> USERS_BITS {
            0 => Phase::Making,
            1 => Phase::Open,
            2 => Phase::ToClose,
            _ => Phase::Closed,
        };
        Self { phase, users: low & ((1 << USERS_BITS) - 1), since_ms }
    }
}

impl Default for Usage {
    fn default() -> Self {
        let standing = Standing { phase: Phase::Making, users: 0, since_ms: 0 };
        Self {
            standing: AtomicU64::new(standing.into()),
            made: Stopwatch::start(),
            has_answered: AtomicBool::default(),
            left_ms: AtomicU32::default(),
            unasked_us: AtomicU64::default(),
            pace: Pace::default(),
            is_paced: AtomicBool::default(),
            is_retired: AtomicBool::default(),
            origin: OnceLock::new(),
            reader: AtomicWaker::new(),
        }
    }
}

impl Usage {
    /// When the socket was taken.
    pub(super) fn made(&self) -> Stopwatch {
        self.made
    }

    /// It is being made for that origin.
    pub(super) fn leads_to(&self, origin: String) {
        // It is told once.
        let _ = self.origin.set(origin);
    }

    /// Whether it was made for that origin.
    pub(super) fn is_of(&self, origin: &str) -> bool {
        self.origin.get().is_some_and(|own| own == origin)
    }

    /// It is there, and nothing was sent over it.
    pub(super) fn ready(&self) {
        let since_ms = self.now_ms();
        self.left_ms.store(since_ms, Ordering::Relaxed);
        self.change(|before| {
            (before.phase == Phase::Making).then_some(Standing { phase: Phase::Open, since_ms, ..before })
        });
    }

    /// One more uses it, also where it was about to be closed. False where it has been: then nobody is counted.
    pub(super) fn enter(&self) -> bool {
        self.give(Leave::Request);
        self.unasked_us.store(0, Ordering::Relaxed);
        self.change(|before| match before.phase {
            Phase::Closed => None,
            Phase::ToClose => Some(Standing { phase: Phase::Open, users: 1, ..before }),
            Phase::Making | Phase::Open => Some(Standing { users: before.users + 1, ..before }),
        })
    }

    /// One of those who entered uses it no more.
    pub(super) fn leave(&self) {
        let since_ms = self.now_ms();
        self.left_ms.store(since_ms, Ordering::Relaxed);
        self.change(|before| Some(Standing { users: before.users.checked_sub(1)?, since_ms, ..before }));
        self.end_if_retired();
    }

    /// Something is written. Requests are counted before that; but the rest of one whose answer was done with a moment
    /// earlier is not cut off.
    pub(super) fn write(&self) {
        self.write_at(self.now_ms());
    }

    fn write_at(&self, now_ms: u32) {
        let before = self.standing();
        let is_finished = || now_ms.saturating_sub(self.left_ms.load(Ordering::Relaxed)) > FINISHED_MS;
        if before.users == 0 && matches!(before.phase, Phase::Open | Phase::ToClose) && !is_finished() {
            let after = Standing { phase: Phase::Open, since_ms: now_ms, ..before };
            // Where this fails, somebody uses it by now, or it was closed at this very moment, and the write will find that.
            self.replace(before, after);
        }
    }

    /// That was read. Where nobody uses it and too much comes, it is ended.
    pub(super) fn read(&self, work: Work) {
        self.pace.charge(work, self.now_us());
        let seen = self.standing();
        if seen.phase == Phase::Open && seen.users == 0 {
            let before_us = self.unasked_us.fetch_add(work.us(), Ordering::Relaxed);
            if before_us.saturating_add(work.us()) > UNASKED_US {
                self.end(seen);
            }
        }
    }

    /// There is leave to read more.
    pub(super) fn give(&self, leave: Leave) {
        self.pace.give(leave);
        if self.is_paced.load(Ordering::Relaxed) && self.pace.wait(self.now_us()).is_none() {
            self.reader.wake();
        }
    }

    /// How long nothing is to be read from it; none where there is leave.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = self.pace.wait(self.now_us());
        self.is_paced.store(wait.is_some(), Ordering::Relaxed);
        wait
    }

    /// An answer came over it.
    pub(super) fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// Whether it was made for an earlier request.
    pub(super) fn was_kept(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// For how long it has been of no use; none where it is used, or was until a moment ago.
    pub(super) fn idle(&self) -> Option<Idle> {
        let seen = self.standing();
        let kept_ms = if self.was_kept() { KEPT_MS } else { KEPT_FRESH_MS };
        let ms = u64::from(self.now_ms().saturating_sub(seen.since_ms));
        (seen.phase == Phase::Open && seen.users == 0 && ms >= kept_ms).then_some(Idle { ms, seen })
    }

    /// Asks it to end, if it was of no use since then.
    pub(super) fn close(&self, idle: Idle) {
        if self.replace(idle.seen, Standing { phase: Phase::ToClose, ..idle.seen }) {
            self.reader.wake();
        }
    }

    /// It ends as soon as nobody uses it, and at once where nobody does. One that is still being made is another matter.
    pub(super) fn retire(&self) {
        if self.standing().phase != Phase::Making {
            self.is_retired.store(true, Ordering::SeqCst);
            self.end_if_retired();
        }
    }

    fn end_if_retired(&self) {
        if self.is_retired.load(Ordering::SeqCst) {
            let seen = self.standing();
            if seen.users == 0 && matches!(seen.phase, Phase::Open | Phase::ToClose) {
                self.end(seen);
            }
        }
    }

    /// Ends it for good, unless somebody has come meanwhile.
    fn end(&self, seen: Standing) {
        if self.replace(seen, Standing { phase: Phase::Closed, ..seen }) {
            self.reader.wake();
        }
    }

    /// Whether it is to end and nobody has used it since: what reads sees the end of it then, and it has ended.
    pub(super) fn has_ended(&self) -> bool {
        let seen = self.standing();
        match seen.phase {
            Phase::ToClose => self.replace(seen, Standing { phase: Phase::Closed, ..seen }),
            phase => phase == Phase::Closed,
        }
    }

    /// Whether it was ended here. Who was counted before never finds it so.
    pub(super) fn is_closed(&self) -> bool {
        self.standing().phase == Phase::Closed
    }

    /// Wakes that one when it is to end.
    pub(super) fn read_by(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// One that was ended.
    #[cfg(test)]
    pub(super) fn ended() -> Self {
        let standing = Standing { phase: Phase::Closed, users: 0, since_ms: 0 };
        Self { standing: AtomicU64::new(standing.into()), ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn is_to_close(&self) -> bool {
        self.standing().phase == Phase::ToClose
    }

    fn standing(&self) -> Standing {
        self.standing.load(Ordering::Acquire).into()
    }

    /// Whether it stood as `before`, and stands as `after` now.
    fn replace(&self, before: Standing, after: Standing) -> bool {
        self.standing.compare_exchange(before.into(), after.into(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether there was something to change.
    fn change(&self, change: impl Fn(Standing) -> Option<Standing>) -> bool {
        let change = |word: u64| change(word.into()).map(u64::from);
        self.standing.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// It counts for seven weeks.
    fn now_ms(&self) -> u32 {
        u32::try_from(self.made.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
