//! Bytes as a scenario writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::job::units::ByteSize;

/// Any of the ways.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    /// A value, sent as JSON; as an expectation it is compared as a value.
    Json(Value),
    /// Text.
    Text(String),
    /// Bytes.
    #[serde(deserialize_with = "bytes")]
    Base64(Vec<u8>),
    /// So many bytes of every kind, the same each time.
    Random(ByteSize),
    /// The same bytes as somewhere else.
    Same(Place),
}

/// Where bytes can be, for [`Content::Same`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// The job's payload.
    Payload,
    /// The body of the request that is being answered.
    Request,
    /// The body of the downstream's last answer.
    Answer,
}

/// What stands at the places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bodies<'a> {
    pub(super) payload: &'a [u8],
    pub(super) request: &'a [u8],
    pub(super) answer: &'a [u8],
}

impl Content {
    /// The bytes, with what `fill` makes of the text in them.
    pub(super) fn bytes(&self, bodies: Bodies<'_>, fill: &dyn Fn(&str) -> String) -> Vec<u8> {
        match self {
            Self::Json(value) => filled(value, fill).to_string().into_bytes(),
            Self::Text(text) => fill(text).into_bytes(),
            Self::Base64(bytes) => bytes.clone(),
            Self::Random(size) => random(size.0),
            Self::Same(Place::Payload) => bodies.payload.to_vec(),
            Self::Same(Place::Request) => bodies.request.to_vec(),
            Self::Same(Place::Answer) => bodies.answer.to_vec(),
        }
    }

    /// The media type that goes with it.
    pub(super) fn media_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Text(_) => "text/plain; charset=utf-8",
            Self::Base64(_) | Self::Random(_) | Self::Same(_) => "application/octet-stream",
        }
    }

    /// What is different about those bytes, where something is.
    pub(super) fn mismatch(&self, found: &[u8], bodies: Bodies<'_>, fill: &dyn Fn(&str) -> String) -> Option<String> {
        if let Self::Json(value) = self {
            let expected = filled(value, fill);
            return match serde_json::from_slice::<Value>(found) {
                Ok(found) if found == expected => None,
                _ => Some(format!("expected {expected}, found {}", excerpt(found))),
            };
        }
        let expected = self.bytes(bodies, fill);
        (expected != found).then(|| format!("expected {}, found {}", excerpt(&expected), excerpt(found)))
    }
}

fn filled(value: &Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text)),
        Value::Array(items) => items.iter().map(|item| filled(item, fill)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), filled(value, fill))).collect())
        }
        other => other.clone(),
    }
}

fn random(size_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
    SmallRng::seed_from_u64(size_bytes).fill(&mut bytes[..]);
    bytes
}

/// Enough of it to recognise it by.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    match std::str::from_utf8(bytes) {
        Ok("") => "nothing".to_owned(),
        Ok(text) if text.chars().count() <= SHOWN_MAX => format!("{text:?}"),
        Ok(text) => format!("{:?}… ({} bytes)", text.chars().take(SHOWN_MAX).collect::<String>(), text.len()),
        Err(_) => {
            let start = STANDARD.encode(&bytes[..bytes.len().min(24)]);
            format!("{} bytes that begin with {start} (base64)", bytes.len())
        }
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(|error| serde::de::Error::custom(format!("not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(text: &str) -> String {
        text.replace("{downstream}", "http://x")
    }

    #[test]
    fn json_is_compared_as_a_value_and_the_rest_byte_for_byte() {
        let json = Content::Json(json!({"a": "{downstream}/b"}));
        assert_eq!(json.mismatch(br#"{ "a": "http://x/b" }"#, Bodies::default(), &fill), None);
        assert!(json.mismatch(b"{", Bodies::default(), &fill).unwrap().contains("http://x/b"));
        let text = Content::Text("a".to_owned());
        assert_eq!(text.mismatch(b"a", Bodies::default(), &fill), None);
        assert_eq!(text.mismatch(b"", Bodies::default(), &fill).unwrap(), "expected \"a\", found nothing");
        let same = Content::Same(Place::Answer);
        assert_eq!(same.mismatch(&[255], Bodies { answer: &[255], ..Bodies::default() }, &fill), None);
    }

    #[test]
    fn random_bytes_are_the_same_each_time() {
        assert_eq!(random(100), random(100));
        assert_ne!(random(100)[..50], random(50)[..]);
    }
}
