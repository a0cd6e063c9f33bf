//! Compiled code on disk, made by this host alone. Loading it is running it: so the folder is ours only, and beside each
//! file lies a seal that nobody makes without the host's key. It binds the code to its component and its engine, so that
//! no entry can stand in for another.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use ring::hmac;
use rustix::fs::OFlags;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config::disk;

use super::inspect::Shape;
use super::{LoadError, engine, lack, report};

mod key;
mod seal;

/// How much compiled code is kept. What was not used for longest goes.
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// The longest seal: the names of what a component imports and exports stand in it.
const SEAL_BYTES_MAX: u64 = 4 << 20;
/// Who may enter the folder: its owner.
const OWNER_ONLY: u32 = 0o700;
/// Whom the folder must not let write: its group and all others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The key of that cache folder. It is made where it is missing.
pub(super) fn key_of(cache_dir: &Path) -> anyhow::Result<hmac::Key> {
    if let Some(parent) = cache_dir.parent() {
        DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(parent)?;
    }
    key::open(&key::path_of(cache_dir))
}

/// Whether that folder seems to have code for the component of that digest. Trusts nothing of it.
pub(super) fn may_hold(dir: &Path, digest: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(digest))
}

/// Which look for compiled code it is. What is not to be trusted is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    First,
    /// Because somebody may have kept it meanwhile.
    Again,
}

/// The folder of compiled code.
pub(super) struct Cache {
    dir: PathBuf,
    key: hmac::Key,
    /// The engine's version and settings.
    pub(super) engine_identity: String,
    /// Maps code that is known to be ours.
    map: fn(&Engine, &File) -> wasmtime::Result<Component>,
    /// The log was told that nothing in the folder can be mapped.
    is_told: AtomicBool,
}

impl Cache {
    /// Opens the folder, makes it where it is missing, and clears it of what other engines left.
    pub(super) fn open(dir: PathBuf, key: hmac::Key, engine: &Engine) -> anyhow::Result<Self> {
        let engine_identity = engine::identity(engine);
        let cache = Self { dir, key, engine_identity, map: deserialize, is_told: AtomicBool::new(false) };
        cache.make_dir().with_context(|| format!("the cache folder {}", cache.dir.display()))?;
        cache.clear_strangers();
        Ok(cache)
    }

