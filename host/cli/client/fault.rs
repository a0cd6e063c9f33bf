//! Why a server's answer is none that can be used.

use std::time::Duration;

/// When to look again for a server that is not there.
const AWAY: Duration = Duration::from_millis(250);

/// What kept a request from being answered as it was meant.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub(in crate::cli) struct Fault {
    /// It, for people.
    pub(super) told: String,
    /// How soon the same request may be answered, where that can be.
    pub(in crate::cli) again: Option<Duration>,
}

impl Fault {
    /// Nobody answered to the end: a server that is being started anew does later.
    pub(super) fn absent(told: String) -> Self {
        Self { told, again: Some(AWAY) }
    }
}
