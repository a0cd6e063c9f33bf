//! A right to a file that lies on the file itself, whatever becomes of its name and of the files beside it.
//!
//! SQLite's own locks are the process's, and are given up with any descriptor of the file that the process closes; this one
//! is that of an open file (`F_OFD_SETLK`). It is on a byte that no file has, so that it is in the way of no lock of
//! SQLite's: on network file systems `flock` would be.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The byte.
const AT: i64 = 1 << 62;

/// Who else may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody.
    Alone,
    /// Others who say the same.
    Shared,
    /// Anybody: it is given up.
    No,
}

/// Takes it for as long as the file is open, or changes it. False: another has it. Where a file system has no such locks
/// everybody has it.
pub(super) fn take(file: &File, hold: Hold) -> io::Result<bool> {
    match take_surely(file, hold) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        taken => taken,
    }
}

/// The same, unless a file system has no such locks.
pub(super) fn take_surely(file: &File, hold: Hold) -> io::Result<bool> {
    let kind = match hold {
        Hold::Alone => libc::F_WRLCK,
        Hold::Shared => libc::F_RDLCK,
        Hold::No => libc::F_UNLCK,
    };
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    let lock = libc::flock { l_type, l_whence, l_start: AT, l_len: 1, l_pid: 0 };
    // SAFETY: the file is open, and the system reads what lives until it has answered.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        Some(libc::EINVAL | libc::ENOSYS | libc::ENOLCK | libc::EOPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_alone_or_many_do_until_they_close_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a");
        let open = || crate::config::disk::open_private(&path).unwrap();
        let (one, other) = (open(), open());
        assert!(take(&one, Hold::Alone).unwrap());
        assert!(!take(&other, Hold::Alone).unwrap() && !take(&other, Hold::Shared).unwrap());
        // What SQLite's locks do not outlive.
        drop(open());
        assert!(!take(&other, Hold::Shared).unwrap());
        assert!(take(&one, Hold::Shared).unwrap() && take(&other, Hold::Shared).unwrap());
        assert!(!take(&one, Hold::Alone).unwrap());
        assert!(take(&other, Hold::No).unwrap() && take(&one, Hold::Alone).unwrap());
        drop(one);
        assert!(take(&other, Hold::Alone).unwrap());
    }

    #[test]
    fn it_is_in_the_way_of_no_lock_of_sqlite() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.db");
        let file = crate::config::disk::open_private(&path).unwrap();
        assert!(take(&file, Hold::Alone).unwrap());
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE t (a); COMMIT; PRAGMA journal_mode = WAL").unwrap();
    }
}
