//! Tests of the result that is kept.

use serde_json::{Value, json};

use super::*;

fn text(headers: &[(&str, &str)], body: &[u8]) -> String {
    let headers =
        headers.iter().map(|(name, value)| Header { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    String::from_utf8(super::json(&Response { status: 201, headers, body: body.to_vec() })).unwrap()
}

fn value(headers: &[(&str, &str)], body: &[u8]) -> Value {
    serde_json::from_str(&text(headers, body)).unwrap()
}

#[test]
fn a_json_body_is_kept_as_it_came() {
    for media_type in ["application/json", "Application/Problem+JSON; charset=utf-8", "application/json;x"] {
        let body = br#"{"id": 12345678901234567890123, "n": 1.10}"#;
        let wanted = format!(
            r#"{{"status":201,"headers":{{"content-type":"{media_type}"}},"body":{{"id": 12345678901234567890123, "n": 1.10}}}}"#
        );
        assert_eq!(text(&[("content-type", media_type)], body), wanted);
    }
}

#[test]
fn what_only_claims_to_be_json_is_text() {
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    for body in ["{", "", "1 2", deep.as_str()] {
        assert_eq!(value(&[("content-type", "application/json")], body.as_bytes())["body"], body);
    }
    assert_eq!(value(&[("content-type", "text/plain")], b"{}")["body"], "{}");
    assert_eq!(value(&[], b"{}")["body"], "{}");
}

#[test]
fn brackets_inside_texts_are_no_depth() {
    let body = format!(r#"["{}\"[[", {{"a": 1}}]"#, "[".repeat(500));
    assert!(value(&[("content-type", "application/json")], body.as_bytes())["body"].is_array());
}

#[test]
fn other_bytes_are_base64() {
    let value = value(&[("content-type", "application/json")], b"\xff\x00");
    assert_eq!(value, json!({"status": 201, "headers": {"content-type": "application/json"}, "body_base64": "/wA="}));
}

#[test]
fn repeated_headers_are_joined() {
    let value = value(&[("via", "a"), ("date", "today"), ("via", "b"), ("via", "c")], b"");
    assert_eq!(value["headers"], json!({"via": "a, b, c", "date": "today"}));
}
