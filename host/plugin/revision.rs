//! From the bytes of a component to a revision: checked, compiled or taken from the cache, and tried once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use wasmtime::component::Component;

use crate::clock::{Clock, Stopwatch};
use crate::config::{Limits, PluginFile};

use super::bindings::{Plugin, PluginPre};
use super::egress::Outside;
use super::engine::Concurrency;
use super::heavy::HeavyThreads;
use super::inspect::{self, Shape};
use super::machine::Machine;
use super::metadata::PayloadSchema;
use super::state::State;
use super::warm::{self, WarmPool};
use super::{HostSettings, LoadError, LoadStep, Loading, Revision, report, trial};

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
    /// For components of WASI 0.2.
    pub(super) machine: Arc<Machine>,
    /// For asynchronous components, from the first of them on.
    concurrent: Mutex<Option<Arc<Machine>>>,
    cache_dir: PathBuf,
    /// The defaults and ceilings.
    pub(super) limits: Limits,
    /// Where times come from.
    pub(super) clock: Arc<dyn Clock>,
    /// What is beyond the host.
    pub(super) outside: Arc<Outside>,
    /// Where guests go on that compute for long.
    pub(super) heavy: Arc<HeavyThreads>,
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
    /// Starts what every plugin needs.
    pub(super) fn start(settings: &HostSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let machine = Machine::start(&settings.limits, Concurrency::One, settings.cache_dir.clone())?;
        Ok(Self {
            machine,
            concurrent: Mutex::default(),
            cache_dir: settings.cache_dir.clone(),
            limits: settings.limits.clone(),
            clock,
            outside: Arc::new(Outside::new(&settings.network)),
            heavy: Arc::default(),
            compilations: Compilations::new(),
            warm_places: Arc::new(Semaphore::new(warm::INSTANCES_MAX as usize)),
        })
    }

    /// Where a component of that shape runs. The one for asynchronous components is made for the first of them.
    fn machine_for(&self, shape: &Shape) -> Result<Arc<Machine>, LoadError> {
        if !shape.is_async {
            return Ok(self.machine.clone());
        }
        let mut concurrent = self.concurrent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = &*concurrent {
            return Ok(machine.clone());
        }
        let machine = Machine::start(&self.limits, Concurrency::Several, self.cache_dir.join("async"));
        let machine = machine.map_err(|error| report::host_failed(&format!("{error:#}")))?;
        Ok(concurrent.insert(machine).clone())
    }

    /// Where a plugin's instances wait for their next job, where its file lets them.
    pub(super) fn warm_pool(&self, file: &PluginFile) -> Option<Arc<WarmPool>> {
        file.reuse.clone().map(|policy| WarmPool::new(policy, self.warm_places.clone()))
    }
}

/// The compiled code of a revision, linked and ready to be instantiated.
pub(super) struct Code {
    /// What it runs in.
    pub(super) runtime: Arc<Runtime>,
    /// On which engine.
    pub(super) machine: Arc<Machine>,
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
    machine: Arc<Machine>,
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
            let machine = runtime.machine_for(&shape)?;
            let compiled = machine.cache.load(&machine.engine, &digest);
            let loading = Arc::new(Loading::new(bytes.len() as u64, runtime.clock.now()));
            Ok(Self { runtime, machine, bytes, digest, shape, compiled, loading })
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
                let (machine, bytes, digest) = (self.machine.clone(), self.bytes.clone(), self.digest.clone());
                let compiled = on_compile_thread(move || compile(&machine, &bytes, &digest)).await?;
                drop(permits);
                compile_time = compiled.1;
                compiled.0
            }
        };
        self.loading.reach(LoadStep::Starting);
        let pre = link(&self.machine, &component)?;
        let watch = Stopwatch::start();
        let trial = trial::start(&self.runtime, &self.machine, &pre).await?;
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
            code: Code { runtime: self.runtime, machine: self.machine, pre, payload_schema: payload_schema.flatten() },
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

fn compile(machine: &Machine, bytes: &[u8], digest: &str) -> Result<(Component, Duration), LoadError> {
    let watch = Stopwatch::start();
    let component = Component::from_binary(&machine.engine, bytes).map_err(|error| refusal(&error))?;
    let compile_time = watch.elapsed();
    machine.cache.store(&component, digest);
    Ok((component, compile_time))
}

fn link(machine: &Machine, component: &Component) -> Result<PluginPre<State>, LoadError> {
    let instance_pre = machine
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
