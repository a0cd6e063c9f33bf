//! What an instance may hold: all its memories and tables together, and how many of each there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use crate::config::AttemptLimits;

/// What one element of a table costs.
const TABLE_ELEMENT_BYTES: usize = 8;
/// What an instance may take of the host beside its memories and tables without a word: those of the toolchains take less.
const UNCOUNTED_BYTES: u64 = 1 << 20;

/// The guest asked for more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the guest asked for {asked_bytes} bytes in all its memories, tables, instances and headers, the limit is \
     {limit_bytes}; raise limits.memory if that is too little"
)]
pub(super) struct MemoryExceeded {
    asked_bytes: usize,
    limit_bytes: usize,
}

/// What counts of an instance that takes so much of the host beside its memories and tables.
pub(super) fn counted_bytes(held_bytes: u64) -> u64 {
    held_bytes.saturating_sub(UNCOUNTED_BYTES)
}

/// Sums what all memories and tables of a store hold. wasmtime's own limiter counts each by itself.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    held_bytes: usize,
    /// What the host holds for the guest's calls, as far as that counts.
    beside_bytes: usize,
    limit_bytes: usize,
    /// How many instances, memories and tables there may be.
    counts: [usize; 3],
    /// What the last growth added, to be taken back where it fails after all.
    last_bytes: usize,
    peak_bytes: Arc<AtomicU64>,
}

impl MemoryLimiter {
    /// A limiter that writes the peak to `peak_bytes`, for an instance that takes so much beside its memories and tables.
    pub(super) fn new(limits: &AttemptLimits, held_bytes: u64, peak_bytes: Arc<AtomicU64>) -> Self {
        let counts = [limits.instances, limits.memories, limits.tables];
        let counts = counts.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let held_bytes = usize::try_from(counted_bytes(held_bytes)).unwrap_or(usize::MAX);
        let limiter = Self {
            held_bytes,
            beside_bytes: 0,
            limit_bytes: limits.memory.as_usize(),
            counts,
            last_bytes: 0,
            peak_bytes,
        };
        if limiter.check().is_ok() {
            limiter.peak_bytes.store(held_bytes as u64, Ordering::Relaxed);
        }
        limiter
    }

    /// Counts for another attempt from now on.
    pub(super) fn serve(&mut self, peak_bytes: Arc<AtomicU64>) {
        peak_bytes.store(self.held_bytes(), Ordering::Relaxed);
        self.peak_bytes = peak_bytes;
    }

    /// What is held now.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.saturating_add(self.beside_bytes) as u64
    }

    /// How much may be held beside memories, tables and instances.
    pub(super) fn left_beside(&self) -> usize {
        self.limit_bytes.saturating_sub(self.held_bytes)
    }

    /// So much is held beside memories, tables and instances.
    ///
    /// # Errors
    /// Where that is more than all of it may be.
    pub(super) fn beside(&mut self, bytes: usize) -> Result<(), MemoryExceeded> {
        self.beside_bytes = bytes;
        self.check()?;
        self.peak_bytes.fetch_max(self.held_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether what is held is within the limit.
    pub(super) fn check(&self) -> Result<(), MemoryExceeded> {
        let (asked_bytes, limit_bytes) = (self.held_bytes.saturating_add(self.beside_bytes), self.limit_bytes);
        if asked_bytes > limit_bytes { Err(MemoryExceeded { asked_bytes, limit_bytes }) } else { Ok(()) }
    }

    fn grow(&mut self, more_bytes: usize) -> wasmtime::Result<bool> {
        let held_bytes = self.held_bytes.saturating_add(more_bytes);
        let asked_bytes = held_bytes.saturating_add(self.beside_bytes);
        if asked_bytes > self.limit_bytes {
            // A trap, not a quiet failure: a guest that runs out of memory mostly ends in something opaque.
            return Err(MemoryExceeded { asked_bytes, limit_bytes: self.limit_bytes }.into());
        }
        self.held_bytes = held_bytes;
        self.last_bytes = more_bytes;
        self.peak_bytes.fetch_max(asked_bytes as u64, Ordering::Relaxed);
        Ok(true)
    }

    fn take_back(&mut self) {
        self.held_bytes -= std::mem::take(&mut self.last_bytes);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.counts[0]
    }

    fn tables(&self) -> usize {
        self.counts[2]
    }

    fn memories(&self) -> usize {
        self.counts[1]
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{LimitOverride, Limits};
    use crate::job::units::ByteSize;

    use super::*;

    #[test]
    fn memories_and_tables_are_summed() {
        let peak = Arc::new(AtomicU64::new(0));
        let limits = Limits { memory: ByteSize(1000), tables: 7, ..Limits::default() };
        let mut limiter = MemoryLimiter::new(&limits.attempt(&LimitOverride::default()), 0, peak.clone());
        assert_eq!((limiter.instances(), limiter.memories(), limiter.tables()), (64, 4, 7));
        assert!(limiter.memory_growing(0, 400, None).is_ok());
        assert!(limiter.memory_growing(0, 400, None).is_ok());
        assert!(limiter.table_growing(0, 26, None).is_err());
        assert!(limiter.table_growing(0, 25, None).is_ok());
        assert_eq!(peak.load(Ordering::Relaxed), 1000);
        limiter.table_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limiter.memory_growing(400, 600, None).is_ok());
        assert!(limiter.memory_growing(600, 601, None).is_err());
    }

    #[test]
    fn what_is_held_for_calls_is_of_the_same_memory_while_it_is_held() {
        let limits = Limits { memory: ByteSize(1000), ..Limits::default() };
        let mut limiter = MemoryLimiter::new(&limits.attempt(&LimitOverride::default()), 0, Arc::default());
        assert!(limiter.memory_growing(0, 400, None).is_ok());
        assert!(limiter.beside(601).is_err() && limiter.beside(600).is_ok());
        assert_eq!((limiter.peak_bytes.load(Ordering::Relaxed), limiter.held_bytes()), (1000, 1000));
        assert!(limiter.memory_growing(400, 401, None).is_err());
        limiter.beside(0).unwrap();
        assert!(limiter.memory_growing(400, 1000, None).is_ok());
        assert_eq!(limiter.peak_bytes.load(Ordering::Relaxed), 1000);
    }

    #[test]
    fn what_an_instance_takes_of_the_host_counts_from_the_start() {
        let limits = Limits { memory: ByteSize(1000), ..Limits::default() }.attempt(&LimitOverride::default());
        let limiter = |held_bytes| MemoryLimiter::new(&limits, held_bytes, Arc::default());
        let mut with_little = limiter(UNCOUNTED_BYTES);
        assert!(with_little.memory_growing(0, 1000, None).is_ok(), "what every component needs is free");
        let mut with_more = limiter(UNCOUNTED_BYTES + 600);
        assert_eq!(with_more.peak_bytes.load(Ordering::Relaxed), 600);
        assert!(with_more.memory_growing(0, 401, None).is_err() && with_more.memory_growing(0, 400, None).is_ok());
        assert!(limiter(UNCOUNTED_BYTES + 1000).check().is_ok() && limiter(UNCOUNTED_BYTES + 1001).check().is_err());
        assert!(limiter(u64::MAX).check().is_err());
    }
}
