//! The circuit breaker of one downstream: closed while it is well, open while it is not, with probes in between.
//!
//! The pattern is Nygard's ("Release It!", 2007), with what he left open settled as follows. It is judged by real
//! attempts alone. Nothing depends on a message that could be lost: what it allows follows from stored times. While it
//! is open, at most [`BreakerPolicy::probes`] attempts are out, started no closer than an interval that doubles with
//! every probe that fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::ErrorWindow;
use crate::clock::UnixMs;
use crate::job::units::TimeSpan;

/// When a breaker opens, how it probes, and when it closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The share of failures in the last window that opens it, from 0 to 1.
    pub error_rate: f64,
    /// How far back that window reaches.
    pub window: Duration,
    /// With fewer calls in the window the share says nothing.
    pub window_calls: u32,
    /// From the opening to the first probe.
    pub probe: Duration,
    /// The longest interval between two probes.
    pub probe_cap: Duration,
    /// Probes that may be out at the same time.
    pub probes: u32,
    /// Probes in a row that must go well for it to close.
    pub successes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            error_rate: 0.5,
            window: Duration::from_secs(30),
            window_calls: 20,
            probe: Duration::from_secs(1),
            probe_cap: Duration::from_secs(5),
            probes: 3,
            successes: 2,
        }
    }
}

/// What is known of a downstream that is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Since when.
    pub since: UnixMs,
    /// Why, for people.
    pub cause: String,
    /// The interval between probes by now.
    pub interval: TimeSpan,
    /// When the next probe may start.
    pub next_probe: UnixMs,
    /// Probes that have gone well in a row.
    pub successes: u32,
    /// Probes that are out. Not kept over a restart: they end with the host.
    #[serde(skip)]
    pub out: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Breaker {
    opening: Option<Opening>,
    in_a_row: u32,
    /// When an attempt failed last.
    failed_at: UnixMs,
    window: ErrorWindow,
}

/// So long a streak of failures means something.
const STREAK_LASTS: Duration = Duration::from_secs(3_600);

