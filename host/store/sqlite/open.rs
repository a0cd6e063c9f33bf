//! Opening the file: one owner, the right settings, the known layout.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::fault::Fault;
use super::hold::{self, Hold};
use super::wal::{self, Wal};
use super::{layout, recover, sums};
use crate::config::disk;
use crate::store::StoreError;

/// Older versions can corrupt a WAL when it is reset (fixed in 3.51.3).
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// What to do about damage.
pub(super) const ASK_DOCTOR: &str =
    "`windlass doctor` says what is whole, and `windlass doctor --salvage FILE` takes that into a new store";
/// What to say where a log should be.
pub(super) const LOG_GONE: &str = "its write-ahead log (the file beside it that ends in -wal) is missing: what was in it \
     alone is lost";
/// What to say of a log without the file that it belongs to: SQLite would delete it, or make a new store beside it.
pub(super) const FILE_GONE: &str = "it is empty or gone, and its write-ahead log (the file beside it that ends in -wal) is \
     not: what is in that can be saved";
/// What is said of a file that holds nothing, where there is no log either.
const EMPTY: &str = "it is empty: nothing was ever written to it, or it was emptied since; `windlass serve` begins a new \
     store in it";
/// How many links lead to a store at most, as the system has it for paths.
const LINKS_MAX: usize = 40;
/// How long a write waits for a foreign process that writes to the file, an operator's shell for instance. Not long in
/// the tests, which go that way.
const BUSY_TIMEOUT_MS: u32 = if cfg!(test) { 500 } else { 5_000 };

/// The right of one process to a store's file, until it is dropped.
///
/// Its lock is a file beside the store: empty while the store is opened, of one byte when a host has it. So nobody takes
/// for a host's what a host would refuse. Somebody may remove that file, so the store's own is held as well.
#[derive(Debug)]
pub struct Ownership {
    pub(super) path: PathBuf,
    lock: File,
    /// None: there is none yet.
    file: Option<Arc<File>>,
}

impl Ownership {
    /// Takes the file for this process. Creates the folder.
    ///
    /// # Errors
    /// [`StoreError::Open`] at once where another process has it, or the folder cannot be made.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let path = &behind_links(path);
        refuse_no_file(path)?;
        make_folder(disk::folder_of(path)).map_err(|error| refusal(path, error))?;
        let lock_path = beside(path, ".lock");
        let lock = disk::open_private(&lock_path).map_err(|error| refusal(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {
                lock.set_len(0).map_err(|error| refusal(&lock_path, error))?;
                let file = existing(OpenOptions::new().read(true).write(true).open(path));
                let file = file.map_err(|error| refusal(path, error))?;
                Ok(Self { path: path.clone(), lock, file: file.map(|file| alone(path, file)).transpose()? })
            }
            Err(TryLockError::WouldBlock) => Err(in_use(path)),
            Err(TryLockError::Error(error)) => Err(refusal(&lock_path, error)),
        }
    }

    /// Makes the file where there is none, and holds it: nobody else's connection is touched.
    pub(super) fn hold(&mut self) -> Result<Arc<File>, StoreError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                refuse_damaged_log(&self.path)?;
                // Made here and not by SQLite, so that nobody else can ever read it; its WAL takes over the mode.
                let file = disk::open_private(&self.path).map_err(|error| refusal(&self.path, error))?;
                alone(&self.path, file)?
            }
        };
        Ok(Arc::clone(self.file.insert(file)))
    }

    /// Says that the store is open. The byte takes no room, so that a full disk does not refuse it.
    pub(super) fn say_ready(&self) -> io::Result<()> {
        self.lock.set_len(1)
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // Who still reads keeps it open, and holds it no longer.
        if let Some(file) = &self.file {
            _ = hold::take(file, Hold::No);
        }
    }
}

/// Takes that file for this process alone.
fn alone(path: &Path, file: File) -> Result<Arc<File>, StoreError> {
    match hold::take(&file, Hold::Alone) {
        Ok(true) => Ok(Arc::new(file)),
        Ok(false) => Err(in_use(path)),
        Err(error) => Err(refusal(path, error)),
    }
}

fn in_use(path: &Path) -> StoreError {
    refusal(path, "another windlass is using it; stop that one, or give this one its own data folder")
}

