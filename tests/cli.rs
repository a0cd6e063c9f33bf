//! The command line: what it prints, and what it exits with.

mod common;

#[path = "cli/acts.rs"]
mod acts;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/log_format.rs"]
mod log_format;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/silence.rs"]
mod silence;
#[path = "cli/unreached.rs"]
mod unreached;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/waiting.rs"]
mod waiting;

use std::process::Output;

use common::{Setup, Value, json};

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_job_can_be_enqueued_and_followed_from_the_command_line() {
    let host =
        Setup::default().guest("echo", "").guest("misbehave", "").config("[retry]\nmax_attempts = 1").start().await;
    let run = |args: &[&str]| said(&host.command(args).output().unwrap());
    let (code, stdout, stderr) = run(&["enqueue", "echo", "--payload", r#"{"a":1}"#, "--wait", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let job: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&job["state"], &job["result"]), (&json!("completed"), &json!({"a": 1})));
    let id = job["id"].as_str().unwrap();

    let (code, stdout, _) = run(&["jobs", "show", id]);
    assert!(code == 0 && stdout.contains("completed") && stdout.contains(id), "{stdout}");
    let (code, stdout, _) = run(&["jobs", "list"]);
    assert!(code == 0 && stdout.contains(id) && stdout.contains("echo"), "{stdout}");
    let (_, stdout, _) = run(&["jobs", "list", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["jobs"][0]["id"], json!(id));
    let (code, stdout, _) = run(&["plugin", "list"]);
    assert!(code == 0 && stdout.contains("echo") && stdout.contains("ready"), "{stdout}");

    std::fs::write(host.dir().join("payload.json"), r#"{"do":"reject","message":"never"}"#).unwrap();
    let (code, stdout, _) = run(&["enqueue", "misbehave", "--payload", "@payload.json", "--wait"]);
    assert!(code == 1 && stdout.contains("discarded") && stdout.contains("never"), "{stdout}");
    let (code, stdout, _) = run(&["enqueue", "echo", "--payload", "1", "--delay", "1h"]);
    assert_eq!(code, 0);
    let scheduled = stdout.split_whitespace().find(|word| word.len() == 36).unwrap().to_owned();
    assert_eq!(run(&["jobs", "retry", &scheduled]).0, 0);
    let (code, stdout, stderr) = run(&["enqueue", "echo", "--payload", "1", "--delay", "1h", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let id = serde_json::from_str::<Value>(&stdout).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(run(&["jobs", "cancel", &id]).0, 0);
    let (code, _, stderr) = run(&["jobs", "cancel", &id]);
    assert!(code == 1 && stderr.contains("cancelled"), "{stderr}");
    let (code, _, stderr) = run(&["enqueue", "nobody", "--payload", "1"]);
    assert!(code == 1 && stderr.contains("nobody") && stderr.trim().lines().count() == 1, "{stderr}");
}

#[tokio::test]
async fn a_component_is_checked_without_a_server() {
    let host = Setup::default().start().await;
    let file = host.dir().join("x.wasm");
    let check = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        said(&host.command(&["plugin", "check", "x.wasm"]).output().unwrap())
    };
    let (code, stdout, stderr) = check(&common::guests::shipped());
    assert!(code == 0 && stdout.contains("windlass:plugin/handler@0.1.0"), "{stdout}{stderr}");
    for (bytes, told) in [
        (b"hello".to_vec(), "WebAssembly"),
        (wat::parse_str("(module)").unwrap(), "core WebAssembly module"),
        (wat::parse_str("(component)").unwrap(), "handler"),
    ] {
        let (code, stdout, stderr) = check(&bytes);
        assert!(code == 1 && format!("{stdout}{stderr}").contains(told), "{stdout}{stderr}");
    }
}

#[tokio::test]
async fn wrong_usage_and_wrong_settings_exit_with_two_and_one_line() {
    let host = Setup::default().start().await;
    for (name, text) in [
        ("bad.toml", "[server]\nlisten = \"nowhere\""),
        ("folder.toml", "[plugins]\ndir = \"bad.toml\""),
        ("no-folder.toml", "[plugins]\ndir = \"\""),
        ("store.toml", "[store]\nurl = \"sqlite:bad.toml/x.db\""),
        ("store-folder.toml", "[store]\nurl = \"sqlite:plugins\""),
        ("tls.toml", "[server]\ntls = { cert = \"no-cert\", key = \"no-key\" }"),
        ("open.toml", "[server]\nlisten = \"0.0.0.0:0\""),
        ("proxy.toml", "[network]\nproxy = \"nope\""),
    ] {
        std::fs::write(host.dir().join(name), text).unwrap();
    }
    for (args, told) in [
        (&["serve", "--config", "bad.toml"][..], "listen"),
        (&["serve", "--config", "missing.toml"], "missing.toml"),
        (&["serve", "--config", "folder.toml"], "folder.toml: plugins.dir: bad.toml is no folder"),
        (&["serve", "--config", "no-folder.toml"], "no-folder.toml: plugins.dir: it is empty"),
        (&["serve", "--config", "store.toml"], "store.toml: store.url: bad.toml is no folder"),
        (&["serve", "--config", "store-folder.toml"], "store-folder.toml: store.url: plugins is a folder"),
        (&["serve", "--config", "tls.toml"], "tls.toml: server.tls.cert: no-cert"),
        (&["serve", "--config", "open.toml", "--data", "none"], "open.toml: server.listen is 0.0.0.0:0"),
        (&["serve", "--listen", "0.0.0.0:0", "--data", "none"], "--listen: server.listen is 0.0.0.0:0"),
        (&["serve", "--config", "proxy.toml"], "proxy.toml, line 2: `proxy` is "),
        (&["backup", "copy.db", "--data", "bad.toml/data"], "--data: store.url: bad.toml/data is no folder"),
        (&["serve", "--plugins", "bad.toml"], "--plugins: plugins.dir: bad.toml is no folder"),
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--colour"], "--colour"),
        (&["enqueue"], "PLUGIN"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let (code, stdout, stderr) = said(&host.command(args).output().unwrap());
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(told), "{args:?}: {stderr}");
    }
    let mut command = host.command(&["serve"]);
    let (code, _, stderr) = said(&command.env("WINDLASS_RETRY__BASE", "soon").output().unwrap());
    assert!(code == 2 && stderr.contains("WINDLASS_RETRY__BASE") && stderr.trim().lines().count() == 1, "{stderr}");
    let (code, _, stderr) = said(&host.command(&["jobs", "list", "--server", "http://127.0.0.1:9"]).output().unwrap());
    assert!(code == 1 && stderr.contains("windlass serve"), "{stderr}");
}

#[tokio::test]
async fn a_taken_port_is_told_in_one_line() {
    let host = Setup::default().start().await;
    let listen = host.base.trim_start_matches("http://").to_owned();
    let (code, _, stderr) = said(&host.command(&["serve", "--listen", &listen, "--data", "other"]).output().unwrap());
    assert!(code == 1 && stderr.contains(&listen), "{stderr}");
}
