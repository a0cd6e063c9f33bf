//! Which open files are the store's, and what they are called.

use std::ffi::{CStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::entry::Of;

const FILES_MAX: usize = 1 << 16;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();
static OPEN: [AtomicU8; FILES_MAX] = [const { AtomicU8::new(0) }; FILES_MAX];

/// Watches that data folder; where it is relative, as seen from here.
pub fn watch(folder: &Path) {
    let here = std::env::current_dir().expect("the test made the folder");
    FOLDER.get_or_init(|| here.join(folder));
}

/// What is at that path.
pub fn of_path(path: &Path) -> Option<Of> {
    let folder = FOLDER.get()?;
    let whole = if path.is_absolute() { path.to_path_buf() } else { folder.parent()?.join(path) };
    // `.` and doubled slashes are gone then.
    let path: PathBuf = whole.components().collect();
    if path == *folder {
        return Some(Of::Folder);
    }
    if Some(path.as_path()) == folder.parent() {
        return Some(Of::Parent);
    }
    match path.strip_prefix(folder).ok()?.to_str()? {
        "windlass.db" => Some(Of::Database),
        "windlass.db-wal" => Some(Of::Wal),
        "windlass.db-shm" => Some(Of::Index),
        "windlass.db-journal" => Some(Of::Journal),
        name if name.starts_with(".windlass-") => Some(Of::Copy),
        _ => None,
    }
}

/// What is at that path.
pub unsafe fn of_c(path: *const c_char) -> Option<Of> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller passes on a path that ends with a zero.
    let path = unsafe { CStr::from_ptr(path) };
    of_path(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// What is open there.
pub fn of_fd(fd: c_int) -> Option<Of> {
    let mark = OPEN.get(usize::try_from(fd).ok()?)?.load(Ordering::Relaxed);
    Of::numbered(mark)
}

/// Remembers what is open there.
pub fn set_fd(fd: c_int, of: Option<Of>) {
    if let Some(mark) = usize::try_from(fd).ok().and_then(|fd| OPEN.get(fd)) {
        mark.store(of.map_or(0, |of| of as u8), Ordering::Relaxed);
    }
}
