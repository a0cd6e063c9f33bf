//! Stores that can be opened, closed, and left as a crash would leave them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use windlass::clock::Chance;
use windlass::store::Store;
use windlass::store::sqlite::{SqliteOptions, SqliteStore};

/// A fresh store, that can be closed and opened again.
pub trait Harness: Send + Sync {
    /// One that keeps at most so many waiting jobs in memory.
    fn holding(jobs_max: usize) -> Self
    where
        Self: Sized;
    /// Opens the store; again what was left where it was open before and dropped.
    fn open(&self) -> Arc<dyn Store>;
    /// Opens what a crash at this moment would leave. It is what is opened from now on; what is open now has no part in
    /// it any more.
    fn open_as_if_crashed(&self) -> Arc<dyn Store>;
}

/// The embedded store in a temporary folder.
pub struct SqliteHarness {
    folder: TempDir,
    crashes: AtomicUsize,
    held_jobs_max: usize,
}

impl SqliteHarness {
    /// The file as so many crashes left it.
    fn file(&self, crashes: usize) -> PathBuf {
        self.folder.path().join(crashes.to_string()).join("windlass.db")
    }
}

impl Harness for SqliteHarness {
    fn holding(jobs_max: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder, crashes: AtomicUsize::new(0), held_jobs_max: jobs_max }
    }

    fn open(&self) -> Arc<dyn Store> {
        let chance = Arc::new(Chance::seeded(7));
        let options = SqliteOptions { held_jobs_max: self.held_jobs_max, ..SqliteOptions::default() };
        let file = self.file(self.crashes.load(Ordering::Relaxed));
        Arc::new(SqliteStore::open(&file, options, chance).expect("the store opens"))
    }

    fn open_as_if_crashed(&self) -> Arc<dyn Store> {
        let before = self.crashes.fetch_add(1, Ordering::Relaxed);
        let (from, to) = (self.file(before), self.file(before + 1));
        std::fs::create_dir(to.parent().expect("it lies in a folder")).expect("a folder for the copy");
        for name in ["windlass.db", "windlass.db-wal"] {
            let from = from.with_file_name(name);
            if from.exists() {
                std::fs::copy(from, to.with_file_name(name)).expect("a copy");
            }
        }
        self.open()
    }
}
