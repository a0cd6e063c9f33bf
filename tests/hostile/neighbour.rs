//! The plugin that behaves, under load beside all the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

/// How far apart its jobs are.
const APART: Duration = Duration::from_millis(20);

/// Enqueues jobs until it is told to stop.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
    client: Client,
    base: String,
}

impl Neighbour {
    /// Begins.
    pub fn begin(client: &Client, base: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let task = tokio::spawn(enqueue(client.clone(), base.to_owned(), stop.clone()));
        Self { stop, task, client: client.clone(), base: base.to_owned() }
    }

    /// Ends: every job must complete. How long each waited for its start, in milliseconds.
    pub async fn end(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let ids = self.task.await.expect("the neighbour goes on to its end");
        assert!(!ids.is_empty(), "the neighbour had no jobs");
        let mut waits = Vec::new();
        for id in ids {
            let url = format!("{}/v1/jobs/{id}?wait=60s", self.base);
            let answer = self.client.get(url).send().await.expect("the host answers");
            let job: Value = answer.json().await.expect("a job");
            assert_eq!(job["state"], "completed", "the neighbour's job was harmed: {job:#}");
            let moment = |time: &Value| crate::common::ms(time);
            waits.push((moment(&job["attempts"][0]["started_at"]) - moment(&job["created_at"])) as f64);
        }
        waits
    }
}

async fn enqueue(client: Client, base: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let job = json!({"plugin": "echo", "payload": {"n": ids.len()}});
        let answer = client.post(format!("{base}/v1/jobs")).json(&job).send().await.expect("the host answers");
        assert_eq!(answer.status(), 202, "the neighbour's job was not taken");
        let job: Value = answer.json().await.expect("a job");
        ids.push(job["id"].as_str().expect("an id").to_owned());
        if stop.load(Ordering::Relaxed) {
            return ids;
        }
        tokio::time::sleep(APART).await;
    }
}
