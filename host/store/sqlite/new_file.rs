//! A file that comes into being whole or not at all, and never over another.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::hold::{self, Hold};
use super::open::beside;
use crate::config::disk::{self, folder_of};
use crate::lock::lock;

/// What the name of one in the making begins with; the numbers of its process and of itself follow.
const PREFIX: &str = ".windlass-";

/// What this process has begun and not finished, under the name that it has. Who has the lock keeps others from beginning
/// and finishing.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file in the making, for nobody else to read. Dropped unfinished it is deleted.
#[derive(Debug)]
pub(super) struct NewFile {
    target: Option<PathBuf>,
    path: PathBuf,
    /// Held for as long as somebody is at work on it.
    _file: File,
}

/// Deletes what this process has begun and not finished. The process is to end then: nothing is begun or finished any more.
pub fn discard_unfinished() {
    let unfinished = lock(&UNFINISHED);
    for path in unfinished.iter() {
        // What has its name already is a whole file, with nothing of ours beside it.
        if path.file_name().is_some_and(is_ours) { delete(path) } else { _ = std::fs::remove_file(path) }
    }
    std::mem::forget(unfinished);
}

impl NewFile {
    /// Begins one that will have that name, which is to be a file's.
    pub(super) fn begin(target: &Path) -> io::Result<Self> {
        let name = target.as_os_str().as_encoded_bytes();
        if target.file_name().is_none() || name.ends_with(b"/") || name.ends_with(b"/.") || target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Self::create_in(folder_of(target), Some(target.to_path_buf()))
    }

    /// Begins one that is deleted at the end.
    pub(super) fn temporary(folder: &Path) -> io::Result<Self> {
        Self::create_in(folder, None).map_err(|error| {
            io::Error::new(error.kind(), format!("no copy can be made in {}: {error}", folder.display()))
        })
    }

    /// Makes one under a name that nothing has.
    fn create_in(folder: &Path, target: Option<PathBuf>) -> io::Result<Self> {
        clear_away(folder);
        let mut made = 0..;
        loop {
            let name = format!("{PREFIX}{}-{}", std::process::id(), made.next().expect("without end"));
            let path = folder.join(name);
            let mut unfinished = lock(&UNFINISHED);
            let file = match disk::create_private(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            unfinished.push(path.clone());
            drop(unfinished);
            let new = Self { target: target.clone(), path, _file: file };
            // Who clears away may have come before it was held.
            if hold::take(&new._file, Hold::Alone)? && new._file.metadata()?.nlink() > 0 {
                return Ok(new);
            }
        }
    }

    /// Where it is until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called to people: its name to come.
    pub(super) fn shown(&self) -> &Path {
        self.target.as_ref().unwrap_or(&self.path)
    }

    /// Brings it to the disk, gives it its name, and brings that to the disk. Answers how large it is.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        if let Some(target) = self.target.take() {
            self.rename(&target)?;
            let synced = disk::sync_folder_of(&target);
            let mut unfinished = lock(&UNFINISHED);
            if synced.is_err() {
                // Whoever is told that it was not made does not find it, and can try again.
                _ = std::fs::remove_file(&target);
            }
            unfinished.retain(|path| *path != target);
            drop(unfinished);
            synced?;
        }
        Ok(file.metadata()?.len())
    }

    fn rename(&self, target: &Path) -> io::Result<()> {
        let mut unfinished = lock(&UNFINISHED);
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            // A file system that cannot do both in one step.
            Err(Errno::INVAL | Errno::NOSYS) if target.symlink_metadata().is_err() => {
                std::fs::rename(&self.path, target)?;
            }
            renamed => renamed?,
        }
        for path in unfinished.iter_mut().filter(|path| **path == self.path) {
            target.clone_into(path);
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let mut unfinished = lock(&UNFINISHED);
        // Once it has its name there is nothing left to delete.
        delete(&self.path);
        unfinished.retain(|path| *path != self.path);
    }
}

/// Deletes it, with what SQLite may have laid beside it.
fn delete(path: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        _ = std::fs::remove_file(beside(path, suffix));
    }
}

/// Deletes what commands that were killed have left in that folder. Whoever is still at work holds his.
fn clear_away(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.filter(|entry| is_ours(&entry.file_name())).map(|entry| entry.path()) {
        // Closing one of our own would give up SQLite's locks on it.
        if lock(&UNFINISHED).contains(&path) {
            continue;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let left = OpenOptions::new().write(true).custom_flags(flags).open(&path);
        if left.is_ok_and(|left| hold::take_surely(&left, Hold::Alone).unwrap_or(false)) {
            delete(&path);
        }
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
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
        // A folder's name is no file's, be the folder there or not.
        for name in ["new/", "new/.", "new//", "..", ".", "x.db/"] {
            let begun = NewFile::begin(&folder.path().join(name));
            assert_eq!((left(), begun.unwrap_err().kind()), (1, io::ErrorKind::IsADirectory), "{name}");
        }
        // What another is at work on is in nobody's way, though it has the name that we choose, and a name may be as long
        // as one can be.
        let foreign = folder.path().join(format!(".windlass-{}-0", std::process::id()));
        let at_work = disk::create_private(&foreign).unwrap();
        assert!(hold::take(&at_work, Hold::Alone).unwrap());
        drop(NewFile::begin(&folder.path().join("z".repeat(255))).unwrap());
        assert!(foreign.exists() && left() == 2);
        // Once that one was killed it is cleared away, and what is nobody's is not.
        drop(at_work);
        let others = [".windlass-1-0-x", ".windlass-1", ".windlass--0", ".windlass", "windlass-1-0"];
        others.iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
        drop(NewFile::temporary(folder.path()).unwrap());
        assert!(!foreign.exists() && left() == 1 + others.len());
        others.iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
        // One that came meanwhile is left alone too.
        let other = folder.path().join("y.db");
        let file = NewFile::begin(&other).unwrap();
        std::fs::write(&other, "foreign").unwrap();
        file.finish().unwrap_err();
        assert_eq!((std::fs::read_to_string(&other).unwrap(), left()), ("foreign".to_owned(), 2));
    }
}
