//! An attempt that was made without a server: what it ended in, and what would become of its job.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::print;
use crate::clock::UnixMs;
use crate::job::retry::{Verdict, decide};
use crate::job::{Disposition, Evidence, Outcome, OutcomeKind, RetryPolicy};

/// An attempt that is over, and what would become of its job.
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    pub(super) evidence: Evidence,
    pub(super) took: Duration,
    pub(super) fate: Fate,
}

/// What would become of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// The state's name; `waiting` where the job would wait for a grant.
    pub(super) then: &'static str,
    /// How soon the next attempt would be, at the earliest and at the latest.
    pub(super) next: Option<(Duration, Duration)>,
}

impl Fate {
    /// What the server would do, with the least and the most that chance adds.
    pub(super) fn of(policy: &RetryPolicy, outcome: &Outcome, attempt: u32) -> Self {
        let verdict = Verdict {
            kind: outcome.kind(),
            delay_ms: outcome.delay_ms(),
            failed_before: attempt.saturating_sub(1),
            at: UnixMs(0),
            is_free: outcome.kind() == OutcomeKind::RateLimited,
        };
        let then = |draw| match decide(policy, verdict, draw) {
            Disposition::Complete => ("completed", None),
            Disposition::Discard => ("discarded", None),
            Disposition::Cancel => ("cancelled", None),
            Disposition::Hold => ("waiting", None),
            Disposition::Retry { at, .. } => ("retryable", Some(at.since(UnixMs(0)))),
        };
        let ((name, least), (_, most)) = (then(0.0), then(1.0));
        Self { then: name, next: least.zip(most) }
    }
}

impl Tried {
    /// The attempt as a document, in the words of the server's own.
    pub(super) fn document(&self) -> Value {
        let (outcome, evidence) = (&self.outcome, &self.evidence);
        let mut document = json!({
            "outcome": outcome.kind(),
            "error": outcome.message(),
            "code": outcome.code(),
            "took_ms": self.took.as_secs_f64() * 1e3,
            "then": self.fate.then,
            "revision": evidence.revision,
            "cpu_ms": evidence.cpu_us as f64 / 1e3,
            "memory_peak_bytes": evidence.memory_peak_bytes,
            "log": evidence.log,
            "log_dropped_bytes": evidence.log_dropped_bytes,
            "log_dropped_lines": evidence.log_dropped_lines,
            "exchanges": evidence.exchanges,
            "exchanges_dropped": evidence.exchanges_dropped,
        });
        let mut say = |name: &str, value: Value| document[name] = value;
        if let Some(delay_ms) = outcome.delay_ms() {
            say("retry_after_ms", json!(delay_ms));
        }
        if let Some((least, most)) = self.fate.next {
            say("next_in_ms", json!([least.as_millis() as u64, most.as_millis() as u64]));
        }
        if let Outcome::Completed(completion) = outcome {
            let (name, value) = result(&completion.content_type, &completion.body);
            say(name, value);
            say("result_content_type", json!(completion.content_type));
            let attributes = completion.attributes.iter().map(|(name, value)| json!({"name": name, "value": value}));
            say("result_attributes", attributes.collect());
        }
        document
    }

    /// The attempt for people.
    pub(super) fn text(&self) -> String {
        let document = self.document();
        let of = |name: &str| print::plain(&document[name]);
        let list = |name: &str, say: fn(&Value) -> String| {
            let items = document[name].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().map(say).collect::<Vec<_>>().join("\n              ")
        };
        let mut text = print::facts(&[
            ("outcome", of("outcome")),
            ("code", of("code")),
            ("error", of("error")),
            ("then", self.fate.to_string()),
            ("result", of("result")),
            ("result base64", of("result_base64")),
            ("result type", of("result_content_type")),
            (
                "attributes",
                list("result_attributes", |it| {
                    format!("{}: {}", print::plain(&it["name"]), print::plain(&it["value"]))
                }),
            ),
            ("took", format!("{:.1} ms", self.took.as_secs_f64() * 1e3)),
            ("cpu", format!("{:.1} ms", self.evidence.cpu_us as f64 / 1e3)),
            ("memory peak", format!("{:.1} MiB", self.evidence.memory_peak_bytes as f64 / f64::from(1 << 20))),
            ("log dropped", if self.evidence.log_dropped_bytes == 0 { String::new() } else { of("log_dropped_bytes") }),
        ]);
        text.push_str(&print::evidence(&document));
        text
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.then, self.next) {
            ("waiting", _) => f.write_str("the job waits, uncounted, until the grant is given"),
            ("retryable", Some((least, most))) if least == most => write!(f, "the next attempt is {least:?} later"),
            ("retryable", Some((least, most))) => write!(f, "the next attempt is {least:?} to {most:?} later"),
            (state, _) => write!(f, "the job is {state}"),
        }
    }
}

/// JSON as JSON, text as text, anything else in base64.
fn result(content_type: &str, body: &[u8]) -> (&'static str, Value) {
    use base64::Engine as _;

    let is_json =
        content_type.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"));
    if body.is_empty() {
        return ("result", Value::Null);
    }
    if let Some(value) = is_json.then(|| serde_json::from_slice(body).ok()).flatten() {
        return ("result", value);
    }
    match std::str::from_utf8(body) {
        Ok(text) => ("result", json!(text)),
        Err(_) => ("result_base64", json!(base64::engine::general_purpose::STANDARD.encode(body))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Completion, Setback};

    fn setback(delay_ms: Option<u32>) -> Setback {
        Setback { delay_ms, ..Setback::default() }
    }

    #[test]
    fn the_fate_is_the_servers() {
        let policy = RetryPolicy::default();
        let of = |outcome: Outcome, attempt| Fate::of(&policy, &outcome, attempt);
        let secs = Duration::from_secs;
        assert_eq!(of(Outcome::Completed(Completion::default()), 1), Fate { then: "completed", next: None });
        let again = of(Outcome::TryAgain(setback(None)), 2);
        assert_eq!(again, Fate { then: "retryable", next: Some((secs(2), secs(4))) });
        let limited = of(Outcome::RateLimited(setback(Some(7_000))), 20);
        assert_eq!(limited.then, "retryable", "a rate limit is not counted");
        assert_eq!(of(Outcome::TryAgain(setback(None)), 20), Fate { then: "discarded", next: None });
    }

    #[test]
    fn a_result_is_shown_as_what_it_is() {
        assert_eq!(result("application/json; charset=utf-8", b"{\"a\":1}"), ("result", json!({"a": 1})));
        assert_eq!(result("application/json", b"{"), ("result", json!("{")));
        assert_eq!(result("", b""), ("result", Value::Null));
        assert_eq!(result("image/png", &[0, 255]), ("result_base64", json!("AP8=")));
    }
}
