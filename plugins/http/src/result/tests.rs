//! Tests of the result that is kept.

use serde_json::{Value, json};

use super::*;
use crate::windlass::plugin::http::Response;

fn answer(headers: &[(&str, &str)], body: &[u8]) -> BoundedResponse {
    let headers =
        headers.iter().map(|(name, value)| Header { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    let response = Response { status: 201, headers, body: body.to_vec() };
    BoundedResponse { response, headers_truncated: false, body_truncated: false }
}

fn text(headers: &[(&str, &str)], body: &[u8]) -> String {
    String::from_utf8(super::json(&answer(headers, body))).unwrap()
}

/// The result where the body, or only the headers, were cut.
fn cut(headers: &[(&str, &str)], body: &[u8], is_body: bool) -> Value {
    let whole = answer(headers, body);
    let answer = BoundedResponse { headers_truncated: !is_body, body_truncated: is_body, ..whole };
    serde_json::from_slice(&super::json(&answer)).unwrap()
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

#[test]
fn what_was_cut_says_so_and_a_cut_body_is_no_json() {
    let json_type = [("content-type", "application/json")];
    assert_eq!(
        cut(&json_type, br#"{"a": 1, "b"#, true),
        json!({"status": 201, "headers": {"content-type": "application/json"}, "truncated": true, "body": r#"{"a": 1, "b"#})
    );
    assert_eq!(cut(&json_type, b"12345", true)["body"], "12345", "it may have been a longer number");
    // Where only headers are missing the body is what it was.
    assert_eq!(
        (&cut(&json_type, b"[1]", false)["body"], &cut(&[], b"", false)["truncated"]),
        (&json!([1]), &json!(true))
    );
    assert!(value(&[], b"").get("truncated").is_none());
}

#[test]
fn a_text_that_was_cut_within_a_character_is_a_text() {
    for (body, kept) in [("aé".as_bytes(), "aé"), (&"aé".as_bytes()[..2], "a"), (&"€".as_bytes()[..1], "")] {
        assert_eq!(cut(&[], body, true)["body"], kept, "{body:?}");
    }
    // A whole body that ends so is none, nor is what is broken elsewhere.
    assert_eq!(value(&[], &"aé".as_bytes()[..2])["body_base64"], "YcM=");
    assert_eq!(cut(&[], b"\xff\xffa", true)["body_base64"], "//9h");
}

#[test]
fn a_cut_body_is_never_twice_as_long_in_the_result() {
    for (part, is_text) in
        [("x", true), ("\"key\": \"value\",\n", true), ("\"\n", false), ("\0", false), ("\0abcdefghij", true)]
    {
        let body = part.repeat(50_000);
        let whole = answer(&[], body.as_bytes());
        let result = super::json(&BoundedResponse { body_truncated: true, ..whole });
        assert!(result.len() <= body.len() / 4 * 7 + 200, "{part:?}");
        let kept: Value = serde_json::from_slice(&result).unwrap();
        assert_eq!(kept["body"].is_string(), is_text, "{part:?}");
        assert_eq!(kept["body_base64"].is_string(), !is_text, "{part:?}");
        // A whole one is a text as ever.
        assert_eq!(value(&[], body.as_bytes())["body"], body);
    }
}

#[test]
fn it_is_known_how_long_a_text_will_be() {
    let all: String = (0..0x180).filter_map(char::from_u32).collect();
    assert_eq!(escaped_bytes(&all) + 2, serde_json::to_string(&all).unwrap().len());
}
