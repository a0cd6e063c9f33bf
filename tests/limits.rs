//! Each limit of an attempt, at it and one above, with a real guest. Those that only a module can reach exactly have
//! their tests in `host/plugin/attempt/at_limits.rs`.

mod common;

use common::{Downstream, Host, Reply, Setup, Value, json};

/// Limits that a test can reach, the host's own: they are the ceilings too.
const LIMITS: &str = r#"
[retry]
max_attempts = 1
[limits]
calls = 20000
call_bytes = "256KiB"
handles = 64
random = "1KiB"
random_total = "4KiB"
requests = 2
requests_total = 3
request = "1KiB"
response = "2KiB"
headers = "1KiB"
header_count = 20
exchanges = 2
output = "16KiB"
log_lines = 10
error_text = "400B"
error_code = "10B"
attributes = 3
result = "8KiB"
"#;

async fn start(file: &str) -> Host {
    // In one file of settings each table stands once.
    Setup::default().config(LIMITS).guest("misbehave", file).start().await
}

/// The job when it is over, and its attempt.
async fn run(host: &Host, payload: &Value) -> (Value, Value) {
    let id = host.misbehave(payload.clone()).await;
    let job = host.ended(&id).await;
    (job, host.get(&format!("/v1/jobs/{id}/attempts/1")).await)
}

#[tokio::test]
async fn what_costs_the_host_too_much_ends_the_attempt() {
    let host = start("").await;
    let log = |times: u32| json!({"do": "print", "stream": "stdout", "text": "x".repeat(1_023), "times": times});
    for (at, above, told) in [
        (json!({"do": "calls", "times": 15_000}), json!({"do": "calls", "times": 100_000}), "limits.calls"),
        (log(200), log(300), "limits.call_bytes"),
        (json!({"do": "random", "bytes": 1_024}), json!({"do": "random", "bytes": 1_025}), "limits.random "),
        (
            json!({"do": "random", "bytes": 1_000, "times": 3}),
            json!({"do": "random", "bytes": 1_000, "times": 5}),
            "limits.random_total",
        ),
        (json!({"do": "handles", "count": 25}), json!({"do": "handles", "count": 40}), "limits.handles"),
    ] {
        let (job, attempt) = run(&host, &at).await;
        assert_eq!(job["state"], "completed", "{at}: {attempt:#}");
        let (job, attempt) = run(&host, &above).await;
        assert_eq!((&job["state"], &attempt["outcome"]), (&json!("discarded"), &json!("host-calls")), "{above}");
        assert!(attempt["error"].as_str().unwrap().contains(told.trim_end()), "{above}: {attempt:#}");
    }
    let (job, _) = run(&host, &json!({"do": "echo"})).await;
    assert_eq!(job["state"], "completed", "the host goes on");
}

#[tokio::test]
async fn headers_that_are_taken_filled_and_emptied_are_as_many_as_handles() {
    let host = start("").await;
    let (_, attempt) = run(&host, &json!({"do": "hoard", "handle": "emptied-fields"})).await;
    assert_eq!(attempt["outcome"], "host-calls", "{attempt:#}");
    assert!(attempt["error"].as_str().unwrap().contains("limits.handles"), "{attempt:#}");
}

#[tokio::test]
async fn time_and_memory_have_an_end() {
    let host = start("[limits]\ndeadline = \"3s\"\ncpu = \"1s\"\nmemory = \"16MiB\"").await;
    for (at, above, outcome) in [
        (json!({"do": "sleep", "ms": 100}), json!({"do": "sleep", "ms": 60_000}), "deadline"),
        (json!({"do": "spin", "ms": 50}), json!({"do": "spin"}), "cpu-budget"),
        (json!({"do": "allocate", "bytes": 8 << 20}), json!({"do": "allocate", "bytes": 17 << 20}), "memory"),
    ] {
        let (job, attempt) = run(&host, &at).await;
        assert_eq!(job["state"], "completed", "{at}: {attempt:#}");
        assert_eq!(run(&host, &above).await.1["outcome"], outcome, "{above}");
    }
}

#[tokio::test]
async fn a_result_has_a_size_and_a_number_of_attributes() {
    let host = start("").await;
    let attributes = |count: usize| {
        let each: serde_json::Map<_, _> = (0..count).map(|n| (n.to_string(), json!("x"))).collect();
        json!({"do": "complete", "attributes": each})
    };
    for (at, above, told) in [
        (json!({"do": "result", "bytes": 8_192}), json!({"do": "result", "bytes": 8_193}), "limits.result"),
        (attributes(3), attributes(4), "limits.attributes"),
    ] {
        let (job, attempt) = run(&host, &at).await;
        assert_eq!(job["state"], "completed", "{at}: {attempt:#}");
        let (_, attempt) = run(&host, &above).await;
        assert_eq!(attempt["outcome"], "result-too-large", "{above}: {attempt:#}");
        assert!(attempt["error"].as_str().unwrap().contains(told), "{above}: {attempt:#}");
    }
}

