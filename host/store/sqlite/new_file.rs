//! A file that comes into being whole or not at all, and never over another.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::open::beside;
use crate::config::disk::{self, folder_of};

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
        Ok(Self { target: Some(target.to_path_buf()), path: create_in(folder_of(target))? })
    }

    /// Begins one that is deleted at the end.
    pub(super) fn temporary(folder: &Path) -> io::Result<Self> {
        Ok(Self { target: None, path: create_in(folder)? })
    }

    /// Where it is until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called to people: its name to come.
    pub(super) fn shown(&self) -> std::path::Display<'_> {
        self.target.as_ref().unwrap_or(&self.path).display()
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
            disk::sync_folder_of(&target)?;
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

/// Makes one under a name that nothing has. What a process that was killed left there may have had the same number.
fn create_in(folder: &Path) -> io::Result<PathBuf> {
    let mut made = 0..;
    loop {
        let path = folder.join(format!(".windlass-{}-{}", std::process::id(), made.next().expect("without end")));
        match disk::create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|_| path),
        }
    }
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
        // What others left under the names that we choose is in nobody's way, and a name may be as long as one can be.
        let foreign = folder.path().join(format!(".windlass-{}-0", std::process::id()));
        std::fs::write(&foreign, "left").unwrap();
        drop(NewFile::begin(&folder.path().join("z".repeat(255))).unwrap());
        assert_eq!((std::fs::read_to_string(&foreign).unwrap(), left()), ("left".to_owned(), 2));
        std::fs::remove_file(&foreign).unwrap();
        // One that came meanwhile is left alone too.
        let other = folder.path().join("y.db");
        let file = NewFile::begin(&other).unwrap();
        std::fs::write(&other, "foreign").unwrap();
        file.finish().unwrap_err();
        assert_eq!((std::fs::read_to_string(&other).unwrap(), left()), ("foreign".to_owned(), 2));
    }
}
