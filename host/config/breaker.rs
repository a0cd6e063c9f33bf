//! `[breaker]`

use serde::{Deserialize, Serialize};

use crate::job::health::{BreakerPolicy, HealthPolicy, LimiterPolicy};
use crate::job::units::TimeSpan;

/// When a downstream counts as down, how it is probed, and what it is given when it is back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row after which the downstream's jobs wait. 1 to 1000000000.
    pub failures: u32,
    /// The share of failures in `window` after which they wait too, given four times `failures` calls. Above 0, to 1.
    pub error_rate: f64,
    /// How far back that share looks. 1s to 1h.
    pub window: TimeSpan,
    /// How long after that the first probe is sent; the interval doubles.
    pub probe: TimeSpan,
    /// The longest interval between probes.
    pub probe_cap: TimeSpan,
    /// Probes that may be out at the same time, where some hang. 1 to 100.
    pub probes: u32,
    /// Probes in a row that must go well before the jobs go on. 1 to 100.
    pub successes: u32,
    /// Attempts at once that a new downstream is given, and one that is back; it earns more. 1 to 10000.
    pub initial: u32,
    /// Whether an attempt that ended in a rate limit counts against its job. Where not, a job is spared as many as it
    /// has attempts; after a restart it is spared anew.
    pub count_rate_limits: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        let HealthPolicy { breaker, limiter, count_rate_limits } = HealthPolicy::default();
        Self {
            failures: breaker.failures,
            error_rate: breaker.error_rate,
            window: TimeSpan(breaker.window),
            probe: TimeSpan(breaker.probe),
            probe_cap: TimeSpan(breaker.probe_cap),
            probes: breaker.probes,
            successes: breaker.successes,
            initial: limiter.initial,
            count_rate_limits,
        }
    }
}

impl Breaker {
    /// The policy of a host that runs so many attempts at once.
    #[must_use]
    pub fn policy(&self, concurrency: u32) -> HealthPolicy {
        HealthPolicy {
            breaker: BreakerPolicy {
                failures: self.failures,
                error_rate: self.error_rate,
                window: self.window.0,
                window_calls: self.failures.saturating_mul(4),
                probe: self.probe.0,
                probe_cap: self.probe_cap.0,
                probes: self.probes,
                successes: self.successes,
            },
            limiter: LimiterPolicy { initial: self.initial, floor: self.initial, ceiling: concurrency },
            count_rate_limits: self.count_rate_limits,
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        use super::file::within;
        within("breaker.failures", self.failures, 1, 1_000_000_000)?;
        if !(self.error_rate > 0.0 && self.error_rate <= 1.0) {
            return Err(format!("breaker.error_rate is {}; it must be above 0 and at most 1", self.error_rate));
        }
        within("breaker.window", self.window, TimeSpan::from_secs(1), TimeSpan::from_secs(3_600))?;
        within("breaker.probe", self.probe, TimeSpan::from_ms(1), TimeSpan::from_secs(86_400))?;
        if self.probe_cap < self.probe {
            let (cap, first) = (self.probe_cap, self.probe);
            return Err(format!("breaker.probe_cap is {cap}, less than breaker.probe, which is {first}: raise it too"));
        }
        within("breaker.probe_cap", self.probe_cap, self.probe, TimeSpan::from_secs(86_400))?;
        within("breaker.probes", self.probes, 1, 100)?;
        within("breaker.successes", self.successes, 1, 100)?;
        within("breaker.initial", self.initial, 1, 10_000)
    }
}
