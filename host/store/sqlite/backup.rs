//! A copy of the store as it is at one moment, beside a host that goes on writing.
//!
//! SQLite's own backup copies the pages in one go, in one read transaction. `VACUUM INTO` would read row by row and hold
//! its transaction several times as long, and a copy in steps begins anew with each foreign write, so that under load it
//! never ends.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::new_file::NewFile;
use super::wal::{self, Wal};
use super::{layout, open};
use crate::store::StoreError;

/// How long to wait for a lock that a checkpoint or an opening holds for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a backup made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BackedUp {
    /// The copy.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// How many jobs are in it.
    pub jobs: u64,
    /// How many of them are not final.
    pub unfinished: u64,
}

/// Copies the store into a new file, which must not be there yet, and looks the copy over before it gets its name. Works
/// beside a host that uses the store, and without one.
///
/// # Errors
/// [`StoreError::Open`] where there is no store, or it is empty or damaged; [`StoreError::Unwritten`] where the copy cannot be
/// written.
pub fn backup(store: &Path, to: &Path) -> Result<BackedUp, StoreError> {
    let unread = |error: std::io::Error| open::refusal(store, error);
    let store = &open::behind_links(store);
    open::refuse_no_file(store)?;
    open::refuse_lone_log(store)?;
    store.metadata().map_err(unread)?;
    let unwritten = |error: std::io::Error| open::unwritten(to, &error);
    let file = NewFile::begin(to).map_err(unwritten)?;
    let is_log_gone = match open::user(store).map_err(unread)? {
        open::User::Host => {
            copy_pages(store, &file)?;
            false
        }
        // As long as it lives no host begins to write to what is copied.
        open::User::Nobody { .. } => {
            open::refuse_empty(store)?;
            let log = open::refuse_damaged_log(store)?;
            wal::copy(store, log, file.path()).map_err(|error| match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => unwritten(error),
                _ => unread(error),
            })?;
            log == Wal::Absent
        }
    };
    let (jobs, unfinished) = settle(store, file.path(), is_log_gone)?;
    let bytes = file.finish().map_err(unwritten)?;
    Ok(BackedUp { file: to.to_path_buf(), bytes, jobs, unfinished })
}

/// Copies all pages as they are, beside a host.
pub(super) fn copy_pages(store: &Path, to: &NewFile) -> Result<(), StoreError> {
    step(store, to.path()).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => open::unwritten(to.shown(), &ErrorKind::StorageFull.into()),
        _ => open::failure(store, error),
    })
}

fn step(store: &Path, to: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(open::no_uri(store), flags)?;
    from.busy_timeout(BUSY_TIMEOUT)?;
    // Nothing of the store changes, not even where its host ends meanwhile and leaves this as its last reader.
    from.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let mut copy =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let backup = Backup::new(&from, &mut copy)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)),
    }
}

/// Looks the copy over, and makes one file of it that needs no log. Answers how many jobs are in it, and how many of
/// them are not final.
fn settle(store: &Path, copy: &Path, is_log_gone: bool) -> Result<(u64, u64), StoreError> {
    let refused = |error: rusqlite::Error| open::failure(store, error);
    let conn = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(refused)?;
    conn.execute_batch("PRAGMA synchronous = OFF").map_err(refused)?;
    layout::of(&conn).map_err(|reason| open::refusal(store, reason))?;
    open::refuse_lost_log(&conn, is_log_gone).map_err(|reason| open::refusal(store, reason))?;
    let fault: String = conn.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(refused)?;
    if fault != "ok" {
        return Err(open::refusal(
            store,
            format!("it is damaged ({}): {}", fault.replace('\n', " "), open::ASK_DOCTOR),
        ));
    }
    let sql = "SELECT count(*), count(*) FILTER (WHERE end_state IS NULL) FROM jobs";
    let (jobs, unfinished): (i64, i64) =
        conn.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).map_err(refused)?;
    layout::settle(&conn).map_err(refused)?;
    Ok((jobs.unsigned_abs(), unfinished.unsigned_abs()))
}
