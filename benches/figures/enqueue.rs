//! Durable enqueue over HTTP, beside the same server storing nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass::api;
use windlass::clock::{Chance, Clock, SystemClock};
use windlass::config::Config;
use windlass::job::Gates;
use windlass::plugin::{HostSettings, Loader, PluginHost};
use windlass::store::sqlite::{SqliteOptions, SqliteStore};
use windlass::store::{HealthKeeper, Store};
use windlass::telemetry::Metrics;

use crate::machine::{cpu, now};
use crate::null_store::NullStore;
use crate::role::Player;
use crate::{ROUNDS, folder, line, median};

/// How long each side of a round is loaded.
const ROUND: Duration = Duration::from_secs(3);

/// Measures and prints.
pub async fn report(connections: usize, goal: Option<f64>) {
    let (mut ratios, mut durable_rates, mut null_rates, mut cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (null, _) = load("enqueue-null", connections).await;
        let (durable, cpu_us) = load("enqueue-durable", connections).await;
        ratios.push(durable / null);
        durable_rates.push(durable);
        null_rates.push(null);
        cpus.push(cpu_us);
    }
    let (durable, null) = (format!("{:.0}/s", median(durable_rates)), format!("{:.0}/s", median(null_rates)));
    let goal = goal.map_or(String::new(), |goal| format!(">= {goal}"));
    let name = format!("durable enqueue, {connections} connections | storing nothing");
    line(&name, &durable, &null, Some(median(ratios)), &goal);
    line("  CPU of the durable server for one enqueue", &format!("{:.1} us", median(cpus)), "", None, "");
}

/// Requests per second, and CPU microseconds of the server for each.
async fn load(role: &str, connections: usize) -> (f64, f64) {
    let mut server = Player::start(role, &[]);
    let address = server.address();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, stop.clone(), count.clone()));
    }
    // The first part warms up.
    tokio::time::sleep(ROUND / 6).await;
    let (started, before, cpu_before) = (now(), count.load(Ordering::Relaxed), cpu(server.pid()));
    tokio::time::sleep(ROUND).await;
    let requests = (count.load(Ordering::Relaxed) - before) as f64;
    let (seconds, cpu_used) = (started.elapsed().as_secs_f64(), cpu(server.pid()) - cpu_before);
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    (requests / seconds, cpu_used.as_secs_f64() * 1e6 / requests)
}

async fn client(address: SocketAddr, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let body = Bytes::from(format!(
        r#"{{"plugin":"http","payload":{{"url":"http://localhost/","body":"{}"}}}}"#,
        "x".repeat(220)
    ));
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    while !stop.load(Ordering::Relaxed) {
        let request = hyper::Request::post("/v1/jobs")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 202);
        answer.into_body().collect().await.expect("a whole answer");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The server that stores nothing.
pub async fn serve_null() {
    serve(Arc::new(NullStore::new())).await;
}

/// The server that stores durably.
pub async fn serve_durable() {
    let folder = folder();
    let store =
        SqliteStore::open(&folder.path().join("bench.db"), SqliteOptions::default(), Arc::new(Chance::seeded(1)));
    serve(Arc::new(store.expect("a store"))).await;
}

/// The API over that store, with the plugin `http` known and nobody to run its jobs.
async fn serve(store: Arc<dyn Store>) {
    let folder = folder();
    std::fs::copy("plugins/http.wasm", folder.path().join("http.wasm")).expect("the shipped plugin");
    let mut config = Config::default();
    config.queue.high_water = 1_000_000_000;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (loader, _changes) = loader(folder.path(), &config, &clock).await;
    let config = Arc::new(config);
    let gates = Arc::new(Mutex::new(Gates::new(1)));
    let door = Arc::new(api::Door::open(&config, "the defaults").expect("loopback"));
    let state = api::State {
        door: door.clone(),
        keeper: HealthKeeper::new(store.clone(), gates.clone()),
        store,
        loader,
        gates,
        wake: Arc::new(Notify::new()),
        config: config.clone(),
        clock,
        metrics: Arc::new(Metrics::new()),
        ready: Arc::new(AtomicBool::new(true)),
        stopping: CancellationToken::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("bound"));
    api::server::serve(listener, api::router(state), door, config, CancellationToken::new()).await;
}

/// A loader that has taken up what is in the folder.
pub async fn loader(
    plugins: &std::path::Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> (Arc<Loader>, tokio::sync::mpsc::UnboundedReceiver<windlass::plugin::PluginChange>) {
    let settings = HostSettings {
        program: env!("CARGO_BIN_EXE_windlass").into(),
        ..HostSettings::new(config.limits.clone(), config.network.clone(), plugins.join("compiled"))
    };
    let host = PluginHost::start(settings, clock.clone()).expect("an engine");
    let (loader, changes) = Loader::new(host, plugins.to_path_buf(), clock.clone()).expect("a folder");
    while loader.look().await.is_some() {}
    (loader, changes)
}
