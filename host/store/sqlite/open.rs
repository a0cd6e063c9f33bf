//! Opening the file: one owner, the right settings, the known layout.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use crate::config::disk;
use crate::store::StoreError;

/// The layouts, in order. The file's `user_version` says how many of them it has.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_jobs.sql"),
    include_str!("../migrations/0002_downstreams.sql"),
    include_str!("../migrations/0003_limits.sql"),
];
/// Older versions can corrupt a WAL when it is reset (fixed in 3.51.3).
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a write waits for a foreign process that writes to the file, an operator's shell for instance.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// The right of one process to a store's file, until it is dropped.
#[derive(Debug)]
pub(super) struct Ownership {
    _lock: File,
}

/// Makes a [`StoreError::Open`] for a path.
pub(super) fn refusal(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Open { place: path.display().to_string(), reason: reason.to_string() }
}

/// Takes the file for this process; refuses at once where another one has it. Creates the folder.
pub(super) fn own(path: &Path) -> Result<Ownership, StoreError> {
    make_folder(disk::folder_of(path)).map_err(|error| refusal(path, error))?;
    let lock_path = beside(path, ".lock");
    let lock = disk::open_private(&lock_path).map_err(|error| refusal(&lock_path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Ownership { _lock: lock }),
        Err(TryLockError::WouldBlock) => {
            Err(refusal(path, "another windlass is using it; stop that one, or give this one its own data folder"))
        }
        Err(TryLockError::Error(error)) => Err(refusal(&lock_path, error)),
    }
}

/// Opens the file for writing, and brings it to the newest layout.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        let reason = format!("SQLite {} is too old: at least 3.51.3 is needed", rusqlite::version());
        return Err(refusal(path, reason));
    }
    // Created here and not by SQLite, so that nobody else can ever read it; its WAL takes over the mode.
    disk::open_private(path).map_err(|error| refusal(path, error))?;
    let mut conn = connect(path).map_err(|error| refusal(path, error))?;
    prepare(&mut conn).map_err(|reason| refusal(path, reason))?;
    disk::sync_folder_of(path).map_err(|error| refusal(path, error))?;
    Ok(conn)
}

/// Opens the file for reading.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(path)?;
    leave_to_others(&conn)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into()))?;
    conn.execute_batch("PRAGMA query_only = 1; PRAGMA cache_size = -2000; PRAGMA wal_autocheckpoint = 0;")?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

/// Opens the file for copying the WAL back into it.
pub(super) fn copier(path: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(path)?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
    leave_to_others(&conn)?;
    Ok(conn)
}

/// The connection does not copy the WAL back when it is the last to be closed.
pub(super) fn leave_to_others(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Settings and layout.
fn prepare(conn: &mut Connection) -> Result<(), String> {
    let plain = |error: rusqlite::Error| Fault::from(error).advice();
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into())).map_err(plain)?;
    let version: u32 = conn.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(plain)?;
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(plain)?;
    if version == 0 && tables > 0 {
        return Err("it is an SQLite file, but not a windlass store".to_owned());
    }
    let (version, known) = (version as usize, MIGRATIONS.len());
    if version > known {
        return Err(format!("its layout is number {version}, and this windlass knows up to {known}: use a newer one"));
    }
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)).map_err(plain)?;
    if mode != "wal" {
        return Err(format!("its journal cannot be a WAL (it stays {mode:?}); is it on a network disk?"));
    }
    // FULL: each commit syncs. Checkpoints are our own affair (`checkpoint`), so that a failure of one is seen. The WAL is
    // never truncated: overwriting a file is cheaper than growing it.
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16000; \
         PRAGMA temp_store = MEMORY;",
    )
    .map_err(plain)?;
    if !write_anew(conn).map_err(plain)? {
        return Err("another process is reading it, an sqlite3 shell for instance; let it end first".to_owned());
    }
    conn.set_prepared_statement_cache_capacity(64);
    for (index, layout) in MIGRATIONS.iter().enumerate().skip(version) {
        let step = conn.transaction().map_err(plain)?;
        step.execute_batch(layout).map_err(plain)?;
        let version = u32::try_from(index + 1).map_err(|error| error.to_string())?;
        step.pragma_update(None, "user_version", version).map_err(plain)?;
        step.commit().map_err(plain)?;
    }
    Ok(())
}

/// Copies back what an earlier process left in the WAL, and begins it anew. A sync may have failed that process, and what
/// the system could not write then it takes for written now: no later sync would bring it to the disk, and all that was
/// built on it would go with it. Copied, it is written once more and synced. False where a foreign reader is in the way.
fn write_anew(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// Makes the folder where it is missing, and those that it lies in, and makes sure that a power cut does not take away
/// their names.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.into_iter().rev().try_for_each(disk::sync_folder_of)
}

/// The path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