/// None: there is no such file.
pub(super) fn existing(file: io::Result<File>) -> io::Result<Option<File>> {
    match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// Who uses a store.
pub(super) enum User {
    /// A host that is ready.
    Host,
    /// No host, and none begins to as long as this lives. Others who look at it may.
    Nobody { _lock: Option<File>, _file: Option<File> },
}

/// Makes a [`StoreError::Open`] for a path.
pub(super) fn refusal(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Open { place: path.display().to_string(), reason: reason.to_string() }
}

/// The same of a fault, which says what to do about it.
pub(super) fn failure(path: &Path, fault: impl Into<Fault>) -> StoreError {
    refusal(path, fault.into().advice())
}

/// Makes a [`StoreError::Unwritten`] for a file.
pub(super) fn unwritten(file: &Path, error: &io::Error) -> StoreError {
    let folder = disk::folder_of(file);
    let (is_folder, folder) = (folder.is_dir(), folder.display());
    let reason = match error.kind() {
        io::ErrorKind::NotFound if is_folder => format!("no file can be made in {folder}: {error}"),
        io::ErrorKind::NotFound => format!("there is no folder {folder}; make it first, or name another"),
        io::ErrorKind::NotADirectory if !is_folder => format!("{folder} is no folder; name one"),
        io::ErrorKind::IsADirectory => "it names a folder; name a file in it".to_owned(),
        io::ErrorKind::AlreadyExists => "it is there already, and is not written over; name another file".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full; make room".to_owned(),
        _ => error.to_string(),
    };
    StoreError::Unwritten { file: file.display().to_string(), reason }
}

/// Looks over the log beside a store that nobody uses. Refuses one that SQLite would take in part without a word, or not
/// at all.
pub(super) fn refuse_damaged_log(path: &Path) -> Result<Wal, StoreError> {
    refuse_lone_log(path)?;
    let log = wal::inspect(path).map_err(|error| refusal(path, error))?;
    match log.damage() {
        Some(damage) => Err(refusal(path, format!("{damage}: {ASK_DOCTOR}"))),
        None => Ok(log),
    }
}

/// Refuses a log that is all that there is of a store.
pub(super) fn refuse_lone_log(path: &Path) -> Result<(), StoreError> {
    match wal::is_alone(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(refusal(path, format!("{FILE_GONE}: {ASK_DOCTOR}"))),
        Err(error) => Err(refusal(path, error)),
    }
}

/// Refuses what is there, or beside it, and no file: who opens a pipe waits for its other end.
pub(super) fn refuse_no_file(path: &Path) -> Result<(), StoreError> {
    let is_other = |path: &PathBuf| path.metadata().is_ok_and(|found| !found.is_file());
    match ["", "-wal", ".lock"].map(|suffix| beside(path, suffix)).iter().find(|path| is_other(path)) {
        Some(other) => Err(refusal(other, "it is no file")),
        None => Ok(()),
    }
}

/// Refuses to look at a store with nothing in it, which nobody uses and whose log is not alone.
pub(super) fn refuse_empty(path: &Path) -> Result<(), StoreError> {
    let is_empty = path.metadata().map_err(|error| refusal(path, error))?.len() == 0;
    if is_empty { Err(refusal(path, EMPTY)) } else { Ok(()) }
}

/// Who uses the store.
///
/// # Errors
/// Where a host is opening it: what it would see is not known yet.
pub(super) fn user(path: &Path) -> io::Result<User> {
    let lock = existing(File::open(beside(path, ".lock")))?;
    match lock.as_ref().map(|lock| (lock.try_lock_shared(), lock)) {
        None | Some((Ok(()), _)) => {}
        Some((Err(TryLockError::WouldBlock), lock)) if lock.metadata()?.len() > 0 => return Ok(User::Host),
        Some((Err(TryLockError::WouldBlock), _)) => {
            return Err(io::Error::other("a windlass is opening it; try again in a moment"));
        }
        Some((Err(TryLockError::Error(error)), _)) => return Err(error),
    }
    // A host whose lock file was removed has the store all the same.
    let file = existing(File::open(path))?;
    if let Some(file) = &file
        && !hold::take(file, Hold::Shared)?
    {
        return Ok(User::Host);
    }
    Ok(User::Nobody { _lock: lock, _file: file })
}

/// Where the file itself lies: SQLite keeps what is beside a store beside that, and not beside a link that leads there.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        match path.read_link() {
            Ok(target) => path = disk::folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    path
}

