//! Sudden and orderly ends of the host, one by one. `tests/crashes.rs` has many, under load.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{Downstream, Reply, Setup, json, ms, until};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;

#[tokio::test]
async fn an_interrupted_attempt_is_recorded_counted_and_run_again_at_once() {
    let mut host = Setup::default().guest("misbehave", "").start().await;
    let with = json!({"do": "sleep", "ms": 30_000});
    let id = host.misbehave(json!({"do": "fail-until", "attempt": 2, "with": with})).await;
    // On disk when a neighbour's commit is: its start rode along.
    host.in_state(&id, "running").await;
    let neighbour = host.misbehave(json!({"do": "echo"})).await;
    host.ended(&neighbour).await;
    host.kill();
    host.start().await;
    let job = host.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)), "{job:#}");
    let (first, second) = (&job["attempts"][0], &job["attempts"][1]);
    assert_eq!(first["outcome"], "interrupted");
    assert!(ms(&second["started_at"]) - ms(&first["finished_at"]) <= 1_000, "{job:#}");
}

#[tokio::test]
async fn a_job_that_always_dies_with_the_host_is_given_up_at_last() {
    let mut host = Setup::default().guest("misbehave", "").config("[retry]\nmax_attempts = 3").start().await;
    let id = host.misbehave(json!({"do": "sleep", "ms": 30_000})).await;
    for _ in 0..3 {
        host.in_state(&id, "running").await;
        let neighbour = host.misbehave(json!({"do": "echo"})).await;
        host.ended(&neighbour).await;
        host.kill();
        host.start().await;
    }
    let job = host.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("discarded"), &json!(3)), "{job:#}");
}

#[tokio::test]
async fn sigterm_lets_running_attempts_finish() {
    let mut host = Setup::default().guest("misbehave", "").start().await;
    let id = host.misbehave(json!({"do": "then", "steps": [{"do": "sleep", "ms": 700}, {"do": "echo"}]})).await;
    let waiting = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    host.in_state(&id, "running").await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    host.start().await;
    let job = host.job(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job:#}");
    assert_eq!(host.job(&waiting).await["state"], "scheduled");
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_handed_back_uncounted() {
    let config = "[server]\ngrace = \"100ms\"\n[retry]\nmax_attempts = 1";
    let mut host = Setup::default().guest("misbehave", "").config(config).start().await;
    let with = json!({"do": "sleep", "ms": 30_000});
    let id = host.misbehave(json!({"do": "fail-until", "attempt": 2, "with": with})).await;
    host.in_state(&id, "running").await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    host.start().await;
    let job = host.ended(&id).await;
    assert_eq!(
        (&job["state"], &job["attempts"][0]["outcome"]),
        (&json!("completed"), &json!("interrupted")),
        "{job:#}"
    );
}

#[tokio::test]
async fn a_second_sigterm_stops_now() {
    let mut host = Setup::default().guest("misbehave", "").config("[server]\ngrace = \"1h\"").start().await;
    let id = host.misbehave(json!({"do": "then", "steps": [{"do": "sleep", "ms": 29_000}, {"do": "echo"}]})).await;
    host.in_state(&id, "running").await;
    host.signal(Signal::TERM);
    // The first signal was taken when the host is no longer ready.
    until("the host stops taking work", || async {
        let answer = host.client.get(format!("{}/readyz", host.base)).send().await;
        (!answer.is_ok_and(|answer| answer.status() == StatusCode::OK)).then_some(())
    })
    .await;
    host.signal(Signal::TERM);
    let exited =
        tokio::time::timeout(Duration::from_secs(20), host.exited()).await.expect("sooner than the attempt ends");
    assert_eq!(exited, 0);
    host.start().await;
    assert_eq!(host.job(&id).await["attempts"][0]["outcome"], "interrupted");
}

#[tokio::test]
async fn a_second_host_on_the_same_store_refuses_at_once() {
    let host = Setup::default().start().await;
    let output = host.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("windlass.db"), "{said}");
    assert_eq!(host.ask(Method::GET, "/healthz", None).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_that_fail_twice_all_complete() {
    const JOBS: usize = 10_000;
    let downstream =
        Downstream::start(|_, before| async move { Reply::status(if before < 2 { 503 } else { 200 }) }).await;
    let file = format!("origins = [\"{}\"]\n[retry]\nbase = \"500ms\"", downstream.origin());
    // Two calls of three fail, and yet nothing is down: the breaker is kept out of it.
    let host = Setup::default()
        .config("[breaker]\nfailures = 1000000")
        .plugin("http", common::guests::shipped(), &file)
        .start()
        .await;
    let mut ids = Vec::new();
    for chunk in 0..JOBS / 1_000 {
        let jobs: Vec<_> = (0..1_000)
            .map(|n| json!({"plugin": "http", "payload": {"url": downstream.url("/"), "body": chunk * 1_000 + n}}))
            .collect();
        ids.extend(host.enqueue_all(&jobs).await);
    }
    let mut late_ms = Vec::new();
    for id in &ids {
        let job = host.ended(id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(3)), "{job:#}");
        let attempts = job["attempts"].as_array().unwrap();
        for (pair, most) in attempts.windows(2).zip([500, 1_000]) {
            let delay = ms(&pair[0]["next_run_at"]) - ms(&pair[0]["finished_at"]);
            assert!((most / 2..=most + 1).contains(&delay), "{delay} ms, equal jitter of {most}");
            let late = ms(&pair[1]["started_at"]) - ms(&pair[0]["next_run_at"]);
            assert!(late >= 0, "{late} ms early");
            late_ms.push(late);
        }
    }
    late_ms.sort_unstable();
    println!(
        "retries started late by {} ms in the median, {} ms at most",
        late_ms[late_ms.len() / 2],
        late_ms[late_ms.len() - 1]
    );
    // At the downstream: each key three times, each a job of ours, no two at once.
    let mut calls = HashMap::<String, Vec<_>>::new();
    for seen in downstream.seen() {
        calls.entry(seen.key().to_owned()).or_default().push((seen.at, seen.answered));
    }
    assert_eq!(calls.len(), JOBS);
    for id in &ids {
        let calls = &calls[id];
        assert_eq!(calls.len(), 3, "{id}");
        assert!(calls.windows(2).all(|pair| pair[0].1.is_some_and(|answered| answered <= pair[1].0)), "{id} overlaps");
    }
}
