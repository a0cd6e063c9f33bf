//! What one plugin leaves to another, whatever it does.

mod common;

use common::{Host, Setup, Value, json, until};
use reqwest::{Method, StatusCode};

const HOST: &str = "[limits]\nconcurrency = 12\ndeadline = \"10m\"\n[queue]\nhigh_water = 1000";

async fn host() -> Host {
    Setup::default().config(HOST).guest("misbehave", "").guest("echo", "").start().await
}

async fn flood(host: &Host, count: usize, job: impl Fn(usize) -> Value) -> Vec<String> {
    let jobs: Vec<_> = (0..count).map(job).collect();
    host.enqueue_all(&jobs).await
}

async fn running(host: &Host) -> u64 {
    host.get("/v1/plugins/misbehave").await["counts"]["running"].as_u64().unwrap()
}

#[tokio::test]
async fn attempts_that_hang_over_hundreds_of_downstreams_leave_room_for_a_single_job() {
    let host = host().await;
    let hang = |n: usize| {
        let payload = json!({"do": "sleep", "ms": 600_000});
        json!({"plugin": "misbehave", "payload": payload, "downstream": format!("d{n}"), "priority": 32_767})
    };
    let ids = flood(&host, 500, hang).await;
    until("the flood has what it can have", || async { (running(&host).await >= 11).then_some(()) }).await;
    for _ in 0..20 {
        let id = host.enqueue(json!({"plugin": "echo", "payload": 1, "priority": -32_768})).await;
        assert_eq!(host.ended(&id).await["state"], "completed");
    }
    assert_eq!(running(&host).await, 11, "none of them has ended, and none has begun in the others' place");
    let waiting = host.waiting(ids.last().unwrap(), "concurrency").await;
    assert!(waiting["waiting"]["detail"].as_str().unwrap().contains("its share"), "{waiting:#}");
}

#[tokio::test]
async fn guests_that_compute_leave_turns_to_one_that_computes_a_little() {
    let host = Setup::default()
        .config("[limits]\nconcurrency = 12\ndeadline = \"10m\"\ncpu = \"10m\"")
        .guest("misbehave", "")
        .plugin("modest", common::guests::component("misbehave"), "")
        .start()
        .await;
    flood(&host, 100, |_| json!({"plugin": "misbehave", "payload": {"do": "spin"}})).await;
    until("they spin", || async { (running(&host).await >= 8).then_some(()) }).await;
    for _ in 0..3 {
        let id = host.enqueue(json!({"plugin": "modest", "payload": {"do": "spin", "ms": 100}})).await;
        assert_eq!(host.ended(&id).await["state"], "completed");
    }
}

#[tokio::test]
async fn a_full_queue_has_room_for_who_has_little_in_it() {
    let host = host().await;
    let later = |plugin: &str| json!({"plugin": plugin, "payload": 1, "delay": "1h"});
    flood(&host, 1_000, |_| later("misbehave")).await;
    let (status, problem) = host.ask_json(Method::POST, "/v1/jobs", Some(&later("misbehave"))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(problem["detail"].as_str().unwrap().contains("misbehave has 1000 of them"), "{problem:#}");
    flood(&host, 50, |_| later("echo")).await;
}

#[tokio::test]
async fn a_queue_that_many_fill_at_once_keeps_its_mark_and_its_room_for_who_has_little() {
    let host = host().await;
    let later = |plugin: &str| json!({"plugin": plugin, "payload": 1, "delay": "1h"});
    let batch = json!({"jobs": vec![later("misbehave"); 900]});
    let sent = (0..24).map(|_| host.ask_json(Method::POST, "/v1/jobs/batch", Some(&batch)));
    let answers = futures_util::future::join_all(sent).await;
    let accepted = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    assert_eq!(accepted, 1, "{:?}", answers.iter().map(|(status, _)| status).collect::<Vec<_>>());
    assert!(answers.iter().all(|(status, _)| [202, 429].contains(&status.as_u16())));
    flood(&host, 100, |_| later("misbehave")).await;
    host.enqueue(later("echo")).await;
}

#[tokio::test]
async fn a_paused_plugin_with_more_jobs_than_the_memory_holds_keeps_nobody_else_waiting() {
    let config = HOST.replace("high_water = 1000", "high_water = 10000\nheld_in_memory = 1000");
    let host = Setup::default().config(&config).guest("misbehave", "").guest("echo", "").start().await;
    assert!(host.log().contains("queue.held_in_memory is 1000, and up to 11000 jobs are admitted"), "{}", host.log());
    host.ask(Method::POST, "/v1/plugins/misbehave/pause", None).await;
    flood(&host, 1_500, |_| json!({"plugin": "misbehave", "payload": {"do": "echo"}})).await;
    for _ in 0..20 {
        let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        assert_eq!(host.ended(&id).await["state"], "completed");
    }
}