    /// The code for the component of that digest, and the component's shape, where they are here, whole and ours.
    ///
    /// # Errors
    /// Where it asks for more than this host gives by now, or the machine lacks something for it.
    pub(super) fn load(
        &self,
        engine: &Engine,
        digest: &str,
        look: Look,
    ) -> Result<Option<(Component, Shape)>, LoadError> {
        let path = self.path(digest);
        let told = match self.checked(&path, digest) {
            Ok((code, shape)) => match (self.map)(engine, &code) {
                Ok(component) => {
                    touch(&path);
                    return Ok(Some((component, shape)));
                }
                Err(error) if lack::is_forbidden(&error) => {
                    self.tell_forbidden(&error);
                    return Ok(None);
                }
                Err(error) => match (unmapped(&error), error.root_cause().to_string()) {
                    (Some(lacking), _) => return Err(lacking),
                    (None, why) if report::is_demanding(&why) => return Err(report::too_demanding(&why)),
                    (None, why) => why,
                },
            },
            // It is there, and is no less to be trusted for that.
            Err(error) if lack::of_machine(&error) => {
                return Err(report::host_failed(&format!("cannot read its compiled code: {error}")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(None),
            Err(error) => error.to_string(),
        };
        if look == Look::First {
            tracing::warn!(file = %path.display(), error = told, "compiled code is not to be trusted: compiling again");
        }
        Ok(None)
    }

    /// Opens an entry and checks its seal. What is checked is what is mapped later: the open file, not its name.
    fn checked(&self, path: &Path, digest: &str) -> io::Result<(File, Shape)> {
        let code = open_plain(path)?;
        let mut text = String::new();
        open_plain(&seal_path(path))?.take(SEAL_BYTES_MAX).read_to_string(&mut text)?;
        let shape = seal::check(&self.key, self.subject(digest), &text, &code)?;
        Ok((code, shape))
    }

    /// Keeps compiled code and loads it. Where it cannot be kept the next start compiles again: no more is lost.
    ///
    /// # Errors
    /// Where it asks for more than this host gives, or the machine lacks something for it.
    pub(super) fn keep(
        &self,
        engine: &Engine,
        digest: &str,
        shape: &Shape,
        code: &File,
    ) -> Result<Component, LoadError> {
        let path = self.path(digest);
        // What does not fit is not kept.
        let component = (self.map)(engine, code)
            .map_err(|error| unmapped(&error).unwrap_or_else(|| report::refusal(&error.root_cause().to_string())))?;
        match self.write(&path, digest, shape, code) {
            // A file can leave memory and come back; what has no name cannot, but serves as well.
            Ok(kept) => (self.map)(engine, &kept).or_else(|error| {
                if lack::is_forbidden(&error) {
                    self.tell_forbidden(&error);
                } else {
                    tracing::warn!(file = %path.display(), error = format!("{error:#}"), "cannot map kept code");
                }
                Ok(component)
            }),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot keep compiled code");
                Ok(component)
            }
        }
    }

    /// Says, once, that the system runs nothing of what is kept here.
    fn tell_forbidden(&self, error: &wasmtime::Error) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                folder = %self.dir.display(),
                error = error.root_cause().to_string(),
                "the system does not let code be run from the folder of compiled code, most likely as that is mounted with \
                 `noexec`: components serve, and are compiled anew at each start; put the data folder elsewhere"
            );
        }
    }

    fn write(&self, path: &Path, digest: &str, shape: &Shape, code: &File) -> io::Result<File> {
        let seal = seal::make(&self.key, self.subject(digest), shape, code)?;
        let kept = write(path, |file| copy(code, file))?;
        write(&seal_path(path), |file| file.write_all(seal.as_bytes()))?;
        self.shrink(KEPT_BYTES_MAX)?;
        Ok(kept)
    }

    fn subject<'a>(&'a self, digest: &'a str) -> seal::Subject<'a> {
        seal::Subject { digest, engine: &self.engine_identity }
    }

    /// Removes what was not used for longest, until no more than that is kept.
    fn shrink(&self, kept_bytes_max: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "cwasm")
                && let Ok(metadata) = entry.metadata()
            {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        let mut kept_bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.sort();
        for (_, bytes, path) in files {
            if kept_bytes <= kept_bytes_max {
                break;
            }
            // Without its code a seal is of no use; another process may have removed it already.
            let _ = fs::remove_file(seal_path(&path));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => kept_bytes -= bytes,
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.engine_identity))
    }

    fn make_dir(&self) -> anyhow::Result<()> {
        DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&self.dir)?;
        let metadata = fs::symlink_metadata(&self.dir)?;
        let us = rustix::process::geteuid().as_raw();
        anyhow::ensure!(metadata.is_dir(), "is not a folder but something else, or a link: remove it");
        anyhow::ensure!(metadata.uid() == us, "belongs to another user: what lies there would be run; remove it");
        let mode = metadata.mode() & 0o777;
        anyhow::ensure!(
            mode & WRITABLE_BY_OTHERS == 0,
            "can be written by others (mode {mode:03o}): what lies there would be run; remove it, or empty it and say \
             `chmod 700`"
        );
        if mode != OWNER_ONLY {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(OWNER_ONLY))?;
        }
        Ok(())
    }

    fn clear_strangers(&self) {
        let mark = format!("-{}.cwasm", self.engine_identity);
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".cwasm") && (!name.contains(&mark) || is_abandoned(&name)) {
                // What cannot be removed only takes up room.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether that is a file which a process was writing that is no more.
fn is_abandoned(name: &str) -> bool {
    let Some(unique) = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once(".cwasm.")) else { return false };
    let process = unique.1.split('-').next().unwrap_or_default();
    !Path::new("/proc").join(process).exists()
}

/// What keeps code from being mapped, where that is what the machine lacks and not what the code is.
fn unmapped(error: &wasmtime::Error) -> Option<LoadError> {
    lack::of_wasmtime(error).then(|| report::host_failed(&format!("cannot map its compiled code: {error:#}")))
}

