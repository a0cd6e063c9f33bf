//! Secrets: where they come from, who reads them, and that they are taken up when they change.

mod common;

use common::{Downstream, Host, Reply, Setup, Value, guests, json, until};
use rustix::process::Signal;

const SECRET: &str = "s3cret-of-the-test";

/// A host whose plugin has the secret `token` in a file beside its configuration.
async fn host(more: &str) -> Host {
    let grants = format!("{more}\n[secrets]\ntoken = {{ file = 'token' }}\n[retry]\nmax_attempts = 1");
    let host = Setup::default()
        .guest("misbehave", "paused = 'not yet'")
        .plugin("other", guests::component("misbehave"), "")
        .start()
        .await;
    host.private("token", &format!("{SECRET}\n"));
    std::fs::write(host.plugins().join("misbehave.toml"), grants).unwrap();
    until("the plugin is ready", || async {
        (host.get("/v1/plugins/misbehave").await["state"] == "ready").then_some(())
    })
    .await;
    host
}

/// What the plugin reads by that name, masked.
async fn read(host: &Host, name: &str) -> Value {
    host.ended(&host.misbehave(json!({"do": "config", "name": name})).await).await["result"]["value"].clone()
}

#[tokio::test]
async fn a_plugin_reads_its_secret_and_nothing_that_is_kept_shows_it() {
    let downstream = Downstream::start(|_, _| async { Reply::status(200).body("text/plain", SECRET) }).await;
    let host = host(&format!("origins = ['{}']", downstream.origin())).await;
    // The payload is the client's own words; what the plugin makes of it is not.
    assert_eq!(read(&host, "token").await, "[token]");
    let other = host.enqueue(json!({"plugin": "other", "payload": {"do": "config", "name": "token"}})).await;
    assert_eq!(host.ended(&other).await["result"], json!({"value": null}), "it is another plugin's");
    let fetched = host.misbehave(json!({"do": "fetch", "url": downstream.url("/${token}/${base64:token}")})).await;
    let job = host.ended(&fetched).await;
    assert!(!job["result"].to_string().contains(SECRET), "{job:#}");
    assert!(downstream.seen()[0].target.starts_with(&format!("/{SECRET}/")), "it may use what it reads");
    let attempt = host.get(&format!("/v1/jobs/{fetched}/attempts/1")).await;
    assert_eq!(attempt["exchanges"][0]["url"], json!(downstream.url("/[token]/[token]")));
    for form in ["token", "base64:token", "basic:token", "base64url:token", "hex:token", "percent:token", "json:token"]
    {
        let text = format!("with ${{{form}}} in it");
        for verb in [
            json!({"do": "log", "level": "info", "message": text}),
            json!({"do": "print", "stream": "stderr", "text": text}),
            json!({"do": "panic", "message": text}),
            json!({"do": "retry", "message": text, "code": "${token}"}),
            json!({"do": "complete", "body": {"a": text}, "attributes": {"b": text}}),
        ] {
            let id = host.misbehave(verb.clone()).await;
            let job = host.ended(&id).await;
            let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await.to_string();
            let kept = format!("{attempt}{}{}", job["result"], job["last_error"]);
            assert!(kept.contains("[token]"), "{verb}: {kept}");
            assert!(!kept.contains(SECRET) && !kept.contains("s3cret"), "{verb}: {kept}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_comes_in_pieces_or_stands_across_a_limit_is_masked() {
    let host = host("[limits]\noutput = '4KiB'").await;
    let halves = |verb: fn(&str) -> Value| json!({"steps": [verb("${first:token}"), verb("${rest:token}")]});
    for payload in [
        halves(|text| json!({"do": "log", "level": "warn", "message": text})),
        halves(|text| json!({"do": "print", "stream": "stdout", "text": text})),
        json!({"do": "reject", "message": "${after:token} and more"}),
        json!({"do": "panic", "message": "${after:token}"}),
        json!({"steps": [{"do": "log", "level": "info", "message": "${after:token}"},
            {"do": "log", "level": "info", "message": "${after:token}"}]}),
    ] {
        let id = host.misbehave(payload.clone()).await;
        host.ended(&id).await;
        let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await.to_string();
        assert!(!attempt.contains("s3c") && !attempt.contains("test"), "{payload}: {attempt}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_and_taken_up_when_it_comes() {
    let grants = "[secrets]\ntoken = { file = 'token' }\n";
    let host = Setup::default().guest("misbehave", grants).start().await;
    let id = host.misbehave(json!({"do": "config", "name": "token"})).await;
    host.waiting(&id, "plugin-broken").await;
    let load_error = async || host.get("/v1/plugins/misbehave").await["load_error"].to_string();
    let error = load_error().await;
    assert!(error.contains("secrets.token") && error.contains("cannot read"), "{error}");
    // Nothing but the secret's own file is touched from here on.
    std::fs::write(host.dir().join("token"), SECRET).unwrap();
    until("the open file is refused", || async { load_error().await.contains("chmod 600").then_some(()) }).await;
    host.private("token", SECRET);
    assert_eq!(host.ended(&id).await["result"], json!({"value": "[token]"}));
    assert!(!host.log().contains(SECRET));
}

#[tokio::test]
async fn a_secret_that_is_rotated_is_taken_up_by_itself_and_a_bad_one_is_not() {
    let host = host("").await;
    let length = json!({"do": "complete", "body": "${hex:token}"});
    assert_eq!(host.ended(&host.misbehave(length.clone()).await).await["result"], "[token]");
    host.private("token", "another-one");
    until("the new one is read", || async {
        // The old value is no secret of this plugin any more.
        let said = host.ended(&host.misbehave(json!({"do": "log", "level": "info", "message": SECRET})).await).await;
        let attempt = host.get(&format!("/v1/jobs/{}/attempts/1", said["id"].as_str().unwrap())).await;
        (attempt["log"][0]["message"] == SECRET).then_some(())
    })
    .await;
    assert_eq!(read(&host, "token").await, "[token]");
    host.private("token", "");
    until("the empty one is reported", || async {
        let error = host.get("/v1/plugins/misbehave").await["load_error"].to_string();
        error.contains("secrets.token: it is empty").then_some(())
    })
    .await;
    assert_eq!(read(&host, "token").await, "[token]", "the last good one goes on");
}

#[tokio::test]
async fn a_command_prints_a_secret_and_is_run_again_when_its_time_has_come() {
    let grants = "[secrets]\ntoken = { command = ['cat', 'printed'], refresh = '1s' }\n[retry]\nmax_attempts = 1";
    // Nobody looks through the folder meanwhile.
    let setup = Setup::default().config("[plugins]\nscan = '1h'").file("printed", SECRET);
    let host = setup.guest("misbehave", grants).start().await;
    assert_eq!(read(&host, "token").await, "[token]");
    std::fs::write(host.dir().join("printed"), "a-newer-secret").unwrap();
    until("it was run again", || async {
        let said = json!({"do": "log", "level": "info", "message": "a-newer-secret"});
        let id = host.misbehave(said).await;
        host.ended(&id).await;
        let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await;
        (attempt["log"][0]["message"] == "[token]").then_some(())
    })
    .await;
    let failing =
        "[secrets]\ntoken = { command = ['sh', '-c', 'echo s3cret-out; echo the vault is sealed >&2; exit 7'] }";
    std::fs::write(host.plugins().join("misbehave.toml"), failing).unwrap();
    let error = until("it has failed", || async {
        let error = host.get("/v1/plugins/misbehave").await["load_error"].to_string();
        error.contains("exit status: 7").then_some(error)
    })
    .await;
    assert!(error.contains("the vault is sealed") && !error.contains("s3cret-out"), "{error}");
}

#[tokio::test]
async fn the_log_tells_a_command_that_fails_once_and_without_the_secret() {
    let script = "echo run >> runs; cat token; test ! -e broken || { echo $(cat token) is old >&2; exit 7; }";
    let grants = format!("[secrets]\ntoken = {{ command = ['sh', '-c', '{script}'], refresh = '1s' }}");
    let host = Setup::default().file("token", SECRET).guest("misbehave", &grants).start().await;
    std::fs::write(host.dir().join("broken"), "").unwrap();
    let runs = || std::fs::read_to_string(host.dir().join("runs")).unwrap_or_default().lines().count();
    let before = runs();
    until("it has failed again and again", || async { (runs() >= before + 4).then_some(()) }).await;
    let log = host.log();
    assert!(!log.contains(SECRET) && log.contains("[token] is old"), "{log}");
    assert_eq!(log.matches("a plugin's file is not right").count(), 1, "{log}");
}

#[tokio::test]
async fn a_command_that_runs_as_the_host_stops_is_ended_with_all_that_it_started() {
    let mut host = Setup::default().guest("misbehave", "").start().await;
    let script = "sleep 300 & echo $$ $! > begun; mv begun pids; wait";
    let grants = format!("[secrets]\ntoken = {{ command = ['sh', '-c', '{script}'] }}");
    std::fs::write(host.plugins().join("misbehave.toml"), grants).unwrap();
    ends_its_command(&mut host).await;
    host.begin();
    ends_its_command(&mut host).await;
}

/// Tells the host to stop while its command runs, be it ready or not.
async fn ends_its_command(host: &mut Host) {
    let note = host.dir().join("pids");
    let pids = until("its command runs", || async { std::fs::read_to_string(&note).ok() }).await;
    std::fs::remove_file(&note).unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    until("its command is ended", || async { pids.split_whitespace().all(is_gone).then_some(()) }).await;
}

/// Whether no process of that number runs any more.
fn is_gone(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.contains(") Z ")
}

#[tokio::test]
async fn a_secret_in_the_file_itself_is_refused_and_not_repeated() {
    let host = Setup::default().guest("misbehave", "[secrets]\ntoken = 's3cret-of-the-test'").start().await;
    let plugin = host.get("/v1/plugins/misbehave").await.to_string();
    assert!(plugin.contains("does not stand in this file"), "{plugin}");
    assert!(!plugin.contains(SECRET) && !host.log().contains(SECRET), "{plugin}");
}
