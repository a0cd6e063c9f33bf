//! The whole life of a job, beside the same pipeline with a native handler.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass::clock::{Chance, Clock, Stopwatch, SystemClock, UnixMs};
use windlass::config::Config;
use windlass::job::{Completion, Evidence, Exchange, Gates, JobSpec, Outcome, PluginStanding, RetryOverride};
use windlass::plugin::Call;
use windlass::store::sqlite::{SqliteOptions, SqliteStore};
use windlass::store::{HealthKeeper, NewJob, Store};
use windlass::telemetry::Metrics;
use windlass::worker::{Handler, Handlers, Parts, Worker};

use crate::machine::{cpu, now};
use crate::role::Player;
use crate::{ROUNDS, folder, line, median};

/// How many jobs a round has.
const JOBS: u64 = 20_000;
/// How many jobs are enqueued at once.
const CHUNK: usize = 64;
/// How many attempts run at once.
const CONCURRENCY: u32 = 64;

/// Measures and prints.
pub async fn report() {
    let (mut ratios, mut rates, mut natives, mut cpus, mut more) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (native, native_cpu) = one("life-native");
        let (plugin, plugin_cpu) = one("life-plugin");
        ratios.push(plugin / native);
        rates.push(plugin);
        natives.push(native);
        cpus.push(plugin_cpu);
        more.push(plugin_cpu - native_cpu);
    }
    let (rate, native) = (format!("{:.0}/s", median(rates)), format!("{:.0}/s", median(natives)));
    line("whole life: fresh sandbox, pooled call, durable | native", &rate, &native, Some(median(ratios)), ">= 0.4");
    line("  CPU of the host for one job", &format!("{:.1} us", median(cpus)), "", None, "");
    line("  of it more than the native pipeline", &format!("{:.1} us", median(more)), "", None, "");
}

/// Jobs per second and CPU microseconds a job, of a process of its own beside a downstream of its own.
fn one(role: &str) -> (f64, f64) {
    let mut downstream = Player::start("downstream", &[]);
    let mut host = Player::start(role, &[("DOWNSTREAM", downstream.line())]);
    let result = host.line();
    let numbers: Vec<f64> = result.split(' ').map(|number| number.parse().expect("a number")).collect();
    (numbers[0], numbers[1])
}

/// A downstream that says yes.
pub async fn serve_downstream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("bound"));
    axum::serve(listener, axum::Router::new().fallback(|_: Bytes| async { "yes" })).await.expect("it serves");
}

/// Runs one round and prints jobs per second and CPU microseconds a job.
pub async fn run(by_plugin: bool) {
    let (folder, origin) = (folder(), std::env::var("DOWNSTREAM").expect("the downstream's origin"));
    // Apart from the store: whatever is written in the plugins' folder is looked at.
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    std::fs::copy("plugins/http.wasm", plugins.join("http.wasm")).expect("the shipped plugin");
    std::fs::write(plugins.join("http.toml"), format!("origins = [\"{origin}\"]")).expect("a file");
    let mut config = Config::default();
    config.limits.concurrency = CONCURRENCY;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (loader, changes) = crate::enqueue::loader(&plugins, &config, &clock).await;
    let chance = Arc::new(Chance::seeded(1));
    let store = SqliteStore::open(&folder.path().join("bench.db"), SqliteOptions::default(), chance.clone());
    let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
    let mut gates = Gates::new(CONCURRENCY);
    gates.set_standing("native", PluginStanding::Ready);
    let handlers: Arc<dyn Handlers> =
        if by_plugin { loader.registry.clone() } else { Arc::new(Native::new(clock.clone())) };
    let gates = Arc::new(Mutex::new(gates));
    let parts = Parts {
        keeper: HealthKeeper::new(store.clone(), gates.clone()),
        store: store.clone(),
        plugins: loader,
        handlers,
        gates,
        wake: Arc::new(Notify::new()),
        config: Arc::new(config),
        clock: clock.clone(),
        chance,
        metrics: Arc::new(Metrics::new()),
    };
    let worker = Worker::start(parts, changes).await.expect("a worker");
    let name = if by_plugin { "http" } else { "native" };
    // A tenth to warm up.
    pass(&*store, &*clock, name, &origin, JOBS / 10).await;
    let (started, cpu_before) = (now(), cpu(std::process::id()));
    pass(&*store, &*clock, name, &origin, JOBS).await;
    let (seconds, cpu_used) = (started.elapsed().as_secs_f64(), cpu(std::process::id()) - cpu_before);
    println!("{} {}", JOBS as f64 / seconds, cpu_used.as_secs_f64() * 1e6 / JOBS as f64);
    worker.stop(Duration::ZERO, std::future::ready(())).await;
}

