//! The result that is kept with a completed job: `{"status", "headers", "body" or "body_base64"}`, and `"truncated": true`
//! where the answer was larger than the host allows.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::windlass::plugin::http::{BoundedResponse, Header};

#[cfg(test)]
mod tests;

/// Deeper than this, JSON is kept as text: most readers give up somewhere beyond.
const JSON_DEPTH_MAX: usize = 100;

/// How many quarters of its own length a cut body may take as a text in JSON. It is as large as a body may be, and
/// `limits.result` is twice that unless the operator says otherwise; the last quarter is for the headers.
const CUT_TEXT_QUARTERS_MAX: usize = 7;

/// The answer as JSON.
pub fn json(answer: &BoundedResponse) -> Vec<u8> {
    let response = &answer.response;
    let body = Body::of(answer);
    // Sized beforehand, as growing by doubling would need the memory of several bodies.
    let mut json = Vec::with_capacity(body.bytes() + 4_096);
    let answer = Answer {
        status: response.status,
        headers: by_name(&response.headers),
        truncated: answer.headers_truncated || answer.body_truncated,
        body,
    };
    serde_json::to_writer(&mut json, &answer).expect("texts and numbers always have a JSON form, and memory takes it");
    json
}

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
enum Body<'a> {
    #[serde(rename = "body")]
    Json(&'a RawValue),
    #[serde(rename = "body")]
    Text(&'a str),
    #[serde(rename = "body_base64")]
    Base64(String),
}

impl<'a> Body<'a> {
    fn of(answer: &'a BoundedResponse) -> Self {
        let (response, is_cut) = (&answer.response, answer.body_truncated);
        let text = text(&response.body, is_cut);
        let is_fit = |text: &&str| !is_cut || escaped_bytes(text) / CUT_TEXT_QUARTERS_MAX <= text.len() / 4;
        let Some(text) = text.filter(is_fit) else { return Self::Base64(STANDARD.encode(&response.body)) };
        let claims_json = response.headers.iter().any(|header| header.name == "content-type" && is_json(&header.value));
        // The beginning of a document is another one at best.
        if !is_cut
            && claims_json
            && depth(text) <= JSON_DEPTH_MAX
            && let Ok(json) = serde_json::from_str(text)
        {
            return Self::Json(json);
        }
        Self::Text(text)
    }

    /// How long it is in JSON, but for its name.
    fn bytes(&self) -> usize {
        match self {
            Self::Json(json) => json.get().len(),
            Self::Text(text) => escaped_bytes(text),
            Self::Base64(text) => text.len(),
        }
    }
}

/// The body as text, where it is one. One that was cut may end within a character, which is left out.
fn text(body: &[u8], is_cut: bool) -> Option<&str> {
    match str::from_utf8(body) {
        Err(error) if is_cut && error.error_len().is_none() => str::from_utf8(&body[..error.valid_up_to()]).ok(),
        text => text.ok(),
    }
}

/// How long a text is in JSON, without its quotes.
fn escaped_bytes(text: &str) -> usize {
    let bytes = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

/// Whether the media type is JSON: `application/json`, or any with the suffix `+json`.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// How deep arrays and objects go, if the text is JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The values by name, in the order in which they came.
fn by_name(headers: &[Header]) -> BTreeMap<String, String> {
    let mut by_name = BTreeMap::<String, String>::new();
    for header in headers {
        by_name
            .entry(header.name.clone())
            .and_modify(|values| *values = format!("{values}, {}", header.value))
            .or_insert_with(|| header.value.clone());
    }
    by_name
}
