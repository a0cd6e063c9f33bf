//! How many use a connection, and its early end where nobody does and its socket is needed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::clock::Stopwatch;

/// How long a connection is kept before it may be closed for another: who waits may be about to use it.
const KEPT_MS: u64 = 50;
/// The same for one over which no answer came yet: a request that it is too early for is not sent again.
const KEPT_FRESH_MS: u64 = 1_000;

/// How a connection is used. Reads and writes over it cost an atomic operation more by this, and no lock.
#[derive(Debug)]
pub(super) struct Usage {
    /// A [`Standing`]: in one word, so that nobody closes what somebody begins to use.
    standing: AtomicU64,
    made: Stopwatch,
    /// An answer came over it.
    has_answered: AtomicBool,
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
        let (standing, reader) = (AtomicU64::new(standing.into()), AtomicWaker::new());
        Self { standing, made: Stopwatch::start(), has_answered: AtomicBool::new(false), reader }
    }
}

impl Usage {
    /// When the socket was taken.
    pub(super) fn made(&self) -> Stopwatch {
        self.made
    }

    /// It is there, and nothing was sent over it.
    pub(super) fn ready(&self) {
        let since_ms = self.now_ms();
        self.change(|before| {
            (before.phase == Phase::Making).then_some(Standing { phase: Phase::Open, since_ms, ..before })
        });
    }

    /// One more uses it, also where it was about to be closed. False where it has been: then nobody is counted.
    pub(super) fn enter(&self) -> bool {
        self.change(|before| match before.phase {
            Phase::Closed => None,
            Phase::ToClose => Some(Standing { phase: Phase::Open, users: 1, ..before }),
            Phase::Making | Phase::Open => Some(Standing { users: before.users + 1, ..before }),
        })
    }

    /// One of those who entered uses it no more.
    pub(super) fn leave(&self) {
        let since_ms = self.now_ms();
        self.change(|before| Some(Standing { users: before.users.checked_sub(1)?, since_ms, ..before }));
    }

    /// Something is written. Requests are counted before that; but the rest of one whose answer was done with earlier,
    /// or what keeps the connection going, is not cut off.
    pub(super) fn write(&self) {
        let before = self.standing();
        if before.users == 0 && matches!(before.phase, Phase::Open | Phase::ToClose) {
            let after = Standing { phase: Phase::Open, since_ms: self.now_ms(), ..before };
            // Where this fails, somebody uses it by now, or it was closed at this very moment, and the write will find that.
            self.replace(before, after);
        }
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

    /// It counts for seven weeks.
    fn now_ms(&self) -> u32 {
        u32::try_from(self.made.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closes it, however short a time it has been of no use for.
    fn close(usage: &Usage) {
        let seen = usage.standing();
        if seen.phase == Phase::Open && seen.users == 0 {
            usage.close(Idle { ms: 0, seen });
        }
    }

    #[test]
    fn what_is_used_is_not_closed_and_what_is_closed_is_not_used() {
        let usage = Usage::default();
        close(&usage);
        assert!(!usage.has_ended() && usage.idle().is_none(), "it is being made");
        usage.ready();
        assert!(usage.idle().is_none(), "it was made a moment ago");
        assert!(usage.enter());
        close(&usage);
        assert!(!usage.has_ended());
        usage.leave();
        close(&usage);
        assert!(usage.enter() && !usage.has_ended(), "a request came first");
        usage.leave();
        close(&usage);
        usage.write();
        assert!(!usage.has_ended(), "something is still written");
        close(&usage);
        assert!(usage.has_ended() && usage.has_ended() && usage.is_closed());
        usage.write();
        usage.ready();
        assert!(!usage.enter() && usage.has_ended() && usage.idle().is_none(), "nothing brings it back");
    }

    #[test]
    fn it_is_of_no_use_when_the_last_who_uses_it_has_left() {
        let usage = Usage::default();
        usage.ready();
        assert!(usage.enter() && usage.enter());
        usage.leave();
        close(&usage);
        assert!(!usage.is_to_close(), "another one uses it");
        assert!(usage.enter());
        usage.leave();
        usage.leave();
        close(&usage);
        assert!(usage.has_ended());
    }

    #[test]
    fn what_was_used_since_it_was_looked_at_is_not_closed() {
        let usage = Usage::default();
        usage.ready();
        let looked_at = Idle { ms: 0, seen: usage.standing() };
        let later = Standing { since_ms: looked_at.seen.since_ms + 1, ..looked_at.seen };
        assert!(usage.replace(looked_at.seen, later));
        usage.close(looked_at);
        assert!(!usage.is_to_close());
    }

    #[test]
    fn nobody_who_is_counted_finds_it_closed() {
        for _ in 0..50 {
            let usage = Usage::default();
            usage.ready();
            std::thread::scope(|threads| {
                for _ in 0..2 {
                    threads.spawn(|| {
                        for _ in 0..100 {
                            if usage.enter() {
                                usage.write();
                                assert!(!usage.has_ended() && !usage.is_closed());
                                usage.leave();
                            }
                        }
                    });
                }
                while !usage.has_ended() {
                    close(&usage);
                }
            });
            assert_eq!(usage.standing().users, 0);
        }
    }

    #[test]
    fn how_it_stands_fits_into_a_word() {
        for phase in [Phase::Making, Phase::Open, Phase::ToClose, Phase::Closed] {
            for (users, since_ms) in [(0, 0), (1, u32::MAX), ((1 << USERS_BITS) - 1, 7)] {
                let standing = Standing { phase, users, since_ms };
                assert_eq!(Standing::from(u64::from(standing)), standing);
            }
        }
    }
}
