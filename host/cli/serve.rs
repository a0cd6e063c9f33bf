//! `windlass serve`: puts the parts together, runs them until a signal, and takes them apart in order.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::api::server::Stopping;
use crate::api::{self, Door, DoorError};
use crate::clock::{Chance, Clock, Reckoning, SystemClock};
use crate::config::{self, Config, SyncMode};
use crate::job::Gates;
use crate::plugin::{self, HostSettings, Loader, PluginChange, PluginHost};
use crate::store::sqlite::{Ownership, SqliteOptions, SqliteStore};
use crate::store::{HealthKeeper, Store, StoreError};
use crate::telemetry::{self, Metrics};
use crate::worker::{Parts, Worker};

use super::end::WrongUsage;
use super::signals::Signals;
use super::{ExitCode, ServeArgs};

mod early_look;
mod files;
mod maps;

use early_look::EarlyLook;
use files::Files;

/// How long threads may take to let go of what they hold, at the end. One that asks a name server that is silent would
/// take much longer, and has nothing that anybody needs.
const TO_LET_GO: Duration = Duration::from_millis(500);

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where the settings are wrong, or the store, the folder of plugins or the port cannot be had.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = settings(args).map_err(|error| WrongUsage::new(&error))?;
    let door = Door::open(&config, &args.place.file()).map_err(|error| barred(args, error))?;
    let _logging = telemetry::subscribe(args.log_format)?;
    hosting(async {
        // First: who sees that it listens may tell it to stop.
        let mut signals = Signals::new()?;
        let running = tokio::select! {
            biased;
            _ = signals.next() => return Ok((ExitCode::Done, None)),
            running = Running::start(config, door) => running?,
        };
        signals.next().await;
        let stopped = running.stop(signals.another()).await?;
        Ok((ExitCode::Done, Some(stopped)))
    })
}

/// Runs the whole life of a host on threads of its own, and ends it with them. Where it has not started, what it has begun
/// is left as by a crash, and nobody waits for it. Commands that run are ended in any case.
///
/// # Errors
/// Those of that life.
pub(super) fn hosting(
    life: impl Future<Output = anyhow::Result<(ExitCode, Option<Stopped>)>>,
) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let lived = runtime.block_on(life);
    plugin::end_commands();
    let (code, stopped) = match lived {
        Ok(lived) => lived,
        Err(error) => {
            runtime.shutdown_timeout(TO_LET_GO);
            return Err(error);
        }
    };
    match stopped {
        Some(stopped) => stopped.end(runtime),
        None => runtime.shutdown_background(),
    }
    Ok(code)
}

/// The settings from the file, the environment and the command line, in rising precedence.
fn settings(args: &ServeArgs) -> Result<Config, config::ConfigError> {
    let mut config = args.place.settings()?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if let Some(plugins) = &args.plugins {
        config.plugins.dir.clone_from(plugins);
    }
    let argument = args.plugins.as_ref().map(|_| "--plugins");
    if config.plugins.dir.as_os_str().is_empty() {
        return Err(args.place.mistake("plugins.dir", argument, "plugins.dir: it is empty; name a folder".to_owned()));
    }
    args.place.must_be_folder(&config.plugins.dir, argument, "plugins.dir")?;
    Ok(config)
}

/// Why the door stays shut, with what said so.
fn barred(args: &ServeArgs, error: DoorError) -> anyhow::Error {
    let Some(key) = error.key() else { return error.into() };
    let argument = args.listen.filter(|_| key == "server.listen").map(|_| "--listen");
    WrongUsage::new(&args.place.mistake(key, argument, error.to_string())).into()
}

/// A host at work.
pub(super) struct Running {
    /// Where it listens.
    pub(super) address: SocketAddr,
    config: Arc<Config>,
    store: Arc<dyn Store>,
    ready: Arc<AtomicBool>,
    worker: Worker,
    serving: JoinHandle<()>,
    stop_serving: Stopping,
}

