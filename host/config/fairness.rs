//! `[fairness]`

use serde::{Deserialize, Serialize};

use crate::job::Share;

/// How plugins share the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fairness {
    /// The largest share of `limits.concurrency` that one plugin may hold while there are others in the folder, whether
    /// they have jobs or not. The rest is kept for who holds less, so that a newcomer starts at once. A plugin that is
    /// alone may hold all. As much of `queue.high_water` is kept above it. 0.1 to 1.0; at 1.0 nothing is kept.
    pub share: f64,
}

impl Default for Fairness {
    fn default() -> Self {
        Self { share: 0.9 }
    }
}

impl Fairness {
    /// The rule that follows from it.
    #[must_use]
    pub fn policy(&self) -> Share {
        Share::new(self.share)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("fairness.share", self.share, 0.1, 1.0)
    }
}
