//! The plugins folder as it lies on disk: what is there, whether it is at rest, and reading it without being led astray.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::is_plugin_name;
use super::sources::Sources;

/// The largest component that is taken.
pub(super) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// The largest file of grants that is taken.
pub(super) const GRANTS_BYTES_MAX: u64 = 1 << 20;

/// A file's identity at one moment. While it stays the same, so does the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Why this is nothing to read, where it is not.
    pub(super) refusal: Option<String>,
}

/// What there is of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// `NAME.wasm`
    pub(super) component: Option<Stamp>,
    /// `NAME.toml`
    pub(super) grants: Option<Stamp>,
    /// The files that it names.
    pub(super) sources: Sources,
}

/// What there is in the folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By name of the plugin.
    pub(super) found: BTreeMap<String, Found>,
    /// Files that look like a plugin's and whose name is none.
    pub(super) misnamed: BTreeSet<String>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It changed meanwhile: somebody is still writing.
    #[error("the file is still being written")]
    Unsettled,
    /// It is nothing to read.
    #[error("{0}")]
    Refused(String),
    /// It is larger than is taken.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The system does not let us.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Looks through the folder. Opens nothing.
pub(super) fn scan(dir: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let root = dir.canonicalize()?;
    for entry in fs::read_dir(&root)? {
        let file_name = entry?.file_name().to_string_lossy().into_owned();
        let Some((name, extension)) = file_name.rsplit_once('.') else { continue };
        // Names that begin with a dot are of files on their way here.
        if file_name.starts_with('.') || !matches!(extension, "wasm" | "toml") {
            continue;
        }
        if !is_plugin_name(name) {
            scan.misnamed.insert(file_name);
            continue;
        }
        let stamp = stamp(&root, &root.join(&file_name));
        let found = scan.found.entry(name.to_owned()).or_default();
        if extension == "wasm" {
            found.component = stamp;
        } else {
            found.grants = stamp;
        }
    }
    Ok(scan)
}

/// The stamp of a file, of what it leads to where it is a link. None where there is nothing (any more).
pub(super) fn stamp(root: &Path, path: &Path) -> Option<Stamp> {
    let itself = fs::symlink_metadata(path).ok()?;
    if !itself.is_symlink() {
        return Some(Stamp::of(&itself, refusal(&itself)));
    }
    match inside(root, path) {
        Ok(target) => {
            let metadata = fs::symlink_metadata(target).ok()?;
            Some(Stamp::of(&metadata, refusal(&metadata)))
        }
        Err(why) => Some(Stamp::of(&itself, Some(why))),
    }
}

/// The stamp of what is at that path, wherever it leads. None where there is nothing.
pub(super) fn followed(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata, None))
}

impl Stamp {
    fn of(metadata: &Metadata, refusal: Option<String>) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            refusal,
        }
    }
}

/// Where a link leads, if that is in the folder.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, String> {
    match path.canonicalize() {
        Ok(target) if target.starts_with(root) => Ok(target),
        Ok(_) => Err("it is a link that leads out of the plugins folder".to_owned()),
        Err(error) => Err(format!("it is a link that leads nowhere: {error}")),
    }
}

fn refusal(metadata: &Metadata) -> Option<String> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Some(format!("it is {what}"))
}

/// Reads a file that was found with this stamp, as a whole or not at all.
pub(super) fn read(root: &Path, path: &Path, expected: &Stamp, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    if let Some(refusal) = &expected.refusal {
        return Err(ReadError::Refused(refusal.clone()));
    }
    if expected.size > bytes_max {
        return Err(ReadError::TooLarge(bytes_max));
    }
    let target = inside(root, path).map_err(ReadError::Refused)?;
    // What was a file a moment ago may be a pipe now: opening must not wait for its other end, nor follow a link.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut file = File::from(rustix::fs::open(&target, flags, Mode::empty()).map_err(io::Error::from)?);
    if Stamp::of(&file.metadata()?, None) != *expected {
        return Err(ReadError::Unsettled);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected.size).unwrap_or(0) + 1);
    (&mut file).take(bytes_max + 1).read_to_end(&mut bytes)?;
    if Stamp::of(&file.metadata()?, None) != *expected || bytes.len() as u64 != expected.size {
        return Err(ReadError::Unsettled);
    }
    Ok(bytes)
}