/// A host that has done all its work. Its store is open until the end.
#[must_use = "its threads and its store are to be ended"]
pub(super) struct Stopped(Arc<dyn Store>);

impl Stopped {
    /// Ends the threads and closes the store. After this nothing is left to be done.
    fn end(self, runtime: Runtime) {
        // Tasks are dropped, and with them what they had of the store, and whatever process they had started.
        runtime.shutdown_timeout(TO_LET_GO);
        let Self(store) = self;
        drop(store);
        tracing::info!("windlass has stopped");
    }
}

impl Running {
    /// Starts everything behind that door. On return the host is ready.
    pub(super) async fn start(mut config: Config, door: Door) -> anyhow::Result<Self> {
        let files = Files::share_out(config.server.connections);
        config.server.connections = files.connections;
        let (config, door) = (Arc::new(config), Arc::new(door));
        let clock = SystemClock::start();
        let reckoning = clock.reckoning();
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let chance = Arc::new(Chance::from_machine());
        let options = store_options(&config, reckoning);
        if options.sync == SyncMode::Normal {
            tracing::warn!("store.sync is normal: a power cut can take the last jobs that were acknowledged");
        }
        // Nobody else's files are touched, nor compiled for, before the store is known to be ours.
        let owned = Ownership::take(&config.store.file())?;
        let of_store = chance.clone();
        let opening = tokio::task::spawn_blocking(move || SqliteStore::open_owned(owned, options, of_store));
        let plugins = start_plugins(&config, files, &clock);
        let store = Arc::new(opening.await.context("the opening of the store broke off")??);
        let (loader, changes, early_look) = plugins?;
        door.tell(&config, clock.now());
        let listener = listen(config.server.listen).await?;
        let address = listener.local_addr()?;
        let concurrency = config.limits.concurrency;
        maps::check(&config.limits);
        let gates = Gates::judging(concurrency, config.breaker.policy(concurrency)).shared(config.fairness.policy());
        let gates = Arc::new(Mutex::new(gates));
        let keeper = HealthKeeper::new(store.clone(), gates.clone());
        let wake = Arc::new(Notify::new());
        let metrics = Arc::new(Metrics::new());
        let ready = Arc::new(AtomicBool::new(false));
        let stop_serving = Stopping::default();
        let state = api::State {
            store: store.clone(),
            loader: loader.clone(),
            gates: gates.clone(),
            keeper: keeper.clone(),
            wake: wake.clone(),
            door: door.clone(),
            config: config.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            arriving: Arc::default(),
            ready: ready.clone(),
            stopping: stop_serving.begin.clone(),
        };
        let router = api::router(state);
        let serving = tokio::spawn(api::server::serve(listener, router, door, config.clone(), stop_serving.clone()));
        tracing::info!(address = %address, plugins = %config.plugins.dir.display(), "windlass listens");
        let handlers = loader.registry.clone();
        let parts = Parts {
            store: store.clone(),
            plugins: Arc::new(early_look),
            handlers,
            gates,
            keeper,
            wake,
            config: config.clone(),
            clock,
            chance,
            metrics,
        };
        let worker = Worker::start(parts, changes).await.map_err(|error| unusable(&config, error))?;
        ready.store(true, Ordering::Release);
        tracing::info!("windlass is ready");
        Ok(Self { address, config, store, ready, worker, serving, stop_serving })
    }

    /// Takes no more work, finishes or hands back what runs, and ends; at once where `hurry` is done.
    ///
    /// # Errors
    /// Where the store had failed.
    pub(super) async fn stop(self, hurry: impl Future<Output = ()>) -> anyhow::Result<Stopped> {
        let Self { config, store, ready, worker, serving, stop_serving, .. } = self;
        tracing::info!(grace = %config.server.grace, "windlass stops");
        ready.store(false, Ordering::Release);
        let Stopping { begin, now } = stop_serving;
        let stopping = async {
            worker.stop(config.server.grace.0, now.cancelled()).await;
            begin.cancel();
            serving.await
        };
        let hurried = async {
            hurry.await;
            now.cancel();
            std::future::pending().await
        };
        let served = tokio::select! {
            biased;
            served = stopping => served,
            served = hurried => served,
        };
        served.context("the HTTP server broke off")?;
        store.health().context("what was acknowledged is there when the host is started anew")?;
        Ok(Stopped(store))
    }
}

