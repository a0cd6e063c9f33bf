//! Tests of the reading of payloads.

use super::*;
use crate::windlass::plugin::types::Attribute;

fn job(payload: &str) -> Job {
    Job {
        id: "0197".to_owned(),
        attempt: 3,
        max_attempts: 20,
        idempotency_key: "the-key".to_owned(),
        content_type: "application/json".to_owned(),
        payload: payload.as_bytes().to_vec(),
        enqueued_at: "2026-11-23T10:00:00.000Z".to_owned(),
        remaining_ms: 30_000,
        attributes: vec![Attribute { name: "traceparent".to_owned(), value: "00-trace-span-01".to_owned() }],
    }
}

fn read(payload: &str) -> Request {
    request(&job(payload)).unwrap()
}

fn refusal(payload: &str) -> String {
    request(&job(payload)).unwrap_err()
}

fn lines(request: &Request) -> Vec<String> {
    request.headers.iter().map(|header| format!("{}: {}", header.name, header.value)).collect()
}

#[test]
fn a_url_alone_is_posted_with_the_key_and_the_trace() {
    let request = read(r#"{"url": "http://localhost:8080/hook"}"#);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "http://localhost:8080/hook"));
    assert_eq!(lines(&request), ["Idempotency-Key: the-key", "traceparent: 00-trace-span-01"]);
    assert_eq!((request.body, request.timeout_ms), (Vec::new(), None));
}

#[test]
fn without_a_trace_none_is_sent() {
    let mut job = job(r#"{"url": "http://localhost"}"#);
    job.attributes.clear();
    assert_eq!(lines(&request(&job).unwrap()), ["Idempotency-Key: the-key"]);
}

#[test]
fn a_json_body_goes_out_as_it_is_written() {
    let request =
        read(r#"{"url": "HTTPS://h", "method": "PUT", "body": {"z": 12345678901234567890123, "a": [ 1.10 ]}}"#);
    assert_eq!(request.body, br#"{"z": 12345678901234567890123, "a": [ 1.10 ]}"#);
    assert_eq!(lines(&request)[0], "Content-Type: application/json");
    assert_eq!(read(r#"{"url": "http://h", "body": null}"#).body, b"null");
}

#[test]
fn other_bytes_go_out_without_a_type_of_ours() {
    let request = read(r#"{"url": "http://h", "body_base64": "AP8="}"#);
    assert_eq!(request.body, [0, 255]);
    assert!(!lines(&request).iter().any(|line| line.starts_with("Content-Type")));
}

#[test]
fn headers_of_the_payload_win_in_any_case() {
    let request = read(
        r#"{"url": "http://h", "body": 1, "headers": {"content-type": "application/x+json", "IDEMPOTENCY-KEY": "mine",
            "TraceParent": "theirs", "X-Many": ["a", "b"], "X-None": []}}"#,
    );
    let mut lines = lines(&request);
    lines.sort();
    assert_eq!(
        lines,
        ["IDEMPOTENCY-KEY: mine", "TraceParent: theirs", "X-Many: a", "X-Many: b", "content-type: application/x+json"]
    );
}

#[test]
fn timeouts_are_durations() {
    for (text, ms) in
        [("250ms", 250), ("2s", 2_000), ("5m", 300_000), ("1h", 3_600_000), ("9999999999999999999999h", u32::MAX)]
    {
        let payload = format!(r#"{{"url": "http://h", "timeout": "{text}"}}"#);
        assert_eq!(read(&payload).timeout_ms, Some(ms), "{text}");
    }
}

#[test]
fn refusals_name_the_member() {
    for (payload, named) in [
        (r#"{"url": 5}"#, "\"url\""),
        (r#"{"url": "ftp://h"}"#, "\"url\""),
        (r#"{"url": "/path"}"#, "\"url\""),
        (r#"{}"#, "\"url\" is missing"),
        (r#"{"url": null}"#, "\"url\""),
        (r#"{"url": "http://h", "verb": "GET"}"#, "\"verb\""),
        (r#"{"url": "http://h", "method": "GET IT"}"#, "\"method\""),
        (r#"{"url": "http://h", "method": ""}"#, "\"method\""),
        (r#"{"url": "http://h", "headers": ["a"]}"#, "\"headers\""),
        (r#"{"url": "http://h", "headers": {"a": 1}}"#, "\"headers\""),
        (r#"{"url": "http://h", "headers": {"a b": "1"}}"#, "\"a b\""),
        (r#"{"url": "http://h", "headers": {"a": "1\r\nb: 2"}}"#, "\"a\""),
        (r#"{"url": "http://h", "body_base64": "%"}"#, "\"body_base64\""),
        (r#"{"url": "http://h", "body": 1, "body_base64": ""}"#, "exclude"),
        (r#"{"url": "http://h", "timeout": 5}"#, "\"timeout\""),
        (r#"{"url": "http://h", "timeout": "5"}"#, "\"timeout\""),
        (r#"{"url": "http://h", "timeout": "0s"}"#, "\"timeout\""),
        (r#"{"url": "http://h", "timeout": "s"}"#, "\"timeout\""),
        (r#"{"url": "http://h", "timeout": "-1s"}"#, "\"timeout\""),
        (r#"{"url": "http://h", "timeout": "1µs"}"#, "\"timeout\""),
        ("[]", "\"url\""),
        ("", "\"url\""),
        ("{", "\"url\""),
    ] {
        let message = refusal(payload);
        assert!(message.contains(named), "{payload}: {message}");
        assert!(!message.contains('\n'), "{payload}: {message}");
    }
}

#[test]
fn the_description_is_json_that_knows_the_same_members() {
    let description: serde_json::Value = serde_json::from_str(include_str!("../describe.json")).unwrap();
    assert_eq!(description["version"], env!("CARGO_PKG_VERSION"));
    let mut described: Vec<_> = description["payload_schema"]["properties"].as_object().unwrap().keys().collect();
    let mut members = MEMBERS.to_vec();
    described.sort();
    members.sort();
    assert_eq!(described, members);
}
