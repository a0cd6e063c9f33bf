//! From a job to the request that it describes.
//!
//! Each refusal is one line that names the member and says what to write there.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::windlass::plugin::http::{Header, Request};
use crate::windlass::plugin::types::Job;

#[cfg(test)]
mod tests;

type Members<'a> = BTreeMap<String, &'a RawValue>;

const MEMBERS: [&str; 6] = ["url", "method", "headers", "body", "body_base64", "timeout"];

/// The request that the job's payload describes, with what every request of a job carries.
pub fn request(job: &Job) -> Result<Request, String> {
    let members: Members = serde_json::from_slice(&job.payload)
        .map_err(|error| format!("the payload is not a JSON object with the member \"url\": {error}"))?;
    if let Some(name) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("there is no member {name:?}: the payload may have {}", MEMBERS.join(", ")));
    }
    let mut headers = headers(&members)?;
    let body = body(&members)?;
    if members.contains_key("body") {
        add(&mut headers, "Content-Type", Some("application/json"));
    }
    add(&mut headers, "Idempotency-Key", Some(&job.idempotency_key));
    let traceparent = job.attributes.iter().find(|attribute| attribute.name == "traceparent");
    add(&mut headers, "traceparent", traceparent.map(|attribute| attribute.value.as_str()));
    Ok(Request { method: method(&members)?, url: url(&members)?, headers, body, timeout_ms: timeout_ms(&members)? })
}

fn url(members: &Members) -> Result<String, String> {
    const WANTED: &str = "\"url\" must be the whole URL, for example \"https://api.example.com/v1/charges\"";
    let url: String = member(members, "url", WANTED)?.ok_or_else(|| format!("\"url\" is missing: {WANTED}"))?;
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => Ok(url),
        _ => Err(WANTED.to_owned()),
    }
}

fn method(members: &Members) -> Result<String, String> {
    const WANTED: &str = "\"method\" must be one word, for example \"PUT\"; leave it out for POST";
    let method = member(members, "method", WANTED)?.unwrap_or_else(|| "POST".to_owned());
    if is_token(&method) { Ok(method) } else { Err(WANTED.to_owned()) }
}

fn headers(members: &Members) -> Result<Vec<Header>, String> {
    const WANTED: &str = "\"headers\" must be an object whose values are texts or lists of texts";
    let by_name: Members = member(members, "headers", WANTED)?.unwrap_or_default();
    let mut headers = Vec::new();
    for (name, raw) in by_name {
        if !is_token(&name) {
            return Err(format!("\"headers\" has the name {name:?}: use letters, digits and hyphens"));
        }
        for value in header_values(raw).ok_or_else(|| format!("{WANTED}: look at {name:?}"))? {
            if value.chars().any(|char| char.is_control() && char != '\t') {
                return Err(format!("\"headers\" has a control character in the value of {name:?}: take it out"));
            }
            headers.push(Header { name: name.clone(), value });
        }
    }
    Ok(headers)
}

/// One text or a list of them. Tried in turn, as an untagged enum makes the plugin 9 KB larger.
fn header_values(raw: &RawValue) -> Option<Vec<String>> {
    let one = serde_json::from_str(raw.get()).map(|value| vec![value]);
    one.or_else(|_| serde_json::from_str(raw.get())).ok()
}

fn body(members: &Members) -> Result<Vec<u8>, String> {
    const WANTED: &str = "\"body_base64\" must be base64; put JSON into \"body\"";
    match (members.get("body"), member::<String>(members, "body_base64", WANTED)?) {
        (Some(_), Some(_)) => Err("\"body\" and \"body_base64\" exclude each other: leave one out".to_owned()),
        (Some(json), None) => Ok(json.get().as_bytes().to_vec()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|error| format!("{WANTED}: {error}")),
        (None, None) => Ok(Vec::new()),
    }
}

fn timeout_ms(members: &Members) -> Result<Option<u32>, String> {
    const WANTED: &str = "\"timeout\" must be a duration above zero, for example \"250ms\", \"2s\" or \"5m\"";
    let Some(text) = member::<String>(members, "timeout", WANTED)? else { return Ok(None) };
    match duration_ms(&text) {
        None | Some(0) => Err(WANTED.to_owned()),
        // The attempt's own deadline comes long before.
        Some(ms) => Ok(Some(u32::try_from(ms).unwrap_or(u32::MAX))),
    }
}

/// A whole number and its unit. What is too long to count is as long as can be counted.
fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit())?);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // Only digits: what does not parse is either nothing or too much.
    (!number.is_empty()).then(|| number.parse().unwrap_or(u64::MAX).saturating_mul(unit_ms))
}

/// The member of that name, or what was wanted of it.
fn member<'a, T: Deserialize<'a>>(members: &Members<'a>, name: &str, wanted: &str) -> Result<Option<T>, String> {
    members.get(name).map(|raw| serde_json::from_str(raw.get()).map_err(|_| wanted.to_owned())).transpose()
}

/// Adds a header that is there to be sent, unless the payload has set it in its own way.
fn add(headers: &mut Vec<Header>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
        headers.push(Header { name: name.to_owned(), value: value.to_owned() });
    }
}

/// Whether HTTP allows this as a method or as the name of a header: a token of RFC 9110.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
