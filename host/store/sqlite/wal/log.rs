//! The log's own format, see <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use crate::clock::{self, UnixMs};
use crate::store::sqlite::open::{beside, existing};

/// How long a log without a page is.
pub(super) const HEADER: usize = 32;
const FRAME: usize = 24;
/// The word that a log begins with; one more where its sums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// The log's index begins with two headers of this size.
const INDEX_HEADER: usize = 48;

/// What tells the frames of a log from those that an earlier one left behind them.
type Salts = [u8; 8];

/// A page that the log holds.
pub(super) struct Frame {
    /// Its number, from 1.
    pub page: u32,
    /// How many pages the file has after the transaction that this frame ends; 0: it ends none.
    pub pages_after: u32,
    /// Whether it can be read where it is. SQLite takes neither one that cannot, nor any behind it.
    pub is_in_log: bool,
    /// Whether its content is known, be it from the file alone. One whose sum begins with what is lost is taken as it is:
    /// the rows on it have sums of their own.
    pub is_sound: bool,
    pub content: Vec<u8>,
}

/// The file that a log belongs to, which may be gone.
pub(super) struct Database(Option<File>);

impl Database {
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        existing(File::open(store)).map(Self)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| file.metadata().map(|it| it.len()))
    }

    /// Whether all of that is there and can be read.
    fn has(&self, bytes: &mut [u8], at: u64) -> bool {
        self.read(bytes, at).unwrap_or(false)
    }

    /// Whether all of that is there.
    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<bool> {
        let Some(file) = &self.0 else { return Ok(false) };
        match file.read_exact_at(bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| true),
        }
    }
}

/// The log beside a store.
pub(super) struct Log {
    file: File,
    /// Whether its header can be read. SQLite takes nothing of a log without one.
    pub has_header: bool,
    page_size: usize,
    is_big_endian: bool,
    salts: Salts,
    /// What the first frame's sum begins with. None: it is lost with the header.
    seed: Option<(u32, u32)>,
}

impl Log {
    /// None: there is none, or an empty one.
    pub fn open(store: &Path) -> io::Result<Option<Self>> {
        let Some(file) = existing(File::open(beside(store, "-wal")))? else { return Ok(None) };
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        let whole = file.read_exact_at(&mut header, 0).is_ok();
        let is_big_endian = word(&header, 0) == MAGIC | 1;
        let seed = sum(is_big_endian, (0, 0), &header[..24]);
        let page_size = word(&header, 8) as usize;
        let has_header = whole
            && word(&header, 0) & !1 == MAGIC
            && seed == (word(&header, 24), word(&header, 28))
            && page_size.is_power_of_two()
            && (512..=65_536).contains(&page_size);
        if !has_header {
            return Self::without_header(file, store).map(Some);
        }
        Ok(Some(Self { file, has_header, page_size, is_big_endian, salts: salts(&header, 16), seed: Some(seed) }))
    }

    /// What the header said, from elsewhere: the size of pages from the store's file, the order of bytes from this machine,
    /// the salts from the index, where any frame has these, or else from the first frame.
    fn without_header(file: File, store: &Path) -> io::Result<Self> {
        let page_size = page_size(store)?;
        let mut log = Self {
            file,
            has_header: false,
            page_size,
            is_big_endian: cfg!(target_endian = "big"),
            salts: Salts::default(),
            seed: None,
        };
        let mut head = [0; FRAME];
        let (mut first, index) = (None, index(store).map(|header| salts(&header, 32)));
        for at in log.places()? {
            log.file.read_exact_at(&mut head, at)?;
            let salts = salts(&head, 8);
            first.get_or_insert(salts);
            if index == Some(salts) {
                return Ok(Self { salts, ..log });
            }
        }
        log.salts = first.unwrap_or_default();
        Ok(log)
    }

    /// Where there is room for frames.
    fn places(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let length = (FRAME + self.page_size) as u64;
        let places = self.file.metadata()?.len().saturating_sub(HEADER as u64) / length;
        Ok((0..places).map(move |place| HEADER as u64 + place * length))
    }

