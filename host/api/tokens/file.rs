//! `tokens.toml` in the data folder: for its owner alone, written beside and renamed, and refused where anything is wrong
//! with it. The commands write it, the server reads it.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::print::Print;
use super::book::Token;
use super::heir::{Heir, NotGiven};
use super::scope::Scope;
use super::secret;
use crate::clock::UnixMs;
use crate::config::disk;

/// The name of the file.
pub const TOKENS_FILE: &str = "tokens.toml";
/// The most tokens.
const TOKENS_MAX: usize = 10_000;
/// The largest file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The form of the file that this version writes and reads.
const VERSION: u32 = 1;
/// What stands at the top of it.
const HEADING: &str =
    "# The tokens of this Windlass, as digests. Written by `windlass token`; the texts are kept nowhere.\n";

/// Why the file cannot be used: one line for people.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The system refuses.
    #[error("cannot {act} {place}: {why}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        place: String,
        /// Why.
        why: std::io::Error,
    },
    /// Others may touch it, or it is no plain file.
    #[error("{place} {why}")]
    Exposed {
        /// The file.
        place: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// It is not what was written.
    #[error("{place} is damaged: {why}; put a good copy back, or remove it and make every token anew")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// There are too many.
    #[error("{place} holds {TOKENS_MAX} tokens, the most there can be; revoke some first")]
    Full {
        /// The file.
        place: String,
    },
    /// It would be too large to be read again.
    #[error("{place} would be larger than {} MiB, the most there can be; revoke some tokens first", FILE_BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        place: String,
    },
    /// It cannot be left to whom it belongs.
    #[error("{place} is for the user {uid}, and cannot be given to that one: {why}; run the command as the user {uid}")]
    NotTheirs {
        /// The file.
        place: String,
        /// Whose it is to be.
        uid: u32,
        /// Why.
        why: std::io::Error,
    },
    /// There is no such token.
    #[error("there is no token {id:?} in {place}; `windlass token list` shows those that there are")]
    Unknown {
        /// What was asked for.
        id: String,
        /// The file.
        place: String,
    },
}

/// The file of tokens of one data folder.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, rename = "token")]
    tokens: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    name: String,
    scopes: Vec<Scope>,
    created: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<UnixMs>,
    sha256: String,
}

