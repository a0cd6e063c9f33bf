//! Secrets: handed to the plugin that they are granted to, and kept nowhere.

mod common;

use common::{Downstream, Reply, Setup, guests, json, until};

const SECRET: &str = "s3cret-of-the-test";

#[tokio::test]
async fn a_plugin_reads_its_secret_and_nothing_that_is_kept_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let downstream = Downstream::start(|_, _| async { Reply::status(200).body("text/plain", SECRET) }).await;
    let grants = format!(
        "origins = [\"{}\"]\n[secrets]\ntoken = {{ file = \"{}\" }}\n[retry]\nmax_attempts = 1",
        downstream.origin(),
        file.display()
    );
    let host =
        Setup::default().guest("misbehave", &grants).plugin("other", guests::component("misbehave"), "").start().await;

    // The payload is the client's own words; what the plugin makes of it is not.
    let job = host.ended(&host.misbehave(json!({"do": "config", "name": "token"})).await).await;
    assert_eq!(job["result"], json!({"value": "[token]"}));
    let other = host.enqueue(json!({"plugin": "other", "payload": {"do": "config", "name": "token"}})).await;
    assert_eq!(host.ended(&other).await["result"], json!({"value": null}), "it is another plugin's");
    let fetched = host.misbehave(json!({"do": "fetch", "url": downstream.url(&format!("/{SECRET}/x"))})).await;
    let job = host.ended(&fetched).await;
    assert!(!job["result"].to_string().contains(SECRET), "{job:#}");
    let attempt = host.get(&format!("/v1/jobs/{fetched}/attempts/1")).await;
    assert_eq!(attempt["exchanges"][0]["url"], json!(downstream.url("/[token]/x")));
    for verb in [
        json!({"do": "log", "level": "info", "message": format!("with {SECRET} in it")}),
        json!({"do": "print", "stream": "stderr", "text": format!("with {SECRET} in it")}),
        json!({"do": "panic", "message": format!("with {SECRET} in it")}),
        json!({"do": "reject", "message": format!("with {SECRET} in it"), "code": SECRET}),
    ] {
        let id = host.misbehave(verb.clone()).await;
        host.ended(&id).await;
        let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await.to_string();
        assert!(!attempt.contains(SECRET) && attempt.contains("[token]"), "{verb}: {attempt}");
    }
    assert!(!host.get("/v1/plugins/misbehave").await.to_string().contains(SECRET));
    assert!(!host.log().contains(SECRET));
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_and_the_plugin_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let grants = format!("[secrets]\ntoken = {{ file = \"{}\" }}\n", file.display());
    let host = Setup::default().guest("misbehave", &grants).start().await;
    let id = host.misbehave(json!({"do": "config", "name": "token"})).await;
    host.waiting(&id, "plugin-broken").await;
    let error = host.get("/v1/plugins/misbehave").await["load_error"].to_string();
    assert!(error.contains("secrets.token") && error.contains("cannot read"), "{error}");

    std::fs::write(&file, SECRET).unwrap();
    std::fs::write(host.plugins().join("misbehave.toml"), format!("{grants}# read it again\n")).unwrap();
    let job = until("the job has run", || async {
        let job = host.job(&id).await;
        (job["state"] == "completed").then_some(job)
    })
    .await;
    assert_eq!(job["result"], json!({"value": "[token]"}));
}