/// Enqueues so many jobs and waits until all are completed.
async fn pass(store: &dyn Store, clock: &dyn Clock, plugin: &str, origin: &str, jobs: u64) {
    let before = completed(store);
    let payload = Bytes::from(format!(r#"{{"url":"{origin}/","body":"{}"}}"#, "x".repeat(220)));
    let mut left = jobs;
    while left > 0 {
        let chunk = left.min(CHUNK as u64);
        let batch = (0..chunk).map(|_| job(plugin, &payload, clock.now())).collect();
        store.enqueue(batch, clock.now()).await.expect("room");
        left -= chunk;
    }
    while completed(store) < before + jobs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn completed(store: &dyn Store) -> u64 {
    store.counts().ended.get("completed").copied().unwrap_or(0)
}

fn job(plugin: &str, payload: &Bytes, now: UnixMs) -> NewJob {
    let spec = JobSpec {
        limit_key: None,
        plugin: plugin.to_owned(),
        downstream: plugin.to_owned(),
        content_type: windlass::job::spec::JSON.to_owned(),
        payload: payload.clone(),
        run_at: now,
        priority: 0,
        retry: RetryOverride::default(),
        deadline: None,
        labels: std::collections::BTreeMap::new(),
        traceparent: None,
        idempotency_key: None,
    };
    NewJob { spec, request_digest: [0; 32] }
}

/// The same call, made by Rust code in the host, which leaves the same evidence.
#[derive(Clone)]
struct Native {
    client: Client<HttpConnector, Full<Bytes>>,
    clock: Arc<dyn Clock>,
    retry: RetryOverride,
}

impl Native {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, clock, retry: RetryOverride::default() }
    }
}

impl Handlers for Native {
    fn find(&self, _: &str) -> Option<Arc<dyn Handler>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Handler for Native {
    fn retry(&self) -> &RetryOverride {
        &self.retry
    }

    async fn run(&self, call: Call, _: &CancellationToken) -> (Outcome, Evidence) {
        let payload: serde_json::Value = serde_json::from_slice(&call.payload).expect("JSON");
        let (url, body) = (payload["url"].as_str().expect("a URL"), Bytes::from(payload["body"].to_string()));
        let (started_at, watch, sent_bytes) = (self.clock.now(), Stopwatch::start(), body.len() as u64);
        let elapsed_us = || watch.elapsed().as_micros() as u64;
        let request = hyper::Request::post(url)
            .header("content-type", "application/json")
            .header("idempotency-key", call.idempotency_key)
            .body(Full::new(body))
            .expect("a request");
        let answer = self.client.request(request).await.expect("an answer");
        let (status, head_us) = (answer.status().as_u16(), elapsed_us());
        let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        let exchange = Exchange {
            method: "POST".to_owned(),
            url: url.to_owned(),
            status: Some(status),
            retry_after_ms: None,
            error: None,
            started_at,
            head_us: Some(head_us),
            total_us: elapsed_us(),
            sent_bytes,
            received_bytes: body.len() as u64,
        };
        let body = serde_json::json!({"status": status, "headers": {}, "body": String::from_utf8_lossy(&body)});
        let completion = Completion {
            content_type: windlass::job::spec::JSON.to_owned(),
            body: Bytes::from(body.to_string()),
            attributes: Vec::new(),
        };
        (Outcome::Completed(completion), Evidence { exchanges: vec![exchange], ..Evidence::default() })
    }
}
