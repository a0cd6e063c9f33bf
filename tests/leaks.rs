//! Nothing that the host writes holds a secret: its store, its log, its answers and its metrics are searched for one, in
//! every form, after a plugin has said it in every way it can.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::{Downstream, Reply, Setup, json};

/// With characters that each encoding writes in its own way.
const SECRET: &str = "s3cret/of+the \"test\"~?>leak";
const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----";

/// What must stand nowhere.
fn traces() -> Vec<Vec<u8>> {
    let mut traces =
        vec![SECRET.to_owned(), "s3cret".to_owned(), "test\\\"~".to_owned(), "MIIEvQIBADANBgkqhkiG".to_owned()];
    traces.push("9w0BAQEFAASCBKcwggSj".to_owned());
    traces.push(SECRET.bytes().map(|byte| format!("{byte:02x}")).collect());
    for before in 0..3 {
        let bytes = [&[0, 0][..before], SECRET.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&bytes);
            traces.push(text[(before * 8_usize).div_ceil(6)..bytes.len() * 8 / 6].to_owned());
        }
    }
    traces.into_iter().map(String::into_bytes).collect()
}

fn search(place: &str, bytes: &[u8]) {
    let traces = traces();
    let found = aho_corasick::AhoCorasick::new(&traces).unwrap().find(bytes);
    if let Some(found) = found {
        let trace = String::from_utf8_lossy(&traces[found.pattern().as_usize()]).into_owned();
        let around = String::from_utf8_lossy(&bytes[found.start().saturating_sub(60)..found.end()]).into_owned();
        panic!("{place} holds {trace:?}: {around:?}");
    }
}

#[tokio::test]
async fn nothing_that_is_written_holds_a_secret() {
    let downstream = Downstream::start(|seen, _| async move {
        Reply::status(200).header("x-back", seen.header("x-key")).body("text/plain", seen.body.to_vec())
    })
    .await;
    let file = format!(
        "origins = ['{}']\nproxy = 'none'\ninject = {{ header = 'X-Key', value = '{{hidden}}' }}\n\
         [secrets]\ntoken = {{ env = 'TOKEN' }}\nkey = {{ env = 'KEY' }}\nhidden = {{ env = 'TOKEN' }}\n\
         [retry]\nmax_attempts = 1\n[limits]\noutput = '8KiB'",
        downstream.origin()
    );
    let host = Setup::default().env("TOKEN", SECRET).env("KEY", KEY).guest("misbehave", &file).start().await;
    let mut ids = Vec::new();
    for form in [
        "token",
        "key",
        "base64:token",
        "basic:token",
        "base64url:token",
        "hex:token",
        "percent:token",
        "json:token",
        "json:key",
        "json-go:token",
        "json-dotnet:token",
        "html:token",
        "path:token",
        "after:token",
        "after:key",
    ] {
        let text = format!("a ${{{form}}} z");
        for verb in [
            json!({"do": "log", "level": "error", "message": text, "times": 9}),
            json!({"do": "print", "stream": "stdout", "text": text, "times": 9}),
            json!({"do": "print", "stream": "stderr", "text": text}),
            json!({"do": "panic", "message": text}),
            json!({"do": "complete", "body": [text], "attributes": {"a": text}}),
            json!({"do": "retry", "message": text, "code": text}),
            json!({"do": "rate-limited", "message": text, "code": text, "delay_ms": 0}),
            json!({"do": "reject", "message": text, "code": text}),
            json!({"do": "unknown", "message": text, "code": text}),
            json!({"do": "fetch", "url": downstream.url(&format!("/p/${{percent:token}}?q=${{{form}}}")), "method": "POST",
                "body": text}),
            json!({"do": "fetch", "url": text, "method": text, "headers": {"x-odd": text}}),
            json!({"do": "fetch", "url": downstream.url("/"), "method": text}),
            json!({"do": "fetch", "url": format!("http://{text}/")}),
            json!({"do": "fetch-or-retry", "url": "http://not-granted.example/${percent:token}"}),
            json!({"do": "wasi-fetch", "url": downstream.url("/${percent:token}"), "method": "POST", "body": text}),
            json!({"do": "config", "name": text}),
        ] {
            // Each a downstream of its own: no call is held back for what became of another.
            let job = json!({"plugin": "misbehave", "downstream": format!("d{}", ids.len()), "payload": verb});
            ids.push(host.enqueue(job).await);
        }
    }
    for halves in ["log", "print"] {
        let half = |text: &str| match halves {
            "log" => json!({"do": "log", "level": "info", "message": text}),
            _ => json!({"do": "print", "stream": "stderr", "text": text}),
        };
        ids.push(
            host.misbehave(json!({"steps": [half("${first:token}"), half("${rest:token}"), {"do": "trap"}]})).await,
        );
    }
    for id in &ids {
        common::until("the attempt has ended", || async {
            let job = host.job(id).await;
            let is_held = job["waiting"]["reason"] == "grant-missing";
            (is_held || !job["finished_at"].is_null()).then_some(())
        })
        .await;
        for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/attempts/1")] {
            let answer = host.ask(reqwest::Method::GET, &path, None).await.bytes().await.unwrap();
            search(&path, &answer);
        }
    }
    for path in ["/v1/jobs?limit=500", "/v1/plugins", "/v1/plugins/misbehave", "/v1/downstreams", "/metrics", "/readyz"]
    {
        search(path, &host.ask(reqwest::Method::GET, path, None).await.bytes().await.unwrap());
    }
    search("the log", host.log().as_bytes());
    let mut files = 0;
    for file in std::fs::read_dir(host.dir().join("data")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            files += 1;
            search(&file.display().to_string(), &std::fs::read(&file).unwrap());
        }
    }
    assert!(files >= 2, "the store and its log of writes");
}

/// Libraries trace what they are called with before anything of ours has masked it.
#[tokio::test]
async fn the_most_talkative_log_holds_no_secret() {
    let downstream = Downstream::start(|seen, _| async move {
        Reply::status(200).header("x-back", seen.header("x-key")).body("text/plain", seen.body.to_vec())
    })
    .await;
    let file = format!(
        "origins = ['{}']\nproxy = 'none'\ninject = {{ header = 'X-Key', value = '{{hidden}}' }}\n\
         [secrets]\ntoken = {{ env = 'TOKEN' }}\nhidden = {{ env = 'TOKEN' }}\n[retry]\nmax_attempts = 1",
        downstream.origin()
    );
    let settings = Setup::default().env("TOKEN", SECRET).env("WINDLASS_LOG", "trace,wasmtime_wasi_http::p2=trace");
    let host = settings.guest("misbehave", &file).start().await;
    let text = "a ${token} z";
    for verb in [
        json!({"do": "wasi-fetch", "url": downstream.url("/${percent:token}?q=${path:token}"), "method": "POST",
            "body": text, "headers": {"x-own": "${token}"}}),
        json!({"do": "wasi-fetch", "url": "http://${token}/", "method": "${token}"}),
        json!({"do": "fetch", "url": downstream.url("/${percent:token}"), "method": "POST", "body": text}),
        json!({"do": "log", "level": "error", "message": text}),
        json!({"do": "print", "stream": "stderr", "text": text}),
        json!({"do": "config", "name": text}),
        json!({"do": "complete", "body": [text], "attributes": {"a": text}}),
        json!({"do": "reject", "message": text}),
    ] {
        let id = host.misbehave(verb).await;
        host.ended(&id).await;
    }
    let log = host.log();
    assert!(log.contains("\"TRACE\""), "the log is a talkative one");
    log.lines().for_each(|line| search("the log", line.as_bytes()));
}
