//! Sockets that one plugin holds are not the store's, the listener's or another plugin's.

mod common;

use std::collections::BTreeSet;

use common::{Downstream, Host, Reply, Setup, json, until};
use reqwest::{Method, StatusCode};
use rustix::process::{Resource, Rlimit};

/// So many open files the system allows the host in these tests. 96 of them are for connections to downstreams, and one
/// plugin has 87 of those at most.
const OPEN_FILES: u32 = 256;
const SHARE: usize = 87;

/// A downstream that never answers.
async fn hanging() -> Downstream {
    Downstream::start(|_, _| std::future::pending::<Reply>()).await
}

fn no_descriptor_was_missing(host: &Host) {
    let log = host.log();
    for word in ["os error 24", "Too many open files", "could not be accepted"] {
        assert!(!log.contains(word), "{log}");
    }
    assert!(log.contains("open files are shared out"), "{log}");
}

/// Has attempts of the plugin `hog` hold as many connections as it may.
async fn take_all(host: &Host, downstream: &Downstream) {
    let payload = json!({"do": "wasi-flood", "url": downstream.url("/"), "count": 16});
    for n in 0..12 {
        host.enqueue(json!({"plugin": "hog", "payload": payload, "downstream": format!("d{n}")})).await;
    }
    until("the plugin has what it may have", || async { (downstream.seen().len() >= SHARE).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_holds_every_socket_it_can_leaves_others_theirs() {
    let (hanging, well) = (hanging().await, Downstream::always(200).await);
    let host = Setup::default()
        .open_files(OPEN_FILES)
        .config("[limits]\ndeadline = \"10m\"")
        .plugin("hog", common::guests::component("misbehave"), &format!("origins = [\"{}\"]", hanging.origin()))
        .plugin("http", common::guests::shipped(), &format!("origins = [\"{}\"]", well.origin()))
        .start()
        .await;
    take_all(&host, &hanging).await;
    let payload = json!({"url": well.url("/"), "body": 1});
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(host.enqueue(json!({"plugin": "http", "payload": payload})).await);
    }
    for id in &ids {
        let job = host.ended(id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job:#}");
    }
    // The compiler, the folder and the listener have theirs too.
    let component = common::guests::component("echo");
    let put = host.client.put(format!("{}/v1/plugins/echo", host.base)).body(component).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    let mut connections = Vec::new();
    for _ in 0..40 {
        connections.push(reqwest::Client::builder().no_proxy().build().unwrap());
        let answer = connections.last().unwrap().get(format!("{}/readyz", host.base)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(hanging.seen().len(), SHARE, "no more than its share, though its attempts want more than twice of it");
    no_descriptor_was_missing(&host);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_connection_is_told_so_and_nobody_is_blamed() {
    let hanging = hanging().await;
    let host = Setup::default()
        .open_files(OPEN_FILES)
        .config("[limits]\ndeadline = \"10m\"\n[retry]\nbase = \"50ms\"\ncap = \"50ms\"\nmax_attempts = 8")
        .plugin("hog", common::guests::component("misbehave"), &format!("origins = [\"{}\"]", hanging.origin()))
        .start()
        .await;
    take_all(&host, &hanging).await;
    let payload = json!({"do": "fetch-or-retry", "url": hanging.url("/one-more"), "timeout_ms": 200});
    let job = host.enqueue(json!({"plugin": "hog", "payload": payload, "downstream": "well"})).await;
    let job = host.ended(&job).await;
    for attempt in job["attempts"].as_array().unwrap() {
        assert_eq!((&attempt["outcome"], &attempt["code"]), (&json!("try-again"), &json!("no-connection")), "{job:#}");
        let told = attempt["error"].as_str().unwrap();
        assert!(told.contains("the plugin has 87 of the 96 connections"), "{told}");
    }
    // More failures in a row than a breaker bears.
    assert_eq!((&job["state"], &job["attempt"]), (&json!("discarded"), &json!(8)), "{job:#}");
    let downstream = host.get("/v1/downstreams/well").await;
    assert_eq!(downstream["breaker"], "closed", "{downstream:#}");
    assert!(downstream["error_rate"].is_null(), "{downstream:#}");
    assert!(!hanging.seen().iter().any(|seen| seen.target == "/one-more"));
    no_descriptor_was_missing(&host);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_kept_make_room_for_calls_elsewhere() {
    let mut downstreams = Vec::new();
    for _ in 0..SHARE + 20 {
        downstreams.push(Downstream::always(200).await);
    }
    let origins: Vec<_> = downstreams.iter().map(Downstream::origin).collect();
    let host = Setup::default()
        .open_files(OPEN_FILES)
        .plugin("http", common::guests::shipped(), &format!("origins = {}", json!(origins)))
        .start()
        .await;
    for round in 0..2 {
        for downstream in &downstreams {
            let payload = json!({"url": downstream.url("/"), "body": round});
            let (status, job) =
                host.ask_json(Method::POST, "/v1/jobs", Some(&json!({"plugin": "http", "payload": payload}))).await;
            assert_eq!(status, StatusCode::ACCEPTED);
            let job = host.ended(job["id"].as_str().unwrap()).await;
            assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job:#}");
        }
    }
    assert!(downstreams.iter().all(|downstream| downstream.seen().len() == 2));
    no_descriptor_was_missing(&host);
}

/// Lets the host have no more open files than it has, and `free` for a moment each. Answers what to give back.
fn take_descriptors(host: &Host, free: u64) -> Rlimit {
    let pid = host.pid();
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().flatten();
    let open: BTreeSet<u64> = open.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
    let nth_free = (0..).filter(|number| !open.contains(number)).nth(usize::try_from(free).unwrap()).unwrap();
    let before = rustix::process::getrlimit(Resource::Nofile);
    let given = Rlimit { current: Some(nth_free), maximum: before.maximum };
    rustix::process::prlimit(Some(pid), Resource::Nofile, given).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_for_which_no_descriptor_was_left_is_ready_by_itself_once_there_are_some() {
    let host = Setup::default().config("[plugins]\nscan = \"200ms\"").guest("echo", "").start().await;
    let before = take_descriptors(&host, 3);
    let component = common::guests::component("misbehave");
    // What is handed over is not kept: who did it hears that it may be sent again.
    let put = host.client.put(format!("{}/v1/plugins/put", host.base)).body(component.clone()).send().await.unwrap();
    assert_eq!((put.status(), put.headers()["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    let problem = put.text().await.unwrap();
    assert!(problem.contains("problem:load-failed") && problem.contains("Too many open files"), "{problem}");
    // What lies in the folder stays there, and its jobs wait.
    std::fs::write(host.plugins().join("misbehave.wasm"), component).unwrap();
    let plugin = async |state: &str| {
        until(&format!("the plugin is {state}"), || async {
            let (_, plugin) = host.ask_json(Method::GET, "/v1/plugins/misbehave", None).await;
            (plugin["state"] == state).then_some(plugin)
        })
        .await
    };
    let broken = plugin("broken").await;
    let error = &broken["load_error"];
    assert_eq!(error["cause"], "host", "{broken:#}");
    assert!(error["summary"].as_str().unwrap().contains("Too many open files"), "{broken:#}");
    assert!(error["help"].as_str().unwrap().contains("the host tries it again by itself"), "{broken:#}");
    let job = host.misbehave(json!({"do": "echo", "value": 7})).await;
    let waiting = host.waiting(&job, "plugin-broken").await;
    assert!(waiting["waiting"]["detail"].as_str().unwrap().contains("tries it again by itself"), "{waiting:#}");
    let well = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": 7})).await).await;
    assert_eq!(well["state"], "completed", "{well:#}");
    rustix::process::prlimit(Some(host.pid()), Resource::Nofile, before).unwrap();
    let ready = plugin("ready").await;
    assert!(ready["load_error"].is_null(), "{ready:#}");
    let job = host.ended(&job).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job:#}");
}
