//! A disk that loses its power.
//!
//! What is sure is what a sync covered that had come back. Of every change since then a power cut leaves what it likes:
//! all, nothing, some of it in any order, some sectors of it. A name is sure when its folder was synced. A sync that
//! failed covers nothing, and no later one makes good for it: the system takes what it could not write for written.

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::record::{Event, Of, Record};

/// What a disk writes as one.
pub const SECTOR_BYTES: usize = 512;

/// The files that a store has.
pub const FILES: [(Of, &str); 3] =
    [(Of::Database, "windlass.db"), (Of::Wal, "windlass.db-wal"), (Of::Journal, "windlass.db-journal")];

/// What a power cut does to the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are gone.
    All,
    /// None is gone, as if only the process had died.
    None,
    /// Those behind some point are gone.
    Suffix,
    /// The same, and the last one that is left is torn.
    TornSuffix,
    /// Any are gone, whatever their order.
    Reordered,
    /// Any are gone, and any are torn.
    Torn,
    /// The same, and what was never written where a file grew holds something else.
    Junk,
}

impl Loss {
    pub const ALL: [Self; 7] =
        [Self::All, Self::None, Self::Suffix, Self::TornSuffix, Self::Reordered, Self::Torn, Self::Junk];
}

/// The content of a file, or of what may become of it.
#[derive(Clone, Default)]
struct Content(Vec<u8>);

/// A file, by whatever name.
#[derive(Default)]
struct File {
    sure: Content,
    /// The entries behind it from the first that a failed sync had covered, and whether each is sure.
    doubtful: Vec<(usize, bool)>,
    /// The entries that changed it since.
    open: Vec<usize>,
    /// How many of them a sync under way covers.
    covered: usize,
}

/// A name in the data folder, and the file that it leads to.
#[derive(Default)]
struct Name {
    sure: Option<usize>,
    /// What it led to since the folder was synced, in order.
    open: Vec<Option<usize>>,
    covered: usize,
}

/// The disk as it stands after some of the record.
pub struct Disk<'a> {
    record: &'a Record,
    files: Vec<File>,
    names: [Name; 3],
    /// Whether the data folder's own name is sure.
    folder_is_sure: bool,
    folder_covered: bool,
    folder_is_made: bool,
    /// How many entries have happened.
    pub done: usize,
}

