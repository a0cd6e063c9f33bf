//! `[retention]`

use serde::{Deserialize, Serialize};

use crate::job::units::TimeSpan;

/// How long finished jobs are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Completed ones.
    pub completed: TimeSpan,
    /// Cancelled ones.
    pub cancelled: TimeSpan,
    /// Discarded ones.
    pub discarded: TimeSpan,
    /// How often the host looks for jobs to delete; more often where some are kept for less. 100ms to 1d.
    pub every: TimeSpan,
}

impl Default for Retention {
    fn default() -> Self {
        let day = TimeSpan::from_secs(86_400);
        Self {
            completed: day,
            cancelled: day,
            discarded: TimeSpan::from_secs(7 * 86_400),
            every: TimeSpan::from_secs(60),
        }
    }
}

impl Retention {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("retention.every", self.every, TimeSpan::from_ms(100), TimeSpan::from_secs(86_400))
    }
}
