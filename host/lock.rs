//! Taking a lock whoever held it when a panic came: one mistake does not take all that comes after it along.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is under the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
