//! A plugins folder on a disk that fails.

use crate::common::{Wish, guests, json, until};
use crate::support::{all_complete, lines, troubled};

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_cannot_be_looked_at_serves_on() {
    let (host, trouble) = troubled("").await;
    let enqueued = async |plugin: &str| host.enqueue(json!({"plugin": plugin, "payload": {"do": "echo"}})).await;
    trouble.wish(Wish::LooksFail, 1);
    std::fs::write(host.plugins().join("other.wasm"), guests::component("echo")).expect("the folder is there");
    let told = |name: &str| {
        let name = format!("\"plugin.name\":\"{name}\"");
        lines(&host, "WARN").into_iter().find(|line| line.contains(&name) && line.contains("cannot be looked at"))
    };
    let line = until("it is told", || async { told("misbehave").filter(|_| told("other").is_some()) }).await;
    assert!(line.contains("Input/output error"), "{line}");
    all_complete(&host, &[enqueued("misbehave").await]).await;
    trouble.wish(Wish::LooksFail, 0);
    until("what is new is taken up", || async {
        let (_, plugin) = host.ask_json(reqwest::Method::GET, "/v1/plugins/other", None).await;
        (plugin["state"] == "ready").then_some(())
    })
    .await;
    all_complete(&host, &[enqueued("other").await, enqueued("misbehave").await]).await;
    assert_eq!(lines(&host, "WARN").iter().filter(|line| line.contains("cannot be looked at")).count(), 2);
}
