//! The sandbox: everything that knows wasmtime. What the rest of the host sees of it stands in this file.
//!
//! Three lifetimes: a [`PluginHost`] once per process, a [`Revision`] once per component, an instance once per attempt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, UnixMs};
use crate::config::{AttemptLimits, PluginFile};
use crate::job::{Evidence, HostFault, JobId, Outcome, PluginStanding, text};

mod aside;
mod attempt;
mod bindings;
mod cache;
mod compile;
mod cpu;
mod digest;
mod egress;
mod engine;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod granted;
mod grants;
mod heads;
mod heavy;
mod host_calls;
mod host_config;
mod host_http;
mod host_log;
mod inspect;
mod lack;
mod last_words;
mod ledger;
mod limits;
mod load_error;
mod loader;
mod loading;
mod machine;
mod metadata;
mod outcome;
mod output;
mod pem;
mod policy;
mod priority;
mod registry;
mod report;
mod rest;
mod revision;
mod secrets;
mod settings;
mod signature;
mod slot;
mod sources;
mod state;
mod survey;
#[cfg(test)]
mod testing;
mod ticker;
mod trial;
mod turns;
mod warm;
mod wasi_http;
mod watch;

pub use compile::{SUBCOMMAND as COMPILE_SUBCOMMAND, child::run as compile_component};
pub use digest::of as component_digest;
pub use engine::slots as instances_max;
pub use grants::{DeniedGrant, Grant, GrantKind, GrantsMissing, side_by_side};
pub use load_error::{LoadCause, LoadError};
pub use loading::{Giver, Ignored, IgnoredFile, InstallError, LoadStep, Loading};
pub use metadata::CheckSteps;
pub use pem::pem_fault;
#[cfg(test)]
pub(crate) use pem::tests as pem_tests;
pub use priority::{give_way, stand_back};
pub use registry::is_plugin_name;
pub use secrets::end_commands;
pub use settings::{Descriptors, HostSettings, LOOKUPS_MAX};
pub use signature::{SIGNATURE_EXTENSION, Signature, SignatureError, SigningKey};

/// The engine and all that plugins share. One per process.
#[derive(Debug)]
pub struct PluginHost {
    runtime: Arc<revision::Runtime>,
}

