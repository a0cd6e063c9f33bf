//! The plugins folder as it lies on disk: what is there, whether it is at rest, and reading it without being led astray.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::config::disk::{self, Replaced};
use crate::job::units::ByteSize;

use super::revision::Known;
use super::sources::Sources;
use super::{LoadError, digest, is_plugin_name, report, text};
use links::Links;

pub(super) mod leftovers;
pub(super) mod links;

/// The largest component that is taken.
pub(super) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// The largest file of grants that is taken.
pub(super) const GRANTS_BYTES_MAX: u64 = 1 << 20;
/// The largest file of signatures that is taken.
pub(super) const SIGNATURE_BYTES_MAX: u64 = 4 << 10;
/// How many ignored files are told by name.
const IGNORED_MAX: usize = 100;
/// How much is told of the name of an ignored file.
const NAME_BYTES_MAX: usize = 128;

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
    /// `NAME.wasm.sig`
    pub(super) signature: Option<Stamp>,
}

impl Found {
    /// Whether there is nothing that makes a plugin: signatures alone do not.
    pub(super) fn is_nobody(&self) -> bool {
        self.component.is_none() && self.grants.is_none()
    }
}

/// A kind of file that belongs to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `NAME.wasm`
    Component,
    /// `NAME.toml`
    Grants,
    /// `NAME.wasm.sig`
    Signature,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Signature, Self::Component, Self::Grants];

    /// What stands behind the plugin's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Component => ".wasm",
            Self::Grants => ".toml",
            Self::Signature => ".wasm.sig",
        }
    }

    fn bytes_max(self) -> u64 {
        match self {
            Self::Component => COMPONENT_BYTES_MAX,
            Self::Grants => GRANTS_BYTES_MAX,
            Self::Signature => SIGNATURE_BYTES_MAX,
        }
    }
}

/// A component in the folder, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The plugin's name.
    pub(super) name: String,
    /// What its file was then.
    pub(super) stamp: Stamp,
}

/// What there is in the folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By name of the plugin.
    pub(super) found: BTreeMap<String, Found>,
    /// Files that look like a plugin's and are none, by name, which is fit to be shown, with the reason.
    pub(super) ignored: BTreeMap<String, &'static str>,
    /// How many more there are of them.
    pub(super) more_ignored: usize,
    /// Plugins of which the system did not say how a file stands, with its word: nothing is known of those.
    pub(super) unclear: BTreeMap<String, io::Error>,
    /// By which names links of plugins' files, and the folder's own, lead where they lead.
    pub(super) links: Links,
    /// What may be left of files that were to be put there.
    pub(super) leftovers: Vec<String>,
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
    /// The system does not let us.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Looks through the folder. Opens nothing.
pub(super) fn scan(dir: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let root = dir.canonicalize()?;
    let named = std::path::absolute(dir)?;
    scan.links.on_the_way_to(&named);
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        let file_name = entry.file_name();
        match belongs(&file_name.to_string_lossy(), file_name.to_str().is_some()) {
            Belongs::Nobody => {
                scan.leftovers.extend(file_name.into_string().ok().filter(|name| leftovers::is_one(name)))
            }
            Belongs::Ignored(why) => scan.ignore(&file_name.to_string_lossy(), why),
            Belongs::To(name, kind) => {
                if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                    scan.links.from(&root, &named, Path::new(&file_name));
                }
                let found = scan.found.entry(name.clone()).or_default();
                let stamp = match stamp(&root, &root.join(&file_name), kind) {
                    Ok(stamp) => stamp,
                    Err(error) => {
                        scan.unclear.insert(name, error);
                        continue;
                    }
                };
                match kind {
                    Kind::Component => found.component = stamp,
                    Kind::Grants => found.grants = stamp,
                    Kind::Signature => found.signature = stamp,
                }
            }
        }
    }
    Ok(scan)
}

impl Scan {
    fn ignore(&mut self, file_name: &str, why: &'static str) {
        if self.ignored.len() < IGNORED_MAX {
            self.ignored.insert(text::line(file_name, NAME_BYTES_MAX).trim().to_owned(), why);
        } else {
            self.more_ignored += 1;
        }
    }
}

