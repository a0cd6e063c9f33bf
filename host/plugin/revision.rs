//! From the bytes of a component to a revision: compiled or taken from the cache, and tried once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ring::hmac;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use wasmtime::component::Component;

use crate::clock::{Clock, Stopwatch};
use crate::config::{Compile, Limits, PluginFile, Signers};
use crate::lock::lock;

use super::bindings::{Plugin, PluginPre};
use super::cache::{self, Look};
use super::compile::{Compiler, Order};
use super::egress::Outside;
use super::engine::Concurrency;
use super::folder::Seen;
use super::heavy::HeavyThreads;
use super::inspect::{self, Shape};
use super::machine::Machine;
use super::metadata::{PayloadSchema, Said};
use super::state::State;
use super::warm::{self, WarmPool};
use super::{HostSettings, LoadError, LoadStep, Loading, Revision, digest, limits, priority, report, trial};

/// Compilations at once.
const COMPILATIONS_MAX: usize = 2;
/// From this size on a component takes seconds to compile.
const LARGE_BYTES: u64 = 1 << 20;
/// Files that are read at once to find out what they are.
const READS_MAX: usize = 2;
/// Where the code of asynchronous components is kept, in the cache folder.
const ASYNC_DIR: &str = "async";

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
    /// Whose signature every component must carry.
    pub(super) signed_by: Option<Signers>,
    /// How often the plugins folder is looked through though nothing was reported.
    pub(super) scan: Duration,
    compiler: Compiler,
    compile_bounds: Compile,
    compilations: Compilations,
    reads: Semaphore,
    key: hmac::Key,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts what every plugin needs.
    pub(super) fn start(settings: &HostSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let cache_dir = settings.cache_dir.clone();
        let key = cache::key_of(&cache_dir)?;
        let machine = Machine::start(&settings.limits, Concurrency::One, cache_dir, key.clone())?;
        Ok(Self {
            machine,
            concurrent: Mutex::default(),
            cache_dir: settings.cache_dir.clone(),
            limits: settings.limits.clone(),
            clock,
            outside: Arc::new(Outside::new(&settings.network, settings.descriptors)),
            heavy: HeavyThreads::start()?,
            signed_by: settings.signed_by.clone(),
            scan: settings.scan,
            compiler: Compiler::of(&settings.program, settings.patience),
            compile_bounds: settings.compile,
            compilations: Compilations::new(),
            reads: Semaphore::new(READS_MAX),
            key,
            warm_places: Arc::new(Semaphore::new(warm::INSTANCES_MAX as usize)),
        })
    }

    /// Where a component of that shape runs. The one for asynchronous components is made for the first of them.
    pub(super) fn machine_for(&self, is_async: bool) -> Result<Arc<Machine>, LoadError> {
        if !is_async {
            return Ok(self.machine.clone());
        }
        let mut concurrent = lock(&self.concurrent);
        if let Some(machine) = &*concurrent {
            return Ok(machine.clone());
        }
        let dir = self.cache_dir.join(ASYNC_DIR);
        let machine = Machine::start(&self.limits, Concurrency::Several, dir, self.key.clone());
        let machine = machine.map_err(|error| report::host_failed(&format!("{error:#}")))?;
        Ok(concurrent.insert(machine).clone())
    }

    /// What was compiled before of the component of that digest.
    fn find(&self, digest: &str, look: Look) -> Result<Option<Code>, LoadError> {
        let code = |machine: Arc<Machine>, found: Option<(Component, Shape)>| {
            found.map(|(component, shape)| Code::link(machine, &component, shape, &self.limits)).transpose()
        };
        let found = self.machine.cache.load(&self.machine.engine, digest, look)?;
        if found.is_none() && cache::may_hold(&self.cache_dir.join(ASYNC_DIR), digest) {
            let machine = self.machine_for(true)?;
            let found = machine.cache.load(&machine.engine, digest, look)?;
            return code(machine, found);
        }
        code(self.machine.clone(), found)
    }

    /// Reads a file, or what an earlier run compiled: not many at once, and giving way to all others.
    pub(super) async fn read_aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        // It is never closed.
        let _permit = self.reads.acquire().await.ok();
        aside(work).await
    }

    /// Where a plugin's instances wait for their next job, where its file lets them.
    pub(super) fn warm_pool(&self, file: &PluginFile) -> Option<Arc<WarmPool>> {
        file.reuse.clone().map(|policy| WarmPool::new(policy, self.warm_places.clone()))
    }
}

