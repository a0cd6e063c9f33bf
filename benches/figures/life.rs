//! The whole life of a job with its call over HTTP, beside the same pipeline with a native handler.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;
use windlass::clock::{Clock, Stopwatch, SystemClock};
use windlass::config::Config;
use windlass::job::{Calls, Completion, Evidence, Exchange, Outcome, RetryOverride};
use windlass::plugin::Call;
use windlass::store::sqlite::SqliteOptions;
use windlass::worker::Handler;

use crate::jobs::{job, payload};
use crate::pipeline::{Crew, NATIVE, Pipeline};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{CPU_US, Series, against, note, rounds, us};
use crate::{api, folder, guest, store};

/// How many jobs a round has.
const JOBS: usize = 20_000;
/// How many jobs are enqueued at once.
const CHUNK: usize = 64;
/// How many attempts run at once.
const CONCURRENCY: u32 = 64;
/// What the plugin's file says where instances go on.
const REUSE: &str = "[reuse]\nmax_jobs = 1000\n";

/// Measures and prints.
pub fn report() {
    let mut downstream = Player::start("downstream", &[]);
    let origin = downstream.line();
    let player = |way: &str| Player::ready("life", &[("WAY", way.to_owned()), ("DOWNSTREAM", origin.clone())]);
    let [native, fresh, reused] = alternate(rounds(), &mut [player("native"), player("fresh"), player("reuse")]);
    let show = |name: &str, side: &Series, goal: &str| {
        against(&format!("{name} | native"), "  CPU of the host for one job", side, &native, goal);
        note("  of it more than the native pipeline", &us(side.median(CPU_US) - native.median(CPU_US)), "");
    };
    show("whole life: fresh sandbox, pooled call, durable", &fresh, ">= 0.55");
    show("whole life: the same with `reuse`", &reused, ">= 0.8");
}

/// Runs jobs in the way that the environment names.
pub async fn host() {
    let way = std::env::var("WAY").expect("said");
    let (folder, origin) = (folder(), std::env::var("DOWNSTREAM").expect("the downstream's origin"));
    let (name, pipeline) = match way.as_str() {
        "native" => (NATIVE, native(folder.path()).await),
        "fresh" => ("http", with_plugin(folder.path(), &origin, "").await),
        "reuse" => ("http", with_plugin(folder.path(), &origin, REUSE).await),
        other => panic!("no way {other}"),
    };
    let payload = payload(&origin);
    let make = || job(name, &payload, pipeline.clock.now());
    answer_rounds(async || pipeline.pass(JOBS, CHUNK, 1, &make).await).await;
    pipeline.stop().await;
}

async fn native(folder: &Path) -> Pipeline {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let crew = Crew::native(Arc::new(Native::new(clock.clone())));
    Pipeline::start(store(&folder.join("bench.db"), SqliteOptions::default()), config(), clock, crew).await
}

async fn with_plugin(folder: &Path, origin: &str, more: &str) -> Pipeline {
    // Apart from the store: whatever is written in the plugins' folder is looked at.
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    std::fs::write(plugins.join("http.toml"), format!("origins = [\"{origin}\"]\n{more}")).expect("a file");
    std::fs::write(plugins.join("http.wasm"), guest::shipped()).expect("a file");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (loader, changes) = api::loader(&plugins, &config(), &clock).await;
    let crew = Crew { handlers: loader.registry.clone(), plugins: loader, changes };
    Pipeline::start(store(&folder.join("bench.db"), SqliteOptions::default()), config(), clock, crew).await
}

fn config() -> Config {
    let mut config = Config::default();
    config.limits.concurrency = CONCURRENCY;
    config
}

/// The same call, made by Rust code in the host, which leaves the same evidence.
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
        let calls = Calls::one(&exchange, true);
        (Outcome::Completed(completion), Evidence { exchanges: vec![exchange], calls, ..Evidence::default() })
    }
}
