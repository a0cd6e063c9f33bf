//! What plugin authors type: `plugin run`, `test`, `new` and `dev`, with a plugin that was built before.

mod common;

#[path = "authors/dev.rs"]
mod dev;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Downstream, Reply, Value, guests, json};
use tempfile::TempDir;

fn fixture(file: &str) -> PathBuf {
    guests::root().join("tests/fixtures/plugin-0.1.0").join(file)
}

/// A folder with the plugin in it, as `orders.wasm`.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::copy(fixture("plugin.wasm"), folder.path().join("orders.wasm")).unwrap();
    folder
}

fn windlass(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(words).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

fn run(folder: &Path, words: &[&str]) -> Output {
    windlass(folder, words).env("THE_TOKEN", "s3cret-token").stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn erp() -> Downstream {
    Downstream::start(|_, _| async { Reply::status(201).body("application/json", r#"{"number": "4711"}"#) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attempt_is_run_and_shown() {
    let (folder, erp) = (folder(), erp().await);
    let origin = erp.origin();
    let erp_value = format!("erp={origin}");
    let base = ["plugin", "run", "orders.wasm", "--payload", r#"{"order":"A-17"}"#, "--config", &erp_value];
    let granted = [&base[..], &["--origin", &origin, "--secret", "token=env:THE_TOKEN"]].concat();

    let shown = run(folder.path(), &granted);
    assert_eq!(code(&shown), 0, "{}", err(&shown));
    for told in ["completed", r#"{"number": "4711"}"#, "erp-number: 4711", "/orders", "delivering order A-17", "MiB"] {
        assert!(out(&shown).contains(told), "{told}: {}", out(&shown));
    }
    assert!(!out(&shown).contains("s3cret"));
    let again = [&granted[..], &["--json", "--attempt", "3", "--idempotency-key", "key-1"]].concat();
    let document: Value = serde_json::from_slice(&run(folder.path(), &again).stdout).unwrap();
    assert_eq!((&document["outcome"], &document["result"]), (&json!("completed"), &json!({"number": "4711"})));
    assert_eq!(document["exchanges"][0]["status"], 201);
    let seen = erp.seen();
    assert_eq!((seen[1].key(), seen[1].header("authorization")), ("key-1", "Bearer s3cret-token"));

    // Nothing is granted that was not said.
    let denied = run(folder.path(), &[&base[..], &["--secret", "token=env:THE_TOKEN"]].concat());
    assert_eq!(code(&denied), 1);
    assert!(out(&denied).contains("denied") && out(&denied).contains("orders.toml"), "{}", out(&denied));
    let unset = run(folder.path(), &[&granted[..], &["--secret", "token=env:NOT_THERE"]].concat());
    assert_eq!(code(&unset), 1);
    assert!(err(&unset).contains("NOT_THERE"), "{}", err(&unset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_run_is_told() {
    let folder = folder();
    for (words, exit, told) in [
        (&["orders.wasm", "--payload", "{"][..], 2, "--content-type"),
        (&["orders.wasm", "--secret", "token=value"], 2, "env:VARIABLE"),
        (&["orders.wasm", "--origin", "erp.example"], 2, "origin"),
        (&["nowhere.wasm"], 2, "nowhere.wasm"),
        (&["orders.wasm", "--grants", "nowhere.toml"], 2, "nowhere.toml"),
        (&["cache"], 2, "cache"),
    ] {
        let output = run(folder.path(), &[&["plugin", "run"], words].concat());
        assert_eq!(code(&output), exit, "{words:?}: {}", err(&output));
        assert!(err(&output).contains(told), "{words:?}: {}", err(&output));
    }
    std::fs::write(folder.path().join("orders.toml"), "origin = []").unwrap();
    let output = run(folder.path(), &["plugin", "run", "orders.wasm"]);
    assert_eq!((code(&output), err(&output).contains("orders.toml")), (2, true), "{}", err(&output));
}

#[test]
fn scenarios_are_played_and_what_differs_is_told() {
    let folder = folder();
    let scenarios = r#"
        [grants]
        config = { erp = "{downstream}" }
        secrets = { token = "abcd" }
        [[scenario]]
        name = "as expected"
        job.payload.json = { order = "A" }
        downstream = [{ status = 429, headers = { retry-after = "7" } }]
        expect = { outcome = "rate-limited", delay = "7s", next_try = "7s", requests = 1 }
        [[scenario]]
        name = "other than expected"
        job.payload.json = { order = "A" }
        downstream = [{ status = 503, delay = "10ms" }]
        [scenario.expect]
        outcome = "completed"
        code = "http-500"
        then = "discarded"
        next_try = "1m"
        nowhere = ["the ERP answered"]
        log = ["delivering", "delivered"]
        requests = [{ method = "PUT", headers = { authorization = "Bearer x" }, body.text = "" }, {}]
    "#;
    std::fs::write(folder.path().join("scenarios.toml"), scenarios).unwrap();
    let played = run(folder.path(), &["plugin", "test", "orders.wasm", "scenarios.toml"]);
    assert_eq!(code(&played), 1, "{}", err(&played));
    for told in [
        "ok",
        "FAILED",
        "outcome: expected completed, found try-again: the ERP answered 503",
        "code: expected \"http-500\", found \"http-503\"",
        "then: expected discarded, found retryable",
        "next_try: expected 60s, found 2s",
        "nowhere: \"the ERP answered\"",
        "log: expected \"delivered\"",
        "requests: expected 2, found 1",
        "request 1: expected PUT *, found POST /orders",
        "header authorization: expected \"Bearer x\", found \"Bearer abcd\"",
        "request 1: body: expected nothing, found",
        "1 of 2 scenarios are not as expected",
    ] {
        assert!(out(&played).contains(told), "{told}:\n{}", out(&played));
    }
    let only = run(folder.path(), &["plugin", "test", "orders.wasm", "scenarios.toml", "--only", "as exp", "--json"]);
    assert_eq!(code(&only), 0, "{}", out(&only));
    let document: Value = serde_json::from_slice(&only.stdout).unwrap();
    assert_eq!((&document["passed"], &document["failed"]), (&json!(1), &json!(0)));

    for (text, told) in [
        ("[[scenario]]\nnam = 1", "scenarios.toml: line 2: unknown field `nam`"),
        ("", "scenario"),
        (
            "[[scenario]]\nname = \"a\"\ndownstream = [{ headers = { \"x y\" = \"1\" } }]",
            "scenarios.toml: scenario \"a\": downstream.headers: \"x y\" is no name of a header",
        ),
        ("[[scenario]]\nname = \"a\"\ndownstream = [{ headers = { content-length = \"9\" } }]", "content-length"),
        ("[[scenario]]\nname = \"a\"\ngrants.without = [\"tokn\"]", "\"tokn\""),
        ("[[scenario]]\nname = \"a\"\njob.attempt = 0", "job.attempt"),
        ("[[scenario]]\nname = \"a\"\njob.payload.same = \"payload\"", "job.payload.same"),
        ("[[scenario]]\nname = \"a\"\nexpect.delay = \"9s..1s\"", "expect.delay"),
    ] {
        std::fs::write(folder.path().join("scenarios.toml"), text).unwrap();
        let output = run(folder.path(), &["plugin", "test", "orders.wasm", "scenarios.toml"]);
        assert_eq!(code(&output), 2);
        assert!(err(&output).contains(told), "{}", err(&output));
    }
}

#[test]
fn a_new_project_never_overwrites_anything() {
    let folder = TempDir::new().unwrap();
    let new = |words: &[&str]| run(folder.path(), &[&["plugin", "new"], words].concat());
    let made = new(&["my-erp", "--lang", "go"]);
    assert_eq!(code(&made), 0, "{}", err(&made));
    assert!(out(&made).contains("windlass plugin test my-erp.wasm"), "{}", out(&made));
    let page = std::fs::read_to_string(folder.path().join("my-erp/README.md")).unwrap();
    assert!(page.starts_with("# my-erp\n") && !page.contains("order-go"), "{page}");
    for (words, told) in [
        (&["my-erp", "--lang", "c"][..], "is there already"),
        (&["../x", "--lang", "c"], "no name"),
        (&["x", "--lang", "cobol"], "cobol"),
        (&["scenarios", "--lang", "go"], "scenarios.toml"),
        (&["rustfmt", "--lang", "rust"], "rustfmt.toml"),
        (&["cargo", "--lang", "rust", "--dir", "elsewhere"], "cargo.toml"),
        (&["windlass", "--lang", "c"], "windlass.toml"),
    ] {
        let output = new(words);
        assert_eq!((code(&output), err(&output).contains(told)), (2, true), "{words:?}: {}", err(&output));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
