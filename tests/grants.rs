//! Grants: what a plugin asks for beside what it is given, and jobs that wait for one.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::{Downstream, Host, Reply, Setup, Value, guests, json, until};

/// A plugin that says it needs the secret `token`, and can do with a value `erp`.
fn order() -> Vec<u8> {
    std::fs::read(guests::root().join("tests/fixtures/plugin-0.1.0/plugin.wasm")).unwrap()
}

fn file_of(host: &Host, plugin: &str) -> PathBuf {
    host.plugins().join(format!("{plugin}.toml"))
}

/// The lines of the log that say this of a plugin.
fn told(host: &Host, plugin: &str, what: &str) -> usize {
    let name = format!("\"plugin.name\":\"{plugin}\"");
    host.log().lines().filter(|line| line.contains(&name) && line.contains(what)).count()
}

#[tokio::test]
async fn what_is_asked_for_and_not_given_is_told_with_the_lines_that_give_it() {
    let erp =
        Downstream::start(|_, _| async { Reply::status(201).body("application/json", r#"{"number": "1"}"#) }).await;
    let host = Setup::default().plugin("order", order(), "").start().await;
    let plugin = host.get("/v1/plugins/order").await;
    assert_eq!(plugin["state"], "ready", "it loads all the same");
    assert_eq!(
        plugin["grants"],
        json!([
            {"kind": "config", "name": "erp", "asked": true, "given": false},
            {"kind": "secret", "name": "token", "asked": true, "given": false},
        ])
    );
    let missing = &plugin["grants_missing"];
    assert_eq!(missing["toml"], "[secrets]\ntoken = { env = \"ORDER_TOKEN\" }\n", "a value is optional");
    assert_eq!(told(&host, "order", "asks for more than it is given"), 1);

    // The secret first.
    let config = format!("[config]\nerp = \"{}\"\n", erp.origin());
    std::fs::write(file_of(&host, "order"), &config).unwrap();
    until("the value is given", || async {
        (host.get("/v1/plugins/order").await["grants"][0]["given"] == true).then_some(())
    })
    .await;
    let id = host.enqueue(json!({"plugin": "order", "payload": {"order": "A-1"}})).await;
    let job = host.waiting(&id, "grant-missing").await;
    let detail = job["waiting"]["detail"].as_str().unwrap();
    assert!(detail.contains(r#"token = { env = "ORDER_TOKEN" }"#) && detail.contains("order.toml"), "{detail}");
    assert_eq!((&job["attempts"][0]["outcome"], job["attempts"].as_array().unwrap().len()), (&json!("denied"), 1));

    // Then the origin.
    let secret = host.dir().join("token");
    std::fs::write(&secret, "s3cret-token").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secrets = format!("{config}[secrets]\ntoken = {{ file = \"{}\" }}\n", secret.display());
    std::fs::write(file_of(&host, "order"), &secrets).unwrap();
    let plugin = until("the origin is missed", || async {
        let plugin = host.get("/v1/plugins/order").await;
        (!plugin["denied"].as_array().unwrap().is_empty() && plugin["grants_missing"]["secrets"] == json!([]))
            .then_some(plugin)
    })
    .await;
    let line = format!("origins = [\"{}\"]", erp.origin());
    assert!(plugin["denied"][0]["remedy"].as_str().unwrap().contains(&line), "{plugin:#}");
    let lines = plugin["grants_missing"]["toml"].as_str().unwrap().to_owned();
    assert_eq!(lines, format!("{line}\n"));
    let shown = host.command(&["plugin", "show", "order"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&line) && shown.contains("asked") && shown.contains("token"), "{shown}");

    // Pasted as they are, they set it going.
    std::fs::write(file_of(&host, "order"), format!("{lines}{secrets}")).unwrap();
    let job = host.ended(&id).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    let plugin = host.get("/v1/plugins/order").await;
    assert_eq!((&plugin["grants_missing"], &plugin["denied"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn a_flood_of_denied_jobs_is_one_line_in_the_log_and_goes_on_after_one_edit() {
    const JOBS: usize = 1_000;
    let downstream = Downstream::always(204).await;
    let host = Setup::default().guest("misbehave", "[retry]\nmax_attempts = 1").start().await;
    let job = json!({"plugin": "misbehave", "payload": {"do": "fetch-or-retry", "url": downstream.url("/")}});
    host.enqueue_all(&vec![job; JOBS]).await;
    let held = |count: u64| {
        let host = &host;
        move || async move { (host.get("/v1/plugins/misbehave").await["counts"]["held"] == count).then_some(()) }
    };
    until("all are held", held(JOBS as u64)).await;
    assert_eq!(told(&host, "misbehave", "asked for what it is not granted"), 1);
    let plugin = host.get("/v1/plugins/misbehave").await;
    assert_eq!(plugin["denied"][0]["count"], JOBS);
    assert!(downstream.seen().is_empty());

    // An edit of something else wakes nobody.
    std::fs::write(file_of(&host, "misbehave"), "[retry]\nmax_attempts = 2\n").unwrap();
    until("the edit is read", || async {
        (host.get("/v1/plugins/misbehave").await["retry"]["max_attempts"] == 2).then_some(())
    })
    .await;
    assert_eq!(host.get("/v1/plugins/misbehave").await["denied"][0]["count"], JOBS);

    let file = format!("origins = [\"{}\"]\n", downstream.origin());
    std::fs::write(file_of(&host, "misbehave"), file).unwrap();
    until("all are delivered", || async { (downstream.seen().len() == JOBS).then_some(()) }).await;
    let done = until("none is left", || async {
        let plugin = host.get("/v1/plugins/misbehave").await;
        let counts = &plugin["counts"];
        let is_idle = ["available", "running", "later", "held"].iter().all(|name| counts[*name] == 0);
        is_idle.then_some(plugin)
    })
    .await;
    assert_eq!(done["denied"], json!([]));
    let discarded = host.get("/v1/jobs?state=discarded").await;
    assert_eq!(discarded["jobs"], json!([]), "no denial counted, though each job had one attempt");
}

#[tokio::test]
async fn a_running_attempt_keeps_what_it_began_with_and_the_next_one_does_not() {
    let downstream = Downstream::always(204).await;
    let granted = format!("origins = [\"{}\"]\n", downstream.origin());
    let host = Setup::default().guest("misbehave", &granted).start().await;
    let steps =
        |ms: u32| json!({"steps": [{"do": "sleep", "ms": ms}, {"do": "fetch-or-retry", "url": downstream.url("/")}]});
    let running = host.misbehave(steps(3_000)).await;
    host.in_state(&running, "running").await;
    std::fs::write(file_of(&host, "misbehave"), "").unwrap();
    until("the grant is gone", || async {
        (host.get("/v1/plugins/misbehave").await["granted"]["origins"] == json!([])).then_some(())
    })
    .await;
    let next = host.misbehave(steps(0)).await;
    host.waiting(&next, "grant-missing").await;
    let job = host.ended(&running).await;
    assert_eq!((&job["state"], job["attempts"].as_array().unwrap().len()), (&json!("completed"), 1), "{job:#}");
    assert_eq!(host.job(&next).await["waiting"]["reason"], "grant-missing");
}

/// The edit falls between the beginning of the attempt, which is denied by the old grants, and the record of its end.
#[tokio::test]
async fn an_edit_during_a_denied_attempt_is_not_lost() {
    let downstream = Downstream::always(204).await;
    let host = Setup::default().guest("misbehave", "[retry]\nmax_attempts = 1").start().await;
    let fetch = json!({"do": "fetch-or-retry", "url": downstream.url("/")});
    let sleep = |ms: u32| json!({"do": "sleep", "ms": ms});
    let id = host.misbehave(json!({"steps": [sleep(3_000), fetch]})).await;
    host.in_state(&id, "running").await;
    std::fs::write(file_of(&host, "misbehave"), format!("origins = [\"{}\"]\n", downstream.origin())).unwrap();
    let job = host.ended(&id).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    let outcomes: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["denied", "completed"], "denied once, and not held");
}

#[tokio::test]
async fn work_that_is_done_is_not_repeated_for_a_grant_though_its_result_is_too_large() {
    let host = Setup::default().guest("misbehave", "[limits]\nresult = \"1MiB\"").start().await;
    let denied = json!({"do": "fetch", "url": "http://telemetry.invalid/"});
    let id = host.misbehave(json!({"steps": [denied, {"do": "result", "bytes": (1 << 20) + 1}]})).await;
    let job = host.ended(&id).await;
    assert_eq!(job["state"], "discarded", "{job:#}");
    assert_eq!(job["attempts"][0]["outcome"], "result-too-large", "{job:#}");
}

#[tokio::test]
async fn a_secret_that_is_not_among_those_asked_for_is_optional() {
    let host = Setup::default().guest("misbehave", "").start().await;
    let job = host.ended(&host.misbehave(json!({"do": "config", "name": "anything"})).await).await;
    assert_eq!((&job["state"], &job["result"]["value"]), (&json!("completed"), &Value::Null));
}
