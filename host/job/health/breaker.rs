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
    /// When it closed last.
    closed_at: UnixMs,
    /// When it had opened before that; the same moment, where it was closed anew without.
    opened_at: UnixMs,
    window: ErrorWindow,
}

/// So long a streak of failures means something.
const STREAK_LASTS: Duration = Duration::from_secs(3_600);

/// What an attempt was to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The breaker is closed, and was when it began.
    Regular,
    /// It began before the breaker opened or closed: it says nothing of what is now.
    Past,
    /// It was sent to see whether the downstream is back.
    Probe,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(policy: &BreakerPolicy) -> Self {
        let (failed_at, closed_at, opened_at) = (UnixMs(0), UnixMs(0), UnixMs(0));
        let window = ErrorWindow::new(policy.window);
        Self { opening: None, in_a_row: 0, failed_at, closed_at, opened_at, window }
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
            // Behind a clock that was set back it is a probe all the same.
            opening.since = opening.since.min(UnixMs(now.0.saturating_sub(1)));
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
            None if started_at >= self.closed_at => Role::Regular,
            _ => Role::Past,
        }
    }

    /// Whether an attempt that began then was sent to see whether the downstream is back, also where others said so meanwhile.
    #[must_use]
    pub fn is_probe(&self, started_at: UnixMs) -> bool {
        self.role(started_at) == Role::Probe || self.opened_at < started_at && started_at < self.closed_at
    }

    /// An attempt went well. True where the breaker closes by it.
    pub fn succeed(&mut self, policy: &BreakerPolicy, started_at: UnixMs, now: UnixMs) -> bool {
        let role = self.role(started_at);
        if role == Role::Regular {
            self.in_a_row = 0;
            self.window.add(now, false);
        }
        let Some(opening) = self.opening.as_mut().filter(|_| role == Role::Probe) else { return false };
        opening.out = opening.out.saturating_sub(1);
        opening.successes += 1;
        opening.next_probe = opening.next_probe.min(now);
        let closes = opening.successes >= policy.successes;
        if closes {
            self.close(policy, now);
        }
        closes
    }

    /// An attempt failed. True where the breaker opens by it. `draw`, from 0 to 1, spreads the next probe.
    pub fn fail(&mut self, policy: &BreakerPolicy, started_at: UnixMs, now: UnixMs, cause: &str, draw: f64) -> bool {
        let role = self.role(started_at);
        if role == Role::Regular {
            self.in_a_row += 1;
            self.failed_at = now;
            self.window.add(now, true);
            let (rate, calls) = self.window.rate(now);
            let opens = self.in_a_row >= policy.failures || calls >= policy.window_calls && rate >= policy.error_rate;
            if opens {
                self.open(policy, now, cause, draw);
            }
            return opens;
        }
        if let Some(opening) = self.opening.as_mut().filter(|_| role == Role::Probe) {
            opening.out = opening.out.saturating_sub(1);
            opening.successes = 0;
            opening.interval = TimeSpan((opening.interval.0 * 2).min(policy.probe_cap).max(policy.probe));
            opening.next_probe = now.after(spread(policy, opening.interval.0, draw));
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

    /// A person wants to know: the next probe may start now, also where as many as may hang.
    pub fn probe_now(&mut self, policy: &BreakerPolicy, now: UnixMs) {
        if let Some(opening) = &mut self.opening {
            opening.next_probe = opening.next_probe.min(now);
            opening.out = opening.out.min(policy.probes.saturating_sub(1));
        }
    }

    /// It is closed, whatever the probes say.
    pub fn close(&mut self, policy: &BreakerPolicy, now: UnixMs) {
        let closed_at = now.max(self.closed_at);
        let opened_at = self.opening.as_ref().map_or(closed_at, |opening| opening.since);
        *self = Self { closed_at, opened_at, ..Self::new(policy) };
    }

    fn open(&mut self, policy: &BreakerPolicy, now: UnixMs, cause: &str, draw: f64) {
        self.opening = Some(Opening {
            since: now,
            cause: cause.to_owned(),
            interval: TimeSpan(policy.probe),
            next_probe: now.after(spread(policy, policy.probe, draw)),
            successes: 0,
            out: 0,
        });
        self.in_a_row = 0;
    }
}

/// Up to a tenth longer, so that many hosts and downstreams do not probe in step; no longer than the longest. Never nothing.
fn spread(policy: &BreakerPolicy, interval: Duration, draw: f64) -> Duration {
    let longest = policy.probe_cap.max(policy.probe);
    interval.mul_f64(1.0 + 0.1 * draw.clamp(0.0, 1.0)).min(longest).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
