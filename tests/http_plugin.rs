//! The shipped plugin `http`: its contract, run by the component in the repository and by one built anew.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Downstream, Host, Reply, Setup, Value, guests, json, ms};

async fn host(component: Vec<u8>, downstream: &Downstream) -> Host {
    let file = format!("origins = [\"{}\"]\n[retry]\nmax_attempts = 1\ncap = \"2s\"", downstream.origin());
    Setup::default().plugin("http", component, &file).start().await
}

async fn outcome(host: &Host, payload: Value) -> (Value, Value) {
    // Each a downstream of its own: no call is held back for what became of another.
    let job = json!({"plugin": "http", "downstream": payload["url"], "payload": payload});
    let job = host.ended(&host.enqueue(job).await).await;
    (job["attempts"][0].clone(), job)
}

/// Answers as the path says: `/STATUS` or `/STATUS/RETRY-AFTER`.
async fn scripted() -> Downstream {
    Downstream::start(|seen, _| async move {
        let mut parts = seen.target.trim_start_matches('/').split('/');
        let reply = Reply::status(parts.next().and_then(|status| status.parse().ok()).unwrap_or(200));
        match parts.next() {
            Some(after) => reply.header("retry-after", &after.replace("%20", " ")),
            None => reply,
        }
    })
    .await
}

async fn each_status_has_its_outcome(component: Vec<u8>) {
    let downstream = scripted().await;
    let host = host(component, &downstream).await;
    for (path, expected, delay) in [
        ("/200", "completed", Value::Null),
        ("/204", "completed", Value::Null),
        ("/299", "completed", Value::Null),
        ("/301", "reject", Value::Null),
        ("/304", "reject", Value::Null),
        ("/400", "reject", Value::Null),
        ("/401", "reject", Value::Null),
        ("/404", "reject", Value::Null),
        ("/408", "try-again", Value::Null),
        ("/410", "reject", Value::Null),
        ("/422", "reject", Value::Null),
        ("/425", "try-again", Value::Null),
        ("/429", "rate-limited", Value::Null),
        ("/429/7", "rate-limited", json!(7_000)),
        ("/429/0", "rate-limited", json!(0)),
        ("/429/soon", "rate-limited", Value::Null),
        ("/429/-5", "rate-limited", Value::Null),
        ("/500", "try-again", Value::Null),
        ("/503", "try-again", Value::Null),
        ("/503/2", "rate-limited", json!(2_000)),
        ("/504", "try-again", Value::Null),
    ] {
        let (attempt, _) = outcome(&host, json!({"url": downstream.url(path)})).await;
        assert_eq!(attempt["outcome"], expected, "{path}: {attempt:#}");
        assert_eq!(attempt["retry_after_ms"], delay, "{path}: {attempt:#}");
        if expected != "completed" {
            assert_eq!(attempt["code"], json!(format!("http-{}", &path[1..4])), "{path}");
        }
    }
    let (attempt, _) =
        outcome(&host, json!({"url": downstream.url("/429/Wed,%2021%20Oct%202099%2007:28:00%20GMT")})).await;
    assert!(attempt["retry_after_ms"].as_u64().is_some_and(|ms| ms > 1_000_000_000), "{attempt:#}");
    let (attempt, _) = outcome(&host, json!({"url": downstream.url("/429/999999999999999999999999999999")})).await;
    assert_eq!(attempt["outcome"], "rate-limited", "{attempt:#}");
}

async fn a_request_goes_out_as_the_payload_says(component: Vec<u8>) {
    let downstream = Downstream::start(|_, _| async {
        Reply::status(201).header("x-kind", "test").body("application/json", r#"{"ok":true}"#)
    })
    .await;
    let host = host(component, &downstream).await;
    let (_, job) = outcome(&host, json!({"url": downstream.url("/orders?x=1"), "method": "PUT", "headers": {"X-Token": "t"}, "body": {"n": 1}, "timeout": "5s"})).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!((&job["result"]["status"], &job["result"]["body"]), (&json!(201), &json!({"ok": true})));
    assert_eq!(job["result"]["headers"]["x-kind"], "test");
    let seen = &downstream.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/orders?x=1"));
    assert_eq!((seen.header("x-token"), seen.header("content-type")), ("t", "application/json"));
    assert_eq!(seen.key(), job["id"].as_str().unwrap());
    assert_eq!(seen.header("host"), downstream.address.to_string());
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), json!({"n": 1}));
    outcome(&host, json!({"url": downstream.url("/bytes"), "body_base64": "AP8="})).await;
    let seen = &downstream.seen()[1];
    assert_eq!((seen.method.as_str(), &seen.body[..]), ("POST", &[0, 255][..]));
}

