//! `[store]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::quote;

/// What the URL of the embedded store begins with.
const SQLITE: &str = "sqlite:";
/// What SQLite would take for something else than the path of a file, or people for another URL.
const NO_FILES: [&str; 3] = ["//", "file:", ":memory:"];

/// Where jobs are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:PATH`.
    pub url: String,
    /// What an acknowledgement waits for.
    pub sync: SyncMode,
}

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// The disk: what was acknowledged survives a power cut.
    #[default]
    Full,
    /// The system alone: what was acknowledged survives the end of the host, also by `kill -9`. A power cut or a crash of
    /// the system can take the last seconds before it, jobs and ends of attempts; what is left is whole.
    Normal,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite:data/windlass.db".to_owned(), sync: SyncMode::default() }
    }
}

impl Store {
    /// The store in that folder.
    ///
    /// # Errors
    /// Where no URL names such a file.
    pub fn in_folder(folder: &Path) -> Result<Self, String> {
        let file = folder.join("windlass.db");
        let file = file.to_str().ok_or_else(|| format!("{folder:?} is not UTF-8, as the name of a folder must be"))?;
        let store = Self { url: format!("{SQLITE}{file}"), ..Self::default() };
        store.validate().map(|()| store)
    }

    /// The file of the embedded store.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        PathBuf::from(self.url.strip_prefix(SQLITE).unwrap_or(&self.url))
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match self.url.strip_prefix(SQLITE) {
            Some(path) if !path.is_empty() && !NO_FILES.iter().any(|other| path.starts_with(other)) => Ok(()),
            Some(_) => Err(format!(
                "store.url: {:?} names no file; write sqlite:PATH, for example sqlite:data/windlass.db",
                quote::url(&self.url)
            )),
            None => Err(format!(
                "store.url: {:?} is not a store that this version has; write sqlite:PATH",
                quote::url(&self.url)
            )),
        }
    }
}
