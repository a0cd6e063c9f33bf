//! A job's life: accepted, run once, its result and its evidence there to be read.

mod common;

use common::{Downstream, Reply, Setup, Value, json, ms};
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn a_job_is_accepted_run_and_completed() {
    let host = Setup::default().guest("echo", "").start().await;
    let request = json!({"plugin": "echo", "payload": {"n": 1, "text": "Übermut"}, "labels": {"order": "42"}});
    let answer = host.ask(Method::POST, "/v1/jobs", Some(&request)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(location, format!("/v1/jobs/{}", accepted["id"].as_str().unwrap()));
    assert_eq!(accepted["state"], "available");

    let job = host.ended(accepted["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!(job["plugin"], "echo");
    assert_eq!(job["downstream"], "echo", "by default the plugin's name");
    assert_eq!(job["payload"], request["payload"]);
    assert_eq!(job["result"], request["payload"]);
    assert_eq!(job["labels"], request["labels"]);
    assert_eq!((&job["attempt"], &job["max_attempts"]), (&json!(1), &json!(20)));
    assert!(job["last_error"].is_null());
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["n"], &attempts[0]["outcome"]), (&json!(1), &json!("completed")));
    assert_eq!(attempts[0]["revision"].as_str().unwrap().len(), 64, "the sha256 of the component");
    assert!(attempts[0]["memory_peak_bytes"].as_u64().unwrap() > 0);
    assert!(attempts[0]["cpu_ms"].as_f64().unwrap() > 0.0);
    let times = [&job["created_at"], &attempts[0]["started_at"], &attempts[0]["finished_at"], &job["finished_at"]];
    assert!(times.windows(2).all(|pair| ms(pair[0]) <= ms(pair[1])), "{times:?} are in order");
}

#[tokio::test]
async fn bytes_pass_through_untouched() {
    let host = Setup::default().guest("echo", "").start().await;
    // Every byte there is, and not valid UTF-8.
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode((0..=255).collect::<Vec<u8>>())
    };
    let request = json!({"plugin": "echo", "payload_base64": encoded, "content_type": "image/x-test"});
    let job = host.ended(&host.enqueue(request).await).await;
    assert_eq!(job["payload_base64"], json!(encoded));
    assert_eq!(job["result_base64"], json!(encoded));
    assert_eq!(job["result_content_type"], "image/x-test");
}

#[tokio::test]
async fn a_payload_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let host = Setup::default().guest("echo", "").start().await;
    let fits = json!("x".repeat((1 << 20) - 2));
    let job = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": fits})).await).await;
    assert_eq!(job["result"], fits);
    let over = json!({"plugin": "echo", "payload": "x".repeat((1 << 20) - 1)});
    let (status, problem) = host.ask_json(Method::POST, "/v1/jobs", Some(&over)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
}

#[tokio::test]
async fn the_plugin_is_told_what_the_contract_says() {
    let host = Setup::default().guest("misbehave", "").start().await;
    let key = "order-7";
    let body =
        json!({"plugin": "misbehave", "payload": {"do": "job"}, "labels": {"a": "b"}, "retry": {"max_attempts": 7}});
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = host.client.post(format!("{}/v1/jobs", host.base)).header("content-type", "application/json");
    let answer = answer.header("idempotency-key", key).header("traceparent", parent).body(body.to_string());
    let accepted: Value = serde_json::from_str(&answer.send().await.unwrap().text().await.unwrap()).unwrap();
    let job = host.ended(accepted["id"].as_str().unwrap()).await;
    let told = &job["result"];
    assert_eq!(told["id"], accepted["id"]);
    assert_eq!((&told["attempt"], &told["max_attempts"]), (&json!(1), &json!(7)));
    assert_eq!(told["idempotency_key"], key);
    assert_eq!(told["content_type"], "application/json");
    assert_eq!(ms(&told["enqueued_at"]), ms(&job["created_at"]));
    let remaining = told["remaining_ms"].as_u64().unwrap();
    assert!((1..=30_000).contains(&remaining), "{remaining} of 30 s");
    let attributes = told["attributes"].to_string();
    assert!(attributes.contains("label:a") && attributes.contains(parent), "{attributes}");
}

#[tokio::test]
async fn every_attempt_hands_over_the_same_key_and_its_own_number() {
    let downstream =
        Downstream::start(|_, before| async move { Reply::status(if before < 2 { 503 } else { 200 }) }).await;
    let file = format!("origins = [\"{}\"]\n[retry]\nbase = \"10ms\"", downstream.origin());
    let host = Setup::default().plugin("http", common::guests::shipped(), &file).start().await;
    let id = host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/x"), "body": {"a": 1}}})).await;
    let job = host.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(3)), "{job:#}");
    let keys: Vec<_> = downstream.seen().iter().map(|seen| seen.key().to_owned()).collect();
    assert_eq!(keys, [id.as_str(), id.as_str(), id.as_str()]);
    let outcomes: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["try-again", "try-again", "completed"]);
    assert_eq!(job["attempts"][0]["code"], "http-503");
}

