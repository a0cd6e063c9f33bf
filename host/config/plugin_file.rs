//! `NAME.toml` beside `NAME.wasm`: what the operator grants to one plugin, and its policy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::downstream::DownstreamRule;
use super::file::ConfigError;
use super::inject::Inject;
use super::limits::{LimitOverride, Limits};
use super::origin::Origin;
use super::pin::{ComponentDigest, Signers};
use super::proxy::Proxy;
use super::reuse::Reuse;
use super::secret::Secret;
use super::tls::Tls;
use crate::job::RetryOverride;
use crate::job::gates::{self, PluginLimits, Rate};
use crate::job::health::Overrides;

/// The grants and the policy of one plugin. Nothing is granted by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginFile {
    /// The origins that it may reach; nothing else is reachable.
    pub origins: Vec<Origin>,
    /// The downstream of its jobs, where a job names none: a key, or a place in the payload. Without it: the plugin's
    /// name.
    pub downstream: Option<DownstreamRule>,
    /// Attempts at once. 1 to 10000.
    pub concurrency: Option<u32>,
    /// Starts per time, for example `100/s` or `30/m`.
    #[serde(deserialize_with = "rate", serialize_with = "no_rate", skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What bounds each of its downstreams.
    pub downstream_limits: Option<DownstreamLimits>,
    /// What bounds its jobs of one limit key. Without it: one attempt at a time.
    pub key_limits: Option<KeyLimits>,
    /// The secrets that it may use, by name. No value of `config` has the name of one.
    pub secrets: BTreeMap<String, Secret>,
    /// The values that it may read, by name.
    #[serde(deserialize_with = "texts")]
    pub config: BTreeMap<String, String>,
    /// The headers that the host adds to its requests: one table, or several.
    #[serde(deserialize_with = "super::inject::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Inject>,
    /// Whom its calls trust, and what they show of themselves.
    pub tls: Tls,
    /// What its calls go through, in place of `network.proxy`; `none`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// `user:password` for `proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_credentials: Option<Secret>,
    /// What is different in its retry policy.
    pub retry: RetryOverride,
    /// What is different in its limits.
    pub limits: LimitOverride,
    /// How long an instance goes on from job to job. Without it: each attempt has an instance of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Reuse>,
    /// The one component that is taken up, by its sha256. Without it: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<ComponentDigest>,
    /// Whose signature the component must carry: Ed25519 public keys, 1 to 64, any one of them. Where the host has such
    /// a list too, the key must be in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<Signers>,
}

/// What bounds each downstream of a plugin, beside what its health allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DownstreamLimits {
    /// Attempts at once. 1 to 10000.
    pub concurrency: Option<u32>,
    /// Starts per time, for example `100/s` or `30/m`.
    #[serde(deserialize_with = "rate", serialize_with = "no_rate", skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// What bounds the jobs of one limit key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyLimits {
    /// Attempts at once. 1 to 10000.
    pub concurrency: u32,
    /// Starts per time, for example `100/s` or `30/m`.
    #[serde(deserialize_with = "rate", serialize_with = "no_rate", skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self { concurrency: 1, rate: None }
    }
}

impl PluginFile {
    /// Reads a plugin's file and checks it against the host's ceilings.
    ///
    /// # Errors
    /// Names the file, the line or the key, and what is wrong there.
    pub fn parse(path: &Path, text: &str, ceilings: &Limits) -> Result<Self, ConfigError> {
        let file: Self = super::file::parse(path, text)?;
        file.validate(ceilings).map_err(|reason| ConfigError::Value { place: path.display().to_string(), reason })?;
        Ok(file)
    }

    /// What bounds its attempts.
    #[must_use]
    pub fn gate_limits(&self) -> PluginLimits {
        let per_key = self
            .key_limits
            .as_ref()
            .map(|limits| gates::KeyLimits { concurrency: limits.concurrency, rate: limits.rate });
        let each = self.downstream_limits.as_ref();
        let per_downstream = Overrides {
            concurrency: each.and_then(|limits| limits.concurrency),
            rate: each.and_then(|limits| limits.rate),
        };
        PluginLimits {
            concurrency: self.concurrency,
            rate: self.rate,
            per_downstream,
            per_key: per_key.unwrap_or_default(),
        }
    }

