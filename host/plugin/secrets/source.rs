//! Reading a secret where its source says. Every message says what is wrong, none what the secret holds.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::config::{Secret, SecretSource};

use super::super::load_error::Unusable;
use super::command;

/// The largest secret.
pub(super) const SECRET_BYTES_MAX: u64 = 64 << 10;
/// What others may not do with a file: read it, write it; and its group may not write it.
const FORBIDDEN_MODE: u32 = 0o026;

/// The value. The line break at the end of a file or of an output is not part of it.
pub(super) fn value(secret: &Secret) -> Result<Zeroizing<String>, Unusable> {
    let text = match &secret.source {
        SecretSource::Env(variable) => variable_of(variable)?,
        SecretSource::Given(value) => Zeroizing::new(value.clone()),
        SecretSource::File(path) => {
            let bytes = read(path, secret.any_mode, SECRET_BYTES_MAX)?;
            text_of(&bytes).ok_or_else(|| format!("{} is not UTF-8", path.display()))?
        }
        SecretSource::Command(words) => {
            let bytes = command::output(words)?;
            text_of(&bytes).ok_or_else(|| format!("what {} printed is not UTF-8", words[0]))?
        }
    };
    if text.is_empty() { Err("it is empty".to_owned().into()) } else { Ok(text) }
}

/// Reads a file that only the host may read and write.
pub(in crate::plugin) fn private_file(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    read(path, false, bytes_max)
}

fn variable_of(variable: &str) -> Result<Zeroizing<String>, String> {
    match std::env::var(variable) {
        Ok(value) => Ok(Zeroizing::new(value)),
        Err(std::env::VarError::NotPresent) => Err(format!("the environment variable {variable} is not set")),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the environment variable {variable} is not UTF-8")),
    }
}

fn text_of(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let text = str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Some(Zeroizing::new(text.to_owned()))
}

/// Judges the file that was opened, not the one that its name meant a moment ago.
fn read(path: &Path, is_any_mode: bool, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| Unusable::of_system(&error, |error| format!("cannot read {shown}: {error}"));
    // Opening a pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(format!("{shown} is not a file of at most {bytes_max} bytes").into());
    }
    if !is_any_mode {
        let own = rustix::process::geteuid().as_raw();
        private(metadata.mode(), metadata.uid(), own).map_err(|why| format!("{shown} {why}"))?;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{shown} is not a file of at most {bytes_max} bytes").into());
    }
    Ok(bytes)
}

fn private(mode: u32, owner: u32, own: u32) -> Result<(), String> {
    if owner != own && owner != 0 {
        return Err(format!("belongs to user {owner}: it must belong to the user that runs windlass, or to root"));
    }
    if mode & FORBIDDEN_MODE != 0 {
        return Err(format!(
            "has mode {:04o}: others can read it, or others than its owner can write it; chmod 600 it, or say \
             any_mode = true beside it where the mount cannot be changed",
            mode & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_private_where_nobody_else_can_read_or_write_it() {
        for (mode, owner, is_private) in [
            (0o100_600, 7, true),
            (0o100_400, 7, true),
            (0o100_640, 0, true),
            (0o100_644, 7, false),
            (0o100_660, 7, false),
            (0o100_602, 7, false),
            (0o100_600, 8, false),
        ] {
            assert_eq!(private(mode, owner, 7).is_ok(), is_private, "{mode:o} of {owner}");
        }
    }
}