/// The compiled code of a revision, linked and ready to be instantiated.
struct Code {
    machine: Arc<Machine>,
    pre: PluginPre<State>,
    shape: Shape,
}

impl Code {
    fn link(machine: Arc<Machine>, component: &Component, shape: Shape, limits: &Limits) -> Result<Self, LoadError> {
        if limits::counted_bytes(shape.held_bytes) > limits.memory.0 {
            return Err(report::too_large_an_instance(shape.held_bytes, limits.memory));
        }
        let instance_pre = machine
            .linker
            .instantiate_pre(component)
            .map_err(|error| report::unfit_import(&error.root_cause().to_string()))?;
        let pre = PluginPre::new(instance_pre).map_err(|error| report::wrong_type(&error.root_cause().to_string()))?;
        Ok(Self { machine, pre, shape })
    }
}

/// The bytes of a component, where they are at hand or can be read when their turn comes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Handed over.
    Held(Bytes),
    /// In the plugins folder.
    File(Seen),
}

impl Source {
    /// What it is: its digest and its size. Refuses what does not even begin like a component.
    pub(super) fn known(&self) -> Result<Known, LoadError> {
        let known = match self {
            Self::Held(bytes) => Known::of(bytes),
            Self::File(seen) => seen.known()?,
        };
        inspect::glance(&known.head)?;
        Ok(known)
    }

    /// The bytes, if they are still those of that digest.
    fn bytes(&self, digest: &str) -> Result<Bytes, LoadError> {
        match self {
            Self::Held(bytes) => Ok(bytes.clone()),
            Self::File(seen) => {
                let bytes = seen.read()?;
                if digest::of(&bytes) != digest {
                    return Err(report::refused_file("it changed while it was read"));
                }
                Ok(bytes.into())
            }
        }
    }
}

/// What a component is, without a look at what is in it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The sha256 of its bytes, in hex.
    pub(super) digest: String,
    /// How large it is.
    pub(super) size_bytes: u64,
    /// How it begins.
    pub(super) head: Vec<u8>,
}

impl Known {
    /// How much of the beginning is kept.
    pub(super) const HEAD_BYTES: usize = 256;

    fn of(bytes: &[u8]) -> Self {
        let head = bytes[..bytes.len().min(Self::HEAD_BYTES)].to_vec();
        Self { digest: digest::of(bytes), size_bytes: bytes.len() as u64, head }
    }
}

/// From beginning to end.
pub(super) async fn load(runtime: &Arc<Runtime>, source: Source) -> Result<Revision, LoadError> {
    let looked_at = source.clone();
    let known = runtime.read_aside(move || looked_at.known()).await?;
    let revision = Prepared::new(runtime, source, known).await?.load().await?;
    if let Some(why) = &revision.description_error {
        tracing::warn!(plugin.revision = revision.digest, why, "a component's metadata.describe is of no use");
    }
    Ok(revision)
}

/// A component that is to be loaded, and its compiled code where an earlier run left it.
pub(super) struct Prepared {
    runtime: Arc<Runtime>,
    source: Source,
    known: Known,
    found: Option<Code>,
    loading: Arc<Loading>,
}

impl Prepared {
    /// Looks whether it was compiled before.
    pub(super) async fn new(runtime: &Arc<Runtime>, source: Source, known: Known) -> Result<Self, LoadError> {
        let found = find(runtime, &known, Look::First).await?;
        let loading = Arc::new(Loading::new(known.size_bytes, runtime.clock.now()));
        Ok(Self { runtime: runtime.clone(), source, known, found, loading })
    }

    /// How far it is, where that takes a while.
    pub(super) fn loading(&self) -> Option<Arc<Loading>> {
        self.found.is_none().then(|| self.loading.clone())
    }

