//! The plugin that behaves, under load beside all the others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// The name that its plugin has.
pub const PLUGIN: &str = "neighbour";

/// When each job's call came, by its idempotency key.
type Calls = Arc<Mutex<HashMap<String, Instant>>>;

/// A downstream that is well, and whoever enqueues jobs that call it: on a thread of their own, so that what is done with
/// the others' jobs is not in their way.
pub struct Neighbour {
    address: SocketAddr,
    calls: Calls,
    client: Client,
    /// So many enqueue its jobs.
    pub clients: usize,
    /// How far apart the jobs of each of them are.
    pub apart: Duration,
    /// There while this lives.
    thread: Option<Runtime>,
}

/// What is enqueued until somebody says that it is enough.
pub struct Load<'a> {
    neighbour: &'a Neighbour,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<HashMap<String, Instant>>,
    client: Client,
    base: String,
}

impl Neighbour {
    /// Moves in.
    pub async fn new() -> Self {
        let thread = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        // There, so that new connections wait for nobody here.
        let listener = thread.spawn(tokio::net::TcpListener::bind("127.0.0.1:0")).await;
        let listener = listener.expect("nobody panicked").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let calls = Calls::default();
        let ledger = calls.clone();
        let router = Router::new().fallback(async move |headers: HeaderMap| {
            let key = headers["idempotency-key"].to_str().expect("an id").to_owned();
            ledger.lock().expect("nobody panicked").insert(key, now());
            StatusCode::NO_CONTENT
        });
        thread.spawn(async move { axum::serve(listener, router).await.expect("the downstream serves") });
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { address, calls, client, clients: 1, apart: Duration::from_millis(20), thread: Some(thread) }
    }

    /// What its plugin calls.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins to enqueue.
    pub fn begin(&self, client: &Client, base: &str) -> Load<'_> {
        let stop = Arc::<AtomicBool>::default();
        let thread = self.thread.as_ref().expect("it is taken at the end alone");
        let mut tasks = JoinSet::new();
        for _ in 0..self.clients {
            let task = enqueue(self.client.clone(), base.to_owned(), self.origin(), self.apart, stop.clone());
            tasks.spawn_on(task, thread.handle());
        }
        Load { neighbour: self, stop, tasks, client: client.clone(), base: base.to_owned() }
    }
}

impl Load<'_> {
    /// Ends: every job must complete. How long it took from asking for each until its call came, in milliseconds.
    pub async fn end(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked: HashMap<_, _> = self.tasks.join_all().await.into_iter().flatten().collect();
        assert!(!asked.is_empty(), "the neighbour had no jobs");
        for id in asked.keys() {
            let url = format!("{}/v1/jobs/{id}?wait=60s", self.base);
            let answer = self.client.get(url).send().await.expect("the host answers");
            let job: Value = answer.json().await.expect("a job");
            assert_eq!(job["state"], "completed", "the neighbour's job was harmed: {job:#}");
        }
        let calls = std::mem::take(&mut *self.neighbour.calls.lock().expect("nobody panicked"));
        let waited = |at: Instant, asked: Instant| at.saturating_duration_since(asked).as_secs_f64() * 1e3;
        let waits: Vec<_> = calls.iter().filter_map(|(id, at)| Some(waited(*at, asked.remove(id)?))).collect();
        assert!(asked.is_empty(), "completed, and never called: {asked:?}");
        waits
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
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
