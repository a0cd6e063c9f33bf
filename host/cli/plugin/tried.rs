//! An attempt that was made without a server: what it ended in, and what would become of its job.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::print;
use crate::api::{Attribute, ToldResult};
use crate::clock::UnixMs;
use crate::job::retry::{Verdict, decide};
use crate::job::{Completion, Disposition, Evidence, Exchange, LogLine, Outcome, OutcomeKind, RetryPolicy, text};

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

/// The attempt as a document, in the words of the server's own.
#[derive(Serialize)]
pub(super) struct TriedDocument<'a> {
    outcome: OutcomeKind,
    error: Option<&'a str>,
    code: Option<&'a str>,
    took_ms: f64,
    then: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_in_ms: Option<[u64; 2]>,
    #[serde(flatten)]
    completion: Option<CompletionDocument>,
    revision: Option<&'a str>,
    cpu_ms: f64,
    memory_peak_bytes: u64,
    log: &'a [LogLine],
    log_dropped_bytes: u64,
    log_dropped_lines: u64,
    exchanges: &'a [Exchange],
    exchanges_dropped: u64,
}

#[derive(Serialize)]
struct CompletionDocument {
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    result_content_type: Option<String>,
    result_attributes: Vec<Attribute>,
}

impl CompletionDocument {
    fn of(completion: &Completion) -> Self {
        let told = ToldResult::of(completion.clone());
        Self {
            result: told.value,
            result_base64: told.base64,
            result_content_type: told.content_type,
            result_attributes: told.attributes,
        }
    }
}

impl Tried {
    /// What it completed with.
    pub(super) fn completion(&self) -> Option<&Completion> {
        if let Outcome::Completed(completion) = &self.outcome { Some(completion) } else { None }
    }

    /// The attempt as a document.
    pub(super) fn document(&self) -> TriedDocument<'_> {
        let (outcome, evidence) = (&self.outcome, &self.evidence);
        TriedDocument {
            outcome: outcome.kind(),
            error: outcome.message(),
            code: outcome.code(),
            took_ms: self.took.as_secs_f64() * 1e3,
            then: self.fate.then,
            retry_after_ms: outcome.delay_ms(),
            next_in_ms: self.fate.next.map(|(least, most)| [least, most].map(|span| span.as_millis() as u64)),
            completion: self.completion().map(CompletionDocument::of),
            revision: evidence.revision.as_deref(),
            cpu_ms: evidence.cpu_us as f64 / 1e3,
            memory_peak_bytes: evidence.memory_peak_bytes,
            log: &evidence.log,
            log_dropped_bytes: evidence.log_dropped_bytes,
            log_dropped_lines: evidence.log_dropped_lines,
            exchanges: &evidence.exchanges,
            exchanges_dropped: evidence.exchanges_dropped,
        }
    }

    /// The attempt for people.
    pub(super) fn text(&self) -> String {
        let document = print::as_answer(&self.document());
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
            ("result", text::line(&document.written("result"), usize::MAX)),
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
        text.push_str(&print::evidence(&document.value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Setback;

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
    fn a_result_is_told_as_the_server_tells_it() {
        let tried = |content_type: &str, body: &'static [u8]| {
            let completion =
                Completion { content_type: content_type.into(), body: body.into(), ..Completion::default() };
            let outcome = Outcome::Completed(completion);
            let fate = Fate::of(&RetryPolicy::default(), &outcome, 1);
            Tried { outcome, evidence: Evidence::default(), took: Duration::ZERO, fate }
        };
        let told = |content_type: &str, body| {
            let document = serde_json::to_string(&tried(content_type, body).document()).unwrap();
            (serde_json::from_str::<serde_json::Value>(&document).unwrap(), document)
        };
        let written = r#"{"z":12345678901234567890.12,"a":1.50}"#;
        for content_type in ["application/json; charset=utf-8", "application/vnd.x+json"] {
            assert!(
                told(content_type, written.as_bytes()).1.contains(&format!("\"result\":{written}")),
                "{content_type}"
            );
            assert!(tried(content_type, written.as_bytes()).text().contains(written));
        }
        assert_eq!(told("text/plain", b"{").0["result"], "{");
        for (content_type, body) in [("application/json", &b"{"[..]), ("", b"x"), ("image/png", &[0, 255])] {
            let document = told(content_type, body).0;
            assert!(document["result"].is_null() && document["result_base64"].is_string(), "{document}");
        }
        let document = told("", b"").0;
        assert!(document["result"].is_null() && document["result_content_type"].is_null(), "{document}");
    }
}
