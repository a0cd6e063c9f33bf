//! Requests that are well-formed as HTTP: what they say in paths, queries, headers and JSON.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request};
use serde_json::Value;

use super::super::error::{PROBLEM_JSON, ProblemDocument};
use super::super::request::{depth_within, traceparent};
use super::super::testing::{Answer, NOW};
use super::wire::Heard;
use super::{TOKIO, answers, api};
use crate::config::Limits;
use crate::job::units::{ByteSize, TimeSpan};
use crate::job::{JobId, JobSpec};

/// A method and a path on the first line, headers, an empty line, a body.
///
/// # Panics
/// Where the router refuses with something else than a problem document, breaks off, accepts a job that breaks the rules,
/// or answers the repetition of a request otherwise.
pub fn request(input: &[u8]) {
    words(&String::from_utf8_lossy(input));
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let Some(build) = builder(&head, body) else { return };
    let heard = Heard {
        method: build().method().to_string(),
        target: build().uri().to_string(),
        is_chunked: false,
        body: body.to_vec(),
        is_whole: true,
    };
    TOKIO.block_on(async {
        let api = api().await;
        let before = api.store.len();
        let answer = api.request(build()).await;
        is_right(&answer, &heard);
        for spec in api.store.specs().iter().skip(before) {
            is_sound(spec);
        }
        if heard.method == "POST" && heard.target.starts_with("/v1/jobs") && answer.status == 202 {
            let again = api.request(build()).await;
            is_right(&again, &heard);
            let has_key = api.store.specs().iter().skip(before).any(|spec| spec.idempotency_key.is_some());
            let expected = if has_key { (200, answer.json()["id"].clone()) } else { (202, again.json()["id"].clone()) };
            assert_eq!((again.status, again.json()["id"].clone()), expected, "repeated: {:?}", again.body);
        }
        follow(&api, &answer).await;
    });
}

/// A request that can be made again and again; none where the head is no head.
fn builder<'a>(head: &str, body: &'a [u8]) -> Option<impl Fn() -> Request<Body> + use<'a>> {
    let mut lines = head.split('\n');
    let (method, path) = lines.next()?.split_once(' ')?;
    // Jobs that are waited for never end here.
    let is_wait = path.contains("wait");
    let (method, path) = (method.parse::<axum::http::Method>().ok()?, path.parse::<axum::http::Uri>().ok()?);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: axum::http::HeaderName = name.parse().ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let build = move || {
        let mut request = Request::new(Body::from(body.to_vec()));
        (*request.method_mut(), *request.uri_mut()) = (method.clone(), path.clone());
        *request.headers_mut() = headers.clone();
        request
    };
    (!is_wait).then_some(build)
}

fn is_right(answer: &Answer, heard: &Heard) {
    if answer.status < 400 {
        return;
    }
    assert!(answer.status < 500 || answers::is_by_design(heard), "{} to {heard:?}: {:?}", answer.status, answer.body);
    assert_eq!(answer.header("content-type"), Some(PROBLEM_JSON), "to {heard:?}");
    assert_eq!(matches!(answer.status, 429 | 503), answer.header("retry-after").is_some(), "to {heard:?}");
    if heard.method != "HEAD" {
        let problem: ProblemDocument = serde_json::from_slice(&answer.body).expect("a problem document");
        assert_eq!(problem.status, answer.status);
        assert!(!problem.detail.contains('\n'), "{problem:?}");
    }
}

/// An accepted job, by what the interface says that it takes.
fn is_sound(spec: &JobSpec) {
    let limits = Limits::default();
    let is_key = |key: &str| (1..=200).contains(&key.chars().count()) && !key.chars().any(char::is_control);
    assert!(spec.payload.len() as u64 <= limits.payload.0 && spec.run_at >= NOW, "{spec:?}");
    assert!(is_key(&spec.downstream) && spec.limit_key.as_deref().is_none_or(is_key), "{spec:?}");
    assert!(spec.deadline.is_none_or(|deadline| deadline.as_ms() > 0 && deadline <= limits.deadline), "{spec:?}");
    assert!(spec.labels.len() <= 32, "{spec:?}");
    for (name, value) in &spec.labels {
        let is_name = (1..=64).contains(&name.chars().count()) && !name.contains(':');
        assert!(is_name && value.chars().count() <= 256, "{name:?}: {value:?}");
        assert!(!name.chars().chain(value.chars()).any(char::is_control), "{name:?}: {value:?}");
    }
    let key = spec.idempotency_key.as_deref().unwrap_or("k");
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{key:?}");
    if let Some(trace) = &spec.traceparent {
        is_trace(trace);
    }
}

/// W3C Trace Context, place by place.
fn is_trace(text: &str) {
    let fits = |place: usize, letter: char| match place {
        2 | 35 | 52 => letter == '-',
        _ => matches!(letter, '0'..='9' | 'a'..='f'),
    };
    assert!(text.len() >= 55 && text.chars().take(55).enumerate().all(|(place, letter)| fits(place, letter)), "{text}");
    assert!(text.len() == 55 || !text.starts_with("00") && text.as_bytes()[55] == b'-', "{text}");
    assert!(!text.starts_with("ff") && text[3..35] != *"0".repeat(32) && text[36..52] != *"0".repeat(16), "{text}");
}

/// Where an answer leads on, it leads somewhere: the next page, the job that was made.
async fn follow(api: &super::Api, answer: &Answer) {
    if answer.status >= 300 || answer.header("content-type") != Some("application/json") || answer.body.is_empty() {
        return;
    }
    let told = answer.json();
    if let Some(next) = told["next"].as_str() {
        assert_eq!(api.get(&format!("/v1/jobs?limit=1&cursor={next}")).await.status, 200, "the cursor {next}");
    }
    if answer.status == 202
        && let Some(id) = told["id"].as_str()
    {
        assert_eq!(api.get(&format!("/v1/jobs/{id}")).await.status, 200, "the job {id}");
    }
}

/// Single words from outside, each beside what it must be when it is written out again.
fn words(text: &str) {
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(JobId::from_parts(id.place(), id.tail()), id);
    }
    if let Ok(span) = text.parse::<TimeSpan>() {
        assert_eq!(span.to_string().parse(), Ok(span), "{text:?}");
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size), "{text:?}");
    }
    if let Ok(moment) = crate::clock::UnixMs::parse(text) {
        assert_eq!(crate::clock::UnixMs::parse(&moment.to_string()), Ok(moment), "{text:?}");
    }
    if let Ok(value) = HeaderValue::from_str(text) {
        let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static("traceparent"), value)]);
        if let Some(kept) = traceparent(&headers) {
            is_trace(&kept);
        }
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        for most in [1, 2, 3, 16, 128] {
            assert_eq!(depth_within(text, most), depth(&value) <= most, "{text:?} is {} deep", depth(&value));
        }
    }
}

fn depth(value: &Value) -> usize {
    let inner: BTreeMap<usize, &Value> = match value {
        Value::Array(values) => values.iter().enumerate().collect(),
        Value::Object(members) => members.values().enumerate().collect(),
        _ => return 0,
    };
    1 + inner.values().map(|value| depth(value)).max().unwrap_or(0)
}
