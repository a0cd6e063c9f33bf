//! What a guest can do to the host: end its own attempt, nothing else.

mod common;

use common::{Downstream, Host, Setup, Value, json};

const LIMITS: &str = "[limits]\ndeadline = \"500ms\"\ncpu = \"200ms\"\nmemory = \"16MiB\"\noutput = \"1KiB\"\nresult = \"1MiB\"\n[retry]\nmax_attempts = 1";

async fn host() -> Host {
    Setup::default().guest("misbehave", LIMITS).start().await
}

async fn attempt(host: &Host, payload: Value) -> Value {
    let id = host.misbehave(payload).await;
    host.ended(&id).await;
    host.get(&format!("/v1/jobs/{id}/attempts/1")).await
}

#[tokio::test]
async fn each_misdeed_has_its_outcome_and_the_host_goes_on() {
    let host = host().await;
    for (payload, outcome, told) in [
        (json!({"do": "trap"}), "trap", "unreachable"),
        (json!({"do": "panic", "message": "out of cheese"}), "trap", "out of cheese"),
        (json!({"do": "recurse"}), "trap", "stack"),
        (json!({"do": "exit", "code": 3}), "exit", "exit status"),
        (json!({"do": "spin"}), "cpu-budget", "200ms"),
        (json!({"do": "sleep", "ms": 60_000}), "deadline", "500ms"),
        (json!({"do": "allocate", "bytes": 64 << 20}), "memory", "limit is 16777216"),
        (json!({"do": "result", "bytes": (1 << 20) + 1}), "result-too-large", "1MiB"),
        (json!({"do": "retry", "message": "later"}), "try-again", "later"),
        (json!({"do": "rate-limited", "message": "slow down"}), "rate-limited", "slow down"),
        (json!({"do": "unknown", "message": "no answer"}), "unknown-outcome", "no answer"),
        (json!({"do": "reject", "message": "never"}), "reject", "never"),
    ] {
        let attempt = attempt(&host, payload.clone()).await;
        assert_eq!(attempt["outcome"], outcome, "{payload}: {attempt:#}");
        assert!(attempt["error"].as_str().unwrap().contains(told), "{payload}: {attempt:#}");
    }
    let job = host.ended(&host.misbehave(json!({"do": "echo"})).await).await;
    assert_eq!(job["state"], "completed");
}

#[tokio::test]
async fn a_trap_tells_where_in_the_guest_and_nothing_of_the_host() {
    let host = host().await;
    let attempt = attempt(&host, json!({"do": "panic", "message": "boom"})).await;
    let error = attempt["error"].as_str().unwrap();
    assert!(error.contains("wasm"), "{error} has the guest's backtrace");
    assert!(!error.contains("tokio") && !error.contains("wasmtime::"), "{error} shows the host");
}

#[tokio::test]
async fn each_attempt_has_a_fresh_instance() {
    let host = host().await;
    for _ in 0..3 {
        let job = host.ended(&host.misbehave(json!({"do": "count"})).await).await;
        assert_eq!(job["result"]["count"], 1, "{job:#}");
    }
}

#[tokio::test]
async fn nothing_is_granted_by_default() {
    let host = host().await;
    let job = host.ended(&host.misbehave(json!({"do": "probe"})).await).await;
    let told = job["result"].to_string();
    assert_eq!(job["state"], "completed", "{job:#}");
    assert!(!told.contains("root:") && !told.contains("PATH"), "{told}");
}

#[tokio::test]
async fn what_a_guest_says_is_cut_and_cleaned() {
    let host = host().await;
    let flooded = attempt(&host, json!({"do": "log", "level": "info", "message": "x".repeat(100), "times": 100})).await;
    let kept: usize =
        flooded["log"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().len()).sum();
    assert!(kept <= 1_024, "{kept} bytes were kept");
    assert!(flooded["log_dropped_bytes"].as_u64().unwrap() >= 10_000 - 1_024, "{flooded:#}");
    let loud = attempt(&host, json!({"do": "garbage-error", "bytes": 100_000})).await;
    let error = loud["error"].as_str().unwrap();
    assert!(error.len() <= 4_096 && !error.contains(['\n', '\u{1b}', '\0']), "{} bytes", error.len());
}

