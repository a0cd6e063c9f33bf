//! Files on their way into the folder, and what is left of them where a host was killed as it put one there. Several hosts
//! may share a folder: whoever writes such a file holds its lock, and what nobody holds and nobody has written to for a
//! while is nobody's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::clock::UnixMs;
use crate::config::disk;

use super::{Belongs, Kind, belongs};

/// How such a name ends.
const ENDING: &str = ".put";
/// Letters of a name that no other host gives at the same time.
const MARK_LETTERS: usize = 16;
/// How long such a file is left alone after it was written to: there are file systems without locks.
const AGE: Duration = Duration::from_secs(60);

/// A name beside that file, for it to be written under. Its first letter hides it.
pub(super) fn beside(dir: &Path, file_name: &str) -> io::Result<PathBuf> {
    let mut mark = [0; MARK_LETTERS / 2];
    SystemRandom::new().fill(&mut mark).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(dir.join(format!(".{file_name}.{:0MARK_LETTERS$x}{ENDING}", u64::from_be_bytes(mark))))
}

/// Makes such a file, and holds it for as long as it is open.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = disk::create_public(path)?;
    // Where there are no locks nobody else takes one either.
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(file)
}

/// Whether that is such a name.
pub(super) fn is_one(file_name: &str) -> bool {
    let inner = file_name.strip_prefix('.').and_then(|name| name.strip_suffix(ENDING));
    inner.and_then(|name| name.rsplit_once('.')).is_some_and(|(whose, mark)| {
        let is_mark = mark.len() == MARK_LETTERS && mark.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        is_mark && matches!(belongs(whose, true), Belongs::To(_, Kind::Component | Kind::Signature))
    })
}

/// Removes those of these files that are nobody's. One that cannot be removed stays until the next time.
pub(in super::super) fn clear(dir: &Path, file_names: &[String], now: UnixMs) {
    for file_name in file_names {
        if let Ok(true) = clear_one(&dir.join(file_name), now) {
            tracing::info!(file = file_name, "a component that was put only in part was removed");
        }
    }
}

fn clear_one(path: &Path, now: UnixMs) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    if !metadata.is_file() || now.since(UnixMs::default().after(modified)) < AGE {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_file(path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_writes_stays_and_what_is_nobodys_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let old = UNIX_EPOCH + Duration::from_secs(1_000);
        let make = |path: &Path, is_old: bool| {
            let file = create(path).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
            file
        };
        let [nobodys, held, new] = ["a.wasm", "b.wasm.sig", "c.wasm"].map(|name| beside(dir, name).unwrap());
        drop(make(&nobodys, true));
        let _held = make(&held, true);
        drop(make(&new, false));
        let others = [".a.wasm.123", ".a.wasm.download.put", ".a.toml.0123456789abcdef.put", "a.wasm"];
        others.iter().for_each(|name| drop(make(&dir.join(name), true)));
        let names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let ours: Vec<String> = names.into_iter().filter(|name| is_one(name)).collect();
        assert_eq!(ours.len(), 3, "{ours:?}");
        let written = fs::metadata(&new).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        clear(dir, &ours, UnixMs::default().after(written + AGE / 2));
        assert!(!nobodys.exists() && held.exists() && new.exists());
        assert!(others.iter().all(|name| dir.join(name).exists()));
        clear(dir, &ours, UnixMs::default().after(written + AGE * 2));
        assert!(held.exists() && !new.exists());
    }

    #[test]
    fn no_two_have_one_name() {
        let dir = Path::new("plugins");
        let [one, other] = [(); 2].map(|()| beside(dir, "a.wasm").unwrap());
        assert_ne!(one, other);
        assert!(is_one(one.file_name().unwrap().to_str().unwrap()));
    }
}
