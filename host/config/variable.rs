//! Settings from the environment: `WINDLASS_SECTION__KEY`.

use std::ffi::OsString;

use super::ENV_PREFIX;
use super::file::ConfigError;

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
pub(super) fn key(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(ENV_PREFIX)?.split_once("__")
}

/// What is wrong with a variable.
pub(super) fn mistake(told: &str, reason: String) -> ConfigError {
    ConfigError::Value { place: format!("the environment variable {told}"), reason }
}
