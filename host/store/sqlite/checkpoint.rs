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
/// So many at most the writer copies itself, while everybody waits for it: less than what one commit may take.
const LAST_PAGES: i64 = 100;
/// How often in a row the thread is asked for what came while it copied. Each time that is less, unless the disk cannot
/// keep up with what is written: then the writer copies all of it, so that the WAL has an end.
const TURNS_MAX: u32 = 16;

/// Who copies.
#[derive(Debug)]
pub(super) struct Checkpoints {
    asks: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// One for each time that it was asked and has copied.
    copied: Receiver<()>,
    /// How often it was asked since the WAL was begun anew: what came meanwhile is still to be copied.
    turns: u32,
}

impl Checkpoints {
    /// Starts the thread. Where there is none to be had the writer copies by itself.
    pub(super) fn start(path: &Path, shared: Arc<Shared>) -> Self {
        let ((asks, asked), (done, copied)) = (channel(), channel());
        let thread = open::copier(path).ok().and_then(|conn| {
            let thread = std::thread::Builder::new().name("windlass-wal".to_owned());
            thread.spawn(move || copy_when_asked(&conn, &shared, &asked, &done)).ok()
        });
        Self { asks: thread.is_some().then_some(asks), thread, copied, turns: 0 }
    }

    /// Sees to the WAL after a group; called by the writer, outside of a transaction.
    pub(super) fn after_group(&mut self, conn: &Connection) -> Outcome<()> {
        if self.turns > 0 && self.copied.try_recv() == Err(TryRecvError::Empty) {
            return Ok(());
        }
        match whose(behind(conn)?, self.turns) {
            Whose::Nobodys => return Ok(()),
            Whose::Threads if self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok()) => {
                self.turns += 1;
                return Ok(());
            }
            Whose::Threads | Whose::Writers => {}
        }
        self.turns = 0;
        copy(conn)
    }
}

/// Whose it is to copy what stands in the WAL alone.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Nobodys,
    Threads,
    Writers,
}

/// After so many turns of the thread's. Only where nobody writes meanwhile can the WAL be begun anew: so the last of it is
/// the writer's own.
fn whose(pages: i64, turns: u32) -> Whose {
    match turns {
        0 if pages < WAL_PAGES => Whose::Nobodys,
        1.. if pages <= LAST_PAGES => Whose::Writers,
        TURNS_MAX.. => Whose::Writers,
        _ => Whose::Threads,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_copies_little_unless_the_thread_cannot_keep_up() {
        for come_while_a_hundred_are_copied in [0, 20, 50, 90, 100, 150] {
            let (mut pages, mut turns) = (WAL_PAGES * 9, 0);
            while whose(pages, turns) == Whose::Threads {
                (pages, turns) = (pages * come_while_a_hundred_are_copied / 100, turns + 1);
            }
            assert_eq!(whose(pages, turns), Whose::Writers);
            let keeps_up = come_while_a_hundred_are_copied <= 50;
            assert_eq!(pages <= LAST_PAGES, keeps_up, "{pages} pages after {turns} turns");
            assert!(turns >= 1 && (keeps_up || turns == TURNS_MAX), "{pages} pages after {turns} turns");
        }
        assert_eq!(whose(WAL_PAGES - 1, 0), Whose::Nobodys);
    }
}
