//! The settings' door for the fuzzer.

use std::path::Path;

use super::file::from_text;
use super::{Config, ConfigError, Limits, PluginFile};
use crate::job::gates::Rate;

/// What parts the three texts of an input.
const PART: &str = "\n---\n";

/// `windlass.toml`, lines of `NAME=value`, and the file beside a plugin.
///
/// # Panics
/// Where a mistake is no single line that names its place, or settings that were taken break their own rules.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split(PART);
    let mut part = || parts.next().unwrap_or_default();
    let (file, env, beside) = (part(), part(), part());

    let limits = checked(from_text(Path::new("windlass.toml"), file, []), &["windlass.toml"])
        .map_or_else(Limits::default, |config| config.limits);
    let env: Vec<(String, String)> = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    checked(from_text(Path::new("windlass.toml"), file, env), &["windlass.toml", "the environment variable WINDLASS_"]);
    match PluginFile::parse(Path::new("plugins/p.toml"), beside, &limits) {
        Ok(file) => within(&file, &limits),
        Err(error) => is_one_line(&error, &["plugins/p.toml"]),
    }
}

/// Settings that were taken hold their own rules, and say the same when they are written out and read again.
fn checked(read: Result<Config, ConfigError>, places: &[&str]) -> Option<Config> {
    let config = match read {
        Ok(config) => config,
        Err(error) => {
            is_one_line(&error, places);
            return None;
        }
    };
    assert_eq!(config.validate(), Ok(()), "settings were taken that are out of their ranges");
    let written = toml::to_string(&config).unwrap_or_else(|error| panic!("{config:?} cannot be written: {error}"));
    let again = from_text(Path::new("written.toml"), &written, []);
    let again = again.unwrap_or_else(|error| panic!("{error}\nin what was written:\n{written}"));
    assert_eq!(again, config, "read again from\n{written}");
    Some(config)
}

fn is_one_line(error: &ConfigError, places: &[&str]) {
    let told = error.to_string();
    assert!(!told.contains('\n'), "more than one line: {told:?}");
    assert!(places.iter().any(|place| told.starts_with(place)), "{told:?} begins with none of {places:?}");
}

/// What a plugin's file asks for stays under the host's ceilings, and would let a job start.
fn within(file: &PluginFile, ceilings: &Limits) {
    let limits = ceilings.attempt(&file.limits);
    let most = ceilings.attempt(&super::LimitOverride::default());
    assert!(limits.deadline <= most.deadline && limits.cpu <= most.cpu && limits.memory <= most.memory, "{limits:?}");
    assert!(limits.response <= most.response && limits.output <= most.output, "{limits:?}");
    assert!(limits.payload <= most.payload, "{limits:?}");
    let gates = file.gate_limits();
    let rates = [gates.rate, gates.per_downstream.rate, gates.per_key.rate];
    let starts = |rate: Rate| rate.per_second.is_finite() && rate.per_second > 0.0;
    assert!(rates.into_iter().flatten().all(starts), "{gates:?}");
    let counts = [gates.concurrency, gates.per_downstream.concurrency, Some(gates.per_key.concurrency)];
    assert!(counts.into_iter().flatten().all(|count| (1..=10_000).contains(&count)), "{gates:?}");
}
