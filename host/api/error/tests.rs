//! What refusals say, and how much of it.

use std::collections::BTreeSet;

use super::*;
use crate::api::testing::{Api, json};

#[test]
fn each_kind_has_a_code_of_its_own() {
    let codes: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
        assert!(kind.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{kind:?}");
    }
}

#[test]
fn overload_says_when_to_come_back() {
    for kind in ProblemKind::ALL {
        let is_overload = matches!(kind.status().as_u16(), 429 | 503);
        let response = Problem::new(*kind, "x").into_response();
        assert_eq!(response.headers().contains_key(RETRY_AFTER), is_overload, "{kind:?}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let api = Api::new();
    for path in ["/", "/v1", "/v1/nothing", "/v1/jobs/", "/v2/jobs"] {
        let problem = api.get(path).await.problem(ProblemKind::RouteUnknown);
        assert!(problem.detail.contains(path), "{problem:?}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let api = Api::new();
    for (method, path, allow) in
        [("DELETE", "/v1/jobs", "GET,HEAD,POST"), ("GET", "/v1/jobs/batch", "POST"), ("PATCH", "/healthz", "GET,HEAD")]
    {
        let answer = api.send(method, path, None).await;
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        answer.problem(ProblemKind::MethodNotAllowed);
    }
}

#[tokio::test]
async fn each_failure_of_the_store_is_told_apart() {
    let api = Api::new().plugin("echo");
    let text = || "the disk is tired".to_owned();
    for (error, kind) in [
        (StoreError::Busy(text()), ProblemKind::StoreBusy),
        (StoreError::Full(text()), ProblemKind::StoreFull),
        (StoreError::Failed(text()), ProblemKind::StoreFailed),
        (StoreError::Damaged(text()), ProblemKind::StoreDamaged),
    ] {
        api.store.fail_with(Some(error));
        let problem = api.post("/v1/jobs", json!({"plugin": "echo", "payload": 1})).await.problem(kind);
        assert!(problem.detail.contains("the disk is tired"), "{problem:?}");
        api.get("/v1/jobs").await.problem(kind);
    }
    api.store.fail_with(None);
    assert_eq!(api.post("/v1/jobs", json!({"plugin": "echo", "payload": 1})).await.status, 202);
}

#[tokio::test]
async fn no_refusal_repeats_much_of_what_was_sent() {
    let api = Api::new().plugin("echo");
    let long = "é\u{1b}[31m".repeat(50_000);
    for (member, value) in [
        ("run_at", json!(long)),
        ("delay", json!(long)),
        ("deadline", json!(long)),
        ("priority", json!(long)),
        ("plugin", json!(long)),
        ("retry", json!({"base": long})),
        ("labels", json!({ "a": 1, long.as_str(): "x" })),
        (long.as_str(), json!(1)),
    ] {
        let mut job = json!({"plugin": "echo", "payload": 1});
        job.as_object_mut().unwrap().insert(member.to_owned(), value);
        for answer in
            [api.post("/v1/jobs", job.clone()).await, api.post("/v1/jobs/batch", json!({"jobs": [job]})).await]
        {
            assert!(matches!(answer.status, 400 | 404), "{}", answer.status);
            let says = [" is not ", " there is no ", "member", "invalid"];
            let problem: ProblemDocument = serde_json::from_slice(&answer.body).unwrap();
            assert!(problem.detail.len() <= 1 << 10 && !problem.detail.contains('\u{1b}'), "{}", problem.detail.len());
            assert!(says.iter().any(|word| problem.detail.contains(word)), "it says what is wrong: {problem:?}");
        }
    }
}

#[test]
fn long_words_are_cut() {
    assert_eq!(quoted("a\nb"), "\"a\\nb\"");
    assert!(quoted(&"é".repeat(1_000)).chars().count() < 100);
    let long = format!("{:?} is no colour", "é".repeat(10_000));
    let cut = reason(&long);
    assert!(cut.starts_with("\"éé") && cut.ends_with("éé\" is no colour") && cut.chars().count() < 410, "{cut}");
    let short = format!("{:?} is no colour", "é".repeat(300));
    assert_eq!(reason(&short), short);
    let problem = Problem::new(ProblemKind::MemberInvalid, "é".repeat(10_000)).at("place");
    assert!(problem.detail.len() <= 1 << 10 && problem.detail.ends_with('…') && problem.detail.starts_with("place: é"));
}
