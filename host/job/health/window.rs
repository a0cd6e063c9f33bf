//! The share of failures among the calls of the last while.

use std::time::Duration;

use crate::clock::UnixMs;

/// In how many parts the window moves on.
const PARTS: usize = 10;

/// Calls and failures over a window that moves on in ten parts.
#[derive(Clone, Debug)]
pub(super) struct ErrorWindow {
    part_ms: i64,
    /// The number of the newest part, counted since 1970.
    newest: i64,
    /// Calls and failures, by the number of the part modulo their count.
    parts: [(u32, u32); PARTS],
}

impl ErrorWindow {
    /// An empty one.
    pub(super) fn new(length: Duration) -> Self {
        let part_ms = i64::try_from(length.as_millis() / PARTS as u128).unwrap_or(i64::MAX).max(1);
        Self { part_ms, newest: 0, parts: [(0, 0); PARTS] }
    }

    /// Counts a call.
    pub(super) fn add(&mut self, now: UnixMs, failed: bool) {
        self.move_on(now);
        let (calls, failures) = &mut self.parts[index(self.newest)];
        *calls = calls.saturating_add(1);
        *failures = failures.saturating_add(u32::from(failed));
    }

    /// The share of failures, and of how many calls.
    pub(super) fn rate(&self, now: UnixMs) -> (f64, u32) {
        let mut current = self.clone();
        current.move_on(now);
        let (calls, failures) = current.parts.iter().fold((0_u32, 0_u32), |(all, bad), (calls, failures)| {
            (all.saturating_add(*calls), bad.saturating_add(*failures))
        });
        (if calls == 0 { 0.0 } else { f64::from(failures) / f64::from(calls) }, calls)
    }

    fn move_on(&mut self, now: UnixMs) {
        let part = now.0.div_euclid(self.part_ms);
        if part - self.newest >= PARTS as i64 {
            self.parts = [(0, 0); PARTS];
        } else {
            for passed in self.newest + 1..=part {
                self.parts[index(passed)] = (0, 0);
            }
        }
        // A clock that went back counts into the newest part.
        self.newest = self.newest.max(part);
    }
}

fn index(part: i64) -> usize {
    usize::try_from(part.rem_euclid(PARTS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_calls_fall_out_of_the_window() {
        let mut window = ErrorWindow::new(Duration::from_secs(10));
        for second in 0..5 {
            window.add(UnixMs(second * 1_000), true);
            window.add(UnixMs(second * 1_000), false);
        }
        assert_eq!(window.rate(UnixMs(5_000)), (0.5, 10));
        assert_eq!(window.rate(UnixMs(11_500)), (0.5, 6));
        assert_eq!(window.rate(UnixMs(60_000)), (0.0, 0));
        window.add(UnixMs(60_000), true);
        assert_eq!(window.rate(UnixMs(60_000)), (1.0, 1));
        window.add(UnixMs(1_000), true);
        assert_eq!(window.rate(UnixMs(60_000)), (1.0, 2), "a clock that went back loses nothing");
    }
}
