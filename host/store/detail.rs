//! An attempt with its evidence, as the store tells it.

use super::AttemptView;
use crate::job::{Exchange, LogLine};

/// An attempt with its evidence.
#[derive(Clone, Debug)]
pub struct AttemptDetail {
    /// The attempt.
    pub attempt: AttemptView,
    /// Its log lines.
    pub log: Vec<LogLine>,
    /// How many bytes of log and output were dropped.
    pub log_dropped_bytes: u64,
    /// How many lines of log and output were dropped or cut.
    pub log_dropped_lines: u64,
    /// How many calls were made and not kept.
    pub exchanges_dropped: u64,
    /// Its calls.
    pub exchanges: Vec<Exchange>,
}

impl AttemptDetail {
    /// An attempt of which nothing more is known.
    #[must_use]
    pub fn bare(attempt: AttemptView) -> Self {
        let (log, exchanges) = (Vec::new(), Vec::new());
        Self { attempt, log, log_dropped_bytes: 0, log_dropped_lines: 0, exchanges_dropped: 0, exchanges }
    }
}
