//! The record of what a host did to its store's files, as `tests/trouble` wrote it down.

use std::ops::Range;

#[path = "../trouble/src/entry.rs"]
mod entry;

pub use entry::{Event, Of};

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

    /// The same record as if nothing had been synced.
    pub fn without_syncs(&self) -> Self {
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| entry.event == Event::Synced) {
            entry.event = Event::Started;
        }
        Self { bytes: self.bytes.clone(), entries }
    }
}

fn event(code: u8) -> Event {
    let all = [
        Event::Made,
        Event::Written,
        Event::Cut,
        Event::SyncBegan,
        Event::Synced,
        Event::SyncFailed,
        Event::Removed,
        Event::Started,
    ];
    let event = all.into_iter().find(|event| *event as u8 == code);
    event.unwrap_or_else(|| panic!("the record has no event {code}"))
}

fn of(code: u8) -> Of {
    let of = Of::numbered(code).filter(|of| *of != Of::Index);
    of.unwrap_or_else(|| panic!("the record has no file {code}"))
}
