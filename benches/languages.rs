//! What a plugin costs in each language: `cargo bench --bench languages`, after `cargo test --test languages` has built
//! them.
//!
//! One attempt delivers an order to a downstream on loopback that answers at once. Times are medians; the native request
//! is the same one by an HTTP client of this process, taken in the same rounds.

#![expect(clippy::disallowed_methods, reason = "benches measure real time")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio_util::sync::CancellationToken;
use windlass::clock::{Chance, Clock as _, SystemClock};
use windlass::config::{Limits, Network, PluginFile, Reuse};
use windlass::job::{Evidence, IdSource, OutcomeKind};
use windlass::plugin::{Call, HostSettings, Plugin, PluginHost};

const LANGUAGES: [&str; 10] = ["rust", "rust-wasi", "c", "cpp", "zig", "js", "js-async", "ts", "go", "python"];
const ROUNDS: usize = 300;
const ORDER: &str = r#"{"order":"A-17","lines":[{"article":"bolt","count":3}]}"#;

#[tokio::main]
async fn main() {
    let erp = erp().await;
    println!(
        "{:<9} {:>9} {:>10} {:>9} {:>10} {:>10} {:>10} {:>8} {:>8} {:>9}",
        "", "MiB", "compile", "native", "cold", "warm", "cold CPU", "cold/n", "warm/n", "memory"
    );
    for language in LANGUAGES {
        match component(language) {
            Some(path) => measure(language, &path, &erp).await,
            None => println!("{language:<9} not built: cargo test --test languages"),
        }
    }
}

async fn erp() -> String {
    let answer = || async { ([("content-type", "application/json")], r#"{"number":"4711"}"#) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    origin
}

/// What the tests built last.
fn component(language: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/languages");
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kept = stem.rsplit_once('-').is_some_and(|(name, _)| name == language);
        kept && path.extension().is_some_and(|extension| extension == "wasm")
    };
    entries.filter(is_ours).max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
}

async fn measure(language: &str, path: &Path, erp: &str) {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let settings = HostSettings {
        program: env!("CARGO_BIN_EXE_windlass").into(),
        ..HostSettings::new(Limits::default(), Network::default(), cache.path().join("compiled"))
    };
    let host = PluginHost::start(settings, Arc::new(SystemClock::start())).expect("an engine");
    let bytes = std::fs::read(path).expect("a component");
    let size_mib = bytes.len() as f64 / f64::from(1 << 20);
    let revision = Arc::new(host.load(bytes.into()).await.expect("a plugin"));
    let config = [("erp".to_owned(), erp.to_owned()), ("token".to_owned(), "token".to_owned())];
    let file =
        PluginFile { origins: vec![erp.parse().expect("an origin")], config: config.into(), ..PluginFile::default() };
    let reuse = Some(Reuse { max_jobs: 1_000_000, ..Reuse::default() });
    let plugin = |file| host.plugin("order", "order.toml", revision.clone(), file).expect("no secrets");
    let (cold, warm) = (plugin(file.clone()), plugin(PluginFile { reuse, ..file }));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let mut evidence = Vec::new();
    for _ in 0..ROUNDS {
        times[0].push(native(&client, erp).await);
        let (took, seen) = attempt(&cold).await;
        times[1].push(took);
        evidence.push(seen);
        times[2].push(attempt(&warm).await.0);
    }
    let [native, cold, warm] = times.map(median);
    let cpu = median(evidence.iter().map(|seen| Duration::from_micros(seen.cpu_us)).collect());
    let memory = evidence.iter().map(|seen| seen.memory_peak_bytes).max().unwrap_or_default();
    let us = |time: Duration| format!("{} us", time.as_micros());
    println!(
        "{language:<9} {size_mib:>9.2} {:>7} ms {:>9} {:>10} {:>10} {:>10} {:>8.1} {:>8.1} {:>5.1} MiB",
        revision.compile_time.as_millis(),
        us(native),
        us(cold),
        us(warm),
        us(cpu),
        cold.as_secs_f64() / native.as_secs_f64(),
        warm.as_secs_f64() / native.as_secs_f64(),
        memory as f64 / f64::from(1 << 20),
    );
}

async fn native(client: &reqwest::Client, erp: &str) -> Duration {
    let started = Instant::now();
    let answer = client.post(format!("{erp}/orders")).body(ORDER).send().await.expect("an answer");
    answer.bytes().await.expect("a whole answer");
    started.elapsed()
}

async fn attempt(plugin: &Plugin) -> (Duration, Evidence) {
    let now = SystemClock::start().now();
    let job = IdSource::after(0).next(now, &Chance::seeded(1));
    let call = Call {
        job,
        attempt: 1,
        max_attempts: 20,
        idempotency_key: job.to_string(),
        content_type: "application/json".to_owned(),
        payload: ORDER.into(),
        enqueued_at: now,
        attributes: Vec::new(),
        deadline: None,
    };
    let started = Instant::now();
    let (outcome, evidence) = plugin.run(call, &CancellationToken::new()).await;
    assert_eq!(outcome.kind(), OutcomeKind::Completed, "{outcome:?}");
    (started.elapsed(), evidence)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