/// Opens the file for writing, and brings it to the newest layout.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        let reason = format!("SQLite {} is too old: at least 3.51.3 is needed", rusqlite::version());
        return Err(refusal(path, reason));
    }
    let log = refuse_damaged_log(path)?;
    if let Wal::Unsynced { frame } = log {
        let file = path.display();
        tracing::warn!(%file, "its log breaks off at frame {frame}: store.sync was normal, and what was behind it is lost");
    }
    let conn = connect(path).map_err(|error| failure(path, error))?;
    if let Err(reason) = prepare(path, &conn, log == Wal::Absent) {
        return Err(refusal(path, if has_no_room(path) { "the disk is full; make room".to_owned() } else { reason }));
    }
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
    rusqlite::vtab::array::load_module(&conn)?;
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

/// The connection copies the WAL back and puts it away when it is the last to be closed.
pub(super) fn put_away(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(no_uri(path), flags)?;
    // Otherwise SQLite prepares some statements anew for each of their values, in case another plan were better for it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    sums::register(&conn)?;
    Ok(conn)
}

/// The path as SQLite takes it for nothing but a path: one that begins with `file:` would be a URI, `:memory:` no file.
pub(super) fn no_uri(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Settings and layout.
fn prepare(path: &Path, conn: &Connection, is_log_gone: bool) -> Result<(), String> {
    let plain = |error: rusqlite::Error| Fault::from(error).advice();
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into())).map_err(plain)?;
    // What is in the log stays there where the store is refused; one that was not there is not left behind.
    if !is_log_gone {
        leave_to_others(conn).map_err(plain)?;
    }
    let version = layout::of(conn)?;
    if version > 0 {
        refuse_lost_log(conn, is_log_gone)?;
    }
    leave_to_others(conn).map_err(plain)?;
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
    make_log_sure(path, conn)?;
    if !write_anew(conn).map_err(plain)? {
        return Err("another process is reading it, an sqlite3 shell for instance; let it end first".to_owned());
    }
    conn.set_prepared_statement_cache_capacity(64);
    layout::bring(conn, version, layout::NEWEST).map_err(plain)?;
    Ok(())
}

/// Whether the files beside the store cannot be made for want of room: SQLite says only that it cannot open them.
fn has_no_room(path: &Path) -> bool {
    ["-wal", "-shm"].map(|suffix| beside(path, suffix)).iter().any(|file| match File::create_new(file) {
        Ok(_) => {
            _ = std::fs::remove_file(file);
            false
        }
        Err(error) => error.kind() == io::ErrorKind::StorageFull,
    })
}

/// Refuses a file that was open when its log was lost: alone it holds a past that its clients know to be over.
pub(super) fn refuse_lost_log(conn: &Connection, is_log_gone: bool) -> Result<(), String> {
    if is_log_gone && recover::is_marked_open(conn).map_err(|error| Fault::from(error).advice())? {
        return Err(format!("{LOG_GONE}: {ASK_DOCTOR}"));
    }
    Ok(())
}

/// Writes the WAL that an earlier process left once more, in its place, and syncs it. A sync may have failed that process,
/// and what the system could not write then it takes for written now: no later sync would bring it to the disk. Pages that
/// are copied into the file come from what the WAL must still hold when the power goes in the middle of them.
fn make_log_sure(path: &Path, conn: &Connection) -> Result<(), String> {
    let plain = |error: rusqlite::Error| Fault::from(error).advice();
    // Nobody else adds to it meanwhile.
    match conn.execute_batch("BEGIN IMMEDIATE") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            return Err("another process is writing to it, an sqlite3 shell for instance; let it end first".to_owned());
        }
        begun => begun.map_err(plain)?,
    }
    let written = wal::write_once_more(path).map_err(|error| format!("its log cannot be written once more: {error}"));
    conn.execute_batch("ROLLBACK").map_err(plain)?;
    written
}

/// Copies back what an earlier process left in the WAL, which is sure, and begins it anew: so the torn end of an old log,
/// which lies behind a new one otherwise, is never taken for damage. False where a foreign reader is in the way.
fn write_anew(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| {
        let (is_busy, frames) = (row.get::<_, i64>(0)? != 0, row.get::<_, i64>(1)?);
        if !is_busy && frames < 0 {
            // There is no WAL: the sync of the change to one failed, and SQLite answered all the same that it is one.
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), None));
        }
        Ok(!is_busy)
    })
}

/// Makes the folder where it is missing, and those that it lies in, and makes sure that a power cut does not take away
/// their names.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.into_iter().rev().try_for_each(disk::sync_folder_of)
}

/// The path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