#[tokio::test]
async fn what_is_said_is_cut_and_the_attempt_says_so() {
    let host = start("").await;
    let said =
        |text: usize, code: usize| json!({"do": "reject", "message": "m".repeat(text), "code": "c".repeat(code)});
    let (_, attempt) = run(&host, &said(400, 10)).await;
    assert_eq!((&attempt["error"], &attempt["code"]), (&json!("m".repeat(400)), &json!("c".repeat(10))));
    let (_, attempt) = run(&host, &said(401, 11)).await;
    assert_eq!(attempt["error"], format!("{}…", "m".repeat(397)));
    assert_eq!(attempt["code"], format!("{}…", "c".repeat(7)));

    let lines = |times: u32| json!({"do": "log", "level": "info", "message": "line", "times": times});
    let (_, attempt) = run(&host, &lines(10)).await;
    assert_eq!((attempt["log"].as_array().unwrap().len(), &attempt["log_dropped_lines"]), (10, &json!(0)));
    let (_, attempt) = run(&host, &lines(11)).await;
    let dropped = (&attempt["log_dropped_lines"], &attempt["log_dropped_bytes"]);
    assert_eq!((attempt["log"].as_array().unwrap().len(), dropped), (10, (&json!(1), &json!(4))));
}

#[tokio::test]
async fn a_request_has_a_body_and_headers_of_a_size() {
    let downstream = Downstream::always(204).await;
    let host = start(&format!("origins = [\"{}\"]", downstream.origin())).await;
    let fetch = |body: usize, headers: usize, value: usize| {
        let headers: serde_json::Map<_, _> =
            (0..headers).map(|n| (format!("x-{n:02}"), json!("v".repeat(value)))).collect();
        json!({"do": "fetch", "url": downstream.url("/"), "method": "POST", "body": "b".repeat(body), "headers": headers})
    };
    // A name has four letters.
    for (at, above, told) in [
        (fetch(1_024, 0, 0), fetch(1_025, 0, 0), "limits.request)"),
        (fetch(0, 20, 1), fetch(0, 21, 1), "limits.header_count"),
        (fetch(0, 1, 1_020), fetch(0, 1, 1_021), "limits.headers"),
    ] {
        let (job, _) = run(&host, &at).await;
        assert_eq!(job["result"]["ok"]["status"], 204, "{job:#}");
        let (job, _) = run(&host, &above).await;
        let error = &job["result"]["error"];
        assert_eq!(error["kind"], "invalid", "{job:#}");
        assert!(error["message"].as_str().unwrap().contains(told), "{job:#}");
    }
    assert_eq!(downstream.seen().len(), 3, "what was refused was not sent");
    let wasi = |body: usize| json!({"do": "wasi-fetch", "url": downstream.url("/"), "method": "POST", "body": "b".repeat(body)});
    assert_eq!(run(&host, &wasi(1_024)).await.0["result"]["ok"]["status"], 204);
    let (job, attempt) = run(&host, &wasi(1_025)).await;
    assert!(job["result"]["error"].is_object(), "{job:#} {attempt:#}");
    let wasi =
        |value: usize| json!({"do": "wasi-fetch", "url": downstream.url("/"), "headers": {"x-00": "v".repeat(value)}});
    assert!(run(&host, &wasi(1_021)).await.0["result"]["error"].is_object(), "told when it is sent");
    let (_, attempt) = run(&host, &wasi(3_000)).await;
    assert_eq!(attempt["outcome"], "host-calls", "{attempt:#}");
}

