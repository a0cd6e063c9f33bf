//! What a test can wish for. The library and the tests have this file in common.

/// The numbers on the page, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Wish {
    /// By how many nanoseconds the wall clock is ahead.
    WallNs = 0,
    /// By how many nanoseconds the monotonic clock is ahead.
    SteadyNs = 1,
    /// The sync of the store that fails, counted down to 1; 0: none.
    SyncFails = 2,
    /// The write to the store that fails, counted down to 1; 0: none.
    WriteFails = 3,
    /// With what error.
    Errno = 4,
    /// Not 0: half of the write that fails is written before.
    Short = 5,
    /// Not 0: no file of the store may grow, and none may be made.
    Full = 6,
    /// Not 0: no file of the store may be changed.
    ReadOnly = 7,
    /// How many microseconds a sync takes longer.
    SyncUs = 8,
    /// How many syncs there were.
    Syncs = 9,
    /// How many writes there were.
    Writes = 10,
    /// Not 0: only syncs of that file fail: 1 is the database, 2 the WAL, 3 the folder, 7 a copy.
    SyncOf = 11,
    /// No component can be looked at (1), or no file of signatures (2).
    LooksFail = 12,
    /// How many nanoseconds the machine was asleep: the clock that counts sleep is ahead by so much, the monotonic one is not.
    AsleepNs = 13,
}
