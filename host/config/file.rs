//! Reading settings from a file and from the environment, with errors that say where.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::variable::{self, mistake};
use super::{Config, DEFAULT_FILE};

/// A mistake in the settings: one line for people.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {place}: {source}")]
    Read {
        /// The file.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a key is unknown, or a value is of the wrong type.
    #[error("{place}, line {line}: {reason}")]
    Line {
        /// The file.
        place: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value is out of its range, or an environment variable fits no key.
    #[error("{place}: {reason}")]
    Value {
        /// The file or the environment variable.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

pub(super) fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let (place, text) = read(file)?;
    from_text(&place, &text, variable::settings(env)?)
}

/// Reads the text of a file, overlays the environment and checks the whole.
pub(super) fn from_text(
    place: &Path,
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    // Read as text first: only there does a mistake have a line.
    let config: Config = parse(place, text)?;
    config.validate().map_err(|reason| ConfigError::Value { place: place.display().to_string(), reason })?;
    let mut table: Table = parse(place, text)?;
    let mut overridden = config;
    for (name, value) in env {
        if let Some(path) = variable::key(&name) {
            overridden = overlay(&mut table, &name, path, &value)?;
        }
    }
    Ok(overridden)
}

fn read(file: Option<&Path>) -> Result<(std::path::PathBuf, String), ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_path_buf(), text)),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok((path.to_path_buf(), String::new()))
        }
        Err(source) => Err(ConfigError::Read { place: path.display().to_string(), source }),
    }
}

/// Sets one key from the environment and checks the whole. A value is taken as TOML where that fits, else as text.
fn overlay(table: &mut Table, name: &str, (section, key): (&str, &str), value: &str) -> Result<Config, ConfigError> {
    let as_toml = value.parse::<Value>().ok();
    let candidates = as_toml.into_iter().chain([Value::String(value.to_owned())]);
    let mut reason = String::new();
    for candidate in candidates {
        let mut changed = table.clone();
        let section = changed.entry(section.to_ascii_lowercase()).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.to_ascii_lowercase(), candidate);
        }
        let read = Config::deserialize(changed.clone()).map_err(|error| error.message().to_owned());
        match read.and_then(|config| config.validate().map(|()| config)) {
            Ok(config) => {
                *table = changed;
                return Ok(config);
            }
            Err(why) => reason = why,
        }
    }
    // Somebody may have put a password into a proxy's address.
    let told = if name.to_ascii_uppercase().contains("PROXY") { name.to_owned() } else { format!("{name}={value}") };
    Err(mistake(&told, reason))
}

/// Reads TOML; a mistake names the line and quotes it.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text[..start].matches('\n').count() + 1;
        let quoted = quotable(text, line);
        let reason = format!("in `{quoted}`: {}", error.message().replace('\n', " "));
        ConfigError::Line { place: path.display().to_string(), line, reason }
    })
}

/// A line as it may be shown: of one that should say where a secret is, only what comes before the value, as somebody may
/// have put the secret itself there.
fn quotable(text: &str, line: usize) -> String {
    let quoted = text.lines().nth(line - 1).unwrap_or("").trim();
    let section = text.lines().take(line).map(str::trim).filter(|line| line.starts_with('[')).last();
    let is_secret = section.is_some_and(|section| section.trim_start_matches(['[', ' ']).starts_with("secrets"))
        || quoted.starts_with("secrets")
        || quoted.contains("proxy");
    match quoted.split_once('=') {
        Some((key, _)) if is_secret => format!("{key}= …"),
        _ => quoted.to_owned(),
    }
}

/// Checks a value against its range.
pub(super) fn within<T: PartialOrd + Display>(key: &str, value: T, least: T, most: T) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("{key} is {value}; it must lie between {least} and {most}"));
    }
    Ok(())
}

/// Checks the key of a downstream: 1 to 200 characters, none of them a control character.
pub(crate) fn downstream_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.chars().count() > 200 || key.chars().any(char::is_control) {
        return Err("a downstream is named by 1 to 200 characters without control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::job::units::TimeSpan;

    fn read_file(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Config::load(Some(file.path()), env)
            .map_err(|error| error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn no_file_and_an_empty_file_are_the_defaults() {
        assert_eq!(read_file("", &[]), Ok(Config::default()));
        assert_eq!(Config::default().server.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(Config::default().store.file(), Path::new("data/windlass.db"));
    }

    #[test]
    fn the_defaults_written_out_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(read_file(&text, &[]), Ok(Config::default()));
    }

    #[test]
    fn each_mistake_names_the_file_and_the_key() {
        for (text, told) in [
            ("[server]\nlisten = \"here\"", "FILE, line 2: in `listen = \"here\"`"),
            ("[server]\nport = 1", "FILE, line 2: in `port = 1`: unknown field `port`"),
            ("[serve]\n", "unknown field `serve`"),
            ("[retry]\nfactor = 0.1", "FILE: retry.factor"),
            ("[retry]\njitter = \"some\"", "in `jitter = \"some\"`"),
            ("[limits]\nmemory = \"1KiB\"", "FILE: limits.memory is 1KiB; it must lie between 1MiB and 4GiB"),
            ("[store]\nurl = \"mysql:x\"", "FILE: store.url"),
            ("[fairness]\nshare = 0.0", "FILE: fairness.share is 0; it must lie between 0.1 and 1"),
            ("[breaker]\nprobe_cap = \"1ms\"", "FILE: breaker.probe_cap"),
            ("nonsense", "FILE, line 1"),
        ] {
            let error = read_file(text, &[]).unwrap_err();
            assert!(error.contains(told), "{text:?} gave {error:?}");
            assert!(!error.contains('\n'), "{text:?} gave more than one line: {error:?}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let env = [("WINDLASS_RETRY__BASE", "250ms"), ("WINDLASS_RETRY__MAX_ATTEMPTS", "3"), ("WINDLASS_HOME", "/x")];
        let config = read_file("[retry]\nbase = \"1s\"\nfactor = 3.0", &env).unwrap();
        assert_eq!((config.retry.base, config.retry.max_attempts), (TimeSpan::from_ms(250), 3));
        assert!((config.retry.factor - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_mistake_in_the_environment_names_the_variable() {
        for (name, value) in
            [("WINDLASS_RETRY__BAZE", "1s"), ("WINDLASS_NO__KEY", "1"), ("WINDLASS_SERVER__LISTEN", "x")]
        {
            let error = read_file("", &[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{error:?} does not name {name}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for text in [
            "[network]\nproxy = 'http://u:s3cret@p:1'",
            "[network]\nproxy_credentials = 's3cret'",
            "[network]\nproxy = 'http://p:1'\nproxy_credentials = { env = 's', s3cret = 1 }",
        ] {
            let error = read_file(text, &[]).unwrap_err();
            assert!(error.contains("proxy") && !error.contains("u:s3cret") && !error.contains("'s3cret'"), "{error}");
        }
        let error = read_file("", &[("WINDLASS_NETWORK__PROXY", "http://u:s3cret@p:1")]).unwrap_err();
        assert!(error.contains("WINDLASS_NETWORK__PROXY") && !error.contains("s3cret"), "{error}");
        for text in ["secrets = { k = 's3cret' }", "[secrets]\n\nk = s3cret", "[ secrets ]\nk = ['s3cret']"] {
            let error = parse::<crate::config::PluginFile>(Path::new("a.toml"), text).unwrap_err().to_string();
            assert!(error.contains("a.toml, line") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Config::load(Some(Path::new("no/such.toml")), []).unwrap_err().to_string();
        assert!(error.contains("no/such.toml"), "{error}");
    }
}
