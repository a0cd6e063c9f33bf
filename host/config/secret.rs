//! `[secrets]` in a plugin's file: where each secret comes from, and who may read it.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Value;

use crate::job::units::TimeSpan;

/// How often a command may be run again at most, and at least.
const REFRESH: (TimeSpan, TimeSpan) = (TimeSpan::from_secs(1), TimeSpan::from_secs(30 * 86_400));

/// One secret of a plugin's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Where it comes from.
    #[serde(flatten)]
    pub source: SecretSource,
    /// Whether the plugin reads it by `config.get`. Default: yes, unless an `inject` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable: Option<bool>,
    /// After how long its command is run again. 1s to 720h. Default: only when the plugin's file changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<TimeSpan>,
    /// Takes the file whoever may read or write it, for container mounts that cannot be changed. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_mode: bool,
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// An environment variable of the host.
    Env(String),
    /// A file that the host can read, and others cannot.
    File(PathBuf),
    /// What a program prints: its path or name, and its arguments. No shell has a part in it.
    Command(Vec<String>),
    /// The value itself, from whoever tries a plugin by itself. No file can say this.
    #[serde(skip)]
    Given(String),
}

impl Secret {
    /// The file that it comes from, if it comes from one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        if let SecretSource::File(path) = &self.source { Some(path) } else { None }
    }
}

impl From<SecretSource> for Secret {
    fn from(source: SecretSource) -> Self {
        Self { source, readable: None, refresh: None, any_mode: false }
    }
}

/// A value that was given is not shown.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => f.debug_tuple("Env").field(variable).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

/// The members of a secret's table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Members {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    readable: Option<bool>,
    refresh: Option<TimeSpan>,
    any_mode: bool,
}

impl<'de> Deserialize<'de> for Secret {
    /// What is not a table is not told: it may be the secret itself, put where it does not belong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if !value.is_table() {
            return Err(D::Error::custom(
                "a secret's value does not stand in this file; say where it is: { env = \"…\" }, { file = \"…\" } or \
                 { command = [\"…\"] }",
            ));
        }
        let members: Members = value.try_into().map_err(D::Error::custom)?;
        members.secret().map_err(D::Error::custom)
    }
}

impl Members {
    fn secret(self) -> Result<Secret, String> {
        let source = match (self.env, self.file, self.command) {
            (Some(variable), None, None) => SecretSource::Env(variable),
            (None, Some(path), None) => SecretSource::File(path),
            (None, None, Some(words)) if words.first().is_some_and(|program| !program.is_empty()) => {
                SecretSource::Command(words)
            }
            (None, None, Some(_)) => return Err("command names no program".to_owned()),
            _ => return Err("a secret has one source: env, file or command".to_owned()),
        };
        if self.any_mode && !matches!(source, SecretSource::File(_)) {
            return Err("any_mode is for secrets that come from a file".to_owned());
        }
        if let Some(refresh) = self.refresh {
            if !matches!(source, SecretSource::Command(_)) {
                return Err("refresh is for secrets that come from a command; a file is followed by itself".to_owned());
            }
            super::file::within("refresh", refresh, REFRESH.0, REFRESH.1)?;
        }
        Ok(Secret { source, readable: self.readable, refresh: self.refresh, any_mode: self.any_mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Secret, String> {
        #[derive(Deserialize)]
        struct File {
            key: Secret,
        }
        toml::from_str::<File>(text).map(|file| file.key).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn each_source_is_read() {
        assert_eq!(read("key = { env = 'A' }"), Ok(SecretSource::Env("A".into()).into()));
        assert_eq!(read("key = { file = '/a' }"), Ok(SecretSource::File("/a".into()).into()));
        let command = read("key = { command = ['pass', 'show', 'x'], refresh = '1h', readable = true }").unwrap();
        assert_eq!(command.source, SecretSource::Command(vec!["pass".into(), "show".into(), "x".into()]));
        assert_eq!((command.refresh, command.readable), (Some(TimeSpan::from_secs(3_600)), Some(true)));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for (text, told) in [
            ("key = 'sk_live_1'", "does not stand in this file"),
            ("key = 7", "does not stand in this file"),
            ("key = { vault = 'x' }", "vault"),
            ("key = {}", "one source"),
            ("key = { env = 'A', file = 'b' }", "one source"),
            ("key = { command = [] }", "no program"),
            ("key = { env = 'A', any_mode = true }", "any_mode"),
            ("key = { file = 'a', refresh = '1h' }", "refresh"),
            ("key = { command = ['a'], refresh = '1ms' }", "refresh"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told) && !error.contains("sk_live_1"), "{text}: {error}");
        }
        assert_eq!(format!("{:?}", SecretSource::Given("s3cret".into())), "Given");
    }
}
