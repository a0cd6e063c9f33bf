//! Compiled code on disk, made by this host alone. Loading it is running it: so the folder is ours only, and each file
//! is checked against the digest that was written beside it.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::revision::hex;

/// How much compiled code is kept. What was not used for longest goes.
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// Who may enter the folder: its owner.
const OWNER_ONLY: u32 = 0o700;

/// The folder of compiled code.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    /// The engine's version and settings: code of another one does not fit.
    engine_hash: String,
}

impl Cache {
    /// Opens the folder, makes it where it is missing, and clears it of what other engines left.
    pub(super) fn open(dir: PathBuf, engine: &Engine) -> anyhow::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self { dir, engine_hash: format!("{:016x}", hasher.finish()) };
        cache.make_dir().with_context(|| format!("the cache folder {}", cache.dir.display()))?;
        cache.clear_strangers();
        Ok(cache)
    }

    /// The code for the component of that digest, where it is here and unharmed.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let expected = fs::read_to_string(sum_path(&path)).ok()?;
        if digest_of_file(&path).ok()? != expected.trim() {
            tracing::warn!(file = %path.display(), "compiled code was damaged: compiling again");
            return None;
        }
        // SAFETY: the file lies in a folder that only this user can write to, was written by `store` from what this
        // version of wasmtime compiled, is whole by its digest, and is only ever replaced by renaming, never changed.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => {
                touch(&path);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), error = format!("{error:#}"), "compiled code does not fit");
                None
            }
        }
    }

    /// Keeps compiled code. Where that fails the next start compiles again: no more is lost.
    pub(super) fn store(&self, component: &Component, digest: &str) {
        let path = self.path(digest);
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| {
            write(&path, &code)?;
            write(&sum_path(&path), hex(&Sha256::digest(&code)).as_bytes())?;
            self.shrink(KEPT_BYTES_MAX)
        });
        if let Err(error) = kept {
            tracing::warn!(file = %path.display(), %error, "cannot keep compiled code");
        }
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
            fs::remove_file(sum_path(&path))?;
            fs::remove_file(&path)?;
            kept_bytes -= bytes;
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.engine_hash))
    }

    fn make_dir(&self) -> anyhow::Result<()> {
        DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&self.dir)?;
        let metadata = fs::metadata(&self.dir)?;
        let us = rustix::process::geteuid().as_raw();
        anyhow::ensure!(metadata.uid() == us, "belongs to another user: what lies there would be run");
        if metadata.mode() & 0o777 != OWNER_ONLY {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(OWNER_ONLY))?;
        }
        Ok(())
    }

    fn clear_strangers(&self) {
        let mark = format!("-{}.cwasm", self.engine_hash);
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".cwasm") && !name.contains(&mark) {
                // What cannot be removed only takes up room.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Remembers that it was used. Where that fails it only goes sooner.
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty());
}

fn sum_path(path: &Path) -> PathBuf {
    path.with_extension("cwasm.sha256")
}

/// Writes beside and renames, so that a file is whole or not there. Its digest tells what a power cut left of it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = tempfile_beside(path)?;
    beside.1.write_all(bytes)?;
    fs::rename(&beside.0, path)
}

fn tempfile_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let unique = uuid::Uuid::from_u128(u128::from(std::process::id()) << 64 | u128::from(thread_number()));
    let temporary = path.with_extension(format!("cwasm.{}.tmp", unique.simple()));
    // Left over from a crash of a process with the same number.
    let _ = fs::remove_file(&temporary);
    Ok((temporary.clone(), File::create_new(&temporary)?))
}

fn thread_number() -> u64 {
    let mut hasher = DefaultHasher::new();
    std::thread::current().id().hash(&mut hasher);
    hasher.finish()
}

fn digest_of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&digest.finalize())),
            length => digest.update(&chunk[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache { dir: dir.path().to_owned(), engine_hash: "e".to_owned() };
        for (name, age_secs) in [("old", 300), ("used", 200), ("new", 100)] {
            let path = cache.path(name);
            fs::write(&path, [0; 10]).unwrap();
            fs::write(sum_path(&path), "sum").unwrap();
            let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 - age_secs);
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        cache.shrink(30).unwrap();
        assert!(cache.path("old").exists());
        touch(&cache.path("old"));
        cache.shrink(29).unwrap();
        assert!(cache.path("old").exists() && !cache.path("used").exists() && !sum_path(&cache.path("used")).exists());
        cache.shrink(0).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
