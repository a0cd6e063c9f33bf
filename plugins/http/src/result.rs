//! The result that is kept with a completed job: `{"status", "headers", "body" or "body_base64"}`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::windlass::plugin::http::{Header, Response};

#[cfg(test)]
mod tests;

/// Deeper than this, JSON is kept as text: most readers give up somewhere beyond.
const JSON_DEPTH_MAX: usize = 100;

/// The response as JSON.
pub fn json(response: &Response) -> Vec<u8> {
    let answer = Answer { status: response.status, headers: by_name(&response.headers), body: Body::of(response) };
    // Sized beforehand, as growing by doubling would need the memory of several bodies.
    let mut json = Vec::with_capacity(response.body.len() + response.body.len() / 2 + 1_024);
    serde_json::to_writer(&mut json, &answer).expect("texts and numbers always have a JSON form, and memory takes it");
    json
}

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    headers: BTreeMap<String, String>,
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
    fn of(response: &'a Response) -> Self {
        let Ok(text) = str::from_utf8(&response.body) else { return Self::Base64(STANDARD.encode(&response.body)) };
        let claims_json = response.headers.iter().any(|header| header.name == "content-type" && is_json(&header.value));
        if claims_json
            && depth(text) <= JSON_DEPTH_MAX
            && let Ok(json) = serde_json::from_str(text)
        {
            return Self::Json(json);
        }
        Self::Text(text)
    }
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
