//! What the plugin can be told to do: the payload `{"do": VERB, …}`, its texts filled in as `fill` says.
//!
//! A verb with nothing to tell completes with an empty body.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::fill;
use crate::windlass::plugin::log::Level;
use crate::windlass::plugin::types::{Failure, Fault};

/// One thing to do.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Completes with the payload.
    Echo,
    /// Completes with the job record as JSON.
    Job,
    /// Sleeps.
    Sleep { ms: u64 },
    /// Keeps the processor busy, for ever if no time is given.
    Spin { ms: Option<u64> },
    /// Takes so much memory, touches all of it and keeps it.
    Allocate { bytes: usize },
    /// Executes `unreachable`.
    Trap,
    /// Panics.
    Panic { message: String },
    /// Calls itself until the stack is used up.
    Recurse,
    /// Exits as a program would.
    Exit { code: i32 },
    /// Logs a line, so many times.
    Log { level: LevelName, message: String, times: Option<u32> },
    /// Writes the text and a line feed, so many times.
    Print { stream: Stream, text: String, times: Option<u32> },
    /// Completes with the body as JSON.
    Complete {
        body: Option<Value>,
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    },
    /// Fails with `try-again`.
    Retry { message: String, code: Option<String>, delay_ms: Option<u32> },
    /// Fails with `rate-limited`.
    RateLimited { message: String, code: Option<String>, delay_ms: Option<u32> },
    /// Fails with `reject`.
    Reject { message: String, code: Option<String> },
    /// Fails with `unknown-outcome`.
    Unknown { message: String, code: Option<String> },
    /// Does `with` before this attempt; from it on completes with `{"attempt": n}`.
    FailUntil { attempt: u32, with: Box<Verb> },
    /// Makes a request by the host's own interface; completes with `{"ok": …}` or `{"error": …}`.
    Fetch(Target),
    /// The same, but an error is a `try-again` whose code is the error's kind.
    FetchOrRetry(Target),
    /// The same as `fetch`, but an answer that is too large is cut; `ok` says so in `headers_truncated` and `body_truncated`.
    FetchBounded(Target),
    /// Makes a request by `wasi:http`, with the results of `fetch`; the kind of its errors is `wasi`.
    WasiFetch {
        url: String,
        method: Option<String>,
        body: Option<Value>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Completes with `{"value": …}`, null where there is none.
    Config { name: String },
    /// Counts its calls in this instance and completes with `{"count": n}`.
    Count,
    /// Asks what time it is, so many times.
    Calls { times: u32 },
    /// Takes so many random bytes, so many times.
    Random { bytes: u64, times: Option<u32> },
    /// Holds so many timers at once.
    Handles { count: u32 },
    /// Makes so many sockets and holds them; completes with `{"made": n}`.
    Sockets { count: u32 },
    /// Has so many requests out at the same time by `wasi:http`; completes with `{"sent": n, "refused": n}`.
    WasiFlood { url: String, count: u32 },
    /// Gives a request a method of so many letters; completes with `{"taken": bool}`.
    WasiMethod { letters: usize },
    /// The same for its authority.
    WasiAuthority { letters: usize },
    /// The same for its path.
    WasiPath { letters: usize },
    /// Completes with so many bytes `x`.
    Result { bytes: usize },
    /// Reaches for what no plugin should get, and completes with what became of it.
    Probe,
    /// Rejects with a message of so many characters, many of them unprintable.
    GarbageError { bytes: usize },
    /// Makes that call to the host for ever.
    Spam { call: HostCall, url: Option<String> },
    /// Takes handles of that kind for ever.
    Hoard { handle: Handle },
    /// Builds headers for ever.
    PileUpHeaders,
    /// Sends a request with so many headers of so many bytes, and completes with what became of it.
    HeaderFlood { url: String, count: usize, bytes: usize },
    /// Logs, prints and completes with the value of that name in that form.
    Reveal { name: String, form: Form },
    /// Does these in order and ends as the last one does, or as the first that fails. `do` may be left out.
    Then { steps: Vec<Verb> },
}

/// The request of `fetch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub url: String,
    /// `GET` unless given.
    pub method: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text goes out as it is, anything else as JSON.
    pub body: Option<Value>,
    pub timeout_ms: Option<u32>,
}

/// A call to the host.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostCall {
    Log,
    Config,
    Clock,
    Random,
    Send,
    Poll,
    Print,
}

/// What a guest holds a handle of.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handle {
    Pollable,
    Stream,
    Fields,
    Request,
    FullRequest,
    FullResponse,
    EmptiedFields,
}

/// In which form a value is told.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    Plain,
    Base64,
    Base64Url,
    Hex,
    Percent,
    Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelName {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::Debug => Self::Debug,
            LevelName::Info => Self::Info,
            LevelName::Warn => Self::Warn,
            LevelName::Error => Self::Error,
        }
    }
}

/// The verb that the payload names.
pub fn of_payload(payload: &[u8]) -> Result<Verb, Failure> {
    read(payload, fill::fill).map_err(|error| {
        let message = format!("the payload is no verb that this plugin knows: {error}");
        Failure::Reject(Fault { message, code: Some("bad-payload".to_owned()) })
    })
}

fn read(payload: &[u8], fill: impl Fn(&mut Value)) -> serde_json::Result<Verb> {
    let mut payload: Value = serde_json::from_slice(payload)?;
    fill(&mut payload);
    if let Some(members) = payload.as_object_mut()
        && members.contains_key("steps")
    {
        members.entry("do").or_insert_with(|| "then".into());
    }
    serde_json::from_value(payload)
}

/// The bytes of a request's body.
pub fn body_bytes(body: Option<Value>) -> Vec<u8> {
    match body {
        None => Vec::new(),
        Some(Value::String(text)) => text.into_bytes(),
        Some(json) => json.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_by_their_names() {
        for payload in [
            r#"{"do": "echo"}"#,
            r#"{"do": "rate-limited", "message": "slow", "delay_ms": 5}"#,
            r#"{"do": "fail-until", "attempt": 3, "with": {"do": "retry", "message": "no"}}"#,
            r#"{"do": "fetch-or-retry", "url": "http://h", "headers": {"a": "b"}, "body": {"c": 1}, "timeout_ms": 5}"#,
            r#"{"do": "print", "stream": "stderr", "text": "x"}"#,
            r#"{"do": "spam", "call": "log"}"#,
            r#"{"do": "reveal", "name": "key", "form": "base64-url"}"#,
            r#"{"steps": [{"do": "log", "level": "warn", "message": "m"}, {"do": "trap"}]}"#,
        ] {
            assert!(read(payload.as_bytes(), |_| {}).is_ok(), "{payload}");
        }
        for payload in [r#"{"do": "fly"}"#, r#"{"do": "sleep", "ms": 1, "s": 2}"#, "{}", "7"] {
            assert!(read(payload.as_bytes(), |_| {}).is_err(), "{payload}");
        }
    }
}
