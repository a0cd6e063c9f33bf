//! The write-ahead log as it lies on the disk, looked over before anybody opens it.
//!
//! SQLite takes a log up to the first frame that does not fit its checksum, and drops what follows without a word: that is
//! how the end of a log looks after a crash. In the middle of one it is damage, and what follows was promised.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;

use super::open::beside;
use crate::clock::{self, UnixMs};

const HEADER: usize = 32;
const FRAME: usize = 24;
/// How much of a log is written once more at a time, in bytes.
const PART: usize = 1 << 20;
/// The word that a log begins with; one more where its sums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// Where the log's index says how many frames there are, in each of its two headers.
const INDEX_HEADER: usize = 48;

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
    /// Its beginning is damaged, so that none of it counts.
    Headless,
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
            Self::Headless => {
                Some("the beginning of its write-ahead log is damaged, so that none of it counts".to_owned())
            }
        }
    }
}

/// A page that the log holds.
struct Frame {
    /// Its number, from 1.
    page: u32,
    /// How many pages the file has after the transaction that this frame ends; 0: it ends none.
    pages_after: u32,
    /// Whether it can be read where it is. SQLite takes neither one that cannot, nor any behind it.
    is_in_log: bool,
    /// Whether its content is known, be it from the file alone.
    is_sound: bool,
    content: Vec<u8>,
}

/// Looks over the log beside that store.
pub(super) fn inspect(store: &Path) -> io::Result<Wal> {
    let Some(log) = Log::open(store)? else {
        // An empty one is one that was begun anew.
        return Ok(if beside(store, "-wal").exists() { Wal::Whole(0) } else { Wal::Absent });
    };
    if log.salts.is_none() {
        // A power cut while it is begun anew tears its beginning: then all that is behind it was copied before.
        return Ok(if log.is_copied(store)? { Wal::Whole(0) } else { Wal::Headless });
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

/// Has the file say, from the next commit on, whether the commits behind that wait for the disk.
pub(super) fn mark_relaxed(conn: &Connection, is_relaxed: bool) -> rusqlite::Result<()> {
    let id = if is_relaxed { RELAXED } else { 0 };
    let told: u32 = conn.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    if told == id { Ok(()) } else { conn.pragma_update(None, "application_id", id) }
}

/// Whether the file says so.
fn is_relaxed(store: &Path) -> io::Result<bool> {
    let mut id = [0; 4];
    match File::open(store)?.read_exact_at(&mut id, APPLICATION_ID) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| u32::from_be_bytes(id) == RELAXED),
    }
}

