//! What an entry of the record tells. The library and the tests have this file in common.

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    Made = 1,
    Written = 2,
    Cut = 3,
    SyncBegan = 4,
    Synced = 5,
    SyncFailed = 6,
    Removed = 7,
    /// The program was started.
    Started = 8,
}

/// What it happened to: a file or a folder of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Of {
    Database = 1,
    Wal = 2,
    /// The data folder.
    Folder = 3,
    /// The folder that the data folder lies in.
    Parent = 4,
    /// What is made anew at each start, and matters only where a disk is full. It is not recorded.
    Index = 5,
    /// Of the one transaction before there is a WAL.
    Journal = 6,
    /// A new file in the making: a backup, or what was salvaged.
    Copy = 7,
}

impl Of {
    /// The one with that number.
    pub fn numbered(number: u8) -> Option<Self> {
        let all = [Self::Database, Self::Wal, Self::Folder, Self::Parent, Self::Index, Self::Journal, Self::Copy];
        all.into_iter().find(|of| *of as u8 == number)
    }
}
