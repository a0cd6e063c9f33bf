//! Components that are put over HTTP, while others change the same plugin: who comes last wins, and nobody waits for what
//! is being compiled.

use reqwest::{Method, StatusCode};

use crate::common::{Host, Setup, Value, guests, until};
use crate::support::{compiler, gone, plugin_when, put, ready, slow_bomb};

async fn put_over_http(host: &Host, component: Vec<u8>) -> (StatusCode, Value) {
    let request = host.client.put(format!("{}/v1/plugins/echo", host.base)).body(component);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn is_compiled(host: &Host) -> u32 {
    plugin_when(host, "echo", "it is being compiled", |plugin| !plugin["loading"].is_null()).await;
    compiler(host).await
}

#[tokio::test]
async fn a_removal_stops_what_serves_and_ends_what_is_being_put_there() {
    let host = Setup::default().guest("echo", "").start().await;
    for by_hand in [true, false] {
        ready(&host, "echo").await;
        let request = host.client.put(format!("{}/v1/plugins/echo", host.base)).body(slow_bomb(20));
        let putting = tokio::spawn(request.send());
        let id = is_compiled(&host).await;
        if by_hand {
            std::fs::remove_file(host.plugins().join("echo.wasm")).unwrap();
        } else {
            let status = host.ask(Method::DELETE, "/v1/plugins/echo", None).await.status();
            assert_eq!(status, StatusCode::NO_CONTENT);
        }
        // It is compiled for minutes.
        let answer = putting.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:windlass:problem:component-overtaken", "{problem:#}");
        gone(id).await;
        until("nothing serves", || async {
            let plugin = host.ask(Method::GET, "/v1/plugins/echo", None).await;
            let plugin: Value = plugin.json().await.unwrap();
            plugin["revision"].is_null().then_some(())
        })
        .await;
        assert!(!host.plugins().join("echo.wasm").exists());
        put(&host, "echo.wasm", &guests::component("echo"));
    }
    ready(&host, "echo").await;
}

#[tokio::test]
async fn who_puts_a_component_does_not_wait_for_one_that_is_compiled_for_the_folder() {
    let host = Setup::default().guest("echo", "").start().await;
    ready(&host, "echo").await;
    put(&host, "echo.wasm", &slow_bomb(21));
    let id = is_compiled(&host).await;
    let (status, problem) = put_over_http(&host, b"no component".to_vec()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:#}");
    assert!(!host.get("/v1/plugins/echo").await["loading"].is_null(), "what is refused ends nothing");
    let (status, plugin) = put_over_http(&host, guests::variant(&guests::component("echo"), "new")).await;
    assert_eq!(status, StatusCode::OK, "{plugin:#}");
    gone(id).await;
    assert_eq!(ready(&host, "echo").await["revision"], plugin["revision"]);
}
