//! From the bytes of a component to a revision: checked, compiled or taken from the cache, and tried once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::clock::{Clock, Stopwatch};
use crate::config::{Limits, PluginFile};

use super::bindings::{Plugin, PluginPre};
use super::cache::Cache;
use super::egress::Outside;
use super::heavy::HeavyThreads;
use super::inspect::{self, Shape};
use super::metadata::PayloadSchema;
use super::state::State;
use super::ticker::Ticker;
use super::warm::{self, WarmPool};
use super::{HostSettings, LoadError, LoadStep, Loading, Revision, engine, report, trial};

/// Compilations at once.
const COMPILATIONS_MAX: usize = 2;
/// From this size on a component takes seconds to compile.
const LARGE_BYTES: u64 = 1 << 20;
/// How much a compilation gives way to the threads that serve.
const COMPILE_NICENESS: i32 = 10;
/// The compiler recurses into deeply nested code.
const COMPILE_STACK_BYTES: usize = 16 << 20;

/// What all plugins share.
pub(super) struct Runtime {
    /// The engine.
    pub(super) engine: Engine,
    /// Its ticker.
    pub(super) ticker: Ticker,
    /// The defaults and ceilings.
    pub(super) limits: Limits,
    /// Where times come from.
    pub(super) clock: Arc<dyn Clock>,
    /// What is beyond the host.
    pub(super) outside: Arc<Outside>,
    /// Where guests go on that compute for long.
    pub(super) heavy: Arc<HeavyThreads>,
    linker: Linker<State>,
    cache: Cache,
    /// The places of instances that wait for their next job.
    warm_places: Arc<Semaphore>,
    compilations: Compilations,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts the engine, its ticker and the linker.
    pub(super) fn start(settings: &HostSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let engine = engine::start(&settings.limits)?;
        Ok(Self {
            ticker: Ticker::start(engine.weak())?,
            limits: settings.limits.clone(),
            clock,
            outside: Arc::new(Outside::new(&settings.network)),
            heavy: Arc::default(),
            linker: linker(&engine).map_err(|error| anyhow::anyhow!("cannot link the host's interfaces: {error:#}"))?,
            cache: Cache::open(settings.cache_dir.clone(), &engine)?,
            compilations: Compilations::new(),
            warm_places: Arc::new(Semaphore::new(warm::INSTANCES_MAX as usize)),
            engine,
        })
    }

    /// Where a plugin's instances wait for their next job, where its file lets them.
    pub(super) fn warm_pool(&self, file: &PluginFile) -> Option<Arc<WarmPool>> {
        file.reuse.clone().map(|policy| WarmPool::new(policy, self.warm_places.clone()))
    }
}

/// Everything that a guest can reach, whether granted or not: what is not granted refuses when it is called.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    super::bindings::windlass::plugin::types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::config::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    super::bindings::windlass::plugin::http::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// The compiled code of a revision, linked and ready to be instantiated.
pub(super) struct Code {
    /// What it runs in.
    pub(super) runtime: Arc<Runtime>,
    /// The linked code.
    pub(super) pre: PluginPre<State>,
    /// Its schema, where it has one.
    pub(super) payload_schema: Option<PayloadSchema>,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code")
    }
}

/// A component that was looked at, and its compiled code where an earlier run left it.
pub(super) struct Prepared {
    runtime: Arc<Runtime>,
    bytes: Bytes,
    digest: String,
    shape: Shape,
    compiled: Option<Component>,
    loading: Arc<Loading>,
}

impl Prepared {
    /// Looks at a component.
    pub(super) async fn new(runtime: &Arc<Runtime>, bytes: Bytes) -> Result<Self, LoadError> {
        let runtime = runtime.clone();
        on_compile_thread(move || {
            let shape = inspect::inspect(&bytes)?;
            let digest = hex(&Sha256::digest(&bytes));
            let compiled = runtime.cache.load(&runtime.engine, &digest);
            let loading = Arc::new(Loading::new(bytes.len() as u64, runtime.clock.now()));
            Ok(Self { runtime, bytes, digest, shape, compiled, loading })
        })
        .await
    }

    /// How far it is, where that takes a while.
    pub(super) fn loading(&self) -> Option<Arc<Loading>> {
        self.compiled.is_none().then(|| self.loading.clone())
    }

