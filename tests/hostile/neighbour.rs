//! The plugin that behaves, under load beside all the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::common::{Downstream, Reply};

/// The name that its plugin has.
pub const PLUGIN: &str = "neighbour";

/// A downstream that is well, and whoever enqueues jobs that call it.
pub struct Neighbour {
    downstream: Downstream,
    /// How far apart its jobs are.
    pub apart: Duration,
}

/// What is enqueued until somebody says that it is enough.
pub struct Load<'a> {
    neighbour: &'a Neighbour,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<HashMap<String, Instant>>,
    client: Client,
    base: String,
}

impl Neighbour {
    /// Moves in.
    pub async fn new() -> Self {
        let downstream = Downstream::start(|_, _| async { Reply::status(204) }).await;
        Self { downstream, apart: Duration::from_millis(20) }
    }

    /// What its plugin calls.
    pub fn origin(&self) -> String {
        self.downstream.origin()
    }

    /// Begins to enqueue.
    pub fn begin(&self, client: &Client, base: &str) -> Load<'_> {
        let stop = Arc::<AtomicBool>::default();
        let url = self.downstream.url("/");
        let task = tokio::spawn(enqueue(client.clone(), base.to_owned(), url, self.apart, stop.clone()));
        Load { neighbour: self, stop, task, client: client.clone(), base: base.to_owned() }
    }
}

impl Load<'_> {
    /// Ends: every job must complete. How long it took from asking for each until its call came, in milliseconds.
    pub async fn end(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = self.task.await.expect("the neighbour goes on to its end");
        assert!(!asked.is_empty(), "the neighbour had no jobs");
        for id in asked.keys() {
            let url = format!("{}/v1/jobs/{id}?wait=60s", self.base);
            let answer = self.client.get(url).send().await.expect("the host answers");
            let job: Value = answer.json().await.expect("a job");
            assert_eq!(job["state"], "completed", "the neighbour's job was harmed: {job:#}");
        }
        let calls = self.neighbour.downstream.seen();
        let waited = |at: Instant, asked: Instant| at.saturating_duration_since(asked).as_secs_f64() * 1e3;
        let waits: Vec<_> = calls.iter().filter_map(|call| Some(waited(call.at, asked.remove(call.key())?))).collect();
        assert!(asked.is_empty(), "completed, and never called: {asked:?}");
        waits
    }
}

/// When each job was asked for.
async fn enqueue(
    client: Client,
    base: String,
    url: String,
    apart: Duration,
    stop: Arc<AtomicBool>,
) -> HashMap<String, Instant> {
    let mut asked = HashMap::new();
    loop {
        let job = json!({"plugin": PLUGIN, "payload": {"url": url}});
        let at = now();
        let answer = client.post(format!("{base}/v1/jobs")).json(&job).send().await.expect("the host answers");
        assert_eq!(answer.status(), 202, "the neighbour's job was not taken");
        let job: Value = answer.json().await.expect("a job");
        asked.insert(job["id"].as_str().expect("an id").to_owned(), at);
        if stop.load(Ordering::Relaxed) {
            return asked;
        }
        tokio::time::sleep(apart).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "how long its jobs really waited")]
fn now() -> Instant {
    Instant::now()
}
