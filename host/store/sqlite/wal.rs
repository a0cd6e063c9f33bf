//! The write-ahead log as it lies on the disk, looked over before anybody opens it.
//!
//! SQLite takes a log up to the first frame that does not fit its checksum, and drops what follows without a word: that is
//! how the end of a log looks after a crash. In the middle of one it is damage, and what follows was promised.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::open::{beside, existing};

mod log;

use log::{Database, Frame, Log};

/// How much of a log is written once more at a time, in bytes.
const PART: usize = 1 << 20;

/// What the file's header says, where SQLite has room for the id of an application, while a host has it whose commits do
/// not wait for the disk.
const RELAXED: u32 = 0x574c_7278;
/// Where in the header.
const APPLICATION_ID: u64 = 68;

/// What a look at the log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wal {
    /// There is none.
    Absent,
    /// Everything in it can be read; that many pages.
    Whole(usize),
    /// It ends in a transaction of which a part is missing, as a power cut leaves one that was not acknowledged.
    Torn,
    /// It breaks off before transactions that nobody waited to have on the disk.
    Unsynced {
        /// The first frame that cannot be read, from 1.
        frame: usize,
    },
    /// It is damaged.
    Broken {
        /// The first frame that cannot be read, from 1.
        frame: usize,
        /// How many transactions behind it can be seen.
        behind: usize,
    },
    /// Its header is damaged, so that SQLite takes none of it.
    Headless {
        /// How many transactions behind it can be seen.
        behind: usize,
    },
}

impl Wal {
    /// Whether what lies behind the first frame that cannot be read is not to be read either.
    fn breaks_off(self) -> bool {
        matches!(self, Self::Torn | Self::Unsynced { .. })
    }

    /// What is wrong with it, for people; none where it is whole, or torn as crashes tear it.
    pub(super) fn damage(self) -> Option<String> {
        match self {
            Self::Absent | Self::Whole(_) | Self::Torn | Self::Unsynced { .. } => None,
            Self::Broken { frame, behind } => Some(format!(
                "its write-ahead log is damaged at frame {frame}, with {behind} transactions behind it that were promised"
            )),
            Self::Headless { behind } => Some(format!(
                "the beginning of its write-ahead log is damaged, with {behind} transactions behind it that were promised"
            )),
        }
    }
}

/// Looks over the log beside that store.
pub(super) fn inspect(store: &Path) -> io::Result<Wal> {
    let Some(log) = Log::open(store)? else {
        // An empty one is one that was begun anew.
        return Ok(if beside(store, "-wal").exists() { Wal::Whole(0) } else { Wal::Absent });
    };
    // A power cut while it is begun anew tears its beginning: then all that is behind it was copied before.
    if !log.has_header && log.is_copied(store)? {
        return Ok(Wal::Whole(0));
    }
    let (mut sound, mut committed, mut behind, mut first_bad, mut slot) = (0, 0, 0, None, 0);
    log.each(store, |frame| {
        slot += 1;
        let commits = frame.as_ref().is_some_and(|frame| frame.pages_after > 0);
        if frame.as_ref().is_none_or(|frame| !frame.is_in_log) {
            first_bad.get_or_insert(slot);
        }
        if first_bad.is_none() {
            sound += 1;
            committed = if commits { sound } else { committed };
        } else if frame.is_some_and(|frame| frame.is_sound) {
            behind += usize::from(commits);
        }
        Ok(())
    })?;
    if !log.has_header {
        return Ok(Wal::Headless { behind });
    }
    let promised = log.promised(store);
    Ok(if behind > 1 || promised.is_some_and(|promised| promised > committed) {
        let frame = first_bad.unwrap_or(slot + 1);
        if is_relaxed(store)? { Wal::Unsynced { frame } } else { Wal::Broken { frame, behind } }
    } else if behind == 1 && promised.is_none() {
        Wal::Torn
    } else {
        Wal::Whole(sound)
    })
}

/// Whether there is a log with pages in it, and nothing in the file that it belongs to. No store is like that by itself: the
/// first page is in the file, and synced, before there is a log.
pub(super) fn is_alone(store: &Path) -> io::Result<bool> {
    let length = |path: &Path| match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        it => it.map(|it| it.len()),
    };
    Ok(length(store)? == 0 && length(&beside(store, "-wal"))? > log::HEADER as u64)
}

/// Has the file say, from the next commit on, whether the commits behind that wait for the disk.
pub(super) fn mark_relaxed(conn: &Connection, is_relaxed: bool) -> rusqlite::Result<()> {
    let id = if is_relaxed { RELAXED } else { 0 };
    let told: u32 = conn.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    if told == id { Ok(()) } else { conn.pragma_update(None, "application_id", id) }
}

/// Whether the file says so.
fn is_relaxed(store: &Path) -> io::Result<bool> {
    let mut id = [0; 4];
    Ok(Database::open(store)?.read(&mut id, APPLICATION_ID)? && u32::from_be_bytes(id) == RELAXED)
}

/// The pages that the log adds to the file, in order, up to its last transaction: all that can be read.
fn frames(store: &Path, breaks_off: bool, mut take: impl FnMut(&Frame) -> io::Result<()>) -> io::Result<()> {
    let Some(log) = Log::open(store)? else { return Ok(()) };
    let mut open: Vec<Frame> = Vec::new();
    let mut broken = false;
    log.each(store, |frame| {
        broken |= frame.as_ref().is_none_or(|frame| !frame.is_in_log);
        let Some(frame) = frame.filter(|frame| frame.is_sound) else { return Ok(()) };
        if broken && breaks_off {
            return Ok(());
        }
        let commits = frame.pages_after > 0;
        open.push(frame);
        if commits { open.drain(..).try_for_each(|frame| take(&frame)) } else { Ok(()) }
    })
}

/// Copies a store that nobody uses into one file, with the pages of its log in their places.
pub(super) fn copy(store: &Path, log: Wal, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).open(to)?;
    if let Some(mut from) = existing(File::open(store))? {
        io::copy(&mut from, &mut to)?;
    }
    let (mut page_size, mut pages) = (0, 0);
    frames(store, log.breaks_off(), |frame| {
        page_size = frame.content.len() as u64;
        pages = if frame.pages_after > 0 { frame.pages_after } else { pages };
        to.write_all_at(&frame.content, u64::from(frame.page.saturating_sub(1)) * page_size)
    })?;
    if pages > 0 {
        to.set_len(u64::from(pages) * page_size)?;
    }
    Ok(())
}

/// Writes what the log beside that store holds to where it is, and syncs it.
pub(super) fn write_once_more(store: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(beside(store, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let (length, mut part, mut from) = (file.metadata()?.len(), vec![0; PART], 0);
    while from < length {
        let part = &mut part[..PART.min(usize::try_from(length - from).unwrap_or(PART))];
        file.read_exact_at(part, from)?;
        file.write_all_at(part, from)?;
        from += part.len() as u64;
    }
    if length > 0 { file.sync_data() } else { Ok(()) }
}
