//! `[retry]`

use serde::{Deserialize, Serialize};

use crate::job::units::TimeSpan;
use crate::job::{Jitter, RetryOverride, RetryPolicy};

/// When a failed job is tried again, where neither the job nor the plugin's file says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The delay after the first failed attempt.
    pub base: TimeSpan,
    /// By how much each further delay is longer. 1.0 to 100.
    pub factor: f64,
    /// The longest delay.
    pub cap: TimeSpan,
    /// How the delay is spread: `none`, `equal` or `full`.
    pub jitter: Jitter,
    /// How many attempts a job has in all. 1 to 10000.
    pub max_attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        let RetryPolicy { base, factor, cap, jitter, max_attempts } = RetryPolicy::default();
        Self { base, factor, cap, jitter, max_attempts }
    }
}

impl Retry {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> RetryPolicy {
        let Self { base, factor, cap, jitter, max_attempts } = *self;
        RetryPolicy { base, factor, cap, jitter, max_attempts }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let as_override = RetryOverride {
            factor: Some(self.factor),
            max_attempts: Some(self.max_attempts),
            ..RetryOverride::default()
        };
        as_override.validate()
    }
}
