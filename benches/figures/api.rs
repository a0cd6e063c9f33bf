//! Servers that take jobs over HTTP and have nobody to run them: over a durable store, and over one that keeps nothing.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use windlass::api;
use windlass::clock::{Clock, SystemClock};
use windlass::config::{Config, SyncMode};
use windlass::job::Gates;
use windlass::plugin::{HostSettings, Loader, PluginChange, PluginHost};
use windlass::store::sqlite::SqliteOptions;
use windlass::store::{HealthKeeper, Store};
use windlass::telemetry::Metrics;

use crate::null_store::NullStore;
use crate::role::Player;
use crate::{folder, store};

/// Whose store acknowledges what.
#[derive(Clone, Copy)]
pub enum Server {
    /// Nothing is kept.
    Null,
    /// An acknowledgement waits for the disk, or only for the system.
    Durable(SyncMode),
}

impl Server {
    /// Starts one. It prints its address.
    pub fn start(self) -> Player {
        match self {
            Self::Null => Player::start("api-null", &[]),
            Self::Durable(SyncMode::Full) => Player::start("api", &[]),
            Self::Durable(SyncMode::Normal) => Player::start("api", &[("RELAXED", String::new())]),
        }
    }
}

/// What the environment says an acknowledgement waits for.
pub fn sync_mode() -> SyncMode {
    if std::env::var_os("RELAXED").is_some() { SyncMode::Normal } else { SyncMode::Full }
}

/// The server that keeps nothing.
pub async fn serve_null() {
    serve(Arc::new(NullStore::new())).await;
}

/// The server that keeps what it acknowledges.
pub async fn serve_durable() {
    let folder = folder();
    let options = SqliteOptions { sync: sync_mode(), ..SqliteOptions::default() };
    serve(store(&folder.path().join("bench.db"), options)).await;
}

/// The API over that store, with the plugin `http` known.
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
        arriving: Arc::default(),
        ready: Arc::new(AtomicBool::new(true)),
        stopping: CancellationToken::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("bound"));
    api::server::serve(listener, api::router(state), door, config, api::server::Stopping::default()).await;
}

/// A loader that has taken up what is in the folder. It compiles with the real program.
pub async fn loader(
    plugins: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> (Arc<Loader>, mpsc::UnboundedReceiver<PluginChange>) {
    let host = plugin_host(config, &plugins.join("compiled"), clock);
    let (loader, changes) = Loader::new(host, plugins.to_path_buf(), clock.clone()).expect("a folder");
    while loader.look().await.is_some() {}
    (loader, changes)
}

/// A sandbox that keeps its compiled code there.
pub fn plugin_host(config: &Config, cache: &Path, clock: &Arc<dyn Clock>) -> Arc<PluginHost> {
    let settings = HostSettings {
        program: env!("CARGO_BIN_EXE_windlass").into(),
        ..HostSettings::new(config.limits.clone(), config.network.clone(), cache.to_path_buf())
    };
    PluginHost::start(settings, clock.clone()).expect("an engine")
}