#[tokio::test]
async fn an_attempts_evidence_can_be_read() {
    let downstream = Downstream::always(200).await;
    let file = format!("origins = [\"{}\"]", downstream.origin());
    let host = Setup::default().guest("misbehave", &file).start().await;
    let id = host
        .misbehave(json!({"do": "then", "steps": [
            {"do": "log", "level": "warn", "message": "a line\nforged \u{1b}[31mred"},
            {"do": "print", "stream": "stdout", "text": "printed"},
            {"do": "fetch", "url": downstream.url("/path?token=hidden&b=2"), "method": "PUT", "body": "four"},
        ]}))
        .await;
    let job = host.ended(&id).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await;
    let log = attempt["log"].as_array().unwrap();
    let lines: Vec<_> =
        log.iter().map(|line| (line["level"].as_str().unwrap(), line["message"].as_str().unwrap())).collect();
    assert_eq!(lines, [("warn", "a line"), ("warn", "forged red"), ("stdout", "printed")], "clean, and no line forged");
    let exchange = &attempt["exchanges"][0];
    assert_eq!((&exchange["method"], &exchange["status"]), (&json!("PUT"), &json!(200)), "{attempt:#}");
    assert_eq!(exchange["sent_bytes"], 4);
    let url = exchange["url"].as_str().unwrap();
    assert!(url.contains("/path") && url.contains("token") && !url.contains("hidden"), "{url} hides values");
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let host = Setup::default().guest("echo", "").start().await;
    let jobs: Vec<_> = (0..100).map(|n| json!({"plugin": "echo", "payload": n})).collect();
    let ids = host.enqueue_all(&jobs).await;
    assert_eq!(ids.len(), 100);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(host.ended(id).await["result"], json!(n), "the ids stand in the jobs' order");
    }
    let mut spoilt = jobs.clone();
    spoilt[57] = json!({"plugin": "nobody", "payload": 1});
    let (status, problem) = host.ask_json(Method::POST, "/v1/jobs/batch", Some(&json!({"jobs": spoilt}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("jobs[57]"), "{problem}");
    assert_eq!(host.get("/v1/jobs?limit=500").await["jobs"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn lists_filter_and_page_newest_first() {
    let host = Setup::default().guest("echo", "").guest("misbehave", "").start().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        let (plugin, payload) =
            if n % 2 == 0 { ("echo", json!(n)) } else { ("misbehave", json!({"do": "reject", "message": "no"})) };
        ids.push(host.enqueue(json!({"plugin": plugin, "payload": payload, "downstream": format!("d{}", n % 3), "labels": {"n": n.to_string()}})).await);
        host.ended(ids.last().unwrap()).await;
    }
    let listed = async |query: &str| -> Vec<String> {
        let page = host.get(&format!("/v1/jobs?{query}")).await;
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let only = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
        ids.iter().enumerate().rev().filter(|(n, _)| keep(*n)).map(|(_, id)| id.clone()).collect()
    };
    assert_eq!(listed("").await, only(&|_| true));
    assert_eq!(listed("state=discarded").await, only(&|n| n % 2 == 1));
    assert_eq!(listed("plugin=echo").await, only(&|n| n % 2 == 0));
    assert_eq!(listed("downstream=d1").await, only(&|n| n % 3 == 1));
    assert_eq!(listed("label=n:3").await, only(&|n| n == 3));
    assert_eq!(listed("plugin=echo&state=discarded").await, only(&|_| false));
    let mut paged = Vec::new();
    let mut next = Value::Null;
    loop {
        let cursor = next.as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = host.get(&format!("/v1/jobs?limit=3{cursor}")).await;
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 3 && jobs.iter().all(|job| job.get("payload").is_none()), "{page:#}");
        paged.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(paged, only(&|_| true));
}

#[tokio::test]
async fn a_repeat_under_the_same_key_is_the_same_job_even_after_a_restart() {
    let mut host = Setup::default().guest("echo", "").start().await;
    let send = async |host: &common::Host, payload: Value| {
        let body = json!({"plugin": "echo", "payload": payload}).to_string();
        let request = host.client.post(format!("{}/v1/jobs", host.base)).header("content-type", "application/json");
        let answer = request.header("idempotency-key", "k-1").body(body).send().await.unwrap();
        let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, replayed, serde_json::from_str::<Value>(&text).unwrap()["id"].clone())
    };
    let (status, replayed, id) = send(&host, json!(1)).await;
    assert_eq!((status, replayed), (202, false));
    assert_eq!(send(&host, json!(1)).await, (200, true, id.clone()));
    assert_eq!(send(&host, json!(2)).await.0, 422);
    host.ended(id.as_str().unwrap()).await;
    host.kill();
    host.start().await;
    assert_eq!(send(&host, json!(1)).await, (200, true, id));
}
