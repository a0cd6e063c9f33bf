//! Reading beside the writer: a few connections, each used by one blocking task at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::{Fault, Outcome};
use super::open;
use crate::lock::lock;
use crate::store::StoreError;

/// How many read at the same time.
const READERS_MAX: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    /// None: closed, keep no more.
    idle: Mutex<Option<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// Opens the first at once: it is there when the process has no descriptor left.
    pub(super) fn open(path: PathBuf) -> rusqlite::Result<Self> {
        let first = open::reader(&path)?;
        let (idle, turns) = (Mutex::new(Some(vec![first])), Arc::new(Semaphore::new(READERS_MAX)));
        Ok(Self(Arc::new(Pool { path, idle, turns })))
    }

    /// Reads in one snapshot, off the serving threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.0.turns).acquire_owned().await.expect("the semaphore is never closed");
        let pool = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let answer = pool.read(query);
            drop(turn);
            answer
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Failed(format!("a reader stopped: {error}"))),
        }
    }

    /// Reads in one snapshot, on this thread.
    pub(super) fn read_here<T>(&self, query: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T, StoreError> {
        self.0.read(query)
    }

    /// The file that is read.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.0.path
    }

    /// Closes what is idle, and keeps nothing more.
    pub(super) fn close(&self) {
        *lock(&self.0.idle) = None;
    }
}

impl Pool {
    fn read<T>(&self, query: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T, StoreError> {
        let conn = self.take()?;
        let answer = snapshot(&conn, query).map_err(|fault| StoreError::from(&fault))?;
        // After a failure the connection is not used again.
        if let Some(idle) = lock(&self.idle).as_mut() {
            idle.push(conn);
        }
        Ok(answer)
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = lock(&self.idle).as_mut().and_then(Vec::pop);
        match idle {
            Some(conn) => Ok(conn),
            None => open::reader(&self.path).map_err(|error| StoreError::from(&Fault::from(error))),
        }
    }
}

fn snapshot<T>(conn: &Connection, query: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    let transaction = conn.unchecked_transaction()?;
    let answer = query(conn)?;
    transaction.commit()?;
    Ok(answer)
}