impl PluginHost {
    /// Starts the engine and its ticker.
    ///
    /// # Errors
    /// Where the machine cannot run WebAssembly, or the cache folder cannot be made.
    pub fn start(settings: HostSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<Self>> {
        let runtime = Arc::new(revision::Runtime::start(&settings, clock)?);
        Ok(Arc::new(Self { runtime }))
    }

    /// Checks a component, compiles it off the calling thread and tries it with nothing granted.
    ///
    /// # Errors
    /// Says, to the plugin's author, what is missing and what to do.
    pub async fn load(&self, component: Bytes) -> Result<Revision, LoadError> {
        let source = revision::Source::Held(component);
        revision::load(&self.runtime, source).await.map_err(report::handed_over)
    }

    /// A plugin of that revision without a folder, for whoever tries one by itself. `grants_file` is where a denied
    /// call is told to be granted.
    ///
    /// # Errors
    /// Where a secret cannot be read.
    pub fn plugin(
        &self,
        name: &str,
        grants_file: &str,
        revision: Arc<Revision>,
        file: PluginFile,
    ) -> Result<Plugin, String> {
        let runtime = self.runtime.clone();
        let granted = granted::Granted::read(grants_file, &file, &runtime.outside).map_err(|unusable| unusable.why)?;
        let asked = revision.description.as_ref().map(|asked| asked.secrets.clone()).unwrap_or_default();
        Ok(Plugin {
            name: name.to_owned(),
            limits: runtime.limits.attempt(&file.limits),
            revision: Some(revision),
            loaded_at: Some(runtime.clock.now()),
            load_error: None,
            loading: None,
            grants: Arc::new(egress::Grants::clone(&granted.grants).asked(
                grants_file.to_owned(),
                &asked,
                Arc::default(),
            )),
            egress: Arc::new(egress::Egress::new(name, runtime.outside.clone(), granted.way)),
            warm: runtime.warm_pool(&file),
            habit: heavy::Habit::new(name),
            runtime,
            file,
        })
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Description {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its author's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The origins that it wants to reach.
    pub origins: Vec<String>,
    /// The names of the values that it wants to read.
    pub config: Vec<String>,
    /// The names of the secrets that it wants to use.
    pub secrets: Vec<String>,
    /// A JSON Schema of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload_schema: Option<serde_json::Value>,
}

/// One exact component, checked, compiled and tried.
#[derive(Debug)]
pub struct Revision {
    /// The sha256 of its bytes, in hex.
    pub digest: String,
    /// How large it is.
    pub size_bytes: u64,
    /// How long it took to compile, zero where the compiled code came from the cache.
    pub compile_time: Duration,
    /// How long the trial start took.
    pub start_time: Duration,
    /// The interfaces that it imports, with versions.
    pub imports: Vec<String>,
    /// The interfaces that it exports, with versions.
    pub exports: Vec<String>,
    /// What it says of itself, where it says anything.
    pub description: Option<Description>,
    /// Why what it says of itself, or the payload schema in it, is of no use, where it is so. It serves all the same, and
    /// payloads are not checked.
    pub description_error: Option<String>,
    code: revision::LoadedCode,
}

/// What one attempt is given.
#[derive(Clone, Debug)]
pub struct Call {
    /// The job.
    pub job: JobId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How many counted attempts the job may use in all.
    pub max_attempts: u32,
    /// The key for the downstream, the same over all attempts.
    pub idempotency_key: String,
    /// The media type of the payload.
    pub content_type: String,
    /// The payload.
    pub payload: Bytes,
    /// When the job was accepted.
    pub enqueued_at: UnixMs,
    /// Labels as `label:NAME`, and `traceparent`.
    pub attributes: Vec<(String, String)>,
    /// The wall time of the attempt where the job says one; the plugin's own is the ceiling.
    pub deadline: Option<Duration>,
}

/// A plugin as it stands: its file, and the revision that serves, if any.
#[derive(Debug)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its grants and policy; those of the last valid file.
    pub file: PluginFile,
    /// What its attempts may use.
    pub limits: AttemptLimits,
    /// The revision that serves.
    pub revision: Option<Arc<Revision>>,
    /// When that revision was taken up.
    pub loaded_at: Option<UnixMs>,
    /// Why the newest component or the newest file was not taken up, where it was not. An older one goes on.
    pub load_error: Option<LoadError>,
    /// The component that will serve next, while it is being compiled.
    pub loading: Option<Arc<Loading>>,
    grants: Arc<egress::Grants>,
    egress: Arc<egress::Egress>,
    warm: Option<Arc<warm::WarmPool>>,
    habit: Arc<heavy::Habit>,
    runtime: Arc<revision::Runtime>,
}

impl Plugin {
    /// Runs one attempt, in a fresh instance unless its file says `reuse`. Never panics and never fails: whatever happens is an outcome. When
    /// `cancelled` fires, the instance is dropped and the outcome is [`crate::job::HostFault::Cancelled`].
    pub async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        let wall = call.deadline.map_or(self.limits.deadline.0, |asked| asked.min(self.limits.deadline.0));
        let attempt = attempt::Attempt::start(
            self.limits,
            wall,
            self.grants.clone(),
            Some(self.egress.clone()),
            self.runtime.clock.clone(),
        );
        let Some(revision) = &self.revision else {
            let message = "the plugin has no component to run".to_owned();
            return (Outcome::Host(HostFault::Start, message), attempt.evidence(None));
        };
        let outcome = attempt::run(revision, &attempt, call, self.warm.clone(), &self.habit, cancelled).await;
        (outcome, attempt.evidence(Some(revision.digest.clone())))
    }

    /// How it stands, for the gates.
    #[must_use]
    pub fn standing(&self) -> PluginStanding {
        match (&self.revision, &self.load_error) {
            (Some(_), _) => PluginStanding::Ready,
            (None, _) if self.loading.is_some() => PluginStanding::Loading,
            (None, Some(error)) => PluginStanding::Broken(error.in_short()),
            (None, None) => PluginStanding::Missing,
        }
    }
}

/// The plugins of this host, by name. Reading never waits.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: registry::Plugins,
}