#[tokio::test]
async fn a_granted_value_can_be_read_and_no_other() {
    let host = Setup::default().guest("misbehave", "[config]\ncurrency = \"eur\"\ndigits = 2").start().await;
    for (name, value) in [("currency", json!("eur")), ("digits", json!("2")), ("PATH", Value::Null)] {
        let job = host.ended(&host.misbehave(json!({"do": "config", "name": name})).await).await;
        assert_eq!(job["result"]["value"], value, "{name}");
    }
}

#[tokio::test]
async fn both_ways_to_http_reach_the_granted_origin_and_no_other() {
    let (granted, other) = (Downstream::always(204).await, Downstream::always(204).await);
    let file = format!("origins = [\"{}\"]\n[retry]\nmax_attempts = 1", granted.origin());
    let host = Setup::default().guest("misbehave", &file).start().await;
    for verb in ["fetch", "wasi-fetch"] {
        let job = host.ended(&host.misbehave(json!({"do": verb, "url": granted.url("/yes")})).await).await;
        assert_eq!(job["result"]["ok"]["status"], 204, "{verb}: {job:#}");
        let job = host.ended(&host.misbehave(json!({"do": verb, "url": other.url("/no")})).await).await;
        assert!(job["result"]["error"].is_object(), "{verb}: {job:#}");
        let port = other.address.port();
        let other_name =
            host.ended(&host.misbehave(json!({"do": verb, "url": format!("http://localhost:{port}/")})).await).await;
        assert!(other_name["result"]["error"].is_object(), "{verb}: {other_name:#}");
    }
    assert_eq!((granted.seen().len(), other.seen().len()), (2, 0));
}

#[tokio::test]
async fn each_failed_call_says_exactly_what_became_of_it() {
    let hanging = Downstream::start(|_, _| std::future::pending()).await;
    let large =
        Downstream::start(|_, _| async { common::Reply::status(200).body("text/plain", vec![b'x'; 3_000]) }).await;
    let closed = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", socket.local_addr().unwrap())
    };
    let file = format!(
        "origins = [\"{}\", \"{}\", \"{closed}\"]\n[limits]\nresponse = \"2KiB\"",
        hanging.origin(),
        large.origin()
    );
    let host = Setup::default().guest("misbehave", &file).start().await;
    for (call, kind) in [
        (json!({"do": "fetch", "url": closed}), "unreachable"),
        (json!({"do": "fetch", "url": hanging.url("/"), "timeout_ms": 200}), "unanswered"),
        (json!({"do": "fetch", "url": large.url("/")}), "too-large"),
        (json!({"do": "fetch", "url": "ftp://example.com/"}), "invalid"),
        (json!({"do": "fetch", "url": large.url("/"), "method": "GE T"}), "invalid"),
        (json!({"do": "fetch", "url": large.url("/"), "headers": {"Host": "elsewhere"}}), "invalid"),
    ] {
        let job = host.ended(&host.misbehave(call.clone()).await).await;
        assert_eq!(job["result"]["error"]["kind"], kind, "{call}: {job:#}");
    }
}

#[tokio::test]
async fn connections_are_kept_for_the_next_attempt() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    static ACCEPTED: AtomicUsize = AtomicUsize::new(0);
    tokio::spawn(async move {
        use axum::serve::ListenerExt as _;
        let listener = listener.tap_io(|_| {
            ACCEPTED.fetch_add(1, Ordering::SeqCst);
        });
        axum::serve(listener, axum::Router::new().fallback(|| async { "yes" })).await.unwrap();
    });
    let host = Setup::default().guest("misbehave", &format!("origins = [\"http://{address}\"]")).start().await;
    for _ in 0..10 {
        let job = host.ended(&host.misbehave(json!({"do": "fetch", "url": format!("http://{address}/")})).await).await;
        assert_eq!(job["result"]["ok"]["status"], 200, "{job:#}");
    }
    assert_eq!(ACCEPTED.load(Ordering::SeqCst), 1);
}