impl TokenFile {
    /// The one of that data folder.
    #[must_use]
    pub fn in_folder(data: &Path) -> Self {
        Self { path: data.join(TOKENS_FILE) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens; nothing where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read, is open to others, or is damaged.
    pub fn read(&self) -> Result<Option<Vec<Token>>, TokenFileError> {
        // Neither a link nor a pipe is opened as if it were the file.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).expect("flags of open are an int");
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        self.is_private(&file)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| self.io("read", error))?;
        self.parse(&text).map(Some)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// Where the file cannot be read or written; it is then as it was.
    pub fn add(&self, token: Token) -> Result<(), TokenFileError> {
        let _alone = self.lock()?;
        let mut tokens = self.read()?.unwrap_or_default();
        if tokens.len() >= TOKENS_MAX {
            return Err(TokenFileError::Full { place: self.place() });
        }
        tokens.push(token);
        self.write(tokens)
    }

    /// Removes the token of that id, and returns it. The file stays, also when it was the last.
    ///
    /// # Errors
    /// Where there is no such token, or the file cannot be read or written; it is then as it was.
    pub fn remove(&self, id: &str) -> Result<Token, TokenFileError> {
        let unknown = || TokenFileError::Unknown { id: id.to_owned(), place: self.place() };
        if !self.path.exists() {
            return Err(unknown());
        }
        let _alone = self.lock()?;
        let mut tokens = self.read()?.unwrap_or_default();
        let place = tokens.iter().position(|token| token.id == id).ok_or_else(unknown)?;
        let token = tokens.remove(place);
        self.write(tokens)?;
        Ok(token)
    }

    /// By what the present file is known; nothing where there is none.
    pub(super) fn print(&self) -> Option<Print> {
        Print::of(std::fs::symlink_metadata(&self.path))
    }

    fn is_private(&self, file: &File) -> Result<(), TokenFileError> {
        let meta = file.metadata().map_err(|error| self.io("read", error))?;
        let exposed = |why: String| TokenFileError::Exposed { place: self.place(), why };
        if !meta.is_file() {
            return Err(exposed("is no plain file; move it away".to_owned()));
        }
        let mode = meta.mode() & 0o7777;
        if mode & 0o177 != 0 {
            return Err(exposed(format!(
                "has the mode {mode:04o}, but must be for its owner alone; run chmod 600 on it"
            )));
        }
        let own = rustix::process::geteuid();
        if meta.uid() != own.as_raw() && !own.is_root() {
            return Err(exposed(format!("belongs to the user {}, not to the one that runs windlass", meta.uid())));
        }
        Ok(())
    }

    fn parse(&self, text: &str) -> Result<Vec<Token>, TokenFileError> {
        let damaged = |why: String| TokenFileError::Damaged { place: self.place(), why };
        // The parser quotes what it could not read, and that may be a digest: its message alone is told.
        let document: Document = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            damaged(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        if document.version != VERSION {
            return Err(damaged(format!("it is of version {}, and this windlass reads {VERSION}", document.version)));
        }
        let mut ids = std::collections::HashSet::new();
        let read = |entry: Entry| {
            let digest = secret::unhex(&entry.sha256).filter(|_| secret::is_id(&entry.id));
            let digest = digest.ok_or_else(|| damaged("an id or a digest is malformed".to_owned()))?;
            if !ids.insert(entry.id.clone()) {
                return Err(damaged(format!("the id {} stands there twice", entry.id)));
            }
            let Entry { id, name, scopes, created, expires, .. } = entry;
            Ok(Token { id, name, scopes, created, expires, digest })
        };
        document.tokens.into_iter().map(read).collect()
    }

    fn write(&self, tokens: Vec<Token>) -> Result<(), TokenFileError> {
        let entry = |token: Token| Entry {
            sha256: crate::job::text::hex(&token.digest),
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            created: token.created,
            expires: token.expires,
        };
        let document = Document { version: VERSION, tokens: tokens.into_iter().map(entry).collect() };
        let text = toml::to_string(&document).expect("texts, lists and a number are TOML");
        let beside = self.path.with_extension("toml.new");
        let bytes = [HEADING, &text].concat();
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(TokenFileError::TooLarge { place: self.place() });
        }
        let heir = Heir::of(&self.path).map_err(|error| self.io("write", error))?;
        let create = |path: &Path| heir.give(disk::create_private(path)?);
        let written = disk::replace(&self.path, &beside, create, bytes.as_bytes());
        written.map(drop).map_err(|error| self.refused("write", error))
    }

    /// Keeps other commands out until the returned file is dropped. Makes the data folder where there is none.
    fn lock(&self) -> Result<File, TokenFileError> {
        let lock = || -> std::io::Result<File> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(disk::folder_of(&self.path))?;
            let path = self.path.with_extension("toml.lock");
            // Given away only where it is ours for sure: what lies there may be a link that somebody made.
            let heir = Heir::of(&path)?;
            let file = match disk::create_private(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => disk::open_private(&path)?,
                made => heir.give(made?).inspect_err(|_| _ = std::fs::remove_file(&path))?,
            };
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| self.refused("lock", error))
    }

    fn refused(&self, act: &'static str, error: std::io::Error) -> TokenFileError {
        match error.downcast::<NotGiven>() {
            Ok(NotGiven { uid, why }) => TokenFileError::NotTheirs { place: self.place(), uid, why },
            Err(error) => self.io(act, error),
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn io(&self, act: &'static str, why: std::io::Error) -> TokenFileError {
        TokenFileError::Io { act, place: self.place(), why }
    }
}

#[cfg(test)]
mod tests;
