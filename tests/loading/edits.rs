//! Edits of a plugin's file while its next component is being compiled: what serves obeys them at once.

use crate::common::{Downstream, Host, Setup, Value, guests, json, private, until};
use crate::support::{compilers, plugin_when, put, ready, refused, slow_bomb};

async fn word(host: &Host) -> Value {
    host.ended(&host.misbehave(json!({"do": "config", "name": "word"})).await).await["result"]["value"].clone()
}

async fn obeys(host: &Host, expected: Value) {
    until(&format!("the word is {expected}"), || async { (word(host).await == expected).then_some(()) }).await;
}

/// Since when the next component is being compiled.
async fn compiled_since(host: &Host) -> Value {
    let is_loading = |plugin: &Value| !plugin["loading"].is_null();
    plugin_when(host, "misbehave", "it is being compiled", is_loading).await["loading"]["since"].take()
}

#[tokio::test]
async fn what_serves_obeys_an_edit_before_the_next_component_is_compiled() {
    let downstream = Downstream::always(204).await;
    let host = Setup::default().guest("misbehave", "[config]\nword = \"one\"").start().await;
    let fetch = json!({"do": "fetch-or-retry", "url": downstream.url("/")});
    let held = host.misbehave(fetch.clone()).await;
    host.waiting(&held, "grant-missing").await;
    put(&host, "misbehave.wasm", &slow_bomb(8));
    let since = compiled_since(&host).await;

    // More is given, and what waited for it goes on.
    private(&host.dir().join("key"), "the-key-one");
    let file = format!(
        "origins = ['{}']\ninject = {{ header = 'X-Key', value = '{{key}}' }}\nsecrets.key = {{ file = 'key' }}\n\
         config.word = 'two'",
        downstream.origin()
    );
    put(&host, "misbehave.toml", file.as_bytes());
    assert_eq!(host.ended(&held).await["state"], "completed");
    assert_eq!(word(&host).await, "two");
    let sent = |key: &str| downstream.seen().iter().any(|seen| seen.header("x-key") == key);
    assert!(sent("the-key-one"));
    // What the file names.
    private(&host.dir().join("key"), "the-key-two");
    until("the new key is sent", || async {
        host.ended(&host.misbehave(fetch.clone()).await).await;
        sent("the-key-two").then_some(())
    })
    .await;
    // Less is given.
    put(&host, "misbehave.toml", b"[config]\nword = \"three\"");
    obeys(&host, json!("three")).await;
    host.waiting(&host.misbehave(fetch.clone()).await, "grant-missing").await;
    // A file that is not right changes nothing, and is told.
    put(&host, "misbehave.toml", b"[config\nword = \"four\"");
    refused(&host, "misbehave", "misbehave.toml").await;
    assert_eq!(word(&host).await, "three");
    std::fs::remove_file(host.plugins().join("misbehave.toml")).unwrap();
    obeys(&host, Value::Null).await;

    let plugin = host.get("/v1/plugins/misbehave").await;
    assert!(plugin["loading"]["since"] == since && plugin["load_error"].is_null(), "{plugin:#}");
}

#[tokio::test]
async fn so_it_does_where_the_component_was_put_over_http() {
    let host = Setup::default().guest("misbehave", "[config]\nword = \"one\"").start().await;
    ready(&host, "misbehave").await;
    let request = host.client.put(format!("{}/v1/plugins/misbehave", host.base)).body(slow_bomb(9));
    let putting = tokio::spawn(request.send());
    let since = compiled_since(&host).await;
    put(&host, "misbehave.toml", b"[config]\nword = \"two\"");
    obeys(&host, json!("two")).await;
    assert_eq!(compiled_since(&host).await, since);
    putting.abort();
    plugin_when(&host, "misbehave", "it is given up", |plugin| plugin["loading"].is_null()).await;
    assert_eq!(word(&host).await, "two");
}

#[tokio::test]
async fn what_a_command_prints_is_read_again_meanwhile() {
    let downstream = Downstream::always(204).await;
    let file = format!(
        "origins = ['{}']\ninject = {{ header = 'X-Key', value = '{{key}}' }}\n\
         secrets.key = {{ command = ['cat', 'key'], refresh = '1s' }}",
        downstream.origin()
    );
    let host = Setup::default().config("[plugins]\nscan = \"500ms\"").file("key", "the-key-one");
    let host = host.guest("misbehave", &file).start().await;
    put(&host, "misbehave.wasm", &slow_bomb(10));
    let since = compiled_since(&host).await;
    private(&host.dir().join("key"), "the-key-two");
    until("the new key is sent", || async {
        host.ended(&host.misbehave(json!({"do": "fetch-or-retry", "url": downstream.url("/")})).await).await;
        downstream.seen().iter().any(|seen| seen.header("x-key") == "the-key-two").then_some(())
    })
    .await;
    assert_eq!(compiled_since(&host).await, since);
}

#[tokio::test]
async fn a_component_serves_by_the_file_as_it_was_edited_meanwhile() {
    let host = Setup::default().guest("misbehave", "[config]\nword = \"one\"").start().await;
    let component = guests::component("misbehave");
    let (bombs, old) = (["a.wasm", "b.wasm"], ready(&host, "misbehave").await["revision"].clone());
    // It waits until others have been compiled.
    let waits = async |mark: &str| {
        bombs.iter().zip([11, 12]).for_each(|(bomb, n)| put(&host, bomb, &slow_bomb(n)));
        until("others are being compiled", || async { (compilers(&host).len() == bombs.len()).then_some(()) }).await;
        put(&host, "misbehave.wasm", &guests::variant(&component, mark));
        compiled_since(&host).await;
    };
    let go_on = || bombs.iter().for_each(|bomb| std::fs::remove_file(host.plugins().join(bomb)).unwrap());
    waits("new").await;
    put(&host, "misbehave.toml", b"[config]\nword = \"two\"");
    obeys(&host, json!("two")).await;
    let plugin = host.get("/v1/plugins/misbehave").await;
    assert_eq!((&plugin["revision"], &plugin["loading"]["step"]), (&old, &json!("waiting")), "{plugin:#}");
    go_on();
    plugin_when(&host, "misbehave", "the new one serves", |plugin| plugin["revision"] != old).await;
    let new = ready(&host, "misbehave").await["revision"].clone();
    assert_eq!(word(&host).await, "two");

    // An edit that lets only what serves in.
    waits("newer").await;
    put(&host, "misbehave.toml", format!("sha256 = {new}\n[config]\nword = \"three\"").as_bytes());
    obeys(&host, json!("three")).await;
    go_on();
    refused(&host, "misbehave", "sha256").await;
    assert_eq!(host.get("/v1/plugins/misbehave").await["revision"], new);
}
