//! How many attempts a downstream bears at once, found out while it is being called.
//!
//! After TCP Vegas (Brakmo and Peterson, 1995), which Netflix's concurrency-limits took to services: attempts beyond
//! what a service works on at once only wait there, and that wait is seen in the latency. With the latency of an empty
//! queue `base` and the present one `now`, of `limit` attempts about `limit × (1 − base/now)` wait. The limit is led to
//! where a few do. A window of calls with many failures takes three tenths off, whatever the latency.
//!
//! That helps where a downstream fails for want of room. What it turns away beyond its room is gone at half of that room:
//! failures that are still many there come of something else, such as jobs that always fail or one of several machines
//! behind a name. They are what is usual then, and only what is many beyond them takes off more.
//!
//! What differs from Vegas: latencies are medians of a window of calls, since one call says little; both are taken with
//! the uncertainty of a median, so that a downstream whose answers vary is not strangled; and a base that is old is
//! measured anew, by easing off for one window, as BBR does.

use std::time::Duration;

use crate::clock::UnixMs;

/// The bounds of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimiterPolicy {
    /// Where a downstream begins that nothing is known of, and one that was down.
    pub initial: u32,
    /// Latency alone never leads below this.
    pub floor: u32,
    /// The most.
    pub ceiling: u32,
}

impl Default for LimiterPolicy {
    fn default() -> Self {
        Self { initial: 8, floor: 8, ceiling: 256 }
    }
}

/// The fewest and the most calls that make a window.
const WINDOW_CALLS: (u32, u32) = (30, 300);
/// With fewer latencies a median says nothing.
const LATENCIES_MIN: usize = 10;
/// By how much a limit grows each window while no queue has been seen.
const STEEP: f64 = 1.5;
/// What is left of a limit after a window with many failures.
const BACK_OFF: f64 = 0.7;
/// So large a share of failures, beyond the usual one, is many.
const MANY_FAILURES: f64 = 0.1;
/// No larger share is taken for usual: whether a downstream that fails so often is asked at all is the breaker's matter.
const USUAL_MAX: f64 = 0.5;
/// What is left of a limit for the window in which the base is measured anew.
const EASE_OFF: f64 = 0.7;
/// A base is good for so long.
const BASE_LASTS: Duration = Duration::from_secs(30);
/// A wait of some milliseconds is more likely this machine's than a downstream's, and harms nobody: so much of it is
/// allowed of an instant answer, and less the slower the answers are anyway.
const OWN_WAIT_US: f64 = 10_000.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct Limiter {
    limit: f64,
    is_steep: bool,
    /// Beyond this, growth is slow even while steep: there a queue, or an outage, was met before.
    gentle_from: f64,
    base: Option<Base>,
    /// The limit to go back to after the present window, which measures the base.
    eased: Option<f64>,
    /// The share of failures that was found to come whatever the limit.
    usual: f64,
    /// The calls of late, while some share is usual.
    lately: Sample,
    /// What was seen since failures began to take off, while every window takes off more.
    descent: Option<Descent>,
    window: Window,
}

/// Calls, and how many of them failed.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    calls: u32,
    failures: u32,
}

/// One window after the other had many failures.
#[derive(Clone, Copy, Debug)]
struct Descent {
    /// The limit that it began at, or beyond which growth was slow before.
    from: f64,
    /// How many calls at once the first of these windows saw answered well.
    room: f64,
    /// The calls below that limit.
    below: Sample,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    upper_us: f64,
    measured_at: UnixMs,
}

#[derive(Clone, Debug, Default)]
struct Window {
    latencies_us: Vec<u32>,
    seen: Sample,
    most_at_once: u32,
    /// Calls that began before are of the window before.
    began_at: UnixMs,
}

impl Limiter {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(policy: &LimiterPolicy) -> Self {
        Self {
            limit: f64::from(policy.initial.min(policy.ceiling)),
            is_steep: true,
            gentle_from: f64::INFINITY,
            base: None,
            eased: None,
            usual: 0.0,
            lately: Sample::default(),
            descent: None,
            window: Window::default(),
        }
    }