/// Whose a file is, by its name.
enum Belongs {
    Nobody,
    Ignored(&'static str),
    To(String, Kind),
}

/// Whether a file of that name, if it lay in the folder, would be a plugin's or be listed as none.
pub(super) fn is_looked_at(file_name: &str) -> bool {
    !matches!(belongs(file_name, true), Belongs::Nobody)
}

fn belongs(file_name: &str, is_text: bool) -> Belongs {
    // Names that begin with a dot are of files on their way here.
    if file_name.starts_with('.') {
        return Belongs::Nobody;
    }
    let lower = file_name.to_ascii_lowercase();
    if lower.ends_with(".cwasm") {
        return Belongs::Ignored("precompiled code is never loaded: it could do anything on this machine");
    }
    // From the longest ending to the shortest.
    let Some(kind) = Kind::ALL.into_iter().find(|kind| lower.ends_with(kind.ending())) else { return Belongs::Nobody };
    match file_name.strip_suffix(kind.ending()) {
        Some(name) if is_text && is_plugin_name(name) => Belongs::To(name.to_owned(), kind),
        _ => Belongs::Ignored("a plugin's name is of a-z, 0-9 and -, 63 at most, and does not begin with -"),
    }
}

/// The stamp of a file, of what it leads to where it is a link. None where there is nothing (any more); what the system does
/// not say is not nothing.
pub(super) fn stamp(root: &Path, path: &Path, kind: Kind) -> io::Result<Option<Stamp>> {
    let Some(itself) = metadata(path)? else { return Ok(None) };
    if !itself.is_symlink() {
        return Ok(Some(Stamp::judged(&itself, kind)));
    }
    match inside(root, path) {
        Ok(target) => Ok(metadata(&target)?.map(|target| Stamp::judged(&target, kind))),
        Err(why) => Ok(Some(Stamp::of(&itself, Some(why)))),
    }
}

fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The stamp of what is at that path, wherever it leads. None where there is nothing.
pub(super) fn followed(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata, None))
}

impl Stamp {
    fn judged(metadata: &Metadata, kind: Kind) -> Self {
        let bytes_max = kind.bytes_max();
        if metadata.is_file() && metadata.size() > bytes_max {
            // It may go on growing for ever: it is the same refused file all the while.
            let why = format!("it is larger than {}", ByteSize(bytes_max));
            let still = Self { size: bytes_max, modified: (0, 0), changed: (0, 0), ..Self::of(metadata, None) };
            return Self { refusal: Some(why), ..still };
        }
        Self::of(metadata, refusal(metadata))
    }

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
        () if kind.is_file() && metadata.nlink() > 1 => {
            return Some("it has other names (hard links), by which it could be changed: copy it instead".to_owned());
        }
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Some(format!("it is {what}"))
}

impl Seen {
    /// What it is: its digest, its size and how it begins. Keeps no more of it than that.
    pub(super) fn known(&self) -> Result<Known, LoadError> {
        self.digest().map_err(|error| report::not_read(&error))
    }

    /// The whole of it.
    pub(super) fn read(&self) -> Result<Vec<u8>, LoadError> {
        read(&self.dir, &self.name, Kind::Component, &self.stamp).map_err(|error| report::not_read(&error))
    }

    fn digest(&self) -> Result<Known, ReadError> {
        let file = open(&self.dir, &self.name, Kind::Component, &self.stamp)?;
        let mut head = Vec::new();
        // A file that grows while it is read has an end here.
        let (digest, size_bytes) = digest::of_file(&file, self.stamp.size, |part| {
            let room = Known::HEAD_BYTES.saturating_sub(head.len()).min(part.len());
            head.extend_from_slice(&part[..room]);
        })?;
        still(&file, &self.stamp, size_bytes)?;
        Ok(Known { digest, size_bytes, head })
    }
}

/// Reads a file that was found with this stamp, as a whole or not at all.
pub(super) fn read(dir: &Path, name: &str, kind: Kind, expected: &Stamp) -> Result<Vec<u8>, ReadError> {
    let mut file = open(dir, name, kind, expected)?;
    let mut bytes = Vec::with_capacity(usize::try_from(expected.size).unwrap_or(0) + 1);
    (&mut file).take(kind.bytes_max() + 1).read_to_end(&mut bytes)?;
    still(&file, expected, bytes.len() as u64)?;
    Ok(bytes)
}

fn open(dir: &Path, name: &str, kind: Kind, expected: &Stamp) -> Result<File, ReadError> {
    if let Some(refusal) = &expected.refusal {
        return Err(ReadError::Refused(refusal.clone()));
    }
    let root = dir.canonicalize()?;
    let target = inside(&root, &root.join(format!("{name}{}", kind.ending()))).map_err(ReadError::Refused)?;
    // What was a file a moment ago may be a pipe now: opening must not wait for its other end, nor follow a link.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(&target, flags, Mode::empty()).map_err(io::Error::from)?);
    still(&file, expected, expected.size)?;
    Ok(file)
}

fn still(file: &File, expected: &Stamp, length: u64) -> Result<(), ReadError> {
    let is_same = Stamp::of(&file.metadata()?, None) == *expected && length == expected.size;
    if is_same { Ok(()) } else { Err(ReadError::Unsettled) }
}

/// Puts a file into the folder in one step, on disk before it is seen. Answers the stamp of that file, also where another
/// lies there by now.
pub(super) fn put(dir: &Path, file_name: &str, bytes: &[u8]) -> io::Result<Stamp> {
    let beside = leftovers::beside(dir, file_name)?;
    let Replaced { before, after } = disk::replace(&dir.join(file_name), &beside, leftovers::create, bytes)?;
    // The new name changes this time alone. Whatever else is another by now, somebody has written to it.
    Ok(Stamp { changed: Stamp::of(&after, None).changed, ..Stamp::of(&before, None) })
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
mod tests;
