//! How many jobs have their newest attempt where, so that the lowest of these is known without a look at every job.

use std::collections::BTreeMap;

use super::{Entry, LiveSet};

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

impl LiveSet {
    /// A number that no newest attempt of an unfinished job is below, be the job in memory or not, but for the anchored
    /// ones; none where there is no such attempt. It lies a few thousand below the lowest at most.
    #[must_use]
    pub fn attempts_floor(&self) -> Option<i64> {
        self.entries.newest().lowest().into_iter().chain(self.horizon.floor()).min()
    }

    /// How many jobs in memory hold the floor below `below`; those that hold it a few thousand below or less may be left out.
    #[must_use]
    pub fn lagging(&self, below: i64) -> usize {
        self.entries.newest().below(below)
    }

    /// Some of these, with their newest attempts: those among `most` places of the memory, from `from` on. Answers also
    /// where to go on.
    #[must_use]
    pub fn laggards(&self, below: i64, from: usize, most: usize) -> (Vec<(i64, i64)>, Option<usize>) {
        let lags = |entry: &Entry| needs_its_attempt(entry) && is_below(entry.newest, below);
        let (part, next) = self.entries.part(from, most);
        (part.filter(|(_, entry)| lags(entry)).map(|(place, entry)| (place, entry.newest)).collect(), next)
    }

    /// The store wrote on the job's own row that its newest attempt is this one.
    pub fn anchor(&mut self, place: i64, newest: i64) {
        if self.entries.get(place).is_some_and(|entry| entry.newest == newest) {
            self.entries.set_newest(place, newest, true);
        }
    }
}
