//! Where a host keeps its things: the same answer for every command that touches them.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Config, ConfigError};

/// The settings and the data folder.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceArgs {
    /// The settings [default: windlass.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the store and of the tokens [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl PlaceArgs {
    /// The settings from the file, the environment and these arguments, in rising precedence.
    pub(super) fn settings(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref(), std::env::vars_os())?;
        if let Some(data) = &self.data {
            let wrong = |reason| ConfigError::Value { place: "--data".to_owned(), reason };
            config.store.url = config::Store::in_folder(data).map_err(wrong)?.url;
        }
        let argument = self.data.as_ref().map(|_| "--data");
        self.must_be_folder(&config.data_dir(), argument, "store.url")?;
        let store = config.store.file();
        if store.is_dir() {
            let reason = format!("store.url: {} is a folder; name a file in it", store.display());
            return Err(self.mistake("store.url", argument, reason));
        }
        Ok(config)
    }

    /// Refuses a folder that cannot be one, as a file is in its place, and says what set it: that argument, or else the
    /// variable or the file with that key.
    pub(super) fn must_be_folder(&self, dir: &Path, argument: Option<&str>, key: &str) -> Result<(), ConfigError> {
        let is_other = match dir.metadata() {
            Ok(found) => !found.is_dir(),
            Err(error) => error.kind() == std::io::ErrorKind::NotADirectory,
        };
        let reason = || format!("{key}: {} is no folder", dir.display());
        if is_other { Err(self.mistake(key, argument, reason())) } else { Ok(()) }
    }

    /// What is wrong with the value of that key, as that argument says it, or else the variable or the file with the key.
    pub(super) fn mistake(&self, key: &str, argument: Option<&str>, reason: String) -> ConfigError {
        let by_variable = if argument.is_none() { config::variable_mistake(key, &reason) } else { None };
        let place = || argument.map_or_else(|| self.file(), str::to_owned);
        by_variable.unwrap_or_else(|| ConfigError::Value { place: place(), reason })
    }

    /// The name of the file of settings.
    pub(super) fn file(&self) -> String {
        self.config.as_ref().map_or_else(|| config::DEFAULT_FILE.to_owned(), |file| file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SyncMode;

    #[test]
    fn a_data_folder_that_is_no_text_or_would_name_no_file_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        for data in [&b"caf\xe9"[..], b"file:x", b"/a\xff/b"] {
            let data = PathBuf::from(std::ffi::OsString::from_vec(data.to_vec()));
            let error = PlaceArgs { config: None, data: Some(data.clone()) }.settings().unwrap_err().to_string();
            assert!(error.starts_with("--data") && !error.contains('\n'), "{data:?}: {error}");
        }
        let data = PlaceArgs { config: None, data: Some("./file:x".into()) }.settings().unwrap().data_dir();
        assert_eq!(data, PathBuf::from("./file:x"));
    }

    #[test]
    fn the_data_folder_says_where_the_store_is_and_nothing_else_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("windlass.toml");
        std::fs::write(&file, "[store]\nsync = \"normal\"").unwrap();
        let place = PlaceArgs { config: Some(file), data: Some(PathBuf::from("elsewhere")) };
        let store = place.settings().unwrap().store;
        assert_eq!((store.url.as_str(), store.sync), ("sqlite:elsewhere/windlass.db", SyncMode::Normal));
    }
}
