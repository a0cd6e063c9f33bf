//! Taking a lock whoever held it when a panic came: what is kept under these is right after every single step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is under the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
