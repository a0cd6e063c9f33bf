//! Which downstream a plugin's jobs call.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// The downstream of jobs that name none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DownstreamRule {
    /// Always this key.
    Key(String),
    /// What stands in the payload.
    Payload(PayloadRule),
}

/// Where in a JSON payload the downstream's key stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadRule {
    /// A JSON Pointer (RFC 6901), for example `/url`.
    pub pointer: String,
    /// What of the text there is the key.
    #[serde(default)]
    pub part: KeyPart,
}

/// What of a text is the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPart {
    /// All of it.
    #[default]
    Whole,
    /// The host of the URL, with its port where it is not the usual one.
    Host,
}

impl DownstreamRule {
    /// The key for a job with that payload, which is none where it is not JSON; none where the rule finds nothing that
    /// can be a key.
    #[must_use]
    pub fn key(&self, payload: Option<&[u8]>) -> Option<String> {
        match self {
            Self::Key(key) => Some(key.clone()),
            Self::Payload(rule) => rule.key(payload?),
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Key(key) => super::file::downstream_key(key),
            Self::Payload(PayloadRule { pointer, .. }) if pointer.is_empty() || pointer.starts_with('/') => Ok(()),
            Self::Payload(PayloadRule { pointer, .. }) => {
                Err(format!("{pointer:?} is not a JSON Pointer such as \"/url\""))
            }
        }
    }
}

impl PayloadRule {
    fn key(&self, payload: &[u8]) -> Option<String> {
        let payload: Value = serde_json::from_slice(payload).ok()?;
        let key = match payload.pointer(&self.pointer)? {
            Value::String(text) => text.clone(),
            number @ Value::Number(_) => number.to_string(),
            _ => return None,
        };
        let key = match self.part {
            KeyPart::Whole => key,
            KeyPart::Host => {
                let url = Url::parse(&key).ok()?;
                let host = url.host_str()?;
                url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
            }
        };
        super::file::downstream_key(&key).is_ok().then_some(key)
    }
}

impl fmt::Display for DownstreamRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Payload(PayloadRule { pointer, part: KeyPart::Whole }) => write!(f, "payload {pointer}"),
            Self::Payload(PayloadRule { pointer, part: KeyPart::Host }) => write!(f, "payload {pointer}, host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_where_the_rule_says() {
        let rule = |pointer: &str, part| DownstreamRule::Payload(PayloadRule { pointer: pointer.to_owned(), part });
        let payload =
            br#"{"url": "https://api.example.com/v1", "to": {"shop": 17, "name": "a"}, "odd": "http://[::1]:81/"}"#;
        for (rule, key) in [
            (DownstreamRule::Key("stripe".into()), Some("stripe")),
            (rule("/url", KeyPart::Host), Some("api.example.com")),
            (rule("/odd", KeyPart::Host), Some("[::1]:81")),
            (rule("/url", KeyPart::Whole), Some("https://api.example.com/v1")),
            (rule("/to/shop", KeyPart::Whole), Some("17")),
            (rule("/to/name", KeyPart::Host), None),
            (rule("/to", KeyPart::Whole), None),
            (rule("/nobody", KeyPart::Whole), None),
        ] {
            assert_eq!(rule.key(Some(payload)).as_deref(), key, "{rule}");
        }
        assert_eq!(rule("/url", KeyPart::Host).key(None), None);
        assert_eq!(rule("/url", KeyPart::Host).key(Some(b"no JSON")), None);
        assert!(rule("url", KeyPart::Whole).validate().is_err());
    }
}
