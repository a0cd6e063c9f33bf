//! By what a changed file is known.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// What changes when a file is written, replaced, or made another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print([i64; 7]);

impl Print {
    /// The print of a file; nothing where there is none.
    pub(super) fn of(file: std::io::Result<Metadata>) -> Option<Self> {
        let meta = file.ok()?;
        let whole = |number: u64| number.cast_signed();
        Some(Self([
            whole(meta.ino()),
            whole(meta.size()),
            i64::from(meta.mode()) << 32 | i64::from(meta.uid()),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ]))
    }
}