async fn faults_of_the_connection_are_told_apart(component: Vec<u8>) {
    let hanging = Downstream::start(|_, _| std::future::pending()).await;
    let host = host(component, &hanging).await;
    let (attempt, _) = outcome(&host, json!({"url": hanging.url("/"), "timeout": "200ms"})).await;
    assert_eq!(attempt["outcome"], "unknown-outcome", "{attempt:#}");
    let address = hanging.address;
    drop(hanging);
    // The listener is gone when a connection is refused.
    common::until("the port is closed", || async {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    let (attempt, _) = outcome(&host, json!({"url": format!("http://{address}/")})).await;
    assert_eq!(attempt["outcome"], "try-again", "{attempt:#}");
    assert!(attempt["error"].as_str().unwrap().contains(&address.to_string()), "{attempt:#}");
}

async fn a_malformed_payload_is_refused_before_it_is_a_job(component: Vec<u8>) {
    let downstream = scripted().await;
    let host = host(component, &downstream).await;
    for payload in [
        json!({}),
        json!({"url": 7}),
        json!({"url": downstream.url("/200"), "colour": "red"}),
        json!({"url": downstream.url("/200"), "body": 1, "body_base64": "AA=="}),
        json!("text"),
    ] {
        let job = json!({"plugin": "http", "payload": payload});
        let (status, problem) = host.ask_json(reqwest::Method::POST, "/v1/jobs", Some(&job)).await;
        assert_eq!(status.as_u16(), 422, "{payload}: {problem}");
    }
    // What no schema can say is told by the plugin.
    let (attempt, _) = outcome(&host, json!({"url": downstream.url("/200"), "body_base64": "AA=A"})).await;
    assert_eq!(attempt["outcome"], "reject", "{attempt:#}");
    assert!(downstream.seen().is_empty());
}

async fn retry_after_moves_the_next_attempt(component: Vec<u8>) {
    let downstream = Downstream::start(|_, before| async move {
        if before == 0 { Reply::status(503).header("retry-after", "1") } else { Reply::status(200) }
    })
    .await;
    let file = format!("origins = [\"{}\"]\n[retry]\nbase = \"10ms\"", downstream.origin());
    let host = Setup::default().plugin("http", component, &file).start().await;
    let (first, job) = outcome(&host, json!({"url": downstream.url("/")})).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!(ms(&first["next_run_at"]) - ms(&first["finished_at"]), 1_000);
}

/// More than an answer's body may have.
const TOO_MANY_BYTES: usize = 9 << 20;

/// Answers as the path says: `/STATUS/BYTES/HEADERS` or `/STATUS/BYTES/HEADERS/RETRY-AFTER`.
async fn oversized() -> Downstream {
    Downstream::start(|seen, _| async move {
        let parts: Vec<usize> = seen.target.split('/').filter_map(|part| part.parse().ok()).collect();
        let status = parts[0].try_into().expect("a status");
        let reply = (0..parts[2]).fold(Reply::status(status), |reply, n| reply.header(&format!("x-{n}"), "many"));
        let reply = reply.body("text/plain", vec![b'a'; parts[1]]);
        match parts.get(3) {
            Some(after) => reply.header("retry-after", &after.to_string()),
            None => reply,
        }
    })
    .await
}

async fn an_answer_that_is_too_large_is_judged_by_its_status(component: Vec<u8>) {
    let downstream = oversized().await;
    let host = host(component, &downstream).await;
    for (path, expected, delay, code) in [
        (format!("/503/{TOO_MANY_BYTES}/0"), "try-again", Value::Null, "http-503"),
        (format!("/503/{TOO_MANY_BYTES}/0/2"), "rate-limited", json!(2_000), "http-503"),
        (format!("/429/{TOO_MANY_BYTES}/0/7"), "rate-limited", json!(7_000), "http-429"),
        (format!("/408/{TOO_MANY_BYTES}/0"), "try-again", Value::Null, "http-408"),
        (format!("/404/{TOO_MANY_BYTES}/0"), "reject", Value::Null, "http-404"),
        ("/503/2/200".to_owned(), "try-again", Value::Null, "http-503"),
        ("/503/2/200/2".to_owned(), "rate-limited", json!(2_000), "http-503"),
        ("/404/2/200".to_owned(), "reject", Value::Null, "http-404"),
        // The host reads no further than 256 headers, and knows no status then.
        ("/503/2/300".to_owned(), "unknown-outcome", Value::Null, "response-too-large"),
    ] {
        let (attempt, _) = outcome(&host, json!({"url": downstream.url(&path)})).await;
        assert_eq!(attempt["outcome"], expected, "{path}: {attempt:#}");
        assert_eq!((&attempt["retry_after_ms"], &attempt["code"]), (&delay, &json!(code)), "{path}: {attempt:#}");
    }
    for (path, bytes, kept) in [
        (format!("/200/{TOO_MANY_BYTES}/0"), TOO_MANY_BYTES, 8 << 20),
        (format!("/200/{}/0", 8 << 20), 8 << 20, 8 << 20),
        ("/201/2/200".to_owned(), 2, 2),
    ] {
        let (_, job) = outcome(&host, json!({"url": downstream.url(&path)})).await;
        let result = &job["result"];
        assert_eq!(
            (&job["state"], &result["status"]),
            (&json!("completed"), &json!(path[1..4].parse::<u16>().unwrap()))
        );
        assert_eq!(result["body"].as_str().map(str::len), Some(kept), "{path}");
        let is_cut = bytes > kept || path.ends_with("/200");
        assert_eq!(result.get("truncated"), is_cut.then_some(&json!(true)), "{path}");
        assert_eq!(result["headers"]["content-type"], "text/plain", "{path}");
    }
    // No body comes after this one.
    let head = json!({"url": downstream.url(&format!("/200/{TOO_MANY_BYTES}/0")), "method": "HEAD"});
    let (_, job) = outcome(&host, head).await;
    let result = &job["result"];
    assert_eq!(result["headers"]["content-length"], TOO_MANY_BYTES.to_string(), "{job:#}");
    assert_eq!((&result["body"], result.get("truncated")), (&json!(""), None), "{job:#}");
}

/// Each case twice: by the shipped component and by one built from the sources beside it.
macro_rules! both {
    ($($case:ident),*) => {
        mod shipped {$(
            #[tokio::test]
            async fn $case() {
                super::$case(super::guests::shipped()).await;
            }
        )*}
        mod rebuilt {$(
            #[tokio::test]
            async fn $case() {
                super::$case(super::guests::component("http")).await;
            }
        )*}
    };
}
both!(
    each_status_has_its_outcome,
    a_request_goes_out_as_the_payload_says,
    faults_of_the_connection_are_told_apart,
    a_malformed_payload_is_refused_before_it_is_a_job,
    retry_after_moves_the_next_attempt,
    an_answer_that_is_too_large_is_judged_by_its_status
);

#[tokio::test]
async fn large_error_pages_open_the_breaker_and_large_answers_complete_when_they_are_over() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let downstream = Downstream::start(move |_, _| {
        let status = if up.load(Ordering::Relaxed) { 200 } else { 503 };
        async move { Reply::status(status).body("text/html", vec![b'a'; TOO_MANY_BYTES]) }
    })
    .await;
    let file = format!("origins = [\"{}\"]", downstream.origin());
    let config = "[retry]\nbase = \"1ms\"\ncap = \"10ms\"\n[breaker]\nfailures = 3\nprobe = \"100ms\"";
    let host = Setup::default().config(config).plugin("http", guests::shipped(), &file).start().await;
    let id = host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/")}})).await;
    host.waiting(&id, "breaker-open").await;
    is_up.store(true, Ordering::Relaxed);
    let job = host.ended(&id).await;
    assert_eq!((&job["state"], &job["result"]["truncated"]), (&json!("completed"), &json!(true)));
    assert!(downstream.seen().len() >= 4, "{}", downstream.seen().len());
}

#[tokio::test]
async fn a_long_answer_is_the_result_and_one_that_is_too_long_is_not_asked_for_again() {
    let downstream = Downstream::start(|seen, _| async move {
        let bytes = seen.target.trim_start_matches('/').parse().expect("a number");
        Reply::status(200).body("text/plain", vec![b'a'; bytes])
    })
    .await;
    let file = format!("origins = [\"{}\"]\n[limits]\nresult = \"3MiB\"", downstream.origin());
    let roomy = format!("origins = [\"{}\"]", downstream.origin());
    let plugins = Setup::default().plugin("http", guests::shipped(), &roomy).plugin("narrow", guests::shipped(), &file);
    let host = plugins.start().await;
    for (plugin, bytes, state, outcome) in [
        ("http", 7_000_000, "completed", "completed"),
        ("narrow", 2_000_000, "completed", "completed"),
        ("narrow", 4_000_000, "discarded", "result-too-large"),
    ] {
        let url = downstream.url(&format!("/{bytes}"));
        let id = host.enqueue(json!({"plugin": plugin, "payload": {"url": url}})).await;
        let job = host.ended(&id).await;
        let attempts = job["attempts"].as_array().expect("there are some");
        assert_eq!((&job["state"], &attempts[0]["outcome"]), (&json!(state), &json!(outcome)), "{bytes}");
        let calls = downstream.seen().iter().filter(|seen| seen.key() == id).count();
        assert_eq!((attempts.len(), calls), (1, 1), "{bytes}: what was done is not done again");
        if state == "completed" {
            assert_eq!(job["result"]["body"].as_str().map(str::len), Some(bytes), "{bytes}");
        }
    }
}
