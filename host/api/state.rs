//! What every handler shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::arriving::Arriving;
use super::error::{Problem, ProblemKind, quoted};
use super::plugins::{PluginFolder, ServedPlugin};
use crate::clock::{Clock, UnixMs};
use crate::config::Config;
use crate::job::Gates;
use crate::lock::lock;
use crate::store::{HealthKeeper, Store};
use crate::telemetry::Metrics;

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Where jobs are kept.
    pub store: Arc<dyn Store>,
    /// The plugins; a [`crate::plugin::Loader`], except in tests.
    pub loader: Arc<dyn PluginFolder>,
    /// Who may run now; asked why a job waits.
    pub gates: Arc<Mutex<Gates>>,
    /// Records what people do to downstreams.
    pub keeper: HealthKeeper,
    /// Woken when a gate may have opened.
    pub wake: Arc<Notify>,
    /// Who is let in, and how much at once.
    pub door: Arc<Door>,
    /// The settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Jobs that were let in and are not in the store yet.
    pub arriving: Arc<Arriving>,
    /// Whether the plugins folder was looked through once, and the host is not stopping.
    pub ready: Arc<AtomicBool>,
    /// Fires when the server stops: long waits end.
    pub stopping: CancellationToken,
}

impl State {
    /// The gates, locked. Not to be held over an await.
    pub(super) fn gates(&self) -> MutexGuard<'_, Gates> {
        lock(&self.gates)
    }

    /// The present moment.
    pub(super) fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Whether the host said that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The plugin of that name, where the folder knows it.
    pub(super) fn plugin(&self, name: &str) -> Result<Arc<dyn ServedPlugin>, Problem> {
        self.loader.get(name).ok_or_else(|| self.unknown_plugin(name))
    }

    /// What to say of a plugin that the host does not know. While it starts it may lie in the folder all the same.
    pub(super) fn unknown_plugin(&self, name: &str) -> Problem {
        if self.is_ready() {
            return no_such_plugin(name, &self.config);
        }
        let detail = format!("the plugin {} is not known yet: the host is starting, or stopping", quoted(name));
        Problem::new(ProblemKind::NotReady, detail)
    }
}

/// What to say of a plugin that is not in the folder.
pub(super) fn no_such_plugin(name: &str, config: &Config) -> Problem {
    let (folder, name) = (config.plugins.dir.display(), quoted(name));
    Problem::new(ProblemKind::PluginUnknown, format!("there is no plugin {name}; put its component into {folder}/"))
}
