//! Reading settings from a file and from the environment, with errors that say where.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Table;
use toml::de::DeTable;

use super::quote;
use super::variable::{self, Variable};
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

/// Reads the text of a file, overlays the environment and checks the whole. What is overridden is of no matter in the
/// file, and the order of the variables is of none.
pub(super) fn from_text(
    place: &Path,
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let variables: Vec<_> = env.into_iter().filter_map(|(name, value)| Variable::new(name, value)).collect();
    // Read as text first: only there does a mistake have a line.
    let _: Config = parse_without(place, text, &variables)?;
    let file: Table = parse(place, text)?;
    let values = variables.iter().map(Variable::value).collect::<Result<Vec<_>, _>>()?;
    let overlaid = |but: Option<usize>| {
        let mut table = file.clone();
        let overlays = variables.iter().zip(&values).enumerate().filter(|(n, _)| Some(*n) != but);
        overlays.for_each(|(_, (variable, value))| variable.put(&mut table, value.clone()));
        Config::deserialize(table).map_err(|error| error.message().to_owned())
    };
    let wrong = match overlaid(None).and_then(|config| config.validate().map(|()| config)) {
        Ok(config) => return Ok(config),
        Err(reason) => reason,
    };
    // The one that set what is told of; else one without which that would not be wrong.
    let named = variables.iter().rposition(|variable| variable.is_named_first(&wrong));
    let is_to_blame = |n: &usize| overlaid(Some(*n)).is_ok_and(|config| config.validate().as_ref() != Err(&wrong));
    match named.or_else(|| (0..variables.len()).find(is_to_blame)) {
        Some(n) => Err(variables[n].mistake(wrong)),
        None => Err(ConfigError::Value { place: place.display().to_string(), reason: wrong }),
    }
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

/// Reads TOML; a mistake names the line and quotes it, where it can hold no secret.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    parse_without(path, text, &[])
}

