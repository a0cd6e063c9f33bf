//! The record: every change of the store's files and every sync, in one order, with the bytes.
//!
//! An entry is a head of 18 bytes (what happened, to what, where, how many bytes) and the bytes of a write.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::entry::{Event, Of};

static RECORD: Mutex<Option<File>> = Mutex::new(None);

/// Goes on with the record in that file.
pub fn open(path: Option<&Path>) {
    let Some(path) = path else { return };
    let file = File::options().append(true).create(true).open(path).expect("the test has a folder for it");
    // Not to be mistaken for a file of the host, and nothing that it counts on.
    crate::names::set_fd(file.as_raw_fd(), None);
    let mut turn = turn();
    turn.0.replace(file);
    turn.note(Event::Started, Of::Folder, 0, &[]);
}

/// The right to change a file and to write that down, as one step.
pub struct Turn(MutexGuard<'static, Option<File>>);

/// Waits for it.
pub fn turn() -> Turn {
    Turn(RECORD.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Turn {
    /// Writes down what happened.
    pub fn note(&mut self, event: Event, of: Of, offset: i64, bytes: &[u8]) {
        if of == Of::Index {
            return;
        }
        let Some(file) = self.0.as_mut() else { return };
        let mut entry = vec![event as u8, of as u8];
        entry.extend(offset.to_le_bytes());
        entry.extend((bytes.len() as u64).to_le_bytes());
        entry.extend(bytes);
        file.write_all(&entry).expect("the record can be written");
    }
}
