//! The plugins folder: what is dropped in is taken up, what is bad changes nothing, and nobody notices a swap.

mod common;

use common::{Host, Setup, Value, guests, json, until};
use reqwest::{Method, StatusCode};

/// Puts a file there as a careful person does: under another name first.
fn put(host: &Host, name: &str, content: &[u8]) {
    let temporary = host.plugins().join(".new");
    std::fs::write(&temporary, content).unwrap();
    std::fs::rename(temporary, host.plugins().join(name)).unwrap();
}

async fn plugin_when(host: &Host, name: &str, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
    until(what, || async {
        let answer = host.ask(Method::GET, &format!("/v1/plugins/{name}"), None).await;
        let plugin: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        ready(&plugin).then_some(plugin)
    })
    .await
}

#[tokio::test]
async fn a_dropped_file_serves_without_a_restart() {
    let host = Setup::default().start().await;
    let (status, _) = host.ask_json(Method::POST, "/v1/jobs", Some(&json!({"plugin": "echo", "payload": 1}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    put(&host, "echo.wasm", &guests::component("echo"));
    plugin_when(&host, "echo", "the dropped plugin is ready", |plugin| plugin["state"] == "ready").await;
    let job = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": "hello"})).await).await;
    assert_eq!(job["result"], "hello");
}

#[tokio::test]
async fn a_file_written_slowly_is_taken_up_when_it_is_whole() {
    use std::io::Write as _;
    let host = Setup::default().start().await;
    let component = guests::component("echo");
    let mut file = std::fs::File::create(host.plugins().join("echo.wasm")).unwrap();
    for part in component.chunks(component.len() / 4) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    drop(file);
    plugin_when(&host, "echo", "the whole file is taken up", |plugin| plugin["state"] == "ready").await;
}

#[tokio::test]
async fn a_swap_under_load_fails_no_job_and_each_attempt_names_its_revision() {
    let host = Setup::default().guest("misbehave", "").start().await;
    let old = plugin_when(&host, "misbehave", "ready", |plugin| plugin["state"] == "ready").await["revision"].clone();
    // One that runs across the swap.
    let long = host.misbehave(json!({"do": "then", "steps": [{"do": "sleep", "ms": 3_000}, {"do": "echo"}]})).await;
    host.in_state(&long, "running").await;
    let mut ids = Vec::new();
    let mut new = Value::Null;
    for n in 0..200 {
        ids.push(host.misbehave(json!({"do": "echo", "n": n})).await);
        if n == 50 {
            put(&host, "misbehave.wasm", &guests::variant(&guests::component("misbehave"), "second"));
            new = plugin_when(&host, "misbehave", "swapped", |plugin| plugin["revision"] != old).await["revision"]
                .clone();
        }
    }
    for (n, id) in ids.iter().enumerate() {
        let job = host.ended(id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job:#}");
        let expected = if n <= 50 { &[&old, &new][..] } else { &[&new][..] };
        assert!(expected.contains(&&job["attempts"][0]["revision"]), "job {n}: {job:#}");
    }
    let long = host.ended(&long).await;
    assert_eq!((&long["state"], &long["attempts"][0]["revision"]), (&json!("completed"), &old), "{long:#}");
}

#[tokio::test]
async fn a_bad_file_leaves_the_good_one_serving_and_says_why() {
    let host = Setup::default().guest("echo", "").start().await;
    let good = plugin_when(&host, "echo", "ready", |plugin| plugin["state"] == "ready").await["revision"].clone();
    let core_module = wat::parse_str("(module)").unwrap();
    let no_export = wat::parse_str("(component)").unwrap();
    let truncated = guests::component("echo")[..1_000].to_vec();
    for (bad, told) in
        [(b"hello".to_vec(), "not"), (core_module, "core WebAssembly module"), (no_export, "handler"), (truncated, "")]
    {
        put(&host, "echo.wasm", &bad);
        let plugin = plugin_when(&host, "echo", "the load error is reported", |plugin| {
            plugin["load_error"]["summary"].as_str().is_some_and(|summary| summary.contains(told))
        })
        .await;
        assert_eq!((&plugin["state"], &plugin["revision"]), (&json!("ready"), &good), "{plugin:#}");
        let job = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": 1})).await).await;
        assert_eq!(job["attempts"][0]["revision"], good);
        put(&host, "echo.wasm", &guests::component("echo"));
        plugin_when(&host, "echo", "the good file is back", |plugin| plugin["load_error"].is_null()).await;
    }
}

#[tokio::test]
async fn a_plugin_that_never_loaded_is_broken_and_its_jobs_wait() {
    let host = Setup::default().plugin("echo", b"nonsense".to_vec(), "").start().await;
    let plugin = plugin_when(&host, "echo", "broken", |plugin| plugin["state"] == "broken").await;
    assert!(plugin["load_error"]["summary"].is_string(), "{plugin:#}");
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    let job = host.waiting(&id, "plugin-broken").await;
    assert_eq!(job["attempt"], 0, "waiting costs no attempt");
    put(&host, "echo.wasm", &guests::component("echo"));
    assert_eq!(host.ended(&id).await["state"], "completed");
}

#[tokio::test]
async fn a_removed_plugins_jobs_wait_until_it_is_back() {
    let host = Setup::default().guest("echo", "downstream = \"shop\"").start().await;
    std::fs::remove_file(host.plugins().join("echo.wasm")).unwrap();
    plugin_when(&host, "echo", "gone", |plugin| plugin["state"] == "missing").await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    let job = host.waiting(&id, "plugin-missing").await;
    assert_eq!((&job["attempt"], &job["downstream"]), (&json!(0), &json!("shop")));
    put(&host, "echo.wasm", &guests::component("echo"));
    assert_eq!(host.ended(&id).await["state"], "completed");
}

#[tokio::test]
async fn odd_things_in_the_folder_are_refused_and_stop_nobody() {
    let host = Setup::default().start().await;
    let outside = host.dir().join("outside.wasm");
    std::fs::write(&outside, guests::component("echo")).unwrap();
    std::os::unix::fs::symlink(&outside, host.plugins().join("linked.wasm")).unwrap();
    std::fs::create_dir(host.plugins().join("folder.wasm")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.plugins().join("pipe.wasm"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    std::fs::write(host.plugins().join("Bad_Name.wasm"), guests::component("echo")).unwrap();
    put(&host, "echo.wasm", &guests::component("echo"));
    plugin_when(&host, "echo", "the good one is ready", |plugin| plugin["state"] == "ready").await;
    for name in ["linked", "folder", "pipe"] {
        let plugin = plugin_when(&host, name, "refused", |plugin| plugin["state"] == "broken").await;
        assert!(plugin["load_error"]["summary"].is_string(), "{plugin:#}");
    }
    let names = host.get("/v1/plugins").await["plugins"].to_string();
    assert!(!names.contains("Bad_Name"), "{names}");
}

#[tokio::test]
async fn a_plugins_file_is_read_again_when_it_changes() {
    let host = Setup::default().guest("misbehave", "[config]\nword = \"one\"").start().await;
    let read = async || {
        host.ended(&host.misbehave(json!({"do": "config", "name": "word"})).await).await["result"]["value"].clone()
    };
    assert_eq!(read().await, "one");
    put(&host, "misbehave.toml", b"[config]\nword = \"two\"");
    until("the new value is handed out", || async { (read().await == "two").then_some(()) }).await;
    put(&host, "misbehave.toml", b"[config\nword = three");
    let plugin =
        plugin_when(&host, "misbehave", "the mistake is reported", |plugin| plugin["load_error"].is_object()).await;
    assert!(plugin["load_error"]["summary"].as_str().unwrap().contains("misbehave.toml"), "{plugin:#}");
    assert_eq!(read().await, "two", "the last valid file holds");
}

#[tokio::test]
async fn a_component_put_over_http_passes_the_same_checks() {
    let host = Setup::default().start().await;
    let put = async |name: &str, component: Vec<u8>| {
        let request = host.client.put(format!("{}/v1/plugins/{name}", host.base)).body(component);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap_or_default())
    };
    let (status, plugin) = put("echo", guests::component("echo")).await;
    assert_eq!(status, 201, "{plugin:#}");
    let job = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": 1})).await).await;
    assert_eq!(job["attempts"][0]["revision"], plugin["revision"]);
    assert!(host.plugins().join("echo.wasm").exists());
    let (status, problem) = put("echo", wat::parse_str("(component)").unwrap()).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem.to_string().contains("handler"), "{problem}");
    assert_eq!(host.get("/v1/plugins/echo").await["revision"], plugin["revision"], "the old one goes on");
    let (status, _) = put("echo", guests::variant(&guests::component("echo"), "new")).await;
    assert_eq!(status, 200);
    assert_ne!(host.get("/v1/plugins/echo").await["revision"], plugin["revision"]);
    assert_eq!(host.ask(Method::DELETE, "/v1/plugins/echo", None).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(host.ask(Method::DELETE, "/v1/plugins/echo", None).await.status(), StatusCode::NOT_FOUND);
    assert!(!host.plugins().join("echo.wasm").exists());
}

#[tokio::test]
async fn a_paused_plugins_jobs_wait_even_after_a_restart() {
    let mut host = Setup::default().guest("echo", "").start().await;
    host.ask(Method::POST, "/v1/plugins/echo/pause", None).await;
    assert_eq!(host.get("/v1/plugins/echo").await["state"], "paused");
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.waiting(&id, "paused").await;
    host.kill();
    host.start().await;
    host.waiting(&id, "paused").await;
    host.ask(Method::POST, "/v1/plugins/echo/resume", None).await;
    assert_eq!(host.ended(&id).await["state"], "completed");
}
