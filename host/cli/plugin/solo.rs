//! A plugin by itself: the real host's rules for one attempt, without a server and without a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::typed;
use super::tried::{Fate, Tried};
use crate::clock::{Clock, Stopwatch, SystemClock, UnixMs};
use crate::config::{LimitOverride, Limits, Network, PluginFile};
use crate::job::RetryPolicy;
use crate::job::units::{ByteSize, TimeSpan};
use crate::plugin::{Call, HostSettings, LoadError, PluginHost, Revision};

/// A host that runs single attempts.
pub(super) struct Solo {
    host: Arc<PluginHost>,
    clock: Arc<dyn Clock>,
}

/// What an attempt is made with.
pub(super) struct Trial {
    /// The plugin's name.
    pub(super) name: String,
    /// Where a denied call is told to be granted.
    pub(super) grants_file: String,
    /// The grants and the policy.
    pub(super) file: PluginFile,
    /// The job.
    pub(super) call: Call,
}

impl Solo {
    /// Starts the engine. Compiled code is kept for the next time in that folder.
    ///
    /// # Errors
    /// Where the machine cannot run WebAssembly, or the folder cannot be made.
    pub(super) fn start(cache_dir: PathBuf) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let settings = HostSettings::new(ceilings(), Network::default(), cache_dir);
        Ok(Self { host: PluginHost::start(settings, clock.clone())?, clock })
    }

    /// Reads, checks and compiles a component; the inner error is its author's.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(super) async fn load(&self, file: &Path) -> anyhow::Result<Result<Arc<Revision>, LoadError>> {
        let component = typed::file(file)?;
        Ok(self.host.load(component.into()).await.map(Arc::new))
    }

    /// Where its times come from.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Now, for a job that is enqueued now.
    pub(super) fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Runs one attempt. What the file of grants leaves out is as it is in a server without settings.
    ///
    /// # Errors
    /// Where a secret cannot be read.
    pub(super) async fn attempt(&self, revision: Arc<Revision>, trial: Trial) -> anyhow::Result<Tried> {
        let Trial { name, grants_file, mut file, call } = trial;
        let policy = RetryPolicy::default().overridden(&file.retry);
        file.limits = LimitOverride::of(&Limits::default()).overridden(&file.limits);
        let (attempt, max_attempts) = (call.attempt, call.max_attempts);
        let plugin = self.host.plugin(&name, &grants_file, revision, file).map_err(anyhow::Error::msg)?;
        let watch = Stopwatch::start();
        let (outcome, evidence) = plugin.run(call, &CancellationToken::new()).await;
        let took = watch.elapsed();
        let fate = Fate::of(&RetryPolicy { max_attempts, ..policy }, &outcome, attempt);
        Ok(Tried { outcome, evidence, took, fate })
    }
}

/// The most that whoever tries a plugin may set.
pub(super) fn ceilings() -> Limits {
    let given = Limits::default();
    Limits {
        deadline: TimeSpan::from_secs(3_600),
        cpu: TimeSpan::from_secs(3_600),
        memory: ByteSize(1 << 30),
        // The engine makes room for so many, whether they are used or not.
        instances: given.instances,
        memories: given.memories,
        tables: given.tables,
        concurrency: 8,
        ..Limits::widest()
    }
}

/// Where the user's cache has compiled code.
pub(super) fn compiled_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let own = || std::env::temp_dir().join(format!("windlass-{}", rustix::process::geteuid().as_raw()));
    cache.map_or_else(own, |cache| cache.join("windlass")).join("compiled")
}
