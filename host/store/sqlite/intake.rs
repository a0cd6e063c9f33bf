//! Who waits for the writer: what is small passes what is large, so that one client's batch of ten thousand jobs does not
//! keep everybody else's single ones waiting.

use std::collections::VecDeque;

use super::writer::Op;

/// From so many new jobs on a call is large: it is worth a group of its own.
const LARGE_JOBS: usize = 512;

/// The calls that the writer has received, and not yet carried out.
#[derive(Debug, Default)]
pub(super) struct Intake {
    small: VecDeque<Op>,
    large: VecDeque<Op>,
}

impl Intake {
    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// The next one for a group that holds a large one already, or not: a second one waits for the next group. Small
    /// ones keep their order among themselves, and so do large ones, which only make new jobs.
    pub(super) fn next(&mut self, has_large: bool) -> Option<Op> {
        self.small.pop_front().or_else(|| if has_large { None } else { self.large.pop_front() })
    }

    /// Puts one back that has to wait for the next group.
    pub(super) fn put_back(&mut self, op: Op) {
        if is_large(&op) { self.large.push_front(op) } else { self.small.push_front(op) }
    }

    /// Everything that waits.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Op> {
        std::mem::take(&mut self.small).into_iter().chain(std::mem::take(&mut self.large))
    }

    /// Whether there is nothing but beginnings that nobody waits for.
    pub(super) fn is_idle(&self) -> bool {
        self.large.is_empty() && self.small.iter().all(|op| matches!(op, Op::Begun))
    }
}

impl Extend<Op> for Intake {
    fn extend<T: IntoIterator<Item = Op>>(&mut self, ops: T) {
        for op in ops {
            if is_large(&op) { self.large.push_back(op) } else { self.small.push_back(op) }
        }
    }
}

/// Whether a call with so many new jobs is large.
pub(super) fn is_large_batch(jobs: usize) -> bool {
    jobs >= LARGE_JOBS
}

/// Whether others need not wait for it.
pub(super) fn is_large(op: &Op) -> bool {
    matches!(op, Op::Enqueue { jobs, .. } if is_large_batch(jobs.len()))
}
