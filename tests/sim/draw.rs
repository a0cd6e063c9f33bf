//! Drawing lots.

use windlass::clock::Chance;

/// What is drawn of a [`Chance`].
pub trait Draw {
    /// A number below `count`.
    fn below(&self, count: usize) -> usize;
    /// One of these.
    fn one_of<T: Copy>(&self, these: &[T]) -> T;
    /// True so often.
    fn happens(&self, share: f64) -> bool;
}

impl Draw for Chance {
    fn below(&self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count - 1)
    }

    fn one_of<T: Copy>(&self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    fn happens(&self, share: f64) -> bool {
        self.unit() < share
    }
}