    /// Compiles it where that is to be done, and tries it.
    pub(super) async fn load(mut self) -> Result<Revision, LoadError> {
        let size_bytes = self.bytes.len() as u64;
        let mut compile_time = Duration::ZERO;
        let component = match self.compiled.take() {
            Some(component) => component,
            None => {
                let permits = self.runtime.compilations.permits(size_bytes).await;
                self.loading.reach(LoadStep::Compiling);
                let (runtime, bytes, digest) = (self.runtime.clone(), self.bytes.clone(), self.digest.clone());
                let compiled = on_compile_thread(move || compile(&runtime, &bytes, &digest)).await?;
                drop(permits);
                compile_time = compiled.1;
                compiled.0
            }
        };
        self.loading.reach(LoadStep::Starting);
        let pre = link(&self.runtime, &component)?;
        let watch = Stopwatch::start();
        let trial = trial::start(&self.runtime, &pre).await?;
        let start_time = watch.elapsed();
        let (description, payload_schema) = trial.described().await.unzip();
        Ok(Revision {
            digest: self.digest,
            size_bytes,
            compile_time,
            start_time,
            imports: self.shape.imports,
            exports: self.shape.exports,
            description,
            code: Code { runtime: self.runtime, pre, payload_schema: payload_schema.flatten() },
        })
    }
}

/// Compilations at once. Each takes a core for as long as the component is large, so that large ones wait for each other
/// and leave room for small ones.
#[derive(Debug)]
struct Compilations {
    all: Semaphore,
    large: Semaphore,
}

impl Compilations {
    fn new() -> Self {
        Self { all: Semaphore::new(COMPILATIONS_MAX), large: Semaphore::new(COMPILATIONS_MAX - 1) }
    }

    async fn permits(&self, size_bytes: u64) -> [Option<SemaphorePermit<'_>>; 2] {
        let large = if size_bytes >= LARGE_BYTES { self.large.acquire().await.ok() } else { None };
        // Neither is ever closed.
        [large, self.all.acquire().await.ok()]
    }
}

fn compile(runtime: &Runtime, bytes: &[u8], digest: &str) -> Result<(Component, Duration), LoadError> {
    let watch = Stopwatch::start();
    let component = Component::from_binary(&runtime.engine, bytes).map_err(|error| refusal(&error))?;
    let compile_time = watch.elapsed();
    runtime.cache.store(&component, digest);
    Ok((component, compile_time))
}

fn link(runtime: &Runtime, component: &Component) -> Result<PluginPre<State>, LoadError> {
    let instance_pre = runtime
        .linker
        .instantiate_pre(component)
        .map_err(|error| report::unfit_import(&error.root_cause().to_string()))?;
    PluginPre::new(instance_pre).map_err(|error| report::wrong_type(&error.root_cause().to_string()))
}

/// Tells what breaks the rules from what breaks our limits.
fn refusal(error: &wasmtime::Error) -> LoadError {
    let why = error.root_cause().to_string();
    if why.contains("exceeds") || why.contains("limit") { report::too_demanding(&why) } else { report::malformed(&why) }
}

/// Runs on a thread of its own that gives way to all others. A panic there is an answer.
async fn on_compile_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("compile".to_owned()).stack_size(COMPILE_STACK_BYTES);
    let started = thread.spawn(move || {
        // On Linux this holds for the calling thread alone. Where it fails, compiling is only less polite.
        let _ = rustix::process::setpriority_process(None, COMPILE_NICENESS);
        // The receiver is gone where nobody waits any more.
        let _ = sender.send(work());
    });
    started.map_err(|error| report::host_failed(&format!("there is no thread to compile on: {error}")))?;
    receiver.await.unwrap_or_else(|_| Err(report::host_failed("the compiler panicked; the log says where")))
}

/// Whether an instance is a plugin, by the types of its exports: the trial's check.
pub(super) fn is_plugin(
    store: &mut super::attempt::GuestStore,
    instance: &wasmtime::component::Instance,
) -> Result<(), LoadError> {
    Plugin::new(store, instance).map(drop).map_err(|error| report::wrong_type(&error.root_cause().to_string()))
}

/// Bytes as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
