//! Who waits for the writer: what is small passes what is large, so that one client's batch of ten thousand jobs does not
//! keep everybody else's single ones waiting.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

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

    /// Puts back what has to wait for the next group, where it will come first.
    pub(super) fn put_back(&mut self, aside: Aside) {
        aside.ops.into_iter().rev().for_each(|op| self.small.push_front(op));
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

/// The calls that wait for the next group, as they change jobs that this one has changed already. Others pass them, so that
/// many changes of one job do not make a group each for everybody.
#[derive(Default)]
pub(super) struct Aside {
    ops: Vec<Op>,
    places: FxHashSet<i64>,
}

impl Aside {
    /// Whether that one need not wait with them, in a group that has changed these jobs.
    pub(super) fn is_passed_by(&self, op: &Op, touched: &FxHashSet<i64>) -> bool {
        let may_concern_any =
            matches!(op, Op::Release { .. } | Op::Unhold { .. } | Op::Prune { .. } | Op::SetStanding { .. });
        let has_changed = |place| touched.contains(&place) || self.places.contains(&place);
        (self.ops.is_empty() || !may_concern_any) && !op.places().any(has_changed)
    }

    pub(super) fn add(&mut self, op: Op) {
        self.places.extend(op.places());
        self.ops.push(op);
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
