//! Copying the WAL back into the file, beside whoever writes: the long part on a thread of its own, and only what has
//! come meanwhile between two groups of the writer, who alone can then begin the WAL anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::fault::{Fault, Outcome};
use super::{Shared, open};
use crate::store::StoreError;

/// From how many pages on the WAL is copied back into the file.
const WAL_PAGES: i64 = 1_000;

/// Who copies.
#[derive(Debug)]
pub(super) struct Checkpoints {
    asks: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// One for each time that it was asked and has copied.
    copied: Receiver<()>,
    /// It was asked, and what came meanwhile is still to be copied.
    is_asked: bool,
}

impl Checkpoints {
    /// Starts the thread. Where there is none to be had the writer copies by itself.
    pub(super) fn start(path: &Path, shared: Arc<Shared>) -> Self {
        let ((asks, asked), (done, copied)) = (channel(), channel());
        let thread = open::copier(path).ok().and_then(|conn| {
            let thread = std::thread::Builder::new().name("windlass-wal".to_owned());
            thread.spawn(move || copy_when_asked(&conn, &shared, &asked, &done)).ok()
        });
        Self { asks: thread.is_some().then_some(asks), thread, copied, is_asked: false }
    }

    /// Sees to the WAL after a group; called by the writer, outside of a transaction.
    pub(super) fn after_group(&mut self, conn: &Connection) -> Outcome<()> {
        if self.is_asked {
            if self.copied.try_recv() == Err(TryRecvError::Empty) {
                return Ok(());
            }
            self.is_asked = false;
            return copy(conn);
        }
        if behind(conn)? < WAL_PAGES {
            return Ok(());
        }
        self.is_asked = self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok());
        if self.is_asked { Ok(()) } else { copy(conn) }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so; the WAL is whole without it.
            _ = thread.join();
        }
    }
}

fn copy_when_asked(conn: &Connection, shared: &Shared, asked: &Receiver<()>, done: &Sender<()>) {
    while asked.recv().is_ok() {
        // Where the disk is full, or someone else reads, the WAL keeps what could not be copied.
        if let Err(fault) = copy(conn)
            && fault.is_final()
        {
            shared.poison(&StoreError::from(&fault));
        }
        // The writer is the last to go.
        _ = done.send(());
    }
}

/// Copies what no reader is in the way of; waits for nobody.
fn copy(conn: &Connection) -> Outcome<()> {
    pages_after(conn, "PRAGMA wal_checkpoint(PASSIVE)").map(drop)
}

/// How many pages stand in the WAL alone.
fn behind(conn: &Connection) -> Outcome<i64> {
    pages_after(conn, "PRAGMA wal_checkpoint(NOOP)")
}

fn pages_after(conn: &Connection, checkpoint: &str) -> Result<i64, Fault> {
    let mut statement = conn.prepare_cached(checkpoint)?;
    Ok(statement.query_row((), |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?)
}
