//! What was simulated, counted, so that nothing stops being injected unseen.

use std::collections::BTreeMap;
use std::fmt;

/// Trouble that must come by in any usual run.
const TROUBLE: [&str; 34] = [
    "act on a downstream",
    "attempt that ended late",
    "attempt without an instance",
    "batch refused at the high-water mark",
    "broken plugin",
    "burst",
    "burst of thousands",
    "cancel",
    "claim that could not be read",
    "clock step back",
    "clock step forward",
    "crash between effects",
    "crash during the start",
    "denied attempt",
    "downstream down",
    "downstream flapping",
    "downstream hanging",
    "downstream that limits",
    "duplicate effect after a crash",
    "edit of the grants",
    "edit of the limits",
    "full disk",
    "graceful stop",
    "interrupted attempt",
    "late result of an earlier life",
    "lost answer",
    "pause",
    "probe",
    "removed plugin",
    "repeat under another body",
    "repeat under the same body",
    "retry by a person",
    "slow commit",
    "swap",
];

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// One more.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(what, count)| self.add(what, *count));
    }

    /// What did not come by at all.
    pub fn missing(&self) -> Vec<&'static str> {
        let more = ["write that failed before the commit", "write that failed after the commit"];
        TROUBLE.into_iter().chain(more).filter(|what| self.of(what) == 0).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.counts.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}