/// The pages that the log adds to the file, in order, up to its last transaction: all that can be read.
fn frames(store: &Path, breaks_off: bool, mut take: impl FnMut(&Frame) -> io::Result<()>) -> io::Result<()> {
    let Some(log) = Log::open(store)?.filter(|log| log.salts.is_some()) else { return Ok(()) };
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
    let mut from = File::open(store)?;
    let mut to = OpenOptions::new().write(true).open(to)?;
    io::copy(&mut from, &mut to)?;
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

struct Log {
    file: File,
    page_size: usize,
    is_big_endian: bool,
    /// None: the header is damaged.
    salts: Option<[u8; 8]>,
    seed: (u32, u32),
}

impl Log {
    fn open(store: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(beside(store, "-wal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut header = [0; HEADER];
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        let whole = file.read_exact_at(&mut header, 0).is_ok();
        let is_big_endian = word(&header, 0) == MAGIC | 1;
        let seed = sum(is_big_endian, (0, 0), &header[..24]);
        let page_size = word(&header, 8) as usize;
        let is_sound = whole
            && word(&header, 0) & !1 == MAGIC
            && seed == (word(&header, 24), word(&header, 28))
            && page_size.is_power_of_two()
            && (512..=65_536).contains(&page_size);
        let salts = is_sound.then(|| header[16..24].try_into().expect("eight bytes"));
        Ok(Some(Self { file, page_size, is_big_endian, salts, seed }))
    }

    /// Goes over the places for frames. None: what is there is of an earlier log.
    fn each(&self, store: &Path, mut see: impl FnMut(Option<Frame>) -> io::Result<()>) -> io::Result<()> {
        let database = File::open(store)?;
        let (mut buffer, mut seed) = (vec![0; FRAME + self.page_size], self.seed);
        let length = buffer.len() as u64;
        let places = self.file.metadata()?.len().saturating_sub(HEADER as u64) / length;
        for place in 0..places {
            self.file.read_exact_at(&mut buffer, HEADER as u64 + place * length)?;
            let told = (word(&buffer, 16), word(&buffer, 20));
            if self.salts.is_none_or(|salts| buffer[8..16] != salts) {
                see(None)?;
                continue;
            }
            let (page, pages_after) = (word(&buffer, 0), word(&buffer, 4));
            let of = |head: &[u8], content: &[u8]| {
                let head = sum(self.is_big_endian, seed, head);
                sum(self.is_big_endian, head, content)
            };
            let mut content = buffer[FRAME..].to_vec();
            let is_in_log = of(&buffer[..8], &content) == told;
            let mut is_sound = is_in_log;
            if !is_sound && page > 0 {
                // Was it copied into the file already, then the file has what the log has lost.
                let from = u64::from(page - 1) * self.page_size as u64;
                is_sound = database.read_exact_at(&mut content, from).is_ok() && of(&buffer[..8], &content) == told;
            }
            seed = told;
            see(Some(Frame { page, pages_after, is_in_log, is_sound, content }))?;
        }
        Ok(())
    }

    /// Whether the file has all that a log without a beginning holds, by the order of its frames and their sums.
    fn is_copied(&self, store: &Path) -> io::Result<bool> {
        let database = File::open(store)?;
        let mut header = [0; 18];
        if database.read_exact_at(&mut header, 0).is_err() {
            return Ok(false);
        }
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        let length = (FRAME + page_size) as u64;
        let places = self.file.metadata()?.len().saturating_sub(HEADER as u64) / length;
        let (mut frame, mut first) = (vec![0; FRAME + page_size], None);
        // Where each page is last, as of the last transaction that is whole.
        let (mut newest, mut open, mut pages) = (HashMap::new(), Vec::new(), 0);
        for place in 0..places {
            self.file.read_exact_at(&mut frame, HEADER as u64 + place * length)?;
            let (page, told) = (word(&frame, 0), (word(&frame, 16), word(&frame, 20)));
            let (salts, mut seed) = *first.get_or_insert((<[u8; 8]>::try_from(&frame[8..16]).expect("eight"), told));
            if frame[8..16] != salts {
                break;
            }
            seed = sum(cfg!(target_endian = "big"), seed, &frame[..8]);
            // The sum of the first one begins with what is lost.
            if page == 0 || place > 0 && sum(cfg!(target_endian = "big"), seed, &frame[FRAME..]) != told {
                return Ok(false);
            }
            first = Some((salts, told));
            open.push((page, place));
            if word(&frame, 4) > 0 {
                pages = word(&frame, 4);
                newest.extend(open.drain(..));
            }
        }
        let mut copied = vec![0; page_size];
        for (page, place) in newest.into_iter().filter(|(page, _)| *page <= pages) {
            self.file.read_exact_at(&mut frame, HEADER as u64 + place * length)?;
            let is_read = database.read_exact_at(&mut copied, u64::from(page - 1) * page_size as u64).is_ok();
            if !is_read || frame[FRAME..] != copied {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many frames a host that died, and not the machine, knew to be on disk: its index of the log says so. One that
    /// was written before the machine was started says nothing: an opening that failed as the disk did can have counted
    /// in it what never came to the disk.
    fn promised(&self, store: &Path) -> Option<usize> {
        let mut headers = [0; 2 * INDEX_HEADER];
        let index = File::open(beside(store, "-shm")).ok()?;
        let written =
            index.metadata().and_then(|it| it.modified()).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        if UnixMs(0).after(written) < clock::machine_started_at() {
            return None;
        }
        index.read_exact_at(&mut headers, 0).ok()?;
        let (one, other) = headers.split_at(INDEX_HEADER);
        let native = |at: usize| u32::from_ne_bytes([one[at], one[at + 1], one[at + 2], one[at + 3]]);
        let is_this_logs = one == other && self.salts.is_some_and(|salts| one[32..40] == salts);
        is_this_logs.then(|| native(16) as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The log's own checksum, which goes on from frame to frame.
fn sum(is_big_endian: bool, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let read = |four: &[u8]| {
        let four = [four[0], four[1], four[2], four[3]];
        if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for eight in bytes.chunks_exact(8) {
        first = first.wrapping_add(read(&eight[..4])).wrapping_add(second);
        second = second.wrapping_add(read(&eight[4..])).wrapping_add(first);
    }
    (first, second)
}
