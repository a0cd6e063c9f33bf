//! How much work a connection may make by what nobody asked for.
//!
//! What comes over a connection is worked through by the threads that serve everybody, and on nobody's account. So each
//! connection has leave for some: time gives it, so does each request, what is sent, and what is handed on to who waits for
//! it. Whoever sends beyond that, such as frames without end beside an answer that does not come, is read no faster. Work is
//! reckoned in microseconds of the time that gives leave for it, which is a thousand times longer than the work takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A frame of HTTP/2, whatever it is.
const FRAME_US: u64 = 1_000;
/// A byte, whatever is in it. Tickets of TLS are seen by nothing else.
const BYTE_US: u64 = 1;
/// A byte of HTTP/1.1 beside that. There heads and chunks can be as short as frames.
const TEXT_BYTE_US: u64 = 16;
/// What each request gives leave for, several times: as much as its stream may bring though nobody reads it.
const REQUEST_US: u64 = 256_000;
/// What a byte that is sent gives leave for. A server acknowledges what it has read, and opens its windows.
const SENT_BYTE_US: u64 = 16;
/// What a piece that is handed on gives leave for, with ...
const GIVEN_US: u64 = 900;
/// ... each of its bytes. With more than a hundred bytes it is free.
const GIVEN_BYTE_US: u64 = 20;
/// Leave that was not used is kept for later, so much of it.
const SAVED_US: u64 = 4_000_000;

/// What came or went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// So many bytes were read.
    Bytes(usize),
    /// So many of them were HTTP/1.1.
    Text(usize),
    /// So many frames of HTTP/2 stood in them.
    Frames(usize),
}

/// Why there is leave for more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leave {
    /// A request is to go over it.
    Request,
    /// So many bytes were sent.
    Sent(usize),
    /// The head of an answer, or a piece of its body, of so many bytes was handed on.
    Given(usize),
}

/// The leave of one connection: the moment up to which it is used up, and which may lie as far ahead as leave is saved.
/// Moments are in microseconds since the connection was made.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Work {
    /// How much it is.
    pub(super) fn us(self) -> u64 {
        let times = |count: usize, each: u64| (count as u64).saturating_mul(each);
        match self {
            Self::Bytes(count) => times(count, BYTE_US),
            Self::Text(count) => times(count, TEXT_BYTE_US),
            Self::Frames(count) => times(count, FRAME_US),
        }
    }
}

impl Leave {
    fn us(self) -> u64 {
        let bytes = |count: usize, each: u64| (count as u64).saturating_mul(each);
        match self {
            Self::Request => REQUEST_US,
            Self::Sent(count) => bytes(count, SENT_BYTE_US),
            Self::Given(count) => GIVEN_US.saturating_add(bytes(count, GIVEN_BYTE_US)),
        }
    }
}

impl Pace {
    /// So much was done.
    pub(super) fn charge(&self, work: Work, now_us: u64) {
        self.change(|used_us| used_us.max(now_us).saturating_add(work.us()));
    }

    /// There is leave for more.
    pub(super) fn give(&self, leave: Leave) {
        self.change(|used_us| used_us.saturating_sub(leave.us()));
    }

    /// How long nothing more is to be read; none where there is leave.
    pub(super) fn wait(&self, now_us: u64) -> Option<Duration> {
        let beyond_us = self.0.load(Ordering::Relaxed).saturating_sub(now_us.saturating_add(SAVED_US));
        (beyond_us > 0).then(|| Duration::from_micros(beyond_us))
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        // It never fails: there is always a next.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used_us| Some(change(used_us)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames of that are read in a minute beside which nothing else happens, ...
    fn frames_a_minute(leave: impl Fn(&Pace)) -> u64 {
        let (pace, mut now_us, mut frames) = (Pace::default(), 0, 0);
        while now_us < 60_000_000 {
            match pace.wait(now_us) {
                Some(wait) => now_us += u64::try_from(wait.as_micros()).unwrap(),
                None => {
                    pace.charge(Work::Frames(1), now_us);
                    pace.charge(Work::Bytes(17), now_us);
                    leave(&pace);
                    frames += 1;
                }
            }
            assert!(frames < 10_000_000, "without end");
        }
        frames
    }

    #[test]
    fn what_nobody_asked_for_is_read_slowly() {
        assert!((60_000..70_000).contains(&frames_a_minute(|_| {})));
        // Each is acknowledged.
        assert!(frames_a_minute(|pace| pace.give(Leave::Sent(39))) < 200_000);
        assert!(frames_a_minute(|pace| pace.give(Leave::Given(1))) < 700_000, "one byte at a time");
    }

    #[test]
    fn what_is_asked_for_is_not_held_up() {
        let pace = Pace::default();
        let never_waits = |what: &str| assert!(pace.wait(0).is_none(), "{what}");
        for _ in 0..100_000 {
            // Over HTTP/1.1, with a head of 8 KiB.
            pace.give(Leave::Request);
            pace.charge(Work::Text(9_000), 0);
            pace.charge(Work::Bytes(9_200), 0);
            pace.give(Leave::Given(8_000));
            pace.give(Leave::Given(900));
            never_waits("a small answer");
        }
        for _ in 0..100_000 {
            // A frame of HTTP/2, in records of TLS that are shorter.
            pace.charge(Work::Bytes(16_384 + 12 * 22 + 9), 0);
            pace.charge(Work::Frames(1), 0);
            pace.give(Leave::Given(16_384));
            never_waits("a large answer");
        }
        for _ in 0..100_000 {
            pace.charge(Work::Bytes(131), 0);
            pace.charge(Work::Frames(1), 0);
            pace.give(Leave::Given(100));
            never_waits("a stream of events");
        }
        for _ in 0..100_000 {
            pace.give(Leave::Sent(16_384));
            pace.charge(Work::Frames(2), 0);
            pace.charge(Work::Bytes(2 * 35), 0);
            never_waits("a large request");
        }
    }

    #[test]
    fn what_is_in_the_windows_may_come_at_once_and_leave_is_saved_for_a_while_only() {
        let pace = Pace::default();
        pace.charge(Work::Bytes(1 << 20), 0);
        pace.charge(Work::Frames(2_000), 0);
        assert!(pace.wait(0).is_none());
        let day_us = 24 * 3_600 * 1_000_000;
        pace.charge(Work::Frames(5_000), day_us);
        assert_eq!(pace.wait(day_us), Some(Duration::from_secs(1)));
        assert_eq!(pace.wait(day_us + 1_000_000), None);
        for _ in 0..1_000 {
            pace.give(Leave::Request);
        }
        pace.charge(Work::Frames(5_000), day_us);
        assert_eq!(pace.wait(day_us), Some(Duration::from_secs(1)), "what was given does not pile up");
    }
}
