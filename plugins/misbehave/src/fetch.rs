//! A request by the host's own interface.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::verb::{Target, body_bytes};
use crate::windlass::plugin::http::{self, Header, Request, Response, SendError};

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why nothing came back.
pub struct Trouble {
    pub kind: &'static str,
    pub message: String,
}

/// Sends it.
pub fn send(target: Target) -> Result<Answer, Trouble> {
    http::send(&request(target)).map(Answer::from).map_err(trouble)
}

/// The same, with as much of the answer as the host gives: `{"ok": {…, "headers_truncated", "body_truncated"}}`.
pub fn send_bounded(target: Target) -> Value {
    let sent = http::send_bounded(&request(target)).map_err(trouble);
    let cut = sent.as_ref().ok().map(|answer| (answer.headers_truncated, answer.body_truncated));
    let mut told = as_json(sent.map(|answer| answer.response.into()));
    if let Some((headers, body)) = cut {
        told["ok"]["headers_truncated"] = headers.into();
        told["ok"]["body_truncated"] = body.into();
    }
    told
}

fn request(target: Target) -> Request {
    Request {
        method: target.method.unwrap_or_else(|| "GET".to_owned()),
        url: target.url,
        headers: target.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        body: body_bytes(target.body),
        timeout_ms: target.timeout_ms,
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let headers = response.headers.into_iter().map(|header| (header.name, header.value)).collect();
        Self { status: response.status, headers, body: response.body }
    }
}

/// `{"ok": {"status", "headers", "body"}}` or `{"error": {"kind", "message"}}`.
pub fn as_json(fetched: Result<Answer, Trouble>) -> Value {
    match fetched {
        Ok(Answer { status, headers, body }) => {
            let mut by_name = BTreeMap::<String, Vec<String>>::new();
            for (name, value) in headers {
                by_name.entry(name).or_default().push(value);
            }
            let headers: BTreeMap<_, _> = by_name.into_iter().map(|(name, values)| (name, values.join(", "))).collect();
            json!({ "ok": { "status": status, "headers": headers, "body": String::from_utf8_lossy(&body) } })
        }
        Err(Trouble { kind, message }) => json!({ "error": { "kind": kind, "message": message } }),
    }
}

fn trouble(error: SendError) -> Trouble {
    let (kind, message) = match error {
        SendError::Denied(message) => ("denied", message),
        SendError::Invalid(message) => ("invalid", message),
        SendError::Unreachable(message) => ("unreachable", message),
        SendError::Unanswered(message) => ("unanswered", message),
        SendError::TooLarge(message) => ("too-large", message),
    };
    Trouble { kind, message }
}
