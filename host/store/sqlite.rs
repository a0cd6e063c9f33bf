//! The embedded store: one SQLite file with one owner.
//!
//! One thread writes. It takes whatever waits, up to a bound, does it in one transaction, syncs, applies it to the
//! [`LiveSet`] in memory and only then answers. Who runs next is decided in memory, and a claim waits for no disk.
//! Readers look at the file beside the writer.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use crate::clock::{Chance, Stopwatch, UnixMs};
use crate::config::SyncMode;
use crate::job::gates::LaneRef;
use crate::job::live::LiveSet;
use crate::job::{Admission, JobId};
use crate::lock::lock;
use crate::store::{
    Acted, AttemptDetail, Claimed, Counts, Enqueued, Finish, Finished, JobView, Keyed, LaneCounts, Lease, ListFilter,
    ListPage, NewJob, Pruned, Retention, Standing, Standings, Store, StoreError,
};

mod acts;
mod backup;
mod begun;
mod cache;
mod checkpoint;
mod claim;
mod doctor;
mod effect;
mod end;
mod enqueue;
mod fault;
mod finish;
mod hold;
mod intake;
mod last_words;
mod layout;
mod maintain;
mod new_file;
mod newest;
mod open;
mod options;
mod prune;
mod query;
mod readers;
mod reckoning;
mod recover;
mod reload;
mod rows;
mod specs;
mod standings;
mod statements;
mod sums;
#[cfg(test)]
mod tests;
mod unfinished;
mod waiters;
mod wal;
mod writer;

pub use backup::{BackedUp, backup};
use begun::Begun;
use cache::SpecCache;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use doctor::fuzzing;
pub use doctor::{DoubtfulJob, IncompleteJob, JobCounts, LostJob, Report, Salvaged, examine, salvage};
use end::End;
pub use new_file::discard_unfinished;
pub use open::Ownership;
pub use options::SqliteOptions;
use readers::Readers;
use waiters::Waiters;
use writer::Op;

/// The embedded store. Dropping it writes what waits and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    ops: Option<Sender<Op>>,
    writer: Option<JoinHandle<()>>,
    queued_jobs_max: usize,
    /// Given up last.
    _ownership: Ownership,
}

/// What the writer and the callers share.
#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    cache: Mutex<SpecCache>,
    readers: Readers,
    waiters: Waiters,
    /// Beginnings of attempts on their way to the writer, which the next commit carries.
    begun: Mutex<Vec<Begun>>,
    changed: Notify,
    /// Why the store takes nothing more, once that is so.
    failed: OnceLock<StoreError>,
    /// The last write found no room.
    is_full: AtomicBool,
    /// Jobs on their way to the writer.
    queued_jobs: AtomicUsize,
    /// The latest moment that a caller named.
    seen_ms: AtomicI64,
    /// How long it has been open.
    opened: Stopwatch,
    /// The file itself. Closed after every connection to it: SQLite's locks on it go with any descriptor that is closed.
    _file: Arc<File>,
}

/// What is known of the jobs without the disk.
#[derive(Debug)]
struct Memory {
    live: LiveSet,
    /// Jobs that became final since the opening, in the order of [`crate::job::EndState::ALL`].
    ended: [u64; 3],
}

impl SqliteStore {
    /// Opens the store, or makes a new one, and reads what is unfinished.
    ///
    /// # Errors
    /// [`StoreError::Open`] where another process has it, the file is none of ours or of a newer layout, or cannot be
    /// read.
    pub fn open(path: &Path, options: SqliteOptions, chance: Arc<Chance>) -> Result<Self, StoreError> {
        Self::open_owned(Ownership::take(path)?, options, chance)
    }