/// Puts a file into the folder in one step, on disk before it is seen.
pub(super) fn put(dir: &Path, file_name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{file_name}.{}", std::process::id()));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, dir.join(file_name)));
    if let Err(error) = written {
        // It is no use to anybody; where it cannot be removed, its name hides it.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    File::open(path)?.sync_all()
}

/// Removes a file of the folder. False where there was none.
pub(super) fn remove(dir: &Path, file_name: &str) -> io::Result<bool> {
    match fs::remove_file(dir.join(file_name)) {
        Ok(()) => File::open(dir)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        (dir, root)
    }

    fn read_named(root: &Path, name: &str) -> Result<Vec<u8>, ReadError> {
        let path = root.join(name);
        read(root, &path, &stamp(root, &path).unwrap(), 100)
    }

    #[test]
    fn only_names_of_plugins_are_found() {
        let (_dir, root) = folder();
        for name in ["a.wasm", "a.toml", "b-2.toml", "B.wasm", ".c.wasm", "d.cwasm", "e", "f.txt", "-g.wasm"] {
            fs::write(root.join(name), b"x").unwrap();
        }
        let scan = scan(&root).unwrap();
        assert_eq!(scan.found.keys().collect::<Vec<_>>(), ["a", "b-2"]);
        assert_eq!(scan.misnamed.iter().collect::<Vec<_>>(), ["-g.wasm", "B.wasm"]);
        assert!(scan.found["a"].component.is_some() && scan.found["a"].grants.is_some());
    }

    #[test]
    fn pipes_folders_and_links_that_lead_away_are_refused() {
        let (outside, _) = folder();
        fs::write(outside.path().join("secret"), b"x").unwrap();
        let (_dir, root) = folder();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe.wasm"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        fs::create_dir(root.join("folder.wasm")).unwrap();
        symlink(outside.path().join("secret"), root.join("away.wasm")).unwrap();
        symlink(root.join("nowhere"), root.join("broken.wasm")).unwrap();
        for (name, told) in [
            ("pipe.wasm", "named pipe"),
            ("folder.wasm", "folder"),
            ("away.wasm", "out of the plugins folder"),
            ("broken.wasm", "leads nowhere"),
        ] {
            let error = read_named(&root, name).unwrap_err();
            assert!(error.to_string().contains(told), "{name}: {error}");
        }
    }

    #[test]
    fn links_within_the_folder_are_followed() {
        let (_dir, root) = folder();
        fs::create_dir(root.join("versions")).unwrap();
        fs::write(root.join("versions/1"), b"one").unwrap();
        symlink("versions/1", root.join("a.wasm")).unwrap();
        assert_eq!(read_named(&root, "a.wasm").unwrap(), b"one");
    }

    #[test]
    fn a_file_that_changed_since_it_was_seen_is_not_read() {
        let (_dir, root) = folder();
        let path = root.join("a.wasm");
        fs::write(&path, b"half").unwrap();
        let seen = stamp(&root, &path).unwrap();
        fs::write(&path, b"half and more").unwrap();
        assert!(matches!(read(&root, &path, &seen, 100), Err(ReadError::Unsettled)));
        // A pipe in its place does not make us wait either.
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(read(&root, &path, &seen, 100), Err(ReadError::Unsettled)));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let (_dir, root) = folder();
        fs::write(root.join("a.wasm"), [0; 101]).unwrap();
        assert!(matches!(read_named(&root, "a.wasm"), Err(ReadError::TooLarge(100))));
    }

    #[test]
    fn what_is_put_is_there_and_nothing_else() {
        let (_dir, root) = folder();
        put(&root, "a.wasm", b"one").unwrap();
        put(&root, "a.wasm", b"two").unwrap();
        assert_eq!(read_named(&root, "a.wasm").unwrap(), b"two");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        assert!(remove(&root, "a.wasm").unwrap());
        assert!(!remove(&root, "a.wasm").unwrap());
    }
}
