//! What people see of the server's documents.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::Value;

use super::client::Answer;
use crate::clock::UnixMs;
use crate::job::text;

mod table;

pub(super) use table::{list, table};

/// Documents have names for their members, and no others.
const ALWAYS_JSON: &str = "a document is always JSON";

/// Why standard output did not take what was written to it, the first time. There is one of it in the program, and so of
/// this.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output, without what a terminal would obey. [`all_written`] says whether it could.
pub(super) fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    note(stdout.write_all(text::block(text).as_bytes()).and_then(|()| stdout.flush()));
}

/// Remembers why something was not written to standard output. Who closed the pipe has seen enough.
pub(super) fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = UNWRITTEN.set(error);
    }
}

/// Whether all that was printed is written.
///
/// # Errors
/// Where it is not: what the program was to say is lost.
pub(super) fn all_written() -> anyhow::Result<()> {
    UNWRITTEN.get().map_or(Ok(()), |error| Err(anyhow!("cannot write to standard output: {error}")))
}

/// Writes a line to standard error, in the same way. Who closed that wants to hear nothing.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text::block(text));
}

/// Writes a document, what a terminal would obey as escapes.
pub(super) fn document(document: &impl Serialize) {
    json(&serde_json::to_string_pretty(document).expect(ALWAYS_JSON));
}

/// A document of our own, to be read as one of a server's is.
pub(super) fn as_answer(document: &impl Serialize) -> Answer {
    Answer::read(&serde_json::to_string(document).expect(ALWAYS_JSON)).expect(ALWAYS_JSON)
}

/// Writes a document as the server wrote it, what a terminal would obey as escapes.
pub(super) fn json(text: &str) {
    out(&fit_json(&format!("{text}\n")));
}

/// The same JSON with nothing that a terminal obeys: escapes in strings, blanks between them.
fn fit_json(json: &str) -> String {
    let (mut is_string, mut is_escaped) = (false, false);
    let blank = |next: char| {
        (is_string, is_escaped) = match next {
            '"' if !is_escaped => (!is_string, false),
            '\\' => (is_string, is_string && !is_escaped),
            _ => (is_string, false),
        };
        if is_string || !matches!(next, '\t' | '\r') { next } else { ' ' }
    };
    text::escaped_json(&json.chars().map(blank).collect::<String>()).into_owned()
}

/// A value as text for people, on one line: nothing for null, text without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text::line(text, usize::MAX),
        other => text::line(&other.to_string(), usize::MAX),
    }
}

/// The facts of one thing, a line each; those without a value are left out.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    facts.iter().filter(|(_, value)| !value.is_empty()).fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<13} {value}");
        text
    })
}

/// A job with its attempts.
pub(super) fn job(job: &Answer) -> String {
    let of = |name: &str| plain(&job[name]);
    let waiting = match &job["waiting"] {
        Value::Null => String::new(),
        waiting => format!("{} {} {}", plain(&waiting["reason"]), plain(&waiting["until"]), plain(&waiting["detail"])),
    };
    let mut text = facts(&[
        ("job", of("id")),
        ("plugin", of("plugin")),
        ("downstream", of("downstream")),
        ("state", of("state")),
        ("waiting", waiting.trim_end().to_owned()),
        ("attempt", format!("{} of {}", of("attempt"), of("max_attempts"))),
        ("created", of("created_at")),
        ("run at", of("run_at")),
        ("finished", of("finished_at")),
        ("labels", if job["labels"] == serde_json::json!({}) { String::new() } else { of("labels") }),
        ("last error", of("last_error")),
        ("result", text::line(&job.written("result"), usize::MAX)),
        ("result base64", of("result_base64")),
    ]);
    if let Some(attempts) = job["attempts"].as_array().filter(|attempts| !attempts.is_empty()) {
        let _ = write!(text, "\n{}", attempts_table(attempts));
    }
    text
}

fn attempts_table(attempts: &[Value]) -> String {
    let rows = attempts.iter().map(|attempt| {
        let of = |name: &str| plain(&attempt[name]);
        vec![of("n"), of("started_at"), took(attempt), of("outcome"), of("code"), of("error")]
    });
    table(&["n", "started", "took", "outcome", "code", "error"], rows)
}