    /// Opens the store that is this process's already. It takes both a processor's time and the disk's: up to half a second
    /// for a million jobs that wait.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_owned(
        mut ownership: Ownership,
        options: SqliteOptions,
        chance: Arc<Chance>,
    ) -> Result<Self, StoreError> {
        let file = ownership.hold()?;
        let path = ownership.path.as_path();
        let conn = open::writer(path)?;
        let refusal = |error: fault::Fault| open::failure(path, error);
        if let Some(pages) = options.pages_max {
            conn.pragma_update(None, "max_page_count", pages).map_err(|error| refusal(error.into()))?;
        }
        let recovered = recover::recover(&conn, path, options.held_jobs_max, options.reckoning).map_err(refusal)?;
        let relaxed = options.sync == SyncMode::Normal;
        wal::mark_relaxed(&conn, relaxed).map_err(|error| refusal(error.into()))?;
        // The file itself says from now on that there is a log, and what to think of one that breaks off.
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).map_err(|error| refusal(error.into()))?;
        if relaxed {
            // Checkpoints go on syncing: what is left after a power cut is whole.
            conn.pragma_update(None, "synchronous", "NORMAL").map_err(|error| refusal(error.into()))?;
        }
        let shared = Arc::new(Shared {
            memory: Mutex::new(Memory { live: recovered.live, ended: [0; 3] }),
            cache: Mutex::new(SpecCache::new(options.cached_bytes_max)),
            readers: Readers::open(path).map_err(|error| refusal(error.into()))?,
            waiters: Waiters::default(),
            begun: Mutex::default(),
            changed: Notify::new(),
            failed: OnceLock::new(),
            is_full: AtomicBool::new(false),
            queued_jobs: AtomicUsize::new(0),
            seen_ms: AtomicI64::new(recovered.seen.0),
            opened: Stopwatch::start(),
            _file: file,
        });
        let (ops, incoming) = mpsc::channel();
        let checkpoints = checkpoint::Checkpoints::start(path, Arc::clone(&shared));
        let (thread, of_writer) = (std::thread::Builder::new().name("windlass-store".to_owned()), Arc::clone(&shared));
        let write = move || {
            let _last_words = last_words::LastWords(Arc::clone(&of_writer));
            writer::Writer::new(&conn, of_writer, recovered.numbers, chance, checkpoints).run(&incoming);
        };
        let writer = thread.spawn(write).map_err(|error| open::refusal(path, error))?;
        ownership.say_ready().map_err(|error| open::refusal(path, error))?;
        let queued_jobs_max = options.queued_jobs_max;
        Ok(Self { shared, ops: Some(ops), writer: Some(writer), queued_jobs_max, _ownership: ownership })
    }

    /// Sends the writer what `op` makes of the way to answer, and waits for the answer.
    async fn ask<T>(&self, op: impl FnOnce(writer::To<T>) -> Op) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        self.tell(op(to))?;
        answer.await.unwrap_or_else(|_| Err(self.shared.failure()))
    }

    fn tell(&self, op: Op) -> Result<(), StoreError> {
        self.shared.health()?;
        let ops = self.ops.as_ref().expect("taken only when the store is dropped");
        ops.send(op).map_err(|_| self.shared.failure())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.shared.readers.close();
        drop(self.ops.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so; what it had not acknowledged is not promised.
            _ = writer.join();
        }
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    fn cache(&self) -> MutexGuard<'_, SpecCache> {
        lock(&self.cache)
    }

    /// Whether these are the first on their way, so that the writer must be told.
    fn add_begun(&self, begun: Vec<Begun>) -> bool {
        let mut waiting = lock(&self.begun);
        let was_empty = waiting.is_empty();
        waiting.extend(begun);
        was_empty
    }

    fn take_begun(&self) -> Vec<Begun> {
        std::mem::take(&mut lock(&self.begun))
    }

    fn health(&self) -> Result<(), StoreError> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Takes nothing more, and lets nobody wait for what will not come.
    fn poison(&self, reason: &StoreError) {
        let reason = match reason {
            StoreError::Failed(_) => reason.clone(),
            other => StoreError::Failed(other.to_string()),
        };
        let said = reason.to_string();
        if self.failed.set(reason).is_ok() {
            let file = self.readers.path().display();
            tracing::error!(%file, "{said}; look into the disk, then start the host anew");
        }
        self.waiters.wake_all();
        self.changed.notify_one();
    }

    fn poison_unless_passing(&self, reason: &StoreError) {
        if !reason.is_passing() {
            self.poison(reason);
        }
    }

    fn failure(&self) -> StoreError {
        self.failed.get().cloned().unwrap_or_else(|| StoreError::Failed("its writer is gone".to_owned()))
    }

    fn saw(&self, now: UnixMs) {
        self.seen_ms.fetch_max(now.0, Ordering::Relaxed);
    }

    fn seen(&self) -> UnixMs {
        UnixMs(self.seen_ms.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: UnixMs) -> Result<Vec<Enqueued>, StoreError> {
        let ticket = enqueue::Ticket::draw(&self.shared, jobs.len(), self.queued_jobs_max)?;
        self.shared.saw(now);
        let jobs = enqueue::prepare(jobs);
        self.ask(|to| Op::Enqueue { jobs, now, ticket, to }).await
    }

    async fn keyed(&self, key: &str) -> Result<Option<Keyed>, StoreError> {
        self.read_keyed(key).await
    }

    async fn claim(
        &self,
        most: usize,
        now: UnixMs,
        admission: &mut (dyn Admission + Send),
    ) -> Result<Vec<Claimed>, StoreError> {
        self.claim_due(most, now, admission).await
    }

    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError> {
        self.ask(|to| Op::Release { leases, to }).await
    }

    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        let ends = finishes.iter().map(End::of).collect();
        self.ask(|to| Op::Finish { ends, to }).await
    }

    async fn renew(&self, _: &[Lease], _: UnixMs) -> Result<(), StoreError> {
        self.shared.health()
    }

    async fn rescue(&self, _: UnixMs) -> Result<Vec<Claimed>, StoreError> {
        self.claim_left_behind().await
    }

    async fn next_due(&self) -> Result<Option<UnixMs>, StoreError> {
        self.shared.health()?;
        Ok(self.shared.memory().live.next_due())
    }

    async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    async fn ended(&self, id: JobId) {
        self.await_end(id).await;
    }

    async fn recorded(&self, id: JobId) {
        self.await_recorded(id).await;
    }

    async fn unhold(&self, plugin: &str) -> Result<(), StoreError> {
        let plugin = plugin.to_owned();
        self.ask(|to| Op::Unhold { plugin, to }).await
    }

    async fn job(&self, id: JobId, now: UnixMs) -> Result<Option<JobView>, StoreError> {
        self.read_job(id, now).await
    }

    async fn attempt(&self, id: JobId, n: u32) -> Result<Option<AttemptDetail>, StoreError> {
        self.read_attempt(id, n).await
    }

    async fn list(&self, filter: ListFilter, now: UnixMs) -> Result<ListPage, StoreError> {
        self.read_list(filter, now).await
    }

    async fn cancel(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.ask(|to| Op::Cancel { id, now, to }).await
    }

    async fn retry(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.shared.saw(now);
        self.ask(|to| Op::Retry { id, now, to }).await
    }

    fn counts(&self) -> Counts {
        let memory = self.shared.memory();
        let ended = crate::job::EndState::ALL.into_iter().zip(memory.ended);
        Counts {
            plugins: memory.live.by_plugin().map(|(name, tally)| (name.clone(), tally)).collect(),
            unfinished: memory.live.unfinished(),
            ended: ended.map(|(end, count)| (crate::job::State::from(end).name(), count)).collect(),
        }
    }

    fn lanes(&self, first: LaneRef<'_>, most: usize) -> Vec<LaneCounts> {
        let memory = self.shared.memory();
        let lanes = memory.live.by_downstream(first).take(most);
        lanes.map(|(downstream, plugin, tally)| LaneCounts::of(plugin, downstream, tally)).collect()
    }

    fn unfinished(&self, plugin: &str) -> (u64, u64) {
        let memory = self.shared.memory();
        (memory.live.unfinished(), memory.live.unfinished_of(plugin))
    }

    async fn prune(&self, retention: Retention, now: UnixMs, most: usize) -> Result<Pruned, StoreError> {
        self.ask(|to| Op::Prune { retention, now, most, to }).await
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        self.shared.health()?;
        self.shared.readers.work.read(standings::read).await
    }

    async fn set_standing(&self, standing: Standing) -> Result<(), StoreError> {
        self.ask(|to| Op::SetStanding { standing, to }).await
    }

    fn health(&self) -> Result<(), StoreError> {
        self.shared.health()
    }

    fn takes_writes(&self) -> bool {
        self.shared.health().is_ok() && !self.shared.is_full.load(Ordering::Relaxed)
    }
}