    /// Goes over the places for frames. None: what is there is of an earlier log.
    pub fn each(&self, store: &Path, mut see: impl FnMut(Option<Frame>) -> io::Result<()>) -> io::Result<()> {
        let database = Database::open(store)?;
        let (mut buffer, mut seed) = (vec![0; FRAME + self.page_size], self.seed);
        // No page has a larger number: each that the file gains has a frame.
        let pages_max = database.length()? / self.page_size as u64 + 1 + self.places()?.count() as u64;
        for at in self.places()? {
            self.file.read_exact_at(&mut buffer, at)?;
            if salts(&buffer, 8) != self.salts {
                seed = None;
                see(None)?;
                continue;
            }
            let (page, pages_after, told) =
                (word(&buffer, 0), word(&buffer, 4), (word(&buffer, 16), word(&buffer, 20)));
            let fits = |content: &[u8]| {
                let summed = |seed| sum(self.is_big_endian, sum(self.is_big_endian, seed, &buffer[..8]), content);
                seed.map(|seed| summed(seed) == told)
            };
            let mut content = buffer[FRAME..].to_vec();
            let fits_here = fits(&content);
            // There is no page 0, whatever its sum says.
            let is_in_log = self.has_header && page > 0 && fits_here == Some(true);
            let mut is_sound = page > 0 && fits_here.unwrap_or(u64::from(page.max(pages_after)) <= pages_max);
            if !is_sound && page > 0 {
                // Was it copied into the file already, then the file has what the log has lost.
                let from = u64::from(page - 1) * self.page_size as u64;
                is_sound = database.has(&mut content, from) && fits(&content) == Some(true);
            }
            seed = Some(told);
            see(Some(Frame { page, pages_after, is_in_log, is_sound, content }))?;
        }
        Ok(())
    }

    /// Whether the file has all that a log without a header holds.
    pub fn is_copied(&self, store: &Path) -> io::Result<bool> {
        // Where each page is last, as of the last transaction that is whole.
        let (mut newest, mut open, mut pages) = (HashMap::new(), Vec::new(), 0);
        let (mut place, mut is_sound, mut is_over) = (0, true, false);
        self.each(store, |frame| {
            match frame {
                Some(frame) if !is_over => {
                    is_sound &= frame.is_sound;
                    open.push((frame.page, place));
                    if frame.pages_after > 0 {
                        pages = frame.pages_after;
                        newest.extend(open.drain(..));
                    }
                }
                Some(_) => {}
                None => {
                    // One whose first frame is not its own has lost that.
                    is_sound &= place > 0;
                    is_over = true;
                }
            }
            place += 1;
            Ok(())
        })?;
        if !is_sound {
            return Ok(false);
        }
        let database = Database::open(store)?;
        let (mut logged, mut copied) = (vec![0; self.page_size], vec![0; self.page_size]);
        for (page, place) in newest.into_iter().filter(|(page, _)| *page <= pages) {
            let at = HEADER + place * (FRAME + self.page_size) + FRAME;
            self.file.read_exact_at(&mut logged, at as u64)?;
            let is_read = database.has(&mut copied, u64::from(page - 1) * self.page_size as u64);
            if !is_read || logged != copied {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many frames a host that died, and not the machine, knew to be on disk: its index of the log says so.
    pub fn promised(&self, store: &Path) -> Option<usize> {
        let header = index(store).filter(|header| salts(header, 32) == self.salts)?;
        Some(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]) as usize)
    }
}

/// The header of the log's index, where its two copies are one. One that was written before the machine was started says
/// nothing: an opening that failed as the disk did can have counted in it what never came to the disk.
fn index(store: &Path) -> Option<[u8; INDEX_HEADER]> {
    let mut headers = [0; 2 * INDEX_HEADER];
    let index = File::open(beside(store, "-shm")).ok()?;
    let written = index.metadata().and_then(|it| it.modified()).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    if UnixMs(0).after(written) < clock::machine_started_at() {
        return None;
    }
    index.read_exact_at(&mut headers, 0).ok()?;
    let (one, other) = headers.split_at(INDEX_HEADER);
    (one == other).then(|| one.try_into().expect("its size"))
}

/// How large the pages of a store are, by its file.
fn page_size(store: &Path) -> io::Result<usize> {
    let mut header = [0; 18];
    let is_read = Database::open(store)?.has(&mut header, 0);
    Ok(match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size if is_read && size.is_power_of_two() && size >= 512 => size.into(),
        // Whatever the file has lost, it had what every store has.
        _ => 4_096,
    })
}

fn salts(bytes: &[u8], at: usize) -> Salts {
    bytes[at..at + 8].try_into().expect("eight bytes")
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
