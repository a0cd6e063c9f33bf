//! Copying the WAL back into the file, beside whoever writes, on a thread of its own.
//!
//! SQLite begins a WAL anew, from its start, at the first write that finds all of it copied. So the thread copies what has
//! come meanwhile in moments in which nobody writes, until there is such a write. Where there are no such moments the WAL
//! grows, and at last the writer copies the rest itself: then everybody waits for that, so it is rare.

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
/// From how many pages on the writer makes an end of it. The longer the WAL may become, the rarer this is.
const WAL_PAGES_MAX: i64 = 8_000;
/// So many at most the writer copies itself, while everybody waits for it: less than what one commit may take.
const LAST_PAGES: i64 = 100;
/// Groups between two tries to copy the last of it while nobody writes: each try is a sync of the file, which the commits
/// beside it feel.
const GROUPS_APART: u32 = 16;
/// How often in a row the thread is asked for what came while it copied, once the WAL must have an end. Each time that is
/// less, unless the disk cannot keep up with what is written: then the writer copies all of it.
const TURNS_MAX: u32 = 16;

/// Who copies.
#[derive(Debug)]
pub(super) struct Checkpoints {
    asks: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// One for each time that it was asked and has copied.
    copied: Receiver<()>,
    is_copying: bool,
    at: Progress,
}

/// How far it is with this WAL.
#[derive(Debug)]
struct Progress {
    /// Groups since the thread was asked last while nobody waited.
    groups: u32,
    /// How many pages it had when it was looked at last.
    all: i64,
    /// From how many pages on it must have an end.
    end_from: i64,
    /// How often the thread was asked since then.
    turns: u32,
}

/// What there is of the WAL, in pages.
#[derive(Clone, Copy, Debug)]
struct Wal {
    all: i64,
    /// Those that are not in the file yet.
    behind: i64,
}

impl Checkpoints {
    /// Starts the thread. Where there is none to be had the writer copies by itself.
    pub(super) fn start(path: &Path, shared: Arc<Shared>) -> Self {
        let ((asks, asked), (done, copied)) = (channel(), channel());
        let thread = open::copier(path).ok().and_then(|conn| {
            let thread = std::thread::Builder::new().name("windlass-wal".to_owned());
            thread.spawn(move || copy_when_asked(&conn, &shared, &asked, &done)).ok()
        });
        Self { asks: thread.is_some().then_some(asks), thread, copied, is_copying: false, at: Progress::default() }
    }

    /// Sees to the WAL after a group; called by the writer, outside of a transaction. `is_idle`: nobody waits for it.
    pub(super) fn after_group(&mut self, conn: &Connection, is_idle: bool) -> Outcome<()> {
        self.is_copying &= self.copied.try_recv() == Err(TryRecvError::Empty);
        let wal = if self.is_copying { None } else { Some(look(conn)?) };
        match self.at.whose(wal, is_idle) {
            Whose::Nobodys => Ok(()),
            Whose::Threads if self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok()) => {
                self.is_copying = true;
                Ok(())
            }
            Whose::Threads | Whose::Writers => copy(conn).map(drop),
        }
    }
}

/// Whose it is to copy what stands in the WAL alone.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Nobodys,
    Threads,
    Writers,
}

impl Default for Progress {
    fn default() -> Self {
        Self { groups: 0, all: 0, end_from: WAL_PAGES_MAX, turns: 0 }
    }
}