impl Registry {
    /// The plugin of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.load().get(name).cloned()
    }

    /// All plugins.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Plugin>>> {
        self.plugins.load_full()
    }
}

/// What became of a plugin when the folder was looked through.
#[derive(Clone, Debug)]
pub enum PluginChange {
    /// It is new, or its revision, its file or its load error changed.
    Updated {
        /// How it stands now.
        plugin: Arc<Plugin>,
        /// Its revision or its file is another than before: what it did until now says nothing of it.
        is_another: bool,
        /// Its grants were edited, so that jobs which wait for one can go on.
        grants_edited: bool,
    },
    /// Both its files are gone.
    Removed {
        /// Its name.
        name: String,
    },
}

/// Takes up what is in the plugins folder, and puts components there.
#[derive(Debug)]
pub struct Loader {
    /// The plugins as they stand.
    pub registry: Arc<Registry>,
    folder: loader::Folder,
}

impl Loader {
    /// A loader of that folder, which is made where it is missing, and the changes it will bring about, in order.
    ///
    /// # Errors
    /// Where the folder can neither be read nor made.
    pub fn new(
        host: Arc<PluginHost>,
        dir: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<(Arc<Self>, mpsc::UnboundedReceiver<PluginChange>)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let registry = Arc::<Registry>::default();
        let publisher = registry::Publisher::new(registry.clone(), sender);
        let shown = dir.display().to_string();
        let place = Arc::new(slot::Place { runtime: host.runtime.clone(), dir, clock, publisher });
        let folder = loader::Folder::open(place).with_context(|| format!("the plugins folder {shown}"))?;
        Ok((Arc::new(Self { registry, folder }), receiver))
    }

    /// Looks through the folder and takes up what changed, also what changes meanwhile. Compiles off the calling
    /// thread; returns when every change is in the registry and in the channel, except that after 10 s it leaves a slow
    /// compilation to end by itself: its change comes then. A file counts once it was the same for 100 ms; returns how
    /// soon it wants to look again because one was still being written, if so.
    pub async fn look(&self) -> Option<Duration> {
        self.folder.look().await
    }

    /// How long it is until what a command prints is to be read again, by a look, where some is.
    #[must_use]
    pub fn due_in(&self) -> Option<Duration> {
        self.folder.due_in()
    }

    /// Waits until the system reports a change in the folder.
    pub async fn changed(&self) {
        self.folder.changed().await;
    }

    /// Checks a component and, where it is a plugin, puts it into the folder and takes it up. Its signature is put
    /// beside it; without one none is left there. The giver is told when it serves, also where nobody waits any more.
    ///
    /// # Errors
    /// Where it is no plugin or may not come in, the giver may not any more, or the folder cannot be written; the old
    /// revision goes on.
    pub async fn install(
        &self,
        name: &str,
        component: Bytes,
        signature: Option<Signature>,
        giver: impl Into<Giver>,
    ) -> Result<Arc<Plugin>, InstallError> {
        if !is_plugin_name(name) {
            return Err(InstallError::Refused(report::bad_name(name)));
        }
        self.folder.slot_of_new(name)?.install(component, signature, giver.into()).await
    }

    /// What lies in the folder, looks like a plugin's and is none.
    #[must_use]
    pub fn ignored(&self) -> Ignored {
        let (files, more) = self.folder.ignored();
        let files = files.into_iter().map(|(file, reason)| IgnoredFile { file, reason: reason.to_owned() });
        Ignored { files: files.collect(), more }
    }

    /// Removes the component of that name and its signature from the folder; its jobs wait. Its file of grants stays.
    /// False where there was none.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub async fn remove(&self, name: &str) -> std::io::Result<bool> {
        if is_plugin_name(name) { self.folder.slot(name).removed().await } else { Ok(false) }
    }
}
