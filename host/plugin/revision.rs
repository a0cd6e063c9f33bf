//! From the bytes of a component to a revision: checked, compiled or taken from the cache, and tried once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
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
use super::{HostSettings, LoadError, Revision, engine, report, trial};

/// Compilations at once. Each takes a core for as long as the component is large.
const COMPILATIONS_MAX: usize = 2;
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
    compilations: Arc<Semaphore>,
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
            compilations: Arc::new(Semaphore::new(COMPILATIONS_MAX)),
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

/// What is known before the trial.
struct Compiled {
    digest: String,
    shape: Shape,
    pre: PluginPre<State>,
    compile_time: Duration,
}

/// Checks, compiles and tries a component.
pub(super) async fn load(runtime: &Arc<Runtime>, bytes: Bytes) -> Result<Revision, LoadError> {
    let size_bytes = bytes.len() as u64;
    let permit = runtime.compilations.clone().acquire_owned().await;
    let inner = runtime.clone();
    let compiled = on_compile_thread(move || compile(&inner, &bytes)).await?;
    let watch = Stopwatch::start();
    let trial = trial::start(runtime, &compiled.pre).await?;
    let start_time = watch.elapsed();
    drop(permit);
    let (description, payload_schema) = trial.described().await.unzip();
    Ok(Revision {
        digest: compiled.digest,
        size_bytes,
        compile_time: compiled.compile_time,
        start_time,
        imports: compiled.shape.imports,
        exports: compiled.shape.exports,
        description,
        code: Code { runtime: runtime.clone(), pre: compiled.pre, payload_schema: payload_schema.flatten() },
    })
}

fn compile(runtime: &Runtime, bytes: &[u8]) -> Result<Compiled, LoadError> {
    let shape = inspect::inspect(bytes)?;
    let digest = hex(&Sha256::digest(bytes));
    let (component, compile_time) = match runtime.cache.load(&runtime.engine, &digest) {
        Some(component) => (component, Duration::ZERO),
        None => {
            let watch = Stopwatch::start();
            let component = Component::from_binary(&runtime.engine, bytes).map_err(|error| refusal(&error))?;
            let compile_time = watch.elapsed();
            runtime.cache.store(&component, &digest);
            (component, compile_time)
        }
    };
    let instance_pre = runtime
        .linker
        .instantiate_pre(&component)
        .map_err(|error| report::unfit_import(&error.root_cause().to_string()))?;
    let pre = PluginPre::new(instance_pre).map_err(|error| report::wrong_type(&error.root_cause().to_string()))?;
    Ok(Compiled { digest, shape, pre, compile_time })
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
