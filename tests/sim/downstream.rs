//! The downstreams, and how much is asked of one that is down.

use windlass::clock::UnixMs;
use windlass::config::Config;

use crate::plan::{SECOND, Weather};

/// One downstream.
#[derive(Clone, Debug)]
pub struct Downstream {
    pub weather: Weather,
    /// While it is down without a break: what was asked of it.
    pub outage: Outage,
    /// When it asked everybody to wait last, and until when; unless a person said otherwise since.
    pub asked: Option<(UnixMs, UnixMs)>,
}

/// How much was asked of a downstream that is down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    pub since: i64,
    pub calls: u64,
    /// How often the host may have begun anew to find out that it is down: it started, or a person sent its jobs on.
    pub beginnings: u64,
    /// Attempts that told nothing, so that another had to.
    pub silent: u64,
}

impl Default for Downstream {
    fn default() -> Self {
        Self { weather: Weather::Up, outage: Outage::default(), asked: None }
    }
}

impl Downstream {
    /// The weather changes. What was wasted in an outage that ends by it, and what may have been, where that is known.
    pub fn set(&mut self, weather: Weather, now: i64, config: &Config) -> Option<(u64, u64)> {
        let before = std::mem::replace(&mut self.weather, weather);
        let told = (before == Weather::Down).then(|| (self.outage.calls, self.outage.may_waste(now, config)));
        self.outage = Outage { since: now, beginnings: 1, ..Outage::default() };
        told
    }

    /// Whether it does what is asked of it at that moment.
    pub fn is_up(&self, now: i64) -> bool {
        match self.weather {
            Weather::Up => true,
            Weather::Flaps => now / (20 * SECOND) % 2 == 0,
            Weather::Down | Weather::Hangs | Weather::Limits(_) => false,
        }
    }
}

impl Outage {
    /// Each beginning wastes what is in flight until the breaker opens; then there are probes, whose interval grows.
    fn may_waste(&self, now: i64, config: &Config) -> u64 {
        let breaker = &config.breaker;
        let beginning = config.limits.concurrency + breaker.failures + breaker.probes;
        let secs = ((now - self.since) / SECOND).unsigned_abs();
        let probes = secs / breaker.probe_cap.0.as_secs() + 12;
        self.beginnings * (u64::from(beginning) + 12) + probes + self.silent
    }
}