/// What an attempt was to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The breaker was closed when it began, or it began before the breaker opened.
    Regular,
    /// It was sent to see whether the downstream is back.
    Probe,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(policy: &BreakerPolicy) -> Self {
        Self { opening: None, in_a_row: 0, failed_at: UnixMs(0), window: ErrorWindow::new(policy.window) }
    }

    /// One that was open when the host stopped.
    #[must_use]
    pub fn reopened(policy: &BreakerPolicy, opening: Opening) -> Self {
        Self { opening: Some(Opening { out: 0, ..opening }), ..Self::new(policy) }
    }

    /// What is known of the outage, while there is one.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// The share of failures in the last window, and of how many calls.
    #[must_use]
    pub fn error_rate(&self, now: UnixMs) -> (f64, u32) {
        self.window.rate(now)
    }

    /// Whether it is closed, and knows of no failures that still count.
    #[must_use]
    pub fn is_plain(&self, now: UnixMs) -> bool {
        let is_streak = self.in_a_row > 0 && now.since(self.failed_at) <= STREAK_LASTS;
        self.opening.is_none() && !is_streak && self.window.rate(now).1 == 0
    }

    /// Whether an attempt may start; where not, when it is worth asking again, if time alone can tell.
    ///
    /// # Errors
    /// That moment.
    pub fn may_start(&self, policy: &BreakerPolicy, now: UnixMs) -> Result<(), Option<UnixMs>> {
        match &self.opening {
            None => Ok(()),
            Some(opening) if opening.out >= policy.probes => Err(None),
            Some(opening) if opening.next_probe > now => Err(Some(opening.next_probe)),
            Some(_) => Ok(()),
        }
    }

    /// An attempt starts, after [`Self::may_start`] allowed it.
    pub fn start(&mut self, now: UnixMs) {
        if let Some(opening) = &mut self.opening {
            opening.out += 1;
            opening.next_probe = now.after(opening.interval.0);
        }
    }

    /// What an attempt that began then is.
    #[must_use]
    pub fn role(&self, started_at: UnixMs) -> Role {
        // None starts in the moment of the opening: the first probe is later.
        match &self.opening {
            Some(opening) if started_at > opening.since => Role::Probe,
            _ => Role::Regular,
        }
    }

    /// An attempt went well. True where the breaker closes by it.
    pub fn succeed(&mut self, policy: &BreakerPolicy, started_at: UnixMs, now: UnixMs) -> bool {
        let role = self.role(started_at);
        let Some(opening) = &mut self.opening else {
            self.in_a_row = 0;
            self.window.add(now, false);
            return false;
        };
        // What began before the opening says nothing of what is now.
        if role == Role::Regular {
            return false;
        }
        opening.out = opening.out.saturating_sub(1);
        opening.successes += 1;
        opening.next_probe = opening.next_probe.min(now);
        let closes = opening.successes >= policy.successes;
        if closes {
            self.close(policy);
        }
        closes
    }

    /// An attempt failed. True where the breaker opens by it. `draw`, from 0 to 1, spreads the next probe.
    pub fn fail(&mut self, policy: &BreakerPolicy, started_at: UnixMs, now: UnixMs, cause: &str, draw: f64) -> bool {
        let role = self.role(started_at);
        let Some(opening) = &mut self.opening else {
            self.in_a_row += 1;
            self.failed_at = now;
            self.window.add(now, true);
            let (rate, calls) = self.window.rate(now);
            let opens = self.in_a_row >= policy.failures || calls >= policy.window_calls && rate >= policy.error_rate;
            if opens {
                self.open(policy, now, cause, draw);
            }
            return opens;
        };
        if role == Role::Probe {
            opening.out = opening.out.saturating_sub(1);
            opening.successes = 0;
            opening.interval = TimeSpan((opening.interval.0 * 2).min(policy.probe_cap).max(policy.probe));
            opening.next_probe = now.after(spread(opening.interval.0, draw));
            cause.clone_into(&mut opening.cause);
        }
        false
    }

    /// An attempt ended and says nothing of its downstream.
    pub fn abstain(&mut self, started_at: UnixMs, now: UnixMs) {
        let role = self.role(started_at);
        if let Some(opening) = self.opening.as_mut().filter(|_| role == Role::Probe) {
            opening.out = opening.out.saturating_sub(1);
            opening.next_probe = opening.next_probe.min(now);
        }
    }

    /// A person wants to know: the next probe may start now.
    pub fn probe_now(&mut self, now: UnixMs) {
        if let Some(opening) = &mut self.opening {
            opening.next_probe = opening.next_probe.min(now);
        }
    }

    /// A person knows better.
    pub fn close(&mut self, policy: &BreakerPolicy) {
        *self = Self::new(policy);
    }

    fn open(&mut self, policy: &BreakerPolicy, now: UnixMs, cause: &str, draw: f64) {
        self.opening = Some(Opening {
            since: now,
            cause: cause.to_owned(),
            interval: TimeSpan(policy.probe),
            next_probe: now.after(spread(policy.probe, draw)),
            successes: 0,
            out: 0,
        });
        self.in_a_row = 0;
    }
}

