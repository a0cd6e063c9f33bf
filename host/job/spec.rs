//! What was asked for: the durable facts of a job, fixed when it is accepted.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::gates::LaneRef;
use super::retry::RetryOverride;
use super::units::TimeSpan;
use crate::clock::UnixMs;

/// The media type of a payload given as JSON.
pub const JSON: &str = "application/json";

/// The longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Whether that can be an idempotency key: visible ASCII without spaces, of a length.
#[must_use]
pub fn is_idempotency_key(text: &str) -> bool {
    (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a media type is JSON: `application/json`, or one that ends in `+json` (RFC 6839).
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == JSON || (essence.contains('/') && essence.ends_with("+json"))
}

/// A job as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The plugin that handles it.
    pub plugin: String,
    /// The downstream that it calls.
    pub downstream: String,
    /// The key under which it asked to be limited together with others.
    pub limit_key: Option<String>,
    /// The media type of the payload.
    pub content_type: String,
    /// The payload.
    pub payload: Bytes,
    /// The earliest moment of the first attempt.
    pub run_at: UnixMs,
    /// Higher runs first.
    pub priority: i16,
    /// What it says of its retry policy.
    pub retry: RetryOverride,
    /// The wall time of one attempt, where it says one.
    pub deadline: Option<TimeSpan>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// The caller's `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
    /// The caller's idempotency key. Without one the job's id serves the downstream as the key.
    pub idempotency_key: Option<String>,
}

impl JobSpec {
    /// One with a payload of JSON and nothing special about it.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn plain(plugin: &str, downstream: &str, run_at: UnixMs) -> Self {
        Self {
            plugin: plugin.to_owned(),
            downstream: downstream.to_owned(),
            limit_key: None,
            content_type: JSON.to_owned(),
            payload: "{\"n\":1}".into(),
            run_at,
            priority: 0,
            retry: RetryOverride::default(),
            deadline: None,
            labels: BTreeMap::new(),
            traceparent: None,
            idempotency_key: None,
        }
    }

    /// The line that it waits in.
    #[must_use]
    pub fn lane(&self) -> LaneRef<'_> {
        LaneRef { plugin: &self.plugin, downstream: &self.downstream, limit_key: self.limit_key.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_these_names() {
        for name in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_json(name), "{name}");
        }
        for name in ["", "text/json", "text/plain", "application/jsonp", "+json"] {
            assert!(!is_json(name), "{name}");
        }
    }
}
