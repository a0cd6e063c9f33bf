//! Who waits for the end of which job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;
use tokio::sync::Notify;

/// The waiters, by the place of the job that they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<i64, (Arc<Notify>, usize)>>);

/// One who waits. Dropped: waits no longer.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    place: i64,
    pub(super) bell: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register(&self, place: i64) -> Waiter<'_> {
        let mut waiters = self.lock();
        let (bell, count) = waiters.entry(place).or_default();
        *count += 1;
        Waiter { waiters: self, place, bell: Arc::clone(bell) }
    }

    /// Wakes all who wait for one of these jobs.
    pub(super) fn wake(&self, places: impl Iterator<Item = i64>) {
        let waiters = self.lock();
        if waiters.is_empty() {
            return;
        }
        for (bell, _) in places.filter_map(|place| waiters.get(&place)) {
            bell.notify_waiters();
        }
    }

    pub(super) fn wake_all(&self) {
        self.lock().values().for_each(|(bell, _)| bell.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, (Arc<Notify>, usize)>> {
        lock(&self.0)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        if let Some((_, count)) = waiters.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                waiters.remove(&self.place);
            }
        }
    }
}