/// Up to a tenth longer, so that many hosts and downstreams do not probe in step. Never nothing.
fn spread(interval: Duration, draw: f64) -> Duration {
    interval.mul_f64(1.0 + 0.1 * draw.clamp(0.0, 1.0)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: fn() -> BreakerPolicy = BreakerPolicy::default;

    fn at(ms: i64) -> UnixMs {
        UnixMs(ms)
    }

    fn fail(breaker: &mut Breaker, started: i64, now: i64) -> bool {
        breaker.fail(&POLICY(), at(started), at(now), "503", 0.0)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(&POLICY());
        for n in 0..4 {
            assert!(!fail(&mut breaker, n, n));
        }
        assert!(fail(&mut breaker, 4, 100));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let breaker = opened();
        assert_eq!(breaker.opening().unwrap().since, at(100));
        assert_eq!(breaker.may_start(&POLICY(), at(101)), Err(Some(at(1_100))));

        let mut breaker = Breaker::new(&POLICY());
        for n in 0..100 {
            assert!(!fail(&mut breaker, n, n));
            for _ in 0..2 {
                breaker.succeed(&POLICY(), at(n), at(n));
            }
        }
        assert!(breaker.opening().is_none(), "a third of failures, never five in a row");
    }

    #[test]
    fn a_high_share_of_failures_opens_it() {
        let mut breaker = Breaker::new(&POLICY());
        let opened = (0..40).any(|n| {
            breaker.succeed(&POLICY(), at(n), at(n));
            fail(&mut breaker, n, n)
        });
        assert!(opened);
    }

    #[test]
    fn probes_are_spaced_and_their_interval_doubles_up_to_the_cap() {
        let mut breaker = opened();
        let mut now = 100;
        for seconds in [1, 2, 4, 5, 5] {
            let due = now + seconds * 1_000;
            assert_eq!(breaker.may_start(&POLICY(), at(due - 1)), Err(Some(at(due))), "after {now}");
            assert_eq!(breaker.may_start(&POLICY(), at(due)), Ok(()));
            breaker.start(at(due));
            assert!(breaker.may_start(&POLICY(), at(due)).is_err(), "one at a time");
            assert!(!fail(&mut breaker, due, due + 3));
            now = due + 3;
        }
    }

    #[test]
    fn a_probe_that_hangs_does_not_keep_the_others_back() {
        let mut breaker = opened();
        for second in 1..4 {
            let now = at(100 + second * 1_000);
            assert_eq!(breaker.may_start(&POLICY(), now), Ok(()));
            breaker.start(now);
        }
        assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Err(None), "three are out");
        breaker.abstain(at(1_100), at(60_000));
        assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Ok(()));
    }

    #[test]
    fn probes_that_go_well_close_it_and_old_attempts_say_nothing() {
        let mut breaker = opened();
        assert!(!breaker.succeed(&POLICY(), at(50), at(200)), "it began before the opening");
        assert!(!fail(&mut breaker, 60, 300));
        assert_eq!(breaker.opening().unwrap().interval, TimeSpan::from_secs(1));
        breaker.start(at(1_100));
        assert!(!breaker.succeed(&POLICY(), at(1_100), at(1_110)));
        assert_eq!(breaker.may_start(&POLICY(), at(1_110)), Ok(()), "the next follows at once");
        breaker.start(at(1_110));
        assert!(breaker.succeed(&POLICY(), at(1_110), at(1_120)));
        assert!(breaker.opening().is_none());
        for n in 0..4 {
            assert!(!fail(&mut breaker, 1_121, 1_121 + n), "it begins to count anew");
        }
    }

    #[test]
    fn it_goes_on_after_a_restart_where_it_was() {
        let mut breaker = opened();
        breaker.start(at(1_100));
        let again = Breaker::reopened(&POLICY(), breaker.opening().unwrap().clone());
        let opening = again.opening().unwrap();
        assert_eq!((opening.since, opening.out, opening.next_probe), (at(100), 0, at(2_100)));
    }

    proptest! {
        #[test]
        fn never_more_probes_than_allowed_and_never_too_close(
            steps in prop::collection::vec((0_i64..3_000, 0_u8..4, 0.0_f64..1.0), 1..300),
        ) {
            let policy = POLICY();
            let (mut breaker, mut now, mut out) = (opened(), 100, Vec::<i64>::new());
            let mut last_start = None::<(i64, bool)>;
            for (pause, what, draw) in steps {
                now += pause;
                let was_open = breaker.opening().is_some();
                if what == 0 {
                    if breaker.may_start(&policy, at(now)).is_ok() {
                        if let (true, Some((last, no_success))) = (was_open, last_start) {
                            prop_assert!(!no_success || now - last >= 1_000, "probes at {last} and {now}");
                        }
                        breaker.start(at(now));
                        out.push(now);
                        last_start = Some((now, was_open));
                        prop_assert!(!was_open || breaker.opening().unwrap().out <= policy.probes);
                    }
                } else if let Some(started) = out.pop() {
                    match what {
                        1 => _ = breaker.fail(&policy, at(started), at(now), "down", draw),
                        2 => {
                            breaker.succeed(&policy, at(started), at(now));
                            last_start = None;
                        }
                        _ => {
                            breaker.abstain(at(started), at(now));
                            last_start = None;
                        }
                    }
                }
                if let Some(opening) = breaker.opening() {
                    prop_assert!((policy.probe..=policy.probe_cap).contains(&opening.interval.0));
                    prop_assert!(opening.next_probe <= at(now).after(policy.probe_cap.mul_f64(1.1)));
                }
            }
        }
    }
}
