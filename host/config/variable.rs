//! Settings from the environment: `WINDLASS_SECTION__KEY`.

use std::ffi::OsString;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::file::ConfigError;
use super::{Config, ENV_PREFIX, quote};

/// A variable that overrides a key.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    name: String,
    section: String,
    key: String,
    text: String,
}

/// The variables that override keys, by name and value. What of the environment is not text is of no matter, but for one
/// of these: that is a mistake.
pub(super) fn settings(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let settings = env.into_iter().filter(|(name, _)| key(&name.to_string_lossy()).is_some());
    let texts = settings.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(mistake(&name, "its value is not UTF-8".to_owned())),
        (Err(name), _) => Err(mistake(&name.to_string_lossy(), "its name is not UTF-8: it fits no key".to_owned())),
    });
    texts.collect()
}

/// The section and the key that a variable of that name overrides, as they are written there.
fn key(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(ENV_PREFIX)?.split_once("__")
}

/// What is wrong with what a variable of this process says for that key, as `section.key`; none where none overrides it.
pub(crate) fn mistake_of(overridden: &str, reason: &str) -> Option<ConfigError> {
    let is_it = |name: &String| {
        key(name).is_some_and(|(section, key)| format!("{section}.{key}").eq_ignore_ascii_case(overridden))
    };
    let name = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).find(is_it)?;
    Some(mistake(&name, reason.to_owned()))
}

fn mistake(told: &str, reason: String) -> ConfigError {
    ConfigError::Value { place: format!("the environment variable {told}"), reason }
}

impl Variable {
    /// None where a variable of that name overrides nothing.
    pub(super) fn new(name: String, text: String) -> Option<Self> {
        let (section, key) = key(&name)?;
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        Some(Self { name, section, key, text })
    }

    /// What it says: TOML where that fits the key, else text. Whether it lies in its range is seen beside the others.
    pub(super) fn value(&self) -> Result<Value, ConfigError> {
        let as_toml = self.text.parse::<Value>().ok();
        let mut reason = String::new();
        for value in as_toml.into_iter().chain([Value::String(self.text.clone())]) {
            let mut alone = Table::new();
            self.put(&mut alone, value.clone());
            match Config::deserialize(alone) {
                Ok(_) => return Ok(value),
                Err(error) => error.message().clone_into(&mut reason),
            }
        }
        Err(self.mistake(reason))
    }

    /// Sets its key.
    pub(super) fn put(&self, table: &mut Table, value: Value) {
        let section = table.entry(self.section.clone()).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(self.key.clone(), value);
        }
    }

    /// Takes its key out of what a file says.
    pub(super) fn leave_out(&self, table: &mut DeTable<'_>) {
        if let Some(DeValue::Table(section)) = table.get_mut(self.section.as_str()).map(|section| section.get_mut()) {
            section.remove(self.key.as_str());
        }
    }

    /// Whether what is wrong is told of its key.
    pub(super) fn is_named_first(&self, reason: &str) -> bool {
        let rest =
            reason.strip_prefix(&*self.section).and_then(|rest| rest.strip_prefix('.')?.strip_prefix(&*self.key));
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_'))
    }

    /// What is wrong with it.
    pub(super) fn mistake(&self, reason: String) -> ConfigError {
        // Somebody may have put a password into an address.
        if self.key.contains("proxy") || quote::url(&self.text) != self.text {
            return mistake(&self.name, quote::masked(&reason));
        }
        mistake(&format!("{}={}", self.name, self.text), reason)
    }
}