/// The same without the keys that these override.
fn parse_without<T: DeserializeOwned>(path: &Path, text: &str, overridden: &[Variable]) -> Result<T, ConfigError> {
    let mut key = String::new();
    let read = DeTable::parse(text).and_then(|mut table| {
        overridden.iter().for_each(|variable| variable.leave_out(table.get_mut()));
        serde_path_to_error::deserialize(toml::Deserializer::from(table)).map_err(|error| {
            key = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text[..start].matches('\n').count() + 1;
        let reason = quote::told(text, line, &key, error.message());
        ConfigError::Line { place: path.display().to_string(), line, reason }
    })
}

/// Checks a value against its range.
pub(super) fn within<T: PartialOrd + Display>(key: &str, value: T, least: T, most: T) -> Result<(), String> {
    // What is no number lies on neither side.
    let is_within = value >= least && value <= most;
    if !is_within {
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
    use toml::Value;

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
            ("[store]\nurl = \"mysql://u:s3cret@a\"", "FILE: store.url: \"…\" is not a store"),
            ("[store]\nurl = \"sqlite:file:x\"", "FILE: store.url: \"sqlite:file:x\" names no file"),
            ("[store]\nurl = \"sqlite::memory:\"", "FILE: store.url: \"sqlite::memory:\" names no file"),
            ("[plugins]\nscan = \"1ms\"", "FILE: plugins.scan is 1ms; it must lie between 100ms and 1h"),
            ("[plugins]\nscan = \"2h\"", "FILE: plugins.scan is 2h; it must lie between 100ms and 1h"),
            ("[fairness]\nshare = 0.0", "FILE: fairness.share is 0; it must lie between 0.1 and 1"),
            ("[breaker]\nprobe_cap = \"1ms\"", "FILE: breaker.probe_cap"),
            (
                "[network]\nallow_cidrs = [\n'::1/128',\n'x',\n]",
                "FILE, line 4: network.allow_cidrs[1], in `'x',`: invalid",
            ),
            ("[server]\nhosts = [\n7]", "FILE, line 3: server.hosts[0], in `7]`: invalid type"),
            ("[breaker]\nprobe = '10s'", "FILE: breaker.probe_cap is 5s, less than breaker.probe, which is 10s"),
            ("nonsense", "FILE, line 1"),
        ] {
            let error = read_file(text, &[]).unwrap_err();
            assert!(error.contains(told), "{text:?} gave {error:?}");
            assert!(!error.contains('\n'), "{text:?} gave more than one line: {error:?}");
        }
    }

    #[test]
    fn no_key_takes_what_is_no_number_or_has_no_end() {
        let Ok(Value::Table(defaults)) = Value::try_from(Config::default()) else { panic!("settings are a table") };
        let mut keys = 0;
        for (section, settings) in &defaults {
            let settings = settings.as_table().unwrap().iter();
            for (key, _) in settings.filter(|(_, value)| matches!(value, Value::Float(_))) {
                for value in ["nan", "-nan", "inf", "-inf"] {
                    let error = read_file(&format!("[{section}]\n{key} = {value}"), &[]).unwrap_err();
                    assert!(error.contains(&format!("{section}.{key}")), "{value}: {error}");
                }
                keys += 1;
            }
        }
        assert!(keys >= 3, "{keys} keys take fractions");
    }

    #[test]
    fn localhost_is_an_address_to_listen_on() {
        for (text, told) in [("localhost:7071", "127.0.0.1:7071"), ("[::1]:7", "[::1]:7")] {
            let config = read_file(&format!("[server]\nlisten = '{text}'"), &[]).unwrap();
            assert_eq!(config.server.listen.to_string(), told);
        }
        assert!(read_file("[server]\nlisten = 'localhost'", &[]).unwrap_err().contains("such as 127.0.0.1:7070"));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let env = [("WINDLASS_RETRY__BASE", "250ms"), ("WINDLASS_RETRY__MAX_ATTEMPTS", "3"), ("WINDLASS_HOME", "/x")];
        let config = read_file("[retry]\nbase = \"1s\"\nfactor = 3.0", &env).unwrap();
        assert_eq!((config.retry.base, config.retry.max_attempts), (TimeSpan::from_ms(250), 3));
        assert!((config.retry.factor - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_environment_holds_whatever_the_file_says_of_its_keys_and_in_any_order() {
        for (text, mut env) in [
            ("[breaker]\nfailures = 0", vec![("WINDLASS_BREAKER__FAILURES", "5")]),
            ("[server]\nlisten = 'here'", vec![("WINDLASS_SERVER__LISTEN", "127.0.0.1:1")]),
            ("breaker = { failures = 0.5, probe = '2s' }", vec![("WINDLASS_BREAKER__FAILURES", "5")]),
            ("", vec![("WINDLASS_BREAKER__PROBE", "10s"), ("WINDLASS_BREAKER__PROBE_CAP", "20s")]),
            (
                "[breaker]\nprobe = '1h'\nprobe_cap = '1s'",
                vec![("WINDLASS_BREAKER__PROBE", "10s"), ("WINDLASS_BREAKER__PROBE_CAP", "20s")],
            ),
            (
                "",
                vec![
                    ("WINDLASS_NETWORK__PROXY", "http://p:1"),
                    ("WINDLASS_NETWORK__PROXY_CREDENTIALS", "{ env = 'E' }"),
                ],
            ),
        ] {
            let read = read_file(text, &env);
            assert!(read.is_ok(), "{text:?} and {env:?} gave {read:?}");
            env.reverse();
            assert_eq!(read_file(text, &env), read, "{text:?} and {env:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_of_the_one_who_made_it() {
        for (text, env, told) in [
            (
                "[breaker]\nfailures = 0",
                &[("WINDLASS_BREAKER__FAILURES", "0")][..],
                "the environment variable WINDLASS_BREAKER__FAILURES=0: breaker.failures is 0",
            ),
            (
                "[breaker]\nprobe_cap = '5s'",
                &[("WINDLASS_BREAKER__PROBES", "2"), ("WINDLASS_BREAKER__PROBE", "10s")],
                "the environment variable WINDLASS_BREAKER__PROBE=10s: breaker.probe_cap is 5s",
            ),
            ("[breaker]\nfailures = 0", &[("WINDLASS_BREAKER__PROBE", "2s")], "FILE: breaker.failures is 0"),
            ("[breaker]\nfailures = 0\nprobes = 'x'", &[("WINDLASS_BREAKER__FAILURES", "5")], "FILE, line 3: "),
            ("[breaker]\nfailures =\n", &[("WINDLASS_BREAKER__FAILURES", "5")], "FILE, line 2: "),
            ("breaker = 3", &[("WINDLASS_BREAKER__FAILURES", "5")], "FILE, line 1: "),
            ("", &[("WINDLASS_BREAKER__PROBE", "soon")], "the environment variable WINDLASS_BREAKER__PROBE=soon: "),
        ] {
            let error = read_file(text, env).unwrap_err();
            assert!(error.starts_with(told), "{text:?} and {env:?} gave {error:?}");
        }
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
            "[network]\nproxy_credentials = {\nenv = s3cret }",
            "[network]\nhttp://u:s3cret@proxy:1",
            "[network]\nproxy = 'http://p:1'\nproxy_credentials = { env = 's', s3cret = 1 }",
        ] {
            let error = read_file(text, &[]).unwrap_err();
            assert!(error.starts_with("FILE") && !error.contains("u:s3cret") && !error.contains("'s3cret'"), "{error}");
        }
        let error = read_file("", &[("WINDLASS_NETWORK__PROXY", "http://u:s3cret@p:1")]).unwrap_err();
        assert!(error.contains("WINDLASS_NETWORK__PROXY") && !error.contains("s3cret"), "{error}");
        let Ok(Value::Table(defaults)) = Value::try_from(Config::default()) else { panic!("settings are a table") };
        let keys = defaults.iter().flat_map(|(section, settings)| {
            let settings = settings.as_table().unwrap().iter();
            settings.map(move |(key, _)| format!("WINDLASS_{section}__{key}").to_uppercase())
        });
        let others = ["STORE__URLL", "STOR__URL", "PLUGINS__SIGNED_BY", "SERVER__TLS", "NETWORK__PROXY_CREDENTIALS"];
        for name in keys.chain(others.map(|key| format!("WINDLASS_{key}"))) {
            for value in ["postgres://u:s3cret@h/d", "postgres://h/d?password=s3cret", "[\"http://u:s3cret@h\"]"] {
                // A path may hold anything.
                let Err(error) = read_file("", &[(&*name, value)]) else { continue };
                assert!(error.contains(&name) && !error.contains("s3cret"), "{name}={value}: {error}");
            }
        }
        let error = read_file("[store]\nurl = 'postgres://h/d?password=s3cret'", &[]).unwrap_err();
        assert!(error.contains("store.url") && !error.contains("s3cret"), "{error}");
        for text in [
            "[store]\nurl = postgres://h/d?password=s3cret",
            "[store]\nurl = ['postgres://h/d?password=s3cret']",
            "[store]\nurll = 'postgres://h/d?password=s3cret'",
            "[store]\nsync = 'postgres://h/d?password=s3cret'",
            "secrets = { k = 's3cret' }",
            "secrets = 's3cret'",
            "secrets = {\n k = s3cret }",
            "secrets.s3cret",
            "[secrets]\n\nk = s3cret",
            "[secrets]\ns3cret",
            "[secrets]\ns3cret=",
            "[secrets]\ns3cret==",
            "[secrets]\n's3cret' = 1",
            "[secrets]\ns3cret = { env = 'A' }\ns3cret = { env = 'B' }",
            "[secrets]\nk = { s3cret = 'A' }",
            "[secrets]\nk = { env = 'A', s3cret = 'A' }",
            "[secrets]\nk = { env = 'A', env = 's3cret' }",
            "[secrets]\nk = { env = ['s3cret'] }",
            "[secrets]\nk = { file = 'a', env = 's3cret' }",
            "[secrets]\nk = { command = [\n['a'],\ns3cret] }",
            "[secrets.k]\ns3cret",
            "[secrets.k]\nenv = 's3cret\n",
            "[secrets.s3cret\n",
            "[secrets.s3cret]\n[secrets.s3cret]",
            "[ secrets ]\nk = ['s3cret']",
            "[\"secrets\"]\nk = ['s3cret']",
            "'secrets' = ['s3cret']",
            "[config]\n[secrets]\ns3cret = [",
            "inject = { header = 'A', value = 'Bearer s3cret', orgins = ['x'] }",
            "inject = [{ header = 'A', value = 's3cret' },\n{ header = 'A', value = 's3cret', orgins = ['x'] }]",
            "[inject]\nheader = 'A'\nvalue = 's3cret'\norgins = ['x']",
            "[[inject]]\nheader = 'A'\nvalue = ['s3cret']",
            "[[inject]]\nheader = 'A'\nvalue = 's3cret",
            "inject = 's3cret'",
        ] {
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
