//! How many jobs have their newest attempt where, so that the lowest of these is known without a look at every job.

use std::collections::VecDeque;

use super::Entry;

/// So many numbers of attempts are counted together. Few in the tests, so that there are several such groups.
const TOGETHER: i64 = if cfg!(test) { 4 } else { 4_096 };

/// The jobs that the store's opening has to find by their newest attempts.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// The group of the first count. Neither that one nor the last is 0.
    first: i64,
    counts: VecDeque<u32>,
}

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
        if !needs_its_attempt(entry) {
            return;
        }
        let group = entry.newest / TOGETHER;
        if self.counts.is_empty() {
            self.first = group;
        }
        while group < self.first {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let at = usize::try_from(group - self.first).expect("not before the first");
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    /// Undoes [`Self::add`].
    pub(super) fn take(&mut self, entry: &Entry) {
        if !needs_its_attempt(entry) {
            return;
        }
        let at = usize::try_from(entry.newest / TOGETHER - self.first).expect("it was added");
        self.counts[at] -= 1;
        while self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.first += 1;
        }
        while self.counts.back() == Some(&0) {
            self.counts.pop_back();
        }
    }

    /// A number that no newest attempt is below, and that lies less than a group below the lowest.
    pub(super) fn lowest(&self) -> Option<i64> {
        (!self.counts.is_empty()).then_some(self.first * TOGETHER)
    }

    /// How many have their newest attempt in the groups wholly below that number.
    pub(super) fn below(&self, below: i64) -> usize {
        let groups = usize::try_from(below / TOGETHER - self.first).unwrap_or(0);
        self.counts.iter().take(groups).map(|count| *count as usize).sum()
    }
}
