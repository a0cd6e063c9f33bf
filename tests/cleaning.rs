//! Whatever a guest or a client says, what it reaches, the log and the terminal, obeys none of it.

mod common;

use common::{Host, Setup, Value, json};

/// A screen cleared, a title set, a line forged, text turned round, hidden, and tagged.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}\r\nERROR forged\u{9b}31m\u{202e}\u{2066}\u{200b}\u{e0041}\u{7f}z";

/// What no terminal may see: control characters but the line break, and what reorders or hides text.
fn is_harmful(next: char) -> bool {
    next.is_control() && next != '\n'
        || matches!(next, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(next, '\u{e0000}'..='\u{e007f}')
}

fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what} is no UTF-8: {error}"));
    if let Some(place) = text.char_indices().find(|(_, next)| is_harmful(*next)) {
        panic!("{what} has {:?} in {text:?}", place.1);
    }
}

/// The strings anywhere in a document, and the names of its members.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            found.push(name);
            strings(value, found);
        }),
        _ => {}
    }
}

/// Everything hostile that a guest can do with words, and the outcome of each.
fn sayings() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"do": "reject", "message": HOSTILE, "code": HOSTILE}), "reject"),
        (json!({"do": "unknown", "message": HOSTILE, "code": HOSTILE}), "unknown-outcome"),
        (json!({"do": "panic", "message": HOSTILE}), "trap"),
        (
            json!({"steps": [
                {"do": "log", "level": "error", "message": HOSTILE},
                {"do": "print", "stream": "stdout", "text": HOSTILE},
                {"do": "print", "stream": "stderr", "text": HOSTILE},
                {"do": "fetch", "url": format!("https://{HOSTILE}.example/{HOSTILE}"), "method": HOSTILE},
                {"do": "config", "name": HOSTILE},
                {"do": "complete", "attributes": {HOSTILE: HOSTILE}},
            ]}),
            "completed",
        ),
        (json!({"do": "garbage-error", "bytes": 100_000}), "reject"),
    ]
}

async fn host() -> Host {
    Setup::default().config("[retry]\nmax_attempts = 1").guest("misbehave", "").start().await
}

#[tokio::test]
async fn what_is_kept_of_a_guests_words_is_clean() {
    let host = host().await;
    for (payload, outcome) in sayings() {
        let id = host.misbehave(payload.clone()).await;
        host.ended(&id).await;
        let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await;
        assert_eq!(attempt["outcome"], outcome, "{payload}: {attempt:#}");
        let mut found = Vec::new();
        strings(&attempt, &mut found);
        for text in found {
            assert!(!text.contains(|next| is_harmful(next) || next == '\n'), "{payload}: {text:?}");
        }
    }
}

#[tokio::test]
async fn no_terminal_sees_what_a_guest_or_a_client_hides() {
    let host = host().await;
    let mut ids = Vec::new();
    for (payload, _) in sayings() {
        // What a client chooses may hold what is not a control character.
        let job = json!({
            "plugin": "misbehave", "payload": payload, "downstream": "erp\u{202e}x\u{200b}", "labels": {"l": "v\u{202e}\u{e0041}"},
        });
        let id = host.enqueue(job).await;
        host.ended(&id).await;
        ids.push(id);
    }
    let echo = host.misbehave(json!({"do": "echo", "x": HOSTILE})).await;
    let result =
        host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "complete", "body": {HOSTILE: HOSTILE}}})).await;
    host.ended(&echo).await;
    host.ended(&result).await;
    ids.extend([echo, result]);

    let mut commands: Vec<Vec<&str>> = vec![
        vec!["jobs", "list"],
        vec!["downstreams"],
        vec!["downstreams", "show", "erp\u{202e}x\u{200b}"],
        vec!["downstreams", "show", "none\u{202e}\u{9b}2J"],
        vec!["plugin", "list"],
        vec!["plugin", "show", "misbehave"],
        vec!["plugin", "show", "no\u{1b}[2Jne\u{202e}"],
        vec!["enqueue", "misbehave", "--payload", "\u{1b}[2J\u{202e}"],
    ];
    for id in &ids {
        commands.push(vec!["jobs", "show", id]);
        commands.push(vec!["jobs", "show", id, "--attempt", "1"]);
    }
    for command in commands {
        for json in [false, true] {
            let args: Vec<_> = command.iter().copied().chain(json.then_some("--json")).collect();
            let output = host.command(&args).output().unwrap();
            assert_harmless(&format!("the output of {args:?}"), &output.stdout);
            assert_harmless(&format!("the errors of {args:?}"), &output.stderr);
        }
    }
    assert_harmless("the log", host.log().as_bytes());
}

#[tokio::test]
async fn names_in_the_folder_and_in_a_component_are_clean() {
    let host = host().await;
    std::fs::write(host.plugins().join("no\u{1b}[2J\u{202e}name.wasm"), b"x").unwrap();
    let forged = wat::parse_str(
        r#"(component (import "acme:kv/store@1.0.0" (instance))
             (core module $m (func $"x\0aERROR forged\1b[31m\e2\80\ae" (unreachable)) (start 0))
             (core instance (instantiate $m)))"#,
    );
    for (name, bytes) in [("forged", forged.unwrap()), ("text", format!("\0asm{HOSTILE}").into_bytes())] {
        let path = format!("{}/v1/plugins/{name}", host.base);
        let answer = host.client.put(path).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        let problem: Value = answer.json().await.unwrap();
        let mut found = Vec::new();
        strings(&problem, &mut found);
        assert!(found.iter().all(|text| !text.contains(is_harmful)), "{problem:#}");
    }
    common::until("the name is told", || async { host.log().contains("ignored").then_some(()) }).await;
    assert_harmless("the log", host.log().as_bytes());
}
