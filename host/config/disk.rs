//! Files that are there as a whole or not at all, and files that nobody but their owner can read. One way to each, for
//! whoever keeps something on disk.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Who may read a private file: its owner.
const OWNER_ONLY: u32 = 0o600;

/// Opens a file to read and to write. Where it is missing it is made, for its owner alone; what is in it stays.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path)
}

/// Makes a file to write, for its owner alone. Nothing may be there yet.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)
}

/// Makes a file to write, for whom the process usually makes files. Nothing may be there yet.
pub(crate) fn create_public(path: &Path) -> io::Result<File> {
    File::create_new(path)
}

/// A file that was put into its place: as it was under its first name, and under its own, where others can change it.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) before: Metadata,
    pub(crate) after: Metadata,
}

/// Puts a file into its place in one step, on disk before it is seen: it is made `beside` by `create`, and renamed.
pub(crate) fn replace(
    path: &Path,
    beside: &Path,
    create: impl FnOnce(&Path) -> io::Result<File>,
    bytes: &[u8],
) -> io::Result<Replaced> {
    remove(beside)?;
    let put = |mut file: File| {
        file.write_all(bytes)?;
        file.sync_all()?;
        let before = file.metadata()?;
        fs::rename(beside, path)?;
        Ok(Replaced { before, after: file.metadata()? })
    };
    match create(beside).and_then(put) {
        Ok(replaced) => sync_folder_of(path).map(|()| replaced),
        Err(error) => {
            // It is no use to anybody, and why it is there is told.
            let _ = fs::remove_file(beside);
            Err(error)
        }
    }
}

/// Makes sure that a power cut does not take away what was put into the file's folder, or bring back what was removed.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What an earlier process left half-written, with whatever mode, or somebody put there to lead us away.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_private_file_is_its_owners_and_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        open_private(&path).unwrap().write_all(b"kept").unwrap();
        open_private(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"kept".to_vec(), 0o600));
        assert_eq!(create_private(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        create_private(&folder.path().join("b")).unwrap();
        assert_eq!(mode(&folder.path().join("b")), 0o600);
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join(".a"));
        fs::write(&beside, "half of what an earlier process wr").unwrap();
        replace(&path, &beside, create_private, b"one").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));
        let fails = |path: &Path| {
            File::create_new(path)?;
            Err(io::Error::other("the disk is full"))
        };
        assert!(replace(&path, &beside, fails, b"two").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(!beside.exists());
        // A link that somebody put there leads nowhere.
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &beside).unwrap();
        replace(&path, &beside, create_public, b"three").unwrap();
        assert!(!elsewhere.exists() && fs::read(&path).unwrap() == b"three");
    }
}