    /// The files that it is made of: a change of one of them is a change of this one.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let secrets = self.secrets.values().chain(&self.proxy_credentials);
        secrets.filter_map(Secret::file).chain(self.tls.files())
    }

    fn validate(&self, ceilings: &Limits) -> Result<(), String> {
        if let Some(concurrency) = self.concurrency {
            super::file::within("concurrency", concurrency, 1, 10_000)?;
        }
        if let Some(downstream) = &self.downstream {
            downstream.validate().map_err(|why| format!("downstream: {why}"))?;
        }
        if let Some(concurrency) = self.downstream_limits.as_ref().and_then(|limits| limits.concurrency) {
            super::file::within("downstream_limits.concurrency", concurrency, 1, 10_000)?;
        }
        if let Some(per_key) = &self.key_limits {
            super::file::within("key_limits.concurrency", per_key.concurrency, 1, 10_000)?;
        }
        if let Some(name) = self.secrets.keys().find(|name| self.config.contains_key(*name)) {
            return Err(format!("secrets.{name}: config has a value of that name too; keep one of them"));
        }
        super::inject::validate(&self.inject, &self.origins, &self.secrets, &self.config)?;
        self.tls.validate()?;
        if self.proxy_credentials.is_some() && !matches!(self.proxy, Some(Proxy::Tunnel { .. })) {
            return Err("proxy_credentials: proxy is missing beside it".to_owned());
        }
        self.retry.validate()?;
        self.reuse.as_ref().map_or(Ok(()), Reuse::validate)?;
        ceilings.admits(&self.limits)
    }
}

/// `100/s`, `30/m` or `5/h`.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rate(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Reads `100/s`, `30/m` or `5/h`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    let refusal = || format!("{text:?} is not a rate such as \"100/s\", \"30/m\" or \"5/h\"");
    let (count, unit) = text.split_once('/').ok_or_else(refusal)?;
    let count: u32 = count.trim().parse().map_err(|_| refusal())?;
    let secs = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(refusal()),
    };
    if count == 0 {
        return Err(format!("{text:?} would never let a job start; pause the plugin for that"));
    }
    Ok(Rate { per_second: f64::from(count) / secs })
}

fn no_rate<S: serde::Serializer>(rate: &Option<Rate>, serializer: S) -> Result<S::Ok, S::Error> {
    match rate {
        Some(rate) => serializer.collect_str(&format_args!("{}/h", rate.per_second * 3_600.0)),
        None => serializer.serialize_none(),
    }
}

/// Text values; numbers and booleans are taken as they are written.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, toml::Value>::deserialize(deserializer)?;
    values.into_iter().map(|(name, value)| Ok((name.clone(), text_of(&name, value)?))).collect()
}