/// Maps code that is known to be ours.
fn deserialize(engine: &Engine, code: &File) -> wasmtime::Result<Component> {
    // The open file itself, whatever lies at its name by now.
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    // SAFETY: the file is what our own compiler wrote for this engine: either it is sealed and was never out of our
    // hands, or its seal was checked. It lies in a folder that only this user can write to, and is only ever replaced by
    // renaming, never changed.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Opens a plain file of our own, and nothing else.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is not a plain file of this user"));
    }
    Ok(file)
}

/// Remembers that it was used. Where that fails it only goes sooner.
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty());
}

fn seal_path(path: &Path) -> PathBuf {
    path.with_extension("cwasm.seal")
}

/// Copies a whole file, wherever its cursor stands.
fn copy(from: &File, to: &mut File) -> io::Result<()> {
    let mut from = File::open(format!("/proc/self/fd/{}", from.as_raw_fd()))?;
    io::copy(&mut from, to).map(drop)
}

/// Writes beside and renames, so that a file is whole or not there; the seal tells what a power cut left of it. Answers
/// the file, open for reading.
fn write(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let unique = format!("{}-{:?}", std::process::id(), std::thread::current().id());
    let beside = path.with_extension(format!("cwasm.{unique}.tmp"));
    // Left over from a crash of a process with the same number.
    let _ = fs::remove_file(&beside);
    let written = disk::create_private(&beside).and_then(|mut file| fill(&mut file)).and_then(|()| File::open(&beside));
    let renamed = written.and_then(|file| fs::rename(&beside, path).map(|()| file));
    if renamed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::engine::Concurrency;
    use super::super::machine::Machine;
    use super::super::testing::{Kept, echo, small_limits};
    use super::*;

    /// As of a folder on a file system that is mounted with `noexec`: what has no name is mapped all the same.
    fn map_without_name(engine: &Engine, code: &File) -> wasmtime::Result<Component> {
        let has_name = code.metadata()?.nlink() > 0;
        if has_name { Err(rustix::io::Errno::ACCESS.into()) } else { deserialize(engine, code) }
    }

    #[test]
    fn where_nothing_in_its_folder_may_be_run_code_serves_all_the_same_and_is_blamed_for_nothing() {
        let (kept, _logged) = Kept::log();
        let dir = tempfile::tempdir().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let machine = Machine::start(&small_limits(), Concurrency::One, dir.path().join("cache"), key).unwrap();
        let Machine { engine, mut cache, .. } = Arc::into_inner(machine).unwrap();
        cache.map = map_without_name;
        let mut code = File::from(rustix::fs::memfd_create("code", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        code.write_all(&engine.precompile_component(&echo()).unwrap()).unwrap();
        for digest in ["one", "two"] {
            cache.keep(&engine, digest, &Shape::default(), &code).unwrap();
            assert!(cache.load(&engine, digest, Look::First).unwrap().is_none());
        }
        let log = kept.text();
        assert!(log.matches("WARN").count() == 1 && log.contains("noexec") && log.contains("cache"), "{log}");
        cache.map = deserialize;
        assert!(cache.load(&engine, "one", Look::First).unwrap().is_some(), "elsewhere it is what it was");
    }

    #[test]
    fn what_a_process_left_that_is_no_more_is_abandoned() {
        let own = std::process::id();
        assert!(!is_abandoned(&format!("d-e.cwasm.{own}-ThreadId(1).tmp")));
        assert!(!is_abandoned("d-e.cwasm") && !is_abandoned("d-e.cwasm.seal"));
        assert!(is_abandoned("d-e.cwasm.4194999-ThreadId(1).tmp"), "numbers of processes end before that");
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let (dir_path, engine_identity) = (dir.path().to_owned(), "e".to_owned());
        let cache = Cache { dir: dir_path, key, engine_identity, map: deserialize, is_told: AtomicBool::new(false) };
        for (name, age_secs) in [("old", 300), ("used", 200), ("new", 100)] {
            let path = cache.path(name);
            fs::write(&path, [0; 10]).unwrap();
            fs::write(seal_path(&path), "seal").unwrap();
            let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 - age_secs);
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        cache.shrink(30).unwrap();
        assert!(cache.path("old").exists());
        touch(&cache.path("old"));
        cache.shrink(29).unwrap();
        assert!(cache.path("old").exists() && !cache.path("used").exists() && !seal_path(&cache.path("used")).exists());
        cache.shrink(0).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
