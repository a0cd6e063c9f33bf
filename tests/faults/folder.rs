//! A plugins folder on a disk that fails.

use windlass::plugin::{SigningKey, component_digest as digest};

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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_beside_a_signature_that_cannot_be_looked_at() {
    let (host, trouble) = troubled("").await;
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let (key, _) = SigningKey::generate().expect("random bits");
    let put = async |component: &[u8]| {
        let url = format!("{}/v1/plugins/echo", host.base);
        let signature = key.sign("echo", &digest(component)).to_string();
        let request = host.client.put(url).header("Windlass-Signature", signature).body(component.to_vec());
        request.send().await.expect("an answer").status().as_u16()
    };
    let files =
        || ["echo.wasm", "echo.wasm.sig"].map(|name| std::fs::read(host.plugins().join(name)).expect("it is there"));
    assert_eq!(put(&one).await, 201);
    let before = files();
    trouble.wish(Wish::LooksFail, 2);
    assert_eq!(put(&two).await, 500);
    assert!(files() == before, "a part of it was put there");
    trouble.wish(Wish::LooksFail, 0);
    assert_eq!(put(&two).await, 200);
    assert_eq!(files()[0], two);
}
