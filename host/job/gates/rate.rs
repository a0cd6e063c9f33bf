//! Starts per time, by the generic cell rate algorithm.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// So many starts per second, with a burst of as many as fit into one second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Starts per second.
    pub per_second: f64,
}

/// How far the starts so far have run ahead of their rate, which may have been another one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::job) struct Spent {
    /// The moment, in fractions of a millisecond, at which the allowance is whole again.
    whole_again_ms: f64,
    /// When the last one was.
    last_ms: f64,
}

impl Rate {
    fn each_ms(self) -> f64 {
        1_000.0 / self.per_second
    }

    /// A whole second's allowance may be taken at once: so far may the starts run ahead.
    fn ahead_ms(self) -> f64 {
        (1_000.0 - self.each_ms()).max(0.0)
    }
}

impl Spent {
    /// The first moment at which this rate allows one more start.
    pub(in crate::job) fn free_at(self, rate: Rate) -> UnixMs {
        UnixMs((self.under(rate) - rate.ahead_ms()).ceil() as i64)
    }

    /// One more start.
    pub(in crate::job) fn spend(&mut self, rate: Rate, now: UnixMs) {
        let now_ms = now.0 as f64;
        *self = Self { whole_again_ms: self.under(rate).max(now_ms) + rate.each_ms(), last_ms: now_ms };
    }

    /// Whether the allowance is whole by then.
    pub(in crate::job) fn is_whole(self, now: UnixMs) -> bool {
        self.whole_again_ms <= now.0 as f64
    }

    /// When the allowance would be whole again: what a slower rate left behind is no more than this one lets anybody owe.
    fn under(self, rate: Rate) -> f64 {
        self.whole_again_ms.min(self.last_ms + rate.ahead_ms() + rate.each_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    #[test]
    fn a_second_may_be_taken_at_once_and_then_one_after_the_other() {
        let (rate, mut spent) = (Rate { per_second: 4.0 }, Spent::default());
        for _ in 0..4 {
            assert!(spent.free_at(rate) <= NOW && (spent.is_whole(NOW) || spent != Spent::default()));
            spent.spend(rate, NOW);
        }
        assert_eq!(spent.free_at(rate), NOW.moved(250));
        assert!(!spent.is_whole(NOW.moved(999)) && spent.is_whole(NOW.moved(1_000)));
    }

    #[test]
    fn a_faster_rate_holds_at_once_and_so_does_a_slower_one() {
        let (hourly, fast) = (Rate { per_second: 1.0 / 3_600.0 }, Rate { per_second: 100.0 });
        let mut spent = Spent::default();
        spent.spend(hourly, NOW);
        assert_eq!(spent.free_at(hourly), NOW.moved(3_600_000));
        assert!(spent.free_at(fast) <= NOW.moved(10), "{:?}", spent.free_at(fast));
        let now = NOW.moved(10);
        spent.spend(fast, now);
        assert!(spent.free_at(fast) <= now.moved(10));
        spent.spend(hourly, now.moved(10));
        assert!(spent.free_at(hourly) > now.moved(3_600_000));
    }
}