/// What is found after a power cut: the files, where there is a folder at all.
pub type Found = Option<Vec<(&'static str, Vec<u8>)>>;

impl<'a> Disk<'a> {
    pub fn new(record: &'a Record) -> Self {
        let names = Default::default();
        Self {
            record,
            files: Vec::new(),
            names,
            folder_is_sure: false,
            folder_covered: false,
            folder_is_made: false,
            done: 0,
        }
    }

    /// Goes on until that many entries have happened.
    pub fn advance(&mut self, entries: usize) {
        for entry in self.done..entries {
            self.happen(entry);
        }
        self.done = self.done.max(entries);
    }

    fn happen(&mut self, number: usize) {
        let entry = &self.record.entries[number];
        match entry.of {
            Of::Parent => match entry.event {
                Event::SyncBegan => self.folder_covered = self.folder_is_made,
                Event::Synced => self.folder_is_sure |= self.folder_covered,
                _ => {}
            },
            Of::Folder => match entry.event {
                Event::Made => self.folder_is_made = true,
                Event::Started => self.break_off(),
                Event::SyncBegan => self.names.iter_mut().for_each(|name| name.covered = name.open.len()),
                Event::Synced => self.names.iter_mut().for_each(Name::synced),
                _ => {}
            },
            of => self.file_event(of, entry.event, number),
        }
    }

    fn file_event(&mut self, of: Of, event: Event, number: usize) {
        let name = &mut self.names[place(of)];
        match event {
            Event::Made => {
                self.files.push(File::default());
                name.open.push(Some(self.files.len() - 1));
            }
            Event::Removed => name.open.push(None),
            _ => {
                let Some(file) = name.newest() else { return };
                self.files[file].happen(self.record, event, number);
            }
        }
    }

    /// The process is gone; what it had asked for and not heard of is not sure.
    fn break_off(&mut self) {
        self.files.iter_mut().for_each(|file| file.covered = 0);
        self.names.iter_mut().for_each(|name| name.covered = 0);
    }

    /// What a power cut leaves now.
    pub fn cut(&self, loss: Loss, chance: &mut SmallRng) -> Found {
        let keeps_folder = self.folder_is_sure
            || match loss {
                Loss::All => false,
                Loss::None => self.folder_is_made,
                _ => self.folder_is_made && chance.random(),
            };
        // From where on, among all changes in their order, everything is lost.
        let mut open: Vec<usize> = self.files.iter().flat_map(|file| file.open.iter().copied()).collect();
        open.sort_unstable();
        let end = if open.is_empty() { 0 } else { open[chance.random_range(0..open.len())] + 1 };
        keeps_folder.then(|| {
            let files = FILES.iter().zip(&self.names).filter_map(|((_, text), name)| {
                let file = name.after(loss, chance)?;
                Some((*text, self.files[file].after(self.record, loss, end, chance).0))
            });
            files.collect()
        })
    }
}

fn place(of: Of) -> usize {
    FILES.iter().position(|(file, _)| *file == of).expect("one of the store's files")
}

impl Name {
    fn newest(&self) -> Option<usize> {
        self.open.last().copied().unwrap_or(self.sure)
    }

    fn synced(&mut self) {
        if let Some(sure) = self.open.drain(..self.covered).next_back() {
            self.sure = sure;
        }
        self.covered = 0;
    }

    fn after(&self, loss: Loss, chance: &mut SmallRng) -> Option<usize> {
        match loss {
            Loss::All => self.sure,
            Loss::None => self.newest(),
            _ => match chance.random_range(0..=self.open.len()) {
                0 => self.sure,
                kept => self.open[kept - 1],
            },
        }
    }
}

impl File {
    fn happen(&mut self, record: &Record, event: Event, number: usize) {
        match event {
            Event::Written | Event::Cut => self.open.push(number),
            Event::SyncBegan => self.covered = self.open.len(),
            Event::Synced => self.ends_sync(record, true),
            Event::SyncFailed => self.ends_sync(record, false),
            Event::Made | Event::Removed | Event::Started => {}
        }
    }

    fn ends_sync(&mut self, record: &Record, is_sure: bool) {
        for entry in self.open.drain(..std::mem::take(&mut self.covered)) {
            if is_sure && self.doubtful.is_empty() {
                self.sure.change(record, entry, |_| true, false);
            } else {
                self.doubtful.push((entry, is_sure));
            }
        }
    }

    fn after(&self, record: &Record, loss: Loss, end: usize, chance: &mut SmallRng) -> Content {
        let mut content = self.base(record, loss, chance);
        let before_end = self.open.iter().filter(|entry| **entry < end).count();
        for (number, entry) in self.open.iter().enumerate() {
            let (kept, torn) = match loss {
                Loss::All => (false, false),
                Loss::None => (true, false),
                Loss::Suffix => (number < before_end, false),
                Loss::TornSuffix => (number < before_end, number + 1 == before_end),
                Loss::Reordered => (chance.random(), false),
                Loss::Torn | Loss::Junk => [(false, false), (true, false), (true, true)][chance.random_range(0..3)],
            };
            if kept {
                content.change(record, *entry, |_| !torn || chance.random(), loss == Loss::Junk);
            }
        }
        content
    }

    /// What is left of what syncs covered: of what one that failed had covered, anything.
    fn base(&self, record: &Record, loss: Loss, chance: &mut SmallRng) -> Content {
        let mut content = self.sure.clone();
        for (entry, is_sure) in &self.doubtful {
            let is_kept = match loss {
                _ if *is_sure => true,
                Loss::All => false,
                Loss::None => true,
                _ => record.entries[*entry].event == Event::Written || chance.random(),
            };
            if is_kept {
                let is_whole = *is_sure || loss == Loss::None;
                content.change(record, *entry, |_| is_whole || chance.random(), false);
            }
        }
        content
    }
}

impl Content {
    /// Carries out a write or a cut; of a write only the sectors that are kept.
    fn change(&mut self, record: &Record, entry: usize, mut is_kept: impl FnMut(usize) -> bool, junk: bool) {
        let entry = &record.entries[entry];
        if entry.event == Event::Cut {
            self.0.resize(entry.offset, 0);
            return;
        }
        let bytes = record.bytes(&entry.bytes);
        let end = entry.offset + bytes.len();
        if self.0.len() < end {
            // Where a file grows there may be what lay on the disk before.
            self.0.resize(end, if junk { 0xA5 } else { 0 });
        }
        let mut from = entry.offset;
        while from < end {
            let to = (from / SECTOR_BYTES + 1).saturating_mul(SECTOR_BYTES).min(end);
            if is_kept(from / SECTOR_BYTES) {
                self.0[from..to].copy_from_slice(&bytes[from - entry.offset..to - entry.offset]);
            }
            from = to;
        }
    }
}