    /// Compiles it where that is to be done, and tries it. Who drops the future ends the compiling.
    pub(super) async fn load(mut self) -> Result<Revision, LoadError> {
        let (code, compile_time) = self.code().await?;
        self.loading.reach(LoadStep::Starting);
        let watch = Stopwatch::start();
        let trial = trial::start(&self.runtime, &code.machine, &code.pre, code.shape.held_bytes).await?;
        let start_time = watch.elapsed();
        let Said { description, schema: payload_schema, fault: description_error } = trial.described().await?;
        let Code { machine, pre, shape } = code;
        Ok(Revision {
            digest: self.known.digest,
            size_bytes: self.known.size_bytes,
            compile_time,
            start_time,
            imports: shape.imports,
            exports: shape.exports,
            description,
            description_error,
            code: LoadedCode { runtime: self.runtime, machine, pre, held_bytes: shape.held_bytes, payload_schema },
        })
    }

    /// Its code, and how long it took to compile it, where that was to be done.
    async fn code(&mut self) -> Result<(Code, Duration), LoadError> {
        if let Some(code) = self.found.take() {
            return Ok((code, Duration::ZERO));
        }
        let _permits = self.runtime.compilations.permits(self.known.size_bytes).await;
        // The same bytes may have been compiled for another plugin meanwhile.
        if let Some(code) = find(&self.runtime, &self.known, Look::Again).await? {
            return Ok((code, Duration::ZERO));
        }
        self.loading.reach(LoadStep::Compiling);
        let watch = Stopwatch::start();
        Ok((self.compile().await?, watch.elapsed()))
    }

    async fn compile(&self) -> Result<Code, LoadError> {
        let runtime = self.runtime.clone();
        let order = Order { limits: runtime.limits.clone(), bounds: runtime.compile_bounds };
        let (source, digest) = (self.source.clone(), self.known.digest.clone());
        let bytes = aside(move || source.bytes(&digest)).await?;
        let compiled = runtime.compiler.compile(order, bytes).await?;
        let digest = self.known.digest.clone();
        aside(move || {
            let machine = runtime.machine_for(compiled.shape.is_async)?;
            if machine.cache.engine_identity != compiled.engine {
                return Err(report::other_compiler());
            }
            let component = machine.cache.keep(&machine.engine, &digest, &compiled.shape, &compiled.code)?;
            Code::link(machine, &component, compiled.shape, &runtime.limits)
        })
        .await
    }
}

/// What was compiled before of that component.
async fn find(runtime: &Arc<Runtime>, known: &Known, look: Look) -> Result<Option<Code>, LoadError> {
    let (finder, digest) = (runtime.clone(), known.digest.clone());
    runtime.read_aside(move || finder.find(&digest, look)).await
}

/// What a revision runs on.
pub(super) struct LoadedCode {
    /// What it runs in.
    pub(super) runtime: Arc<Runtime>,
    /// On which engine.
    pub(super) machine: Arc<Machine>,
    /// The linked code.
    pub(super) pre: PluginPre<State>,
    /// What an instance takes of the host beside its memories and tables.
    pub(super) held_bytes: u64,
    /// Its schema, where it has one.
    pub(super) payload_schema: Option<PayloadSchema>,
}

impl std::fmt::Debug for LoadedCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadedCode")
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

/// Runs on a thread of its own that gives way to all others. A panic there is an answer.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let (sender, receiver) = oneshot::channel();
    let started = std::thread::Builder::new().name("loading".to_owned()).spawn(move || {
        // Where it fails, loading is only less polite.
        let _ = priority::give_way();
        // The receiver is gone where nobody waits any more.
        let _ = sender.send(work());
    });
    started.map_err(|error| report::host_failed(&format!("there is no thread to load on: {error}")))?;
    receiver.await.unwrap_or_else(|_| Err(report::host_broke("loading")))
}

/// Whether an instance is a plugin, by the types of its exports: the trial's check.
pub(super) fn is_plugin(
    store: &mut super::attempt::GuestStore,
    instance: &wasmtime::component::Instance,
) -> Result<(), LoadError> {
    Plugin::new(store, instance).map(drop).map_err(|error| report::wrong_type(&error.root_cause().to_string()))
}

#[cfg(test)]
mod tests;
