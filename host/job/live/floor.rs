//! How many jobs have their newest attempt where, so that the lowest of these is known without a look at every job.

use std::collections::BTreeMap;

use super::Entry;

/// So many numbers of attempts are counted together. Few in the tests, so that there are several such groups.
const TOGETHER: i64 = if cfg!(test) { 4 } else { 4_096 };

/// The jobs that the store's opening has to find by their newest attempts: how many there are of each group.
#[derive(Debug, Default)]
pub(super) struct Newest(BTreeMap<i64, u32>);

/// Whether a job is found by its newest attempt.
pub(super) fn needs_its_attempt(entry: &Entry) -> bool {
    entry.newest > 0 && !entry.anchored
}

/// Whether an attempt belongs to the groups that lie wholly below that number.
pub(super) fn is_below(newest: i64, below: i64) -> bool {
    newest / TOGETHER < below / TOGETHER
}

impl Newest {
    pub(super) fn add(&mut self, entry: &Entry) {
        if needs_its_attempt(entry) {
            *self.0.entry(entry.newest / TOGETHER).or_default() += 1;
        }
    }

    /// Undoes [`Self::add`].
    pub(super) fn take(&mut self, entry: &Entry) {
        let group = entry.newest / TOGETHER;
        if needs_its_attempt(entry)
            && let Some(count) = self.0.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&group);
            }
        }
    }

    /// A number that no newest attempt is below, and that lies less than a group below the lowest.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.0.keys().next().map(|group| group * TOGETHER)
    }

    /// How many have their newest attempt in the groups wholly below that number.
    pub(super) fn below(&self, below: i64) -> usize {
        self.0.range(..below / TOGETHER).map(|(_, count)| *count as usize).sum()
    }
}