impl Progress {
    /// After one more group. No WAL: it is being copied.
    fn whose(&mut self, wal: Option<Wal>, is_idle: bool) -> Whose {
        self.groups += 1;
        let Some(Wal { all, behind }) = wal else { return Whose::Nobodys };
        let is_new = all < std::mem::replace(&mut self.all, all);
        if is_new {
            (self.end_from, self.turns) = (WAL_PAGES_MAX, 0);
        }
        let whose = if all < WAL_PAGES || behind == 0 {
            Whose::Nobodys
        } else if all >= self.end_from {
            self.turns += 1;
            if behind <= LAST_PAGES || self.turns > TURNS_MAX { Whose::Writers } else { Whose::Threads }
        } else if behind >= WAL_PAGES || is_idle && self.groups >= GROUPS_APART {
            Whose::Threads
        } else {
            Whose::Nobodys
        };
        if whose == Whose::Writers {
            // Where a reader keeps the WAL from its end it is of no use to try at once again.
            (self.end_from, self.turns) = (all + WAL_PAGES, 0);
        }
        if is_idle && whose != Whose::Nobodys {
            self.groups = 0;
        }
        whose
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
fn copy(conn: &Connection) -> Outcome<Wal> {
    ask(conn, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn look(conn: &Connection) -> Outcome<Wal> {
    ask(conn, "PRAGMA wal_checkpoint(NOOP)")
}

fn ask(conn: &Connection, checkpoint: &str) -> Result<Wal, Fault> {
    let mut statement = conn.prepare_cached(checkpoint)?;
    let of = |row: &rusqlite::Row<'_>| {
        let (all, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Wal { all, behind: all - copied })
    };
    Ok(statement.query_row((), of)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes groups of so many pages, and answers how long the WAL became and how often the writer copied. Where nobody
    /// waits the thread is done before the next group, elsewhere after so many.
    fn write(pages: i64, thread_takes: u32, is_idle: impl Fn(u32) -> bool) -> (i64, u32) {
        let (mut at, mut wal, mut longest, mut of_writer) = (Progress::default(), Wal { all: 0, behind: 0 }, 0, 0);
        let mut copying = None;
        for group in 0..10_000 {
            if wal.behind == 0 {
                wal.all = 0;
            }
            wal = Wal { all: wal.all + pages, behind: wal.behind + pages };
            longest = longest.max(wal.all);
            if let Some((_, copied)) = copying.take_if(|(done, _)| *done <= group) {
                wal.behind -= copied;
            }
            match at.whose(copying.is_none().then_some(wal), is_idle(group)) {
                Whose::Nobodys => {}
                Whose::Threads if is_idle(group) => wal.behind = 0,
                Whose::Threads => copying = Some((group + thread_takes, wal.behind)),
                Whose::Writers => (wal.behind, of_writer) = (0, of_writer + 1),
            }
        }
        (longest, of_writer)
    }

    #[test]
    fn the_writer_copies_nothing_where_it_has_moments_of_rest() {
        for (pages, rests) in [(1, 50), (14, 2), (14, 7), (14, 30), (100, 5)] {
            let (longest, of_writer) = write(pages, 3, |group| group % rests == 0);
            assert_eq!(of_writer, 0, "{pages} pages, a rest after {rests}");
            assert!(longest < WAL_PAGES_MAX, "{longest} of {pages} pages, a rest after {rests}");
        }
    }

    #[test]
    fn the_wal_has_an_end_where_it_has_none_and_the_thread_keeps_up_or_not() {
        for (pages, thread_takes) in [(1, 3), (14, 2), (60, 1), (100, 3), (400, 5), (1_500, 1)] {
            let (longest, of_writer) = write(pages, thread_takes, |_| false);
            let all = 10_000 * pages;
            let least = WAL_PAGES_MAX.max(pages);
            assert!(i64::from(of_writer) <= all / least, "{of_writer} times of {all} pages");
            let most = WAL_PAGES_MAX + i64::from(TURNS_MAX + 2) * pages * i64::from(thread_takes);
            assert!(of_writer > 0 && longest <= most, "{longest} pages, {of_writer} times");
        }
    }

    #[test]
    fn a_short_wal_stays_as_it_is() {
        let mut at = Progress { groups: GROUPS_APART, ..Progress::default() };
        assert_eq!(at.whose(Some(Wal { all: WAL_PAGES - 1, behind: WAL_PAGES - 1 }), true), Whose::Nobodys);
        assert_eq!(at.whose(Some(Wal { all: WAL_PAGES, behind: 1 }), true), Whose::Threads);
    }

    #[test]
    fn the_writer_copies_little_unless_the_thread_cannot_keep_up() {
        for come_while_a_hundred_are_copied in [0, 20, 50, 90, 100, 150] {
            let (mut at, mut wal) = (Progress::default(), Wal { all: WAL_PAGES_MAX, behind: WAL_PAGES_MAX });
            let mut turns = 0;
            while at.whose(Some(wal), false) == Whose::Threads {
                turns += 1;
                wal.behind = (wal.behind * come_while_a_hundred_are_copied / 100).max(1);
            }
            let keeps_up = come_while_a_hundred_are_copied <= 50;
            assert_eq!(wal.behind <= LAST_PAGES, keeps_up, "{wal:?} after {turns} turns");
            assert!(turns > 0 && (keeps_up || turns == TURNS_MAX), "{wal:?} after {turns} turns");
        }
    }

    #[test]
    fn a_reader_in_the_way_does_not_make_the_writer_copy_all_the_time() {
        let (mut at, mut of_writer) = (Progress::default(), 0);
        for all in WAL_PAGES_MAX..WAL_PAGES_MAX + 10 * WAL_PAGES {
            of_writer += u32::from(at.whose(Some(Wal { all, behind: 20 }), all % 3 == 0) == Whose::Writers);
        }
        assert_eq!(of_writer, 10);
    }
}
