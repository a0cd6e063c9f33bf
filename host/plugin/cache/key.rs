//! The key that marks compiled code as this host's own.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::OFlags;

use crate::config::disk;

/// How long the key is: as long as the digest.
const KEY_BYTES: usize = 32;

/// Where the key of that cache folder lies: beside the folder, not in it.
pub(super) fn path_of(cache_dir: &Path) -> PathBuf {
    let mut name = cache_dir.file_name().unwrap_or_default().to_os_string();
    name.push(".key");
    cache_dir.with_file_name(name)
}

/// Reads the key, and makes one where there is none. One that others may have read, or that is damaged, is replaced:
/// what it marked is then compiled again.
pub(super) fn open(path: &Path) -> anyhow::Result<hmac::Key> {
    let shown = path.display();
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(error) => {
            tracing::warn!(file = %shown, %error, "the key of the compiled code is replaced: all is compiled again");
            fs::remove_file(path).with_context(|| format!("the key {shown} ({error}) cannot be replaced"))?;
            make(path)?
        }
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn read(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != KEY_BYTES as u64 {
        return Err(io::Error::other("it is not a file of 32 bytes"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may have read it"));
    }
    let mut bytes = [0; KEY_BYTES];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Makes a key. Where another process makes one at the same moment, the first holds.
fn make(path: &Path) -> anyhow::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let written = write(path, &bytes).with_context(|| format!("cannot write the key {}", path.display()));
    written.and_then(|()| read(path).with_context(|| format!("cannot read the key {}", path.display())))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.{:?}", std::process::id(), std::thread::current().id()));
    let beside = PathBuf::from(beside);
    // Left over from a crash of a process with the same number.
    let _ = fs::remove_file(&beside);
    let mut file = disk::create_private(&beside)?;
    let linked = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn tag(path: &Path) -> Vec<u8> {
        hmac::sign(&open(path).unwrap(), b"x").as_ref().to_vec()
    }

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(&dir.path().join("compiled"));
        assert_eq!(path, dir.path().join("compiled.key"));
        let first = tag(&path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(tag(&path), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_may_know_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = tag(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let second = tag(&path);
        assert_ne!(first, second);
        fs::write(&path, b"short").unwrap();
        assert_ne!(tag(&path), second);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        tag(&path);
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
