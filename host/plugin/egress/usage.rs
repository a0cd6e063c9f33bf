//! Whether anybody uses a connection, and its early end where nobody does and its socket is needed.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::clock::Stopwatch;

/// It was made and has not been used yet.
const FRESH: u8 = 0;
/// A request is on it, or its answer.
const USED: u8 = 1;
/// It is kept for later.
const IDLE: u8 = 2;
/// It is to end, if it is not used before that is seen.
const TO_CLOSE: u8 = 3;
/// It has ended.
const CLOSED: u8 = 4;
/// Many requests share it: it is left to the pool's own time.
const SHARED: u8 = 5;

/// How long a connection is kept before it may be closed for another: who waits may be about to use it.
const KEPT_MS: u64 = 50;
/// The same for one that was made and not used: a request that it is too early for is not sent again.
const KEPT_FRESH_MS: u64 = 1_000;

/// How a connection is used. Reads and writes over it cost an atomic operation more by this, and no lock.
#[derive(Debug)]
pub(super) struct Usage {
    state: AtomicU8,
    made: Stopwatch,
    /// When it came to stand like that, in milliseconds since it was made.
    since_ms: AtomicU64,
    /// It was kept for later once at least.
    was_kept: AtomicBool,
    reader: AtomicWaker,
}

impl Default for Usage {
    fn default() -> Self {
        let (state, since_ms, reader) = (AtomicU8::new(USED), AtomicU64::new(0), AtomicWaker::new());
        Self { state, made: Stopwatch::start(), since_ms, was_kept: AtomicBool::new(false), reader }
    }
}

impl Usage {
    /// When the socket was taken.
    pub(super) fn made(&self) -> Stopwatch {
        self.made
    }

    /// It is there, and nothing was sent over it.
    pub(super) fn ready(&self) {
        self.stand(FRESH);
    }

    /// Something is written: somebody uses it, also where it was about to be closed.
    pub(super) fn write(&self) {
        let state = self.state.load(Ordering::Acquire);
        if matches!(state, FRESH | IDLE | TO_CLOSE) {
            // Where this fails, it was closed at this very moment, and the write will find that.
            let _ = self.state.compare_exchange(state, USED, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// The answer to the only request on it is there: it is kept for later.
    pub(super) fn rest(&self) {
        self.was_kept.store(true, Ordering::Relaxed);
        self.stand(IDLE);
    }

    /// Whether it was made for an earlier request.
    pub(super) fn was_kept(&self) -> bool {
        self.was_kept.load(Ordering::Relaxed)
    }

    /// More than one request may be on it.
    pub(super) fn share(&self) {
        self.stand(SHARED);
    }

    fn stand(&self, state: u8) {
        self.since_ms.store(self.now_ms(), Ordering::Release);
        // What has ended stays so.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |before| {
            (before != CLOSED && before != SHARED).then_some(state)
        });
    }

    /// For how long it has been of no use; none where it is used, or was until a moment ago.
    pub(super) fn idle_ms(&self) -> Option<u64> {
        let kept_ms = match self.state.load(Ordering::Acquire) {
            IDLE => KEPT_MS,
            FRESH => KEPT_FRESH_MS,
            _ => return None,
        };
        let idle_ms = self.now_ms().saturating_sub(self.since_ms.load(Ordering::Acquire));
        (idle_ms >= kept_ms).then_some(idle_ms)
    }

    /// Asks it to end, if nobody uses it by now.
    pub(super) fn close(&self) {
        let asked = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |before| {
            matches!(before, FRESH | IDLE).then_some(TO_CLOSE)
        });
        if asked.is_ok() {
            self.reader.wake();
        }
    }

    /// Whether it is to end and nobody has used it since: what reads sees the end of it then, and it has ended.
    pub(super) fn has_ended(&self) -> bool {
        match self.state.load(Ordering::Acquire) {
            TO_CLOSE => {
                let ended = self.state.compare_exchange(TO_CLOSE, CLOSED, Ordering::AcqRel, Ordering::Acquire);
                ended.is_ok()
            }
            state => state == CLOSED,
        }
    }

    /// Wakes that one when it is to end.
    pub(super) fn read_by(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    #[cfg(test)]
    pub(super) fn is_to_close(&self) -> bool {
        self.state.load(Ordering::Acquire) == TO_CLOSE
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_not_closed_and_what_is_closed_is_not_used() {
        let usage = Usage::default();
        usage.close();
        assert!(!usage.has_ended() && usage.idle_ms().is_none(), "it is being made");
        usage.ready();
        assert!(usage.idle_ms().is_none(), "it was made a moment ago");
        usage.write();
        usage.close();
        assert!(!usage.has_ended());
        usage.rest();
        usage.close();
        usage.write();
        assert!(!usage.has_ended(), "a request came first");
        usage.rest();
        usage.close();
        assert!(usage.has_ended() && usage.has_ended());
        usage.rest();
        usage.write();
        assert!(usage.has_ended() && usage.idle_ms().is_none(), "nothing brings it back");
    }

    #[test]
    fn what_many_share_is_left_alone() {
        let usage = Usage::default();
        usage.share();
        usage.rest();
        usage.close();
        assert!(!usage.has_ended() && usage.idle_ms().is_none());
    }
}
