//! What bounds a store, and what its commits wait for.

use crate::clock::Reckoning;
use crate::config::SyncMode;

/// What bounds the store.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// The most waiting jobs in memory, of each plugin those due soonest; the others are on disk only. At least 4.
    pub held_jobs_max: usize,
    /// The most jobs that wait to be written; more are [`crate::store::StoreError::Busy`].
    pub queued_jobs_max: usize,
    /// How many bytes of payloads of due jobs are kept, to spare reading them back.
    pub cached_bytes_max: usize,
    /// The most pages that the file may have; none: as many as the disk holds.
    pub pages_max: Option<u32>,
    /// How this life's time stands against the machine's, so that a step of the wall clock since the last one is seen;
    /// none: it is not looked for.
    pub reckoning: Option<Reckoning>,
    /// What a commit waits for.
    pub sync: SyncMode,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            held_jobs_max: 1_000_000,
            queued_jobs_max: 22_000,
            cached_bytes_max: 16 << 20,
            pages_max: None,
            reckoning: None,
            sync: SyncMode::Full,
        }
    }
}
