//! A file that comes into being whole or not at all, and never over another.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::open::beside;
use crate::config::disk::folder_of;

/// A file in the making, for nobody else to read. Dropped unfinished it is deleted.
#[derive(Debug)]
pub(super) struct NewFile {
    target: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Begins one that will have that name.
    pub(super) fn begin(target: &Path) -> io::Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and is not written over"));
        }
        let hidden = format!(".{}-{}", std::process::id(), target.file_name().unwrap_or_default().to_string_lossy());
        let path = folder_of(target).join(hidden);
        create(&path)?;
        Ok(Self { target: Some(target.to_path_buf()), path })
    }

    /// Begins one that is deleted at the end.
    pub(super) fn temporary(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!(".windlass-{name}-{}", std::process::id()));
        create(&path)?;
        Ok(Self { target: None, path })
    }

    /// Where it is until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it to the disk, gives it its name, and brings that to the disk. Answers how large it is.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        if let Some(target) = self.target.take() {
            match renameat_with(CWD, &self.path, CWD, &target, RenameFlags::NOREPLACE) {
                // A file system that cannot do both in one step.
                Err(Errno::INVAL | Errno::NOSYS) if target.symlink_metadata().is_err() => {
                    std::fs::rename(&self.path, &target)?;
                }
                renamed => renamed?,
            }
            File::open(folder_of(&target))?.sync_all()?;
        }
        Ok(file.metadata()?.len())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // Once it has its name there is nothing left to delete.
            _ = std::fs::remove_file(beside(&self.path, suffix));
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_whole_or_not_there_and_never_over_another() {
        let folder = tempfile::TempDir::new().unwrap();
        let target = folder.path().join("x.db");
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        let file = NewFile::begin(&target).unwrap();
        std::fs::write(file.path(), "half").unwrap();
        drop(file);
        assert_eq!(left(), 0);
        let file = NewFile::begin(&target).unwrap();
        std::fs::write(file.path(), "whole").unwrap();
        assert_eq!(file.finish().unwrap(), 5);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "whole");
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((left(), NewFile::begin(&target).unwrap_err().kind()), (1, io::ErrorKind::AlreadyExists));
        // One that came meanwhile is left alone too.
        let other = folder.path().join("y.db");
        let file = NewFile::begin(&other).unwrap();
        std::fs::write(&other, "foreign").unwrap();
        file.finish().unwrap_err();
        assert_eq!((std::fs::read_to_string(&other).unwrap(), left()), ("foreign".to_owned(), 2));
    }
}