#[tokio::test]
async fn a_response_has_a_body_and_headers_of_a_size() {
    let downstream = Downstream::start(|seen, _| async move {
        let number = |name: &str| seen.header(name).parse::<usize>().unwrap_or(0);
        let reply = Reply::status(200).body("text/plain", vec![b'x'; number("x-body")]);
        let count = number("x-headers");
        (0..count).fold(reply, |reply, n| reply.header(&format!("y-{n}"), &"v".repeat(number("x-value"))))
    })
    .await;
    let host = start(&format!("origins = [\"{}\"]", downstream.origin())).await;
    for (body, headers, value, is_taken) in [
        (2_048, 0, 0, true),
        (2_049, 0, 0, false),
        (0, 10, 1, true),
        (0, 21, 1, false),
        (0, 1, 500, true),
        (0, 1, 1_100, false),
    ] {
        let wants = json!({"x-body": body.to_string(), "x-headers": headers.to_string(), "x-value": value.to_string()});
        let (job, _) = run(&host, &json!({"do": "fetch-bounded", "url": downstream.url("/"), "headers": &wants})).await;
        let bounded = &job["result"]["ok"];
        let is_cut = |wants: usize| json!(!is_taken && wants > 0);
        assert_eq!((&bounded["status"], &bounded["body_truncated"]), (&json!(200), &is_cut(body)), "{job:#}");
        assert_eq!(bounded["headers_truncated"], is_cut(headers), "{body} {headers} {value}: {job:#}");
        assert_eq!(bounded["body"].as_str().map(str::len), Some(body.min(2_048)));
        let (job, _) = run(&host, &json!({"do": "fetch", "url": downstream.url("/"), "headers": wants})).await;
        let told = (&job["result"]["ok"]["status"], &job["result"]["error"]["kind"]);
        let expected = if is_taken { (&json!(200), &Value::Null) } else { (&Value::Null, &json!("too-large")) };
        assert_eq!(told, expected, "{body} {headers} {value}: {job:#}");
    }
}

#[tokio::test]
async fn requests_are_counted_at_once_and_in_all() {
    let downstream = Downstream::start(|_, _| async { Reply::status(200).body("text/plain", "x") }).await;
    let host = start(&format!("origins = [\"{}\"]", downstream.origin())).await;
    let fetch = json!({"do": "fetch", "url": downstream.url("/")});
    let (job, attempt) = run(&host, &json!({"steps": [&fetch, &fetch, &fetch]})).await;
    assert_eq!(job["result"]["ok"]["status"], 200, "{job:#}");
    // Three were made and two may be kept.
    assert_eq!((attempt["exchanges"].as_array().unwrap().len(), &attempt["exchanges_dropped"]), (2, &json!(1)));
    let (job, _) = run(&host, &json!({"steps": [&fetch, &fetch, &fetch, &fetch]})).await;
    let error = &job["result"]["error"];
    assert!(error["message"].as_str().unwrap().contains("limits.requests_total"), "{job:#}");

    let hanging = Downstream::start(|_, _| async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Reply::status(200).body("text/plain", "x")
    })
    .await;
    let host = start(&format!("origins = [\"{}\"]", hanging.origin())).await;
    for (count, sent) in [(2, 2), (3, 2)] {
        let (job, _) = run(&host, &json!({"do": "wasi-flood", "url": hanging.url("/"), "count": count})).await;
        assert_eq!(job["result"], json!({"sent": sent, "refused": count - sent}), "{job:#}");
    }
}

/// What no limit of wasmtime's bounds: descriptors of the host, and words that a request keeps.
#[tokio::test]
async fn no_handle_holds_a_descriptor_or_a_long_text_of_the_host() {
    let host = start("").await;
    let (job, attempt) = run(&host, &json!({"do": "sockets", "count": 40})).await;
    assert_eq!(job["result"], json!({"made": 0}), "{attempt:#}");
    for (verb, letters, taken) in [
        ("wasi-method", 64, true),
        ("wasi-method", 65, false),
        ("wasi-method", 100_000, false),
        ("wasi-authority", 1_024, true),
        ("wasi-authority", 1_025, false),
        ("wasi-authority", 250_000, false),
        ("wasi-path", 65_534, true),
        ("wasi-path", 65_535, false),
    ] {
        let (job, attempt) = run(&host, &json!({"do": verb, "letters": letters})).await;
        assert_eq!(job["result"], json!({"taken": taken}), "{verb} {letters}: {attempt:#}");
    }
}

#[tokio::test]
async fn a_plugins_file_narrows_and_the_api_tells() {
    let host = start("[limits]\ncalls = 2000\nerror_text = \"64B\"").await;
    let plugin = host.get("/v1/plugins/misbehave").await;
    let limits = &plugin["limits"];
    assert_eq!((&limits["calls"], &limits["error_text"]), (&json!(2_000), &json!("64B")), "{limits:#}");
    assert_eq!((&limits["result"], &limits["deadline"]), (&json!("8KiB"), &json!("30s")), "{limits:#}");
    let (_, attempt) = run(&host, &json!({"do": "calls", "times": 3_000})).await;
    assert_eq!(attempt["outcome"], "host-calls", "{attempt:#}");
    std::fs::write(host.plugins().join("misbehave.toml"), "[limits]\ncalls = 20001\n").unwrap();
    let told = common::until("the file is refused", || async {
        let plugin = host.get("/v1/plugins/misbehave").await;
        plugin["load_error"]["summary"].as_str().map(str::to_owned)
    })
    .await;
    assert!(told.contains("limits.calls") && told.contains("ceiling of 20000"), "{told}");
}
