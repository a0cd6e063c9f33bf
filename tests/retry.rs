//! When a job runs: retries within the policy, wishes of the downstream, times of one's own, priorities, limits, and
//! what people do to jobs.

mod common;

use common::{Setup, Value, json, ms, until};
use reqwest::{Method, StatusCode};

/// The gaps between the end of each attempt and the start of the next, in milliseconds.
fn gaps(job: &Value) -> Vec<i64> {
    let attempts = job["attempts"].as_array().unwrap();
    attempts.windows(2).map(|pair| ms(&pair[1]["started_at"]) - ms(&pair[0]["finished_at"])).collect()
}

/// A retry starts no earlier than its time; on a busy machine it may be late.
const LATE_MS: i64 = 1_000;

#[tokio::test]
async fn a_failed_job_comes_back_after_doubling_delays() {
    let host =
        Setup::default().guest("misbehave", "").config("[retry]\nbase = \"100ms\"\njitter = \"none\"").start().await;
    let with = json!({"do": "retry", "message": "not yet", "code": "early"});
    let job = host.ended(&host.misbehave(json!({"do": "fail-until", "attempt": 5, "with": with})).await).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(5)), "{job:#}");
    for (gap, due) in gaps(&job).into_iter().zip([100, 200, 400, 800]) {
        assert!((due..due + LATE_MS).contains(&gap), "{gap} ms instead of {due}");
    }
    let first = &job["attempts"][0];
    assert_eq!((&first["error"], &first["code"]), (&json!("not yet"), &json!("early")));
    assert_eq!(ms(&first["next_run_at"]) - ms(&first["finished_at"]), 100);
}

#[tokio::test]
async fn equal_jitter_draws_from_the_upper_half_and_full_from_all() {
    let host = Setup::default().guest("misbehave", "").start().await;
    for (jitter, least) in [("equal", 100), ("full", 0)] {
        let retry = json!({"base": "200ms", "factor": 1.0, "jitter": jitter, "max_attempts": 6});
        let job = json!({"plugin": "misbehave", "payload": {"do": "retry", "message": "no"}, "retry": retry});
        let job = host.ended(&host.enqueue(job).await).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("discarded"), &json!(6)), "{job:#}");
        let delays: Vec<_> = job["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .take(5)
            .map(|attempt| ms(&attempt["next_run_at"]) - ms(&attempt["finished_at"]))
            .collect();
        assert!(delays.iter().all(|delay| (least..=201).contains(delay)), "{jitter}: {delays:?}");
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]), "{jitter}: {delays:?} are drawn");
    }
}

#[tokio::test]
async fn the_policy_is_the_jobs_before_the_plugins_before_the_hosts() {
    let file = "[retry]\nmax_attempts = 3\nbase = \"10ms\"";
    let host =
        Setup::default().guest("misbehave", file).config("[retry]\nmax_attempts = 9\njitter = \"none\"").start().await;
    let payload = json!({"do": "retry", "message": "no"});
    let job = host.ended(&host.misbehave(payload.clone()).await).await;
    assert_eq!((&job["attempt"], &job["max_attempts"]), (&json!(3), &json!(3)));
    let own = json!({"plugin": "misbehave", "payload": payload, "retry": {"max_attempts": 2}});
    let job = host.ended(&host.enqueue(own).await).await;
    assert_eq!((&job["attempt"], &job["max_attempts"]), (&json!(2), &json!(2)));
    assert_eq!(job["state"], "discarded");
}

#[tokio::test]
async fn the_later_of_backoff_and_the_downstreams_wish_counts_up_to_the_cap() {
    let host = Setup::default()
        .guest("misbehave", "")
        .config("[retry]\nbase = \"50ms\"\ncap = \"400ms\"\njitter = \"none\"")
        .start()
        .await;
    for (verb, delay_ms, due) in [("retry", 10, 50), ("rate-limited", 300, 300), ("rate-limited", 4_000_000, 400)] {
        let with = json!({"do": verb, "message": "wait", "delay_ms": delay_ms});
        let job = host.ended(&host.misbehave(json!({"do": "fail-until", "attempt": 2, "with": with})).await).await;
        let first = &job["attempts"][0];
        assert_eq!(first["retry_after_ms"], json!(delay_ms));
        assert_eq!(ms(&first["next_run_at"]) - ms(&first["finished_at"]), due, "{verb} {delay_ms}");
        assert!(gaps(&job)[0] >= due);
    }
}