/// How long an attempt took.
fn took(attempt: &Value) -> String {
    let moment = |name: &str| attempt[name].as_str().and_then(|text| UnixMs::parse(text).ok());
    match (moment("started_at"), moment("finished_at")) {
        (Some(started), Some(finished)) => format!("{} ms", finished.0 - started.0),
        _ => String::new(),
    }
}

/// An attempt with its evidence.
pub(super) fn attempt(attempt: &Value) -> String {
    let of = |name: &str| plain(&attempt[name]);
    let count = |name: &str| if attempt[name] == 0 { String::new() } else { of(name) };
    let mut text = facts(&[
        ("attempt", of("n")),
        ("started", of("started_at")),
        ("took", took(attempt)),
        ("outcome", of("outcome")),
        ("code", of("code")),
        ("error", of("error")),
        ("next run at", of("next_run_at")),
        ("revision", of("revision")),
        ("cpu ms", of("cpu_ms")),
        ("memory peak", of("memory_peak_bytes")),
        ("log dropped", count("log_dropped_bytes")),
        ("lines dropped", count("log_dropped_lines")),
        ("calls dropped", count("exchanges_dropped")),
    ]);
    text.push_str(&evidence(attempt));
    text
}

/// What an attempt did and said.
pub(super) fn evidence(attempt: &Value) -> String {
    let mut text = String::new();
    let list = |name: &str| attempt[name].as_array().filter(|list| !list.is_empty()).cloned();
    if let Some(exchanges) = list("exchanges") {
        let row = |it: &Value| ["method", "url", "status", "error"].map(|name| plain(&it[name])).to_vec();
        let _ = write!(text, "\n{}", table(&["method", "url", "status", "error"], exchanges.iter().map(row)));
    }
    if let Some(log) = list("log") {
        let row = |it: &Value| ["at_ms", "level", "message"].map(|name| plain(&it[name])).to_vec();
        let _ = write!(text, "\n{}", table(&["at ms", "level", "message"], log.iter().map(row)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_shown_with_its_attempts_and_without_what_is_not_there() {
        let document = serde_json::json!({
            "id": "7", "plugin": "http", "downstream": "erp", "state": "available", "attempt": 1, "max_attempts": 20,
            "waiting": {"reason": "paused"}, "labels": {}, "last_error": null, "result": null,
            "attempts": [{"n": 1, "started_at": "2026-01-01T00:00:00.000Z", "finished_at": "2026-01-01T00:00:00.025Z",
                "outcome": "try-again", "code": "http-503", "error": "not now"}],
        });
        let shown = job(&Answer::read(&document.to_string()).unwrap());
        assert!(shown.contains("attempt       1 of 20\n") && shown.contains("waiting       paused\n"), "{shown}");
        assert!(shown.contains("25 ms") && shown.contains("http-503"), "{shown}");
        assert!(!shown.contains("result") && !shown.contains("labels") && !shown.contains("null"), "{shown}");
    }

    #[test]
    fn a_result_is_shown_as_it_is_written() {
        let shown = |result: &str| job(&Answer::read(&format!(r#"{{"id":"7","result":{result}}}"#)).unwrap());
        let written = r#"{"z":12345678901234567890.12,"a":98765432109876543210}"#;
        assert!(shown(written).contains(&format!("result        {written}\n")));
        assert!(shown("\"a\\u001b[2Jb\"").contains("result        ab\n"));
    }

    #[test]
    fn a_document_is_the_same_value_and_hides_nothing() {
        for (json, fit) in [
            ("{\"b\":1.00,\r\n\t\"a\" : [\"\\\"\",\t2]}", "{\"b\":1.00, \n \"a\" : [\"\\\"\", 2]}"),
            ("[\"\\\\\",\t\"\u{9b}\u{202e}\u{7f}\"]", "[\"\\\\\", \"\\u009b\\u202e\\u007f\"]"),
        ] {
            assert_eq!(fit_json(json), fit);
            let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
            assert_eq!(read(fit), read(json));
        }
    }

    #[test]
    fn an_attempts_evidence_is_shown() {
        let shown = attempt(&json!({
            "n": 2, "outcome": "completed", "log_dropped_bytes": 0,
            "exchanges": [{"method": "POST", "url": "https://erp.example/", "status": 200}],
            "log": [{"at_ms": 3, "level": "info", "message": "hello"}],
        }));
        assert!(shown.contains("https://erp.example/") && shown.contains("hello"), "{shown}");
        assert!(!shown.contains("dropped"), "{shown}");
    }
}
