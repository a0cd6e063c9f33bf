//! Reading beside the writer: a few connections, each used by one blocking task at a time.
//!
//! Whoever looks at jobs waits behind others who look, and never before the work: what is handed out is read by
//! connections of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::Outcome;
use super::open;
use crate::lock::lock;
use crate::store::StoreError;

/// How many single jobs are read at the same time. As many wait as the door lets in: each takes but a moment.
const SINGLE_MAX: usize = 4;
/// The same of searches, and how many more wait for their turn. One can take a hundred milliseconds of a processor, so that
/// these are few.
const SEARCHES_MAX: usize = 2;
const SEARCHES_WAITING_MAX: usize = 32;
/// How much a connection for people keeps of the file, in KiB. Any commit empties it, so that more is of little use.
const CACHE_KIB: u32 = 1_000;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    /// For what is handed out and read back. Nobody else's reads are before it.
    pub(super) work: Queue,
    /// For one job or one key.
    pub(super) single: Queue,
    /// For what may look at very many jobs.
    pub(super) search: Queue,
}

/// Those who read one kind of thing, in the order of their arrival.
#[derive(Debug)]
pub(super) struct Queue {
    pool: Arc<Pool>,
    turns: Arc<Semaphore>,
    /// One for each who reads or waits, where they are bounded here.
    places: Option<Arc<Semaphore>>,
}

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    /// None: closed, keep no more.
    idle: Mutex<Option<Vec<Connection>>>,
    idle_max: usize,
    cache_kib: Option<u32>,
}

impl Readers {
    /// Opens the first for work and the first for single jobs at once: they are there when the process has no descriptor
    /// left.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        // The loops are few, and each waits for its answer.
        let work = Queue::new(path, 1, None, None);
        let single = Queue::new(path, SINGLE_MAX, None, Some(CACHE_KIB));
        let search = Queue::new(path, SEARCHES_MAX, Some(SEARCHES_WAITING_MAX), Some(CACHE_KIB));
        for queue in [&work, &single] {
            queue.pool.put(queue.pool.open()?);
        }
        Ok(Self { work, single, search })
    }

    /// The file that is read.
    pub(super) fn path(&self) -> &Path {
        &self.work.pool.path
    }

    /// Closes what is idle, and keeps nothing more.
    pub(super) fn close(&self) {
        [&self.work, &self.single, &self.search].iter().for_each(|queue| *lock(&queue.pool.idle) = None);
    }
}

impl Queue {
    fn new(path: &Path, turns: usize, waiting: Option<usize>, cache_kib: Option<u32>) -> Self {
        let idle = Mutex::new(Some(Vec::new()));
        let pool = Pool { path: path.to_path_buf(), idle, idle_max: turns, cache_kib };
        let places = waiting.map(|waiting| Arc::new(Semaphore::new(turns + waiting)));
        Self { pool: Arc::new(pool), turns: Arc::new(Semaphore::new(turns)), places }
    }

    /// Reads in one snapshot, off the serving threads.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once where as many wait as may.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.places.clone().map(Semaphore::try_acquire_owned).transpose();
        let place = place.map_err(|_| StoreError::Busy("as many wait already to search it as may".to_owned()))?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let pool = Arc::clone(&self.pool);
        let task = tokio::task::spawn_blocking(move || {
            let answer = pool.read(query).map_err(|fault| StoreError::from(&fault));
            // Also where nobody waits for the answer any more, it was being read until now.
            drop((turn, place));
            answer
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Failed(format!("a reader stopped: {error}"))),
        }
    }

    /// How many connections are open that nobody uses.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        lock(&self.pool.idle).as_ref().map_or(0, Vec::len)
    }

    /// Reads in one snapshot, on this thread and whoever's turn it is.
    pub(super) fn read_here<T>(&self, query: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        self.pool.read(query)
    }
}

impl Pool {
    fn read<T>(&self, query: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        let conn = self.take()?;
        let answer = snapshot(&conn, query)?;
        // After a failure the connection is not used again.
        self.put(conn);
        Ok(answer)
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = lock(&self.idle).as_mut().and_then(Vec::pop);
        idle.map_or_else(|| self.open(), Ok)
    }

    fn put(&self, conn: Connection) {
        if let Some(idle) = lock(&self.idle).as_mut().filter(|idle| idle.len() < self.idle_max) {
            idle.push(conn);
        }
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let conn = open::reader(&self.path)?;
        if let Some(kib) = self.cache_kib {
            conn.pragma_update(None, "cache_size", -i64::from(kib))?;
        }
        Ok(conn)
    }
}

fn snapshot<T>(conn: &Connection, query: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    let transaction = conn.unchecked_transaction()?;
    let answer = query(conn)?;
    transaction.commit()?;
    Ok(answer)
}