#[tokio::test]
async fn a_permanent_failure_is_not_repeated() {
    let host = Setup::default().guest("misbehave", "").start().await;
    let job =
        host.ended(&host.misbehave(json!({"do": "reject", "message": "never", "code": "no-such-order"})).await).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("discarded"), &json!(1)));
    assert_eq!((&job["last_error"], &job["attempts"][0]["outcome"]), (&json!("never"), &json!("reject")));
}

#[tokio::test]
async fn a_job_for_later_waits_for_its_time() {
    let host = Setup::default().guest("echo", "").start().await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1, "delay": "400ms"})).await;
    let job = host.job(&id).await;
    assert_eq!(job["state"], "scheduled");
    let done = host.ended(&id).await;
    assert_eq!(ms(&done["run_at"]) - ms(&done["created_at"]), 400);
    assert!(ms(&done["attempts"][0]["started_at"]) >= ms(&done["run_at"]));
    let past = host.enqueue(json!({"plugin": "echo", "payload": 1, "run_at": "2001-01-01T00:00:00Z"})).await;
    assert_eq!(host.ended(&past).await["state"], "completed");
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1, "run_at": "2101-01-01T00:00:00Z"})).await;
    assert_eq!(host.job(&id).await["run_at"], "2101-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn higher_priorities_go_first() {
    let host = Setup::default().guest("misbehave", "concurrency = 1").start().await;
    host.ask(Method::POST, "/v1/plugins/misbehave/pause", None).await;
    let mut ids = Vec::new();
    for (n, priority) in [0, -5, 10, 0, 32_767, -32_768].into_iter().enumerate() {
        ids.push((
            std::cmp::Reverse(priority),
            n,
            host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "priority": priority})).await,
        ));
    }
    host.waiting(&ids[0].2, "paused").await;
    host.ask(Method::POST, "/v1/plugins/misbehave/resume", None).await;
    let mut started = Vec::new();
    for (_, _, id) in &ids {
        let job = host.ended(id).await;
        started.push((ms(&job["attempts"][0]["started_at"]), id.clone()));
    }
    ids.sort();
    let in_order: Vec<_> =
        ids.iter().map(|(_, _, id)| started.iter().find(|(_, other)| other == id).unwrap().0).collect();
    assert!(in_order.is_sorted(), "{in_order:?}");
}

#[tokio::test]
async fn a_plugin_runs_no_more_at_once_than_its_file_says() {
    let host = Setup::default().guest("misbehave", "concurrency = 2").start().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(host.misbehave(json!({"do": "sleep", "ms": 60})).await);
    }
    host.waiting(ids.last().unwrap(), "concurrency").await;
    let mut edges = Vec::new();
    for id in &ids {
        let job = host.ended(id).await;
        let attempt = &job["attempts"][0];
        edges.extend([(ms(&attempt["started_at"]), 1), (ms(&attempt["finished_at"]), -1)]);
    }
    edges.sort();
    let most = edges
        .iter()
        .scan(0, |running, (_, step)| {
            *running += step;
            Some(*running)
        })
        .max();
    assert_eq!(most, Some(2));
}

#[tokio::test]
async fn a_rate_spreads_the_starts() {
    let host = Setup::default().guest("echo", "rate = \"10/s\"").start().await;
    let jobs: Vec<_> = (0..25).map(|n| json!({"plugin": "echo", "payload": n})).collect();
    let mut starts = Vec::new();
    for id in host.enqueue_all(&jobs).await {
        starts.push(ms(&host.ended(&id).await["attempts"][0]["started_at"]));
    }
    starts.sort_unstable();
    // A burst of ten, then one each 100 ms.
    assert!(starts[24] - starts[0] >= 1_490, "{starts:?}");
}

