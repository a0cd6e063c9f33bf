//! Answers that are larger than is allowed, and cut.

use std::path::Path;

use super::super::super::testing::{bounded_caller, small_limits};
use super::*;
use crate::config::{Network, PluginFile};
use crate::job::Completion;

/// What `small_limits` says of a body.
const BODY_BYTES: usize = 64 << 10;

fn answering(answer: String) -> &'static [Downstream] {
    Box::leak(Box::new([Downstream::Answers(answer.leak())]))
}

fn bench() -> Bench {
    // The attributes are headers.
    Bench::with(Limits { attributes: 300, ..small_limits() }, Network::default())
}

/// The answer of that downstream as a guest gets it, and what is known of the attempt.
async fn answer(method: &str, script: &'static [Downstream]) -> (Completion, Evidence) {
    let (bench, stub) = (bench(), Stub::start(script).await);
    let plugin = bench.plugin(bounded_caller(method), &[&stub.url("")]).await;
    let (outcome, evidence) = run(&plugin, &stub.url("/")).await;
    let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
    (completion, evidence)
}

#[tokio::test]
async fn a_body_at_the_limit_is_whole_and_one_above_it_is_cut() {
    for (bytes, cut) in [(BODY_BYTES - 1, "00"), (BODY_BYTES, "00"), (BODY_BYTES + 1, "01"), (1 << 20, "01")] {
        let body = "x".repeat(bytes);
        for rest in [
            format!("content-length: {bytes}\r\n\r\n{body}"),
            format!("transfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n"),
        ] {
            let (completion, evidence) = answer("GET", answering(format!("HTTP/1.1 200 OK\r\n{rest}"))).await;
            assert_eq!((completion.content_type.as_str(), completion.body.len()), (cut, bytes.min(BODY_BYTES)));
            let exchange = &evidence.exchanges[0];
            let told = exchange.error.as_deref().unwrap_or_default();
            assert_eq!((exchange.status, told.contains("limits.response")), (Some(200), cut == "01"), "{told}");
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_what_is_beyond_the_limit() {
    const STOPS: Downstream =
        Downstream::Says { head: "HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n", body_bytes: BODY_BYTES };
    let (bench, stub) = (bench(), Stub::start(&[STOPS, OK]).await);
    let plugin = bench.plugin(bounded_caller("GET"), &[&stub.url("")]).await;
    let (outcome, evidence) = run(&plugin, &stub.url("/")).await;
    assert!(matches!(&outcome, Outcome::Completed(completion) if completion.body.len() == BODY_BYTES), "{outcome:?}");
    assert_eq!(evidence.exchanges[0].received_bytes, BODY_BYTES as u64);
    // What is still to come over that connection is no answer to the next request.
    let (outcome, _) = run(&plugin, &stub.url("/")).await;
    assert!(matches!(&outcome, Outcome::Completed(completion) if &completion.body[..] == b"ok"), "{outcome:?}");
    assert_eq!(stub.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn headers_at_the_limit_are_all_there_and_above_it_those_that_fit() {
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>();
    let large = |bytes: usize| format!("x-large: {}\r\n", "v".repeat(bytes));
    // With three others beside them; at most 128, of 64 KiB.
    for (headers, cut, count) in [
        (many(125), "00", 128),
        (many(126), "10", 128),
        (many(200), "10", 128),
        (large(60_000), "00", 4),
        (large(66_000), "10", 3),
    ] {
        let head =
            format!("HTTP/1.1 503 Busy\r\n{headers}retry-after: 7\r\ncontent-type: a/b\r\ncontent-length: 2\r\n");
        let (completion, evidence) = answer("GET", answering(format!("{head}\r\nno"))).await;
        assert_eq!((completion.content_type.as_str(), completion.attributes.len()), (cut, count), "{head}");
        assert_eq!(&completion.body[..], b"no");
        for (name, value) in [("retry-after", "7"), ("content-type", "a/b")] {
            let found = completion.attributes.iter().find(|header| header.0 == name);
            assert_eq!(found.map(|header| header.1.as_str()), Some(value), "{name} says how to take the answer");
        }
        let exchange = &evidence.exchanges[0];
        assert_eq!((exchange.status, exchange.error.is_some()), (Some(503), cut == "10"));
    }
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_too_large_all_the_same() {
    let headers: String = (0..300).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let script = answering(format!("HTTP/1.1 503 Busy\r\n{headers}content-length: 0\r\n\r\n"));
    let (bench, stub) = (bench(), Stub::start(script).await);
    let plugin = bench.plugin(bounded_caller("GET"), &[&stub.url("")]).await;
    let (case, message, _) = failing(&plugin, &stub.url("/")).await;
    assert_eq!(case, TOO_LARGE, "{message}");
}

#[tokio::test]
async fn an_answer_to_head_is_whole_whatever_length_it_states() {
    let script = answering("HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n".to_owned());
    let (completion, evidence) = answer("HEAD", script).await;
    assert_eq!((completion.content_type.as_str(), completion.body.len()), ("00", 0));
    assert_eq!(evidence.exchanges[0].error, None);
}

#[tokio::test]
async fn the_downstream_is_judged_as_by_a_whole_answer_of_that_status() {
    for head in ["HTTP/1.1 503 Busy\r\nretry-after: 7", "HTTP/1.1 429 Slow", "HTTP/1.1 200 OK"] {
        let calls = async |body: &str| {
            let script = answering(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            let calls = answer("GET", script).await.1.calls;
            (calls.made, calls.unanswered, calls.retry_after_ms)
        };
        assert_eq!(calls(&"x".repeat(1 << 20)).await, calls("no").await, "{head}");
    }
}

const KEY: &str = "sk-live-1234";
/// The longest spelling of it is that in hex.
const REACH: usize = 2 * KEY.len() - 1;

/// The body that a guest with these grants gets, where `said` begins so many bytes before the limit.
async fn body_with(grants: &str, left_bytes: usize, said: &str) -> String {
    let body = format!("{}{said}{}", "x".repeat(BODY_BYTES - left_bytes), "y".repeat(100));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let (bench, stub) = (bench(), Stub::start(answering(head + &body)).await);
    let file = format!("origins = ['{}']\n{grants}", stub.url(""));
    let file = PluginFile::parse(Path::new("test.toml"), &file, &Limits::default()).unwrap();
    let revision = Arc::new(bench.load(bounded_caller("GET")).await.unwrap());
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    let (outcome, _) = run(&plugin, &stub.url("/")).await;
    let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
    assert_eq!(completion.content_type, "01");
    String::from_utf8(completion.body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_secret_that_was_sent_along_is_not_cut_in_two() {
    const GRANTS: &str = "inject = { header = 'X-Key', value = '{key}' }\n\
                          secrets = { key = { command = ['printf', '%s', 'sk-live-1234'] } }";
    for left_bytes in [0, 1, 5, KEY.len() - 1, KEY.len(), REACH, REACH + 5, REACH + KEY.len()] {
        let body = body_with(GRANTS, left_bytes, KEY).await;
        assert!(!body.contains('-') && !body.contains("sk"), "{left_bytes}: {}", &body[body.len() - 50..]);
        // Whatever stood there, as much is missing.
        assert_eq!(body.len(), BODY_BYTES - REACH, "{left_bytes}");
        assert_eq!(body_with(GRANTS, left_bytes, "sk-live-123x").await.len(), BODY_BYTES - REACH, "{left_bytes}");
    }
}

#[tokio::test]
async fn a_secret_that_the_plugin_may_read_is_not_cut_in_two_either() {
    const GRANTS: &str = "secrets = { key = { command = ['printf', '%s', 'sk-live-1234'], readable = true } }";
    for left_bytes in 0..KEY.len() {
        // Less than four letters tell nothing of it.
        let missing = if left_bytes < 4 { 0 } else { left_bytes };
        assert_eq!(body_with(GRANTS, left_bytes, KEY).await.len(), BODY_BYTES - missing, "{left_bytes}");
    }
    assert!(body_with(GRANTS, KEY.len(), KEY).await.ends_with("x[key]"), "what is all there is masked as ever");
}
