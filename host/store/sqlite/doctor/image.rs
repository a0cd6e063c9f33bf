//! A store as one file without a log: what the doctor looks at, so that the store itself is never touched.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::store::sqlite::new_file::NewFile;
use crate::store::sqlite::wal::{self, Wal};

/// The file to look at.
pub(super) enum Image {
    /// The store's own: it has no log that would count.
    Store(PathBuf),
    /// A copy.
    Copy(NewFile),
}

impl Image {
    /// Of a store that nobody uses: its file, if there is something in it, with the pages of its log in their places.
    pub(super) fn of_stopped(store: &Path, wal: Wal, has_file: bool, folder: &Path) -> io::Result<Self> {
        if has_file && matches!(wal, Wal::Absent | Wal::Whole(0)) {
            return Ok(Self::Store(store.to_path_buf()));
        }
        let copy = NewFile::temporary(folder)?;
        wal::copy(store, wal, copy.path())?;
        Ok(Self::Copy(copy))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Store(path) => path,
            Self::Copy(copy) => copy.path(),
        }
    }

    /// What SQLite itself finds wrong with its structure, at most so many things.
    pub(super) fn faults(&self, most: usize) -> Vec<String> {
        let told = || -> rusqlite::Result<Vec<String>> {
            let conn = self.connect()?;
            let mut statement = conn.prepare(&format!("PRAGMA integrity_check({most})"))?;
            let lines = statement.query_map((), |row| row.get(0))?;
            lines.filter(|line| line.as_deref().is_ok_and(|line| line != "ok") || line.is_err()).collect()
        };
        match told() {
            Ok(lines) => {
                let lines = lines.iter().flat_map(|line| line.lines());
                lines.filter(|line| !line.starts_with("*** in database")).take(most).map(str::to_owned).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    /// Reads it with no lock, no log and no file beside it.
    fn connect(&self) -> rusqlite::Result<Connection> {
        let path = self.path().to_string_lossy();
        let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
    }
}