/// Jobs that had ended come back by a person's retry, which the high-water mark does not keep out: so many of them are held
/// in memory beside what it admits.
const RETRIED_HELD: usize = 44_000;

/// What bounds the store. Unless told otherwise it holds in memory whatever the high-water mark admits.
fn store_options(config: &Config, reckoning: Option<Reckoning>) -> SqliteOptions {
    let bounds = SqliteOptions { reckoning, sync: config.store.sync, ..SqliteOptions::default() };
    let admitted_max = config.admitted_max();
    let held_jobs_max = config.queue.held_in_memory.unwrap_or(admitted_max.saturating_add(RETRIED_HELD));
    if held_jobs_max < admitted_max {
        tracing::warn!(
            "queue.held_in_memory is {held_jobs_max}, and up to {admitted_max} jobs are admitted: beyond it those due last \
             wait on disk only"
        );
    }
    SqliteOptions { held_jobs_max, ..bounds }
}

/// The sandbox, and the plugins in it as soon as they are loaded.
fn start_plugins(
    config: &Config,
    files: Files,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Arc<Loader>, UnboundedReceiver<PluginChange>, EarlyLook)> {
    let host = PluginHost::start(host_settings(config, files), clock.clone())?;
    let (loader, changes) = Loader::new(host, config.plugins.dir.clone(), clock.clone())?;
    let early_look = EarlyLook::begin(&loader);
    Ok((loader, changes, early_look))
}

/// Says which store it is, and whom to ask, where it turns out to be damaged after it was opened.
fn unusable(config: &Config, error: StoreError) -> anyhow::Error {
    let store = config.store.file();
    match error {
        StoreError::Damaged(_) | StoreError::Failed(_) => {
            anyhow::anyhow!("cannot serve the store {}: {error}: `windlass doctor` says what is whole", store.display())
        }
        other => other.into(),
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn host_settings(config: &Config, files: Files) -> HostSettings {
    let cache_dir = config.data_dir().join(Path::new("compiled"));
    HostSettings {
        compile: config.plugins.compile,
        descriptors: files.calls,
        signed_by: config.plugins.signed_by.clone(),
        scan: config.plugins.scan.0,
        ..HostSettings::new(config.limits.clone(), config.network.clone(), cache_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(settings: &str) -> usize {
        let config: Config = toml::from_str(settings).unwrap();
        store_options(&config, None).held_jobs_max
    }

    #[test]
    fn a_thread_that_hangs_does_not_hold_the_end_and_the_store_is_closed() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("windlass.db");
        let open = || SqliteStore::open(&path, SqliteOptions::default(), Arc::new(Chance::seeded(1)));
        let store: Arc<dyn Store> = Arc::new(open().unwrap());
        let runtime = super::super::runtime().unwrap();
        // As a look-up does where the name server says nothing.
        let (hang, hanging) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || _ = hanging.recv());
        let held = store.clone();
        runtime.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let (end, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            Stopped(store).end(runtime);
            end.send(())
        });
        ended.recv_timeout(Duration::from_secs(60)).expect("nobody waits for the thread that hangs");
        open().expect("the store was closed and its lock is free");
        drop(hang);
    }

    #[test]
    fn whatever_is_admitted_is_held_in_memory_unless_less_is_wanted() {
        assert_eq!(held(""), 1_100_000 + 44_000, "the mark, the tenth above it, and what is tried again");
        assert_eq!(held("[queue]\nhigh_water = 1000"), 1_100 + 44_000);
        assert_eq!(held("[queue]\nhigh_water = 1000\n[fairness]\nshare = 1.0"), 1_000 + 44_000);
        assert_eq!(held("[queue]\nheld_in_memory = 5000"), 5_000);
    }
}
