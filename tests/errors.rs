//! Every refusal of the contract: its status, its problem document, and that nothing was stored.

mod common;

use common::{Host, Setup, Value, json, until};
use reqwest::{Method, StatusCode};

/// Checks that an answer is a problem document of that status, and returns it.
async fn problem(answer: reqwest::Response, status: u16) -> Value {
    let (got, content_type) = (answer.status().as_u16(), answer.headers().get("content-type").cloned());
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(content_type.unwrap(), "application/problem+json", "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
    }
    problem
}

async fn refused(host: &Host, job: Value, status: u16, told: &str) {
    let answer = host.ask(Method::POST, "/v1/jobs", Some(&job)).await;
    let problem = problem(answer, status).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(told), "{job} was refused with {detail:?}, which does not name {told:?}");
}

#[tokio::test]
async fn a_job_that_cannot_be_accepted_is_refused_with_its_reason() {
    let host = Setup::default().guest("echo", "").plugin("http", common::guests::shipped(), "").start().await;
    let echo = |more: Value| {
        let mut job = json!({"plugin": "echo", "payload": 1});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    };
    for (job, status, told) in [
        (json!({"plugin": "nobody", "payload": 1}), 404, "nobody"),
        (json!({"payload": 1}), 400, "plugin"),
        (json!({"plugin": "echo"}), 400, "payload"),
        (json!({"plugin": 7, "payload": 1}), 400, "plugin"),
        (echo(json!({"colour": "red"})), 400, "colour"),
        (echo(json!({"payload_base64": "AA=="})), 400, "payload_base64"),
        (json!({"plugin": "echo", "payload_base64": "!"}), 400, "payload_base64"),
        (echo(json!({"run_at": "tomorrow"})), 400, "run_at"),
        (echo(json!({"delay": "soon"})), 400, "delay"),
        (echo(json!({"delay": "1s", "run_at": "2030-01-01T00:00:00Z"})), 400, "delay"),
        (echo(json!({"priority": 40_000})), 400, "priority"),
        (echo(json!({"downstream": ""})), 400, "downstream"),
        (echo(json!({"deadline": "1h"})), 400, "deadline"),
        (echo(json!({"labels": {"a": 1}})), 400, "labels"),
        (echo(json!({"retry": {"factor": 0.1}})), 400, "factor"),
        (echo(json!({"retry": {"max_attempts": 0}})), 400, "max_attempts"),
        (echo(json!({"retry": {"tries": 1}})), 400, "tries"),
        (json!({"plugin": "http", "payload": {"uri": "x"}}), 422, "uri"),
        (echo(json!({"payload": "x".repeat(1 << 20)})), 413, "1MiB"),
    ] {
        refused(&host, job, status, told).await;
    }
    assert_eq!(host.get("/v1/jobs").await["jobs"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn a_body_that_is_no_job_is_refused() {
    let host = Setup::default().guest("echo", "").start().await;
    let send = async |content_type: &str, body: String| {
        let request = host.client.post(format!("{}/v1/jobs", host.base)).header("content-type", content_type);
        request.body(body).send().await.unwrap()
    };
    problem(send("application/json", "{".into()).await, 400).await;
    problem(send("application/json", String::new()).await, 400).await;
    problem(send("application/json", "[]".into()).await, 400).await;
    problem(send("text/plain", "{}".into()).await, 415).await;
    let deep = format!("{{\"plugin\":\"echo\",\"payload\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    problem(send("application/json", deep).await, 400).await;
    problem(send("application/json", "x".repeat(100 << 20)).await, 413).await;
}

#[tokio::test]
async fn an_idempotency_key_must_be_visible_ascii_and_belong_to_one_request() {
    let host = Setup::default().guest("echo", "").start().await;
    let send = async |key: &[u8], n: u32| {
        let request = host.client.post(format!("{}/v1/jobs", host.base)).header("content-type", "application/json");
        let key = reqwest::header::HeaderValue::from_bytes(key).unwrap();
        request
            .header("idempotency-key", key)
            .body(json!({"plugin": "echo", "payload": n}).to_string())
            .send()
            .await
            .unwrap()
    };
    for bad in [&b""[..], &b"with space"[..], &[0xe9][..], &[b'x'; 256][..]] {
        problem(send(bad, 1).await, 400).await;
    }
    assert_eq!(send(&[b'x'; 255], 1).await.status(), StatusCode::ACCEPTED);
    let answer = send(&[b'x'; 255], 1).await;
    assert_eq!((answer.status(), answer.headers()["idempotency-replayed"].to_str().unwrap()), (StatusCode::OK, "true"));
    problem(send(&[b'x'; 255], 2).await, 422).await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let host = Setup::default().guest("echo", "").start().await;
    let nobody = "01920000-0000-7000-8000-000000000000";
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&id).await;
    for (method, path) in [
        (Method::GET, "/v1/nothing".to_owned()),
        (Method::GET, format!("/v1/jobs/{nobody}")),
        (Method::POST, format!("/v1/jobs/{nobody}/cancel")),
        (Method::POST, format!("/v1/jobs/{nobody}/retry")),
        (Method::GET, format!("/v1/jobs/{id}/attempts/2")),
        (Method::GET, "/v1/plugins/nobody".to_owned()),
        (Method::DELETE, "/v1/plugins/nobody".to_owned()),
        (Method::POST, "/v1/plugins/nobody/pause".to_owned()),
    ] {
        problem(host.ask(method, &path, None).await, 404).await;
    }
    let answer = host.ask(Method::DELETE, "/v1/jobs", None).await;
    assert!(answer.headers().contains_key("allow"));
    problem(answer, 405).await;
    for query in ["state=done", "limit=0", "limit=many", "cursor=x", "label=x", "colour=red"] {
        problem(host.ask(Method::GET, &format!("/v1/jobs?{query}"), None).await, 400).await;
    }
    problem(host.ask(Method::GET, &format!("/v1/jobs/{id}?wait=long"), None).await, 400).await;
}

#[tokio::test]
async fn a_batch_is_refused_whole_with_the_place_of_the_mistake() {
    let host = Setup::default().guest("echo", "").start().await;
    let job = json!({"plugin": "echo", "payload": 1});
    for (jobs, status, told) in [
        (json!([]), 400, "jobs"),
        (json!(vec![job.clone(); 10_001]), 400, "10,000"),
        (json!([job, {"plugin": "echo"}]), 400, "jobs[1]"),
        (json!([job, {"plugin": "echo", "payload": 1, "delay": "x"}]), 400, "jobs[1]"),
        (json!([job, job, {"plugin": "nobody", "payload": 1}]), 404, "jobs[2]"),
    ] {
        let answer = host.ask(Method::POST, "/v1/jobs/batch", Some(&json!({"jobs": jobs}))).await;
        let problem = problem(answer, status).await;
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
    }
    assert_eq!(host.get("/v1/jobs").await["jobs"], json!([]));
}

#[tokio::test]
async fn above_the_high_water_mark_enqueues_are_refused_until_there_is_room() {
    let host = Setup::default().guest("echo", "").config("[queue]\nhigh_water = 3").start().await;
    host.ask(Method::POST, "/v1/plugins/echo/pause", None).await;
    for n in 0..3 {
        host.enqueue(json!({"plugin": "echo", "payload": n})).await;
    }
    let job = json!({"plugin": "echo", "payload": 4});
    let answer = host.ask(Method::POST, "/v1/jobs", Some(&job)).await;
    let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(after > 0);
    problem(answer, 429).await;
    host.ask(Method::POST, "/v1/plugins/echo/resume", None).await;
    until("there is room again", || async {
        (host.ask(Method::POST, "/v1/jobs", Some(&job)).await.status() == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn acts_that_a_jobs_state_does_not_allow_are_conflicts() {
    let host = Setup::default().guest("echo", "").start().await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&id).await;
    for act in ["cancel", "retry"] {
        let problem = problem(host.ask(Method::POST, &format!("/v1/jobs/{id}/{act}"), None).await, 409).await;
        assert!(problem["detail"].as_str().unwrap().contains("completed"), "{problem}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_speak_to_the_host() {
    let host = Setup::default().guest("echo", "").start().await;
    let port = host.base.rsplit(':').next().unwrap();
    let rebound = host.client.get(format!("{}/v1/jobs", host.base)).header("host", format!("evil.example:{port}"));
    problem(rebound.send().await.unwrap(), 403).await;
    let body = json!({"plugin": "echo", "payload": 1}).to_string();
    let cross = host.client.post(format!("{}/v1/jobs", host.base)).header("origin", "https://evil.example");
    problem(cross.header("content-type", "application/json").body(body).send().await.unwrap(), 403).await;
}

#[tokio::test]
async fn health_metrics_and_the_description_are_there() {
    let host = Setup::default().guest("echo", "").start().await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&id).await;
    assert_eq!(host.ask(Method::GET, "/healthz", None).await.status(), StatusCode::OK);
    assert_eq!(host.ask(Method::GET, "/readyz", None).await.status(), StatusCode::OK);
    let metrics = until("the attempt is counted", || async {
        let text = host.ask(Method::GET, "/metrics", None).await.text().await.unwrap();
        text.lines()
            .any(|line| {
                line.starts_with("windlass_attempts_total") && line.contains("completed") && line.ends_with(" 1")
            })
            .then_some(text)
    })
    .await;
    assert!(metrics.contains("# TYPE"), "{metrics}");
    let openapi = host.get("/openapi.json").await;
    assert!(openapi["paths"]["/v1/jobs/{id}/attempts/{n}"]["get"].is_object(), "{openapi}");
    let downstreams = host.get("/v1/downstreams").await;
    assert!(downstreams["downstreams"].is_array(), "{downstreams}");
}