fn text_of<E: serde::de::Error>(name: &str, value: toml::Value) -> Result<String, E> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => Ok(value.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => Err(E::custom(format!(
            "config.{name} is a {}; only text, numbers and booleans are handed to a plugin",
            value.type_str()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretSource;

    fn read(text: &str) -> Result<PluginFile, String> {
        PluginFile::parse(Path::new("stripe.toml"), text, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_contracts_example_is_read() {
        let file = read(
            r#"
            origins = ["https://api.stripe.com"]
            downstream = "stripe"
            concurrency = 32
            rate = "100/s"
            [secrets]
            api_key = { env = "STRIPE_API_KEY" }
            [config]
            currency = "eur"
            digits = 2
            [retry]
            max_attempts = 8
            [limits]
            deadline = "10s"
            "#,
        )
        .unwrap();
        assert_eq!(
            file.gate_limits(),
            PluginLimits { concurrency: Some(32), rate: Some(Rate { per_second: 100.0 }), ..PluginLimits::default() }
        );
        assert_eq!(file.secrets["api_key"], SecretSource::Env("STRIPE_API_KEY".into()).into());
        assert_eq!((file.config["currency"].as_str(), file.config["digits"].as_str()), ("eur", "2"));
        assert_eq!(file.retry.max_attempts, Some(8));
    }

    #[test]
    fn a_line_with_a_password_before_a_host_is_not_shown() {
        for (text, told) in [
            ("origins = [\"https://u:s3cret@a\"]", "line 1: origins[0]: \"…\" is not an origin"),
            (
                "concurrency = 2\norigins = [\n\"https://a\",\n\"https://s3cret@a\"]",
                "line 2: origins[1]: \"…\" is not an origin",
            ),
            ("origins = [\"https://u:s3cret\\u0040a\"]", "it carries user information; the line is not shown"),
            ("origins = [\"s3cret@a\"]", "the line is not shown"),
            ("origins = \"https://u:s3cret@a\"", "line 1: origins: invalid type: string \"…\""),
            ("concurrency = \"https://u:s3cret@a\"", "the line is not shown"),
            ("config = { at = \"https://u:s3cret@a\", at = 1 }", "the line is not shown"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told) && !error.contains("s3cret"), "{error}");
        }
        // Where no password can stand, the line helps.
        let error = read("rate = \"mail me@a\"").unwrap_err();
        assert!(error.contains("in `rate = \"mail me@a\"`"), "{error}");
    }

    #[test]
    fn each_mistake_names_the_file_and_the_key() {
        for (text, told) in [
            ("origin = []", "unknown field `origin`"),
            ("origins = [\"api.example.com\"]", "origins"),
            ("concurrency = 0", "concurrency"),
            ("rate = \"fast\"", "rate"),
            ("rate = \"0/s\"", "never"),
            ("downstream = \"\"", "downstream"),
            ("downstream = { pointer = \"url\" }", "JSON Pointer"),
            ("[downstream_limits]\nconcurrency = 0", "downstream_limits.concurrency"),
            ("[key_limits]\nrate = \"often\"", "rate"),
            ("[retry]\nfactor = 0.5", "retry.factor"),
            ("[retry]\nbase = \"soon\"", "base"),
            ("reuse = { max_jobs = 0 }", "reuse.max_jobs"),
            ("reuse = { max_idle = \"1ms\" }", "reuse.max_idle"),
            ("[limits]\ndeadline = \"1h\"", "above the host's ceiling of 30s"),
            ("[secrets]\nkey = { vault = \"x\" }", "vault"),
            ("[secrets]\nkey = \"sk_live\"", "does not stand in this file"),
            ("[config]\nlist = [1]", "config.list"),
            ("inject = { header = \"A\", value = \"x\" }", "inject.origins: the plugin has none"),
            ("origins = [\"http://a\"]\ninject = { header = \"Host\", value = \"x\" }", "inject.header: host"),
            ("origins = [\"http://a\"]\ninject = { header = \"A\", value = \"{k}\" }", "{k} is no secret"),
            ("origins = [\"http://a\"]\ninject = { header = \"A\", value = \"{k\" }", "inject.value"),
            (
                "origins = [\"http://a\"]\ninject = { header = \"A\", value = \"x\", origins = [\"http://b\"] }",
                "http://b is not among",
            ),
            (
                "origins = [\"http://a\"]\n[[inject]]\nheader = \"A\"\nvalue = \"x\"\n[[inject]]\nheader = \"a\"\nvalue = \"y\"",
                "inject[1].header: a is added to the same requests twice",
            ),
            ("tls = { cert = \"a\" }", "tls.key is missing"),
            ("tls = { only_ca = true }", "tls.only_ca"),
            ("tls = { verify = false }", "verify"),
            ("proxy = \"socks5://a:1\"", "over http"),
            ("proxy_credentials = { env = \"A\" }", "proxy is missing"),
            ("[config]\nkey = \"a\"\n[secrets]\nkey = { env = \"A\" }", "secrets.key"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("stripe.toml") && error.contains(told), "{text:?} gave {error:?}");
            assert!(!error.contains('\n'), "{text:?} gave more than one line: {error:?}");
        }
    }
}