    /// How many attempts may run at once now.
    #[must_use]
    pub fn limit(&self, policy: &LimiterPolicy) -> u32 {
        (self.limit as u32).clamp(1, policy.ceiling)
    }

    /// The downstream was down or left alone, and is back: begin small again, and be careful where it was before.
    pub fn restart(&mut self, policy: &LimiterPolicy, now: UnixMs) {
        let (before, initial) = (self.eased.unwrap_or(self.limit), f64::from(policy.initial));
        // One that has not grown since it was begun anew knows no better.
        let knows = before <= initial && self.gentle_from.is_finite();
        let careful_from = if knows { self.gentle_from } else { before / 2.0 };
        let (gentle_from, window) = (careful_from.max(initial), Window { began_at: now, ..Window::default() });
        *self = Self { gentle_from, window, usual: self.usual, lately: self.lately, ..Self::new(policy) };
    }

    /// A call ended. `at_once` is how many ran when it did, itself included.
    pub fn ended(
        &mut self,
        policy: &LimiterPolicy,
        started_at: UnixMs,
        now: UnixMs,
        latency: Option<Duration>,
        failed: bool,
        at_once: u32,
    ) {
        // It ran under the limit of the window before.
        if started_at < self.window.began_at {
            return;
        }
        self.window.most_at_once = self.window.most_at_once.max(at_once);
        if let Some(latency) = latency.filter(|_| !failed) {
            self.window.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
        self.window.seen = self.window.seen.and(Sample { calls: 1, failures: failed.into() });
        let limit = self.limit as u32;
        let wanted = if self.is_steep {
            limit.clamp(4, WINDOW_CALLS.1)
        } else {
            (3 * limit).clamp(WINDOW_CALLS.0, WINDOW_CALLS.1)
        };
        if self.window.seen.calls >= wanted {
            self.conclude(policy, now);
        }
    }

    /// A window is full: what follows from it.
    fn conclude(&mut self, policy: &LimiterPolicy, now: UnixMs) {
        let mut window = std::mem::take(&mut self.window);
        self.window.began_at = now;
        if self.are_many(window.seen) {
            return self.back_off(policy, window.seen);
        }
        self.descent = None;
        self.look_at_usual(window.seen);
        let Some(spread) = Spread::of(&mut window.latencies_us) else {
            // Few calls, or none that says how long it took: nothing speaks against more.
            self.limit = self.eased.take().unwrap_or(self.limit);
            return self.grow(policy, &window);
        };
        if let Some(before) = self.eased.take() {
            self.base = Some(Base { upper_us: spread.upper_us(), measured_at: now });
            self.limit = before;
            return;
        }
        let base = match &mut self.base {
            Some(base) if spread.upper_us() > base.upper_us => *base,
            base => {
                *base = Some(Base { upper_us: spread.upper_us(), measured_at: now });
                return self.grow(policy, &window);
            }
        };
        let waiting = self.limit * (1.0 - (base.upper_us + own_wait_us(base.upper_us)) / spread.lower_us()).max(0.0);
        let (few, many) = ((0.03 * self.limit).max(0.5), (0.1 * self.limit).max(1.0));
        if waiting > many {
            self.is_steep = false;
            self.gentle_from = self.gentle_from.min(self.limit);
            self.lead(policy, self.limit - (waiting - few), policy.floor);
        } else if waiting < few {
            self.grow(policy, &window);
        } else {
            self.is_steep = false;
        }
        if now.since(base.measured_at) <= BASE_LASTS {
            return;
        }
        if self.limit > f64::from(policy.floor) {
            self.eased = Some(self.limit);
            self.limit = (self.limit * EASE_OFF).max(f64::from(policy.floor));
        } else {
            // There is nothing to ease off: the next window measures it.
            self.base = None;
        }
    }

    /// Whether that is too many failures. Once fewer run, all calls since tell whether that helps, and a window that is well
    /// does.
    fn are_many(&self, seen: Sample) -> bool {
        let many = self.usual + MANY_FAILURES;
        match self.descent {
            None => seen.are_more_than(self.usual, MANY_FAILURES),
            Some(descent) => descent.below.and(seen).share() > many && seen.share() > many / 2.0,
        }
    }

    /// Downwards, for many failures; or no further, where less did not help.
    fn back_off(&mut self, policy: &LimiterPolicy, seen: Sample) {
        self.limit = self.eased.take().unwrap_or(self.limit);
        let known = if self.gentle_from.is_finite() { self.gentle_from } else { 0.0 };
        let (from, room) = (self.limit.max(known), self.limit * (1.0 - seen.share()));
        let descent = match &mut self.descent {
            None => self.descent.insert(Descent { from, room, below: Sample::default() }),
            Some(descent) => {
                descent.below = descent.below.and(seen);
                descent
            }
        };
        let is_at_half = descent.below.calls > 0 && self.limit <= (descent.room / 2.0).max(1.0);
        let share = descent.below.share();
        if is_at_half && seen.share() > self.usual + MANY_FAILURES && share <= USUAL_MAX {
            (self.usual, self.lately) = (share, Sample::default());
            (self.is_steep, self.gentle_from) = (true, descent.from);
            self.descent = None;
            return;
        }
        self.gentle_from = self.limit * BACK_OFF;
        self.lead(policy, self.limit * BACK_OFF, 1);
        self.is_steep = false;
    }

    /// What is usual can only become less, until failures take off again: else a crowd that grows slowly would be usual.
    fn look_at_usual(&mut self, seen: Sample) {
        if self.usual == 0.0 {
            return;
        }
        self.lately = self.lately.and(seen);
        if self.lately.calls >= WINDOW_CALLS.1 {
            self.usual = self.usual.min(self.lately.share());
            self.lately = Sample::default();
        }
    }

    /// Upwards, where the limit was what bounded the window.
    fn grow(&mut self, policy: &LimiterPolicy, window: &Window) {
        if f64::from(window.most_at_once) < 0.8 * self.limit.floor() {
            return;
        }
        let step = if self.is_steep && self.limit < self.gentle_from {
            self.limit * (STEEP - 1.0)
        } else {
            (0.05 * self.limit).max(1.0)
        };
        self.lead(policy, self.limit + step, 1);
    }

    fn lead(&mut self, policy: &LimiterPolicy, to: f64, floor: u32) {
        let floor = f64::from(floor.min(policy.ceiling)).min(self.limit.max(1.0));
        self.limit = to.clamp(floor, f64::from(policy.ceiling.max(1)));
    }
}

impl Sample {
    fn and(self, more: Self) -> Self {
        Self { calls: self.calls + more.calls, failures: self.failures + more.failures }
    }

