//! `[breaker]`

use serde::{Deserialize, Serialize};

use crate::job::units::TimeSpan;

/// When a downstream counts as down. Read and checked; this version does not act on it yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row after which the downstream's jobs wait. 1 to 10000.
    pub failures: u32,
    /// How long after that the first probe is sent; the interval doubles.
    pub probe: TimeSpan,
    /// The longest interval between probes.
    pub probe_cap: TimeSpan,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, probe: TimeSpan::from_secs(1), probe_cap: TimeSpan::from_secs(5) }
    }
}

impl Breaker {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("breaker.failures", self.failures, 1, 10_000)?;
        super::file::within("breaker.probe_cap", self.probe_cap, self.probe, TimeSpan::from_secs(86_400))
    }
}
