//! The record of what a host did to its store's files, as `tests/trouble` wrote it down.

use std::ops::Range;

/// What happened, as `tests/trouble/src/record.rs` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Made,
    Written,
    Cut,
    SyncBegan,
    Synced,
    SyncFailed,
    Removed,
    Started,
}

/// What it happened to, as `tests/trouble/src/names.rs` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Database,
    Wal,
    Folder,
    Parent,
    Journal,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Entry {
    pub event: Event,
    pub of: Of,
    pub offset: usize,
    /// The bytes of a write, in the record.
    pub bytes: Range<usize>,
}

/// The whole of it.
pub struct Record {
    bytes: Vec<u8>,
    pub entries: Vec<Entry>,
}

const HEAD_BYTES: usize = 18;

impl Record {
    pub fn read(bytes: Vec<u8>) -> Self {
        let (mut entries, mut at) = (Vec::new(), 0);
        // A host that was killed may have left half an entry at the end, of which nobody was told.
        while at + HEAD_BYTES <= bytes.len() {
            let number = |from: usize| {
                let number = bytes[from..from + 8].try_into().expect("eight bytes");
                usize::try_from(u64::from_le_bytes(number)).expect("a length")
            };
            let (from, length) = (at + HEAD_BYTES, number(at + 10));
            if from + length > bytes.len() {
                break;
            }
            let (event, of) = (event(bytes[at]), of(bytes[at + 1]));
            entries.push(Entry { event, of, offset: number(at + 2), bytes: from..from + length });
            at = from + length;
        }
        Self { bytes, entries }
    }

    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// All of it, as it was written down.
    pub fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// Where an entry begins.
    pub fn position(&self, entry: usize) -> u64 {
        let begins = self.entries.get(entry).map_or(self.bytes.len(), |entry| entry.bytes.start - HEAD_BYTES);
        begins as u64
    }

    /// The first entry that is not wholly before that position.
    pub fn first_behind(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.bytes.end as u64 <= position)
    }

    /// The same record without the syncs that are not to count.
    pub fn without_syncs(&self, mut is_left_out: impl FnMut(&Self, usize) -> bool) -> Self {
        let mut entries = self.entries.clone();
        for (number, entry) in entries.iter_mut().enumerate() {
            if entry.event == Event::Synced && is_left_out(self, number) {
                entry.event = Event::Started;
            }
        }
        Self { bytes: self.bytes.clone(), entries }
    }
}

fn event(code: u8) -> Event {
    match code {
        1 => Event::Made,
        2 => Event::Written,
        3 => Event::Cut,
        4 => Event::SyncBegan,
        5 => Event::Synced,
        6 => Event::SyncFailed,
        7 => Event::Removed,
        8 => Event::Started,
        other => panic!("the record has no event {other}"),
    }
}

fn of(code: u8) -> Of {
    match code {
        1 => Of::Database,
        2 => Of::Wal,
        3 => Of::Folder,
        4 => Of::Parent,
        6 => Of::Journal,
        other => panic!("the record has no file {other}"),
    }
}