    fn share(self) -> f64 {
        f64::from(self.failures) / f64::from(self.calls.max(1))
    }

    /// Whether more failed than those that are usual and those that may: by more than chance alone makes of the usual ones
    /// now and then, which is one standard deviation.
    fn are_more_than(self, usual: f64, more: f64) -> bool {
        let calls = f64::from(self.calls);
        f64::from(self.failures) > calls * (usual + more) + (calls * usual * (1.0 - usual)).sqrt()
    }
}

fn own_wait_us(base_us: f64) -> f64 {
    OWN_WAIT_US * OWN_WAIT_US / (OWN_WAIT_US + base_us)
}

/// The median of a window and how well it is known.
struct Spread {
    median_us: f64,
    error_us: f64,
}

impl Spread {
    fn of(latencies_us: &mut [u32]) -> Option<Self> {
        if latencies_us.len() < LATENCIES_MIN {
            return None;
        }
        latencies_us.sort_unstable();
        let quantile = |share: f64| f64::from(latencies_us[((latencies_us.len() - 1) as f64 * share) as usize]);
        // The standard error of a median is 1.25 standard deviations over the root of the count; a quartile range is
        // 1.35 of them.
        let deviation_us = (quantile(0.75) - quantile(0.25)) / 1.35;
        let error_us = 1.25 * deviation_us / (latencies_us.len() as f64).sqrt();
        Some(Self { median_us: quantile(0.5).max(1.0), error_us })
    }

    fn upper_us(&self) -> f64 {
        self.median_us + self.error_us
    }

    fn lower_us(&self) -> f64 {
        (self.median_us - self.error_us).max(1.0)
    }
}

#[cfg(test)]
mod tests;