#[tokio::test]
async fn cancelling_stops_what_runs_and_what_waits() {
    let host = Setup::default().guest("misbehave", "").start().await;
    for what in [json!({"do": "spin"}), json!({"do": "sleep", "ms": 60_000})] {
        let running = host.misbehave(what).await;
        host.in_state(&running, "running").await;
        let path = format!("/v1/jobs/{running}/cancel");
        let ((status, told), awaited) = tokio::join!(host.ask_json(Method::POST, &path, None), host.ended(&running));
        assert_eq!(status, StatusCode::OK);
        // Whoever is told of the end is told of the attempt that was stopped, and its place is free.
        for job in [told, awaited, host.job(&running).await] {
            assert_eq!((&job["state"], &job["attempt"]), (&json!("cancelled"), &json!(1)), "{job:#}");
            assert_eq!(job["attempts"][0]["outcome"], "cancelled", "{job:#}");
        }
    }
    let waiting = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    host.ask(Method::POST, &format!("/v1/jobs/{waiting}/cancel"), None).await;
    assert_eq!(host.ended(&waiting).await["state"], "cancelled");
    let (status, problem) = host.ask_json(Method::POST, &format!("/v1/jobs/{waiting}/cancel"), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
}

#[tokio::test]
async fn a_person_can_try_a_job_again() {
    let host = Setup::default().guest("misbehave", "").config("[retry]\nmax_attempts = 1").start().await;
    let id =
        host.misbehave(json!({"do": "fail-until", "attempt": 2, "with": {"do": "retry", "message": "once"}})).await;
    assert_eq!(host.ended(&id).await["state"], "discarded");
    let (status, job) = host.ask_json(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
    assert_eq!(status, StatusCode::OK, "{job}");
    let job = host.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)), "{job:#}");
    assert_eq!(job["acts"][0]["what"], "retry", "it is recorded");
    let (status, _) = host.ask_json(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "completed is final");
    let later = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    host.ask(Method::POST, &format!("/v1/jobs/{later}/retry"), None).await;
    assert_eq!(host.ended(&later).await["state"], "completed");
}

#[tokio::test]
async fn a_job_that_a_person_retries_has_an_attempt_whatever_its_plugins_file_says_by_then() {
    let fast = |most: u32| format!("[retry]\nmax_attempts = {most}\nbase = \"1ms\"\ncap = \"1ms\"");
    let host = Setup::default().guest("misbehave", &fast(2)).start().await;
    let with = json!({"do": "retry", "message": "not yet"});
    let mut ids = Vec::new();
    for attempt in [3, 9] {
        ids.push(host.misbehave(json!({"do": "fail-until", "attempt": attempt, "with": with})).await);
    }
    for id in &ids {
        assert_eq!(host.ended(id).await["state"], "discarded");
    }
    // Nobody knows how many attempts they may have, while the plugin is gone.
    let (file, away) = (host.plugins().join("misbehave.wasm"), host.dir().join("away.wasm"));
    std::fs::remove_file(host.plugins().join("misbehave.toml")).unwrap();
    std::fs::rename(&file, &away).unwrap();
    until("the plugin is gone", || async {
        let answer = host.ask(Method::GET, "/v1/plugins/misbehave", None).await;
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    for id in &ids {
        let (status, job) = host.ask_json(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
        assert_eq!(status, StatusCode::OK, "{job}");
        host.waiting(id, "plugin-missing").await;
    }
    std::fs::write(host.plugins().join("misbehave.toml"), fast(1)).unwrap();
    std::fs::rename(&away, &file).unwrap();
    for (id, state) in ids.iter().zip(["completed", "discarded"]) {
        let job = host.ended(id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!(state), &json!(3)), "{job:#}");
        assert!(job["attempts"][2]["revision"].is_string(), "it was made: {job:#}");
    }
}

#[tokio::test]
async fn a_denied_origin_waits_for_the_operator_without_using_up_attempts() {
    let downstream = common::Downstream::always(200).await;
    let host = Setup::default()
        .plugin("http", common::guests::shipped(), "")
        .config("[retry]\nmax_attempts = 1")
        .start()
        .await;
    let id = host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/")}})).await;
    let job = host.waiting(&id, "grant-missing").await;
    assert!(job["last_error"].as_str().unwrap().contains(&downstream.origin()), "{job:#}");
    std::fs::write(host.plugins().join("http.toml"), format!("origins = [\"{}\"]", downstream.origin())).unwrap();
    let job = host.ended(&id).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!(downstream.seen().len(), 1);
}

#[tokio::test]
async fn finished_jobs_go_when_their_time_is_over() {
    let host = Setup::default()
        .guest("echo", "")
        .guest("misbehave", "")
        .config("[retention]\ncompleted = \"0s\"")
        .start()
        .await;
    let kept = host.misbehave(json!({"do": "reject", "message": "no"})).await;
    host.ended(&kept).await;
    let gone = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    until("the completed job is pruned", || async {
        let answer = host.ask(Method::GET, &format!("/v1/jobs/{gone}"), None).await;
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    assert_eq!(host.job(&kept).await["state"], "discarded");
}
