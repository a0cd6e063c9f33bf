//! The loops that carry jobs to their end. They decide nothing themselves: they feed the state machines of
//! [`crate::job`] and carry out what these say.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::job::gates::{Admission, Admit, Gates, Lane, Opened, PluginLimits};
use crate::job::{Evidence, Outcome, PluginStanding, RetryOverride, RetryPolicy};
use crate::lock::lock;
use crate::plugin::{Call, Loader, Plugin, PluginChange, Registry};
use crate::store::{Claimed, HealthKeeper, Store, StoreError};

mod completer;
mod dispatcher;
mod ends;
mod executor;
mod plugin_sync;
mod pruner;
mod rescuer;

use ends::Ends;

/// Runs the attempts of one kind of job.
#[async_trait]
pub trait Handler: Send + Sync {
    /// What is different in the retry policy of its jobs.
    fn retry(&self) -> &RetryOverride;

    /// Runs one attempt; when `cancelled` fires, it ends soon as [`crate::job::HostFault::Cancelled`].
    async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence);
}

/// Finds who runs a job. The plugins' [`Registry`] does; tests and benches bring their own.
pub trait Handlers: Send + Sync {
    /// The handler of that name, where it can run now.
    fn find(&self, name: &str) -> Option<Arc<dyn Handler>>;
}

#[async_trait]
impl Handler for Plugin {
    fn retry(&self) -> &RetryOverride {
        &self.file.retry
    }

    async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        Self::run(self, call, cancelled).await
    }
}

impl Handlers for Registry {
    fn find(&self, name: &str) -> Option<Arc<dyn Handler>> {
        self.get(name).filter(|plugin| plugin.revision.is_some()).map(|plugin| plugin as Arc<dyn Handler>)
    }
}

/// Where plugins come from. The plugins' [`Loader`] is one; tests bring their own.
#[async_trait]
pub trait PluginSource: Send + Sync {
    /// Takes up what changed, and tells of it. How soon it wants to look again, where it has a reason.
    async fn look(&self) -> Option<Duration>;

    /// Waits until there may be something to take up.
    async fn changed(&self);
}

#[async_trait]
impl PluginSource for Loader {
    async fn look(&self) -> Option<Duration> {
        let again = Self::look(self).await;
        [again, self.due_in()].into_iter().flatten().min()
    }

    async fn changed(&self) {
        Self::changed(self).await;
    }
}

/// What the gates must hear of a plugin that changed.
#[derive(Clone, Debug)]
pub enum PluginNews {
    /// It is new, or stands otherwise than before.
    Stands {
        /// Its name.
        name: String,
        /// How it stands now.
        standing: PluginStanding,
        /// What bounds it now.
        limits: PluginLimits,
        /// Its revision or its file is another than before.
        is_another: bool,
        /// Its grants were edited, so that jobs which wait for one can go on.
        grants_edited: bool,
    },
    /// It was removed.
    Gone {
        /// Its name.
        name: String,
    },
}

impl From<PluginChange> for PluginNews {
    fn from(change: PluginChange) -> Self {
        match change {
            PluginChange::Removed { name } => Self::Gone { name },
            PluginChange::Updated { plugin, is_another, grants_edited } => Self::Stands {
                name: plugin.name.clone(),
                standing: plugin.standing(),
                limits: plugin.file.gate_limits(),
                is_another,
                grants_edited,
            },
        }
    }
}

/// What all loops share.
#[derive(Clone)]
pub struct Parts {
    /// Where jobs are kept.
    pub store: Arc<dyn Store>,
    /// Where plugins come from.
    pub plugins: Arc<dyn PluginSource>,
    /// Who runs the jobs.
    pub handlers: Arc<dyn Handlers>,
    /// Who may run now.
    pub gates: Arc<Mutex<Gates>>,
    /// Keeps what is known of downstreams.
    pub keeper: HealthKeeper,
    /// Woken when a gate may have opened.
    pub wake: Arc<Notify>,
    /// The settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws for the jitter.
    pub chance: Arc<Chance>,
    /// What is counted.
    pub metrics: Arc<crate::telemetry::Metrics>,
}

impl Parts {
    fn gates(&self) -> std::sync::MutexGuard<'_, Gates> {
        lock(&self.gates)
    }

    /// What all jobs of a plugin are held by: its own words, then the host's.
    fn policy_of_all(&self, handler: Option<&dyn Handler>) -> RetryPolicy {
        let host = self.config.retry.policy();
        handler.map_or(host, |handler| host.overridden(handler.retry()))
    }
}

/// What a job is held by: its own words, then what all jobs of its plugin are held by. Whatever these say, the attempt that a
/// person's retry promised is made.
fn policy(of_all: RetryPolicy, claimed: &Claimed) -> RetryPolicy {
    of_all.overridden(&claimed.spec.retry).owing(claimed.owed, claimed.failed_before)
}

/// The health of so many downstreams is written at once, at most.
const KEPT_AT_ONCE: usize = 512;

/// Keeps the health of downstreams as it changes, until nobody is left who could tell of a change. What a full or busy
/// store does not take waits, once for each downstream: what is written in the end is how that stands then. Once `give_up`
/// fires, what is under way is the last.
async fn keep_health(parts: Parts, mut changed: mpsc::UnboundedReceiver<Lane>, give_up: CancellationToken) {
    let mut unkept = BTreeSet::new();
    while let Some(lane) = changed.recv().await {
        unkept.insert(lane);
        while !unkept.is_empty() {
            // What changed while others were written is written with these.
            unkept.extend(std::iter::from_fn(|| changed.try_recv().ok()));
            let is_last = give_up.is_cancelled();
            let lanes: Vec<_> = unkept.iter().take(KEPT_AT_ONCE).cloned().collect();
            match parts.keeper.keep(&lanes, parts.clock.now()).await {
                Err(error) if error.is_passing() => {
                    let downstreams = unkept.len();
                    tracing::warn!(%error, downstreams, "the health of downstreams waits for room in the store");
                    give_up.run_until_cancelled(tokio::time::sleep(FULL_PAUSE)).await;
                }
                kept => {
                    if let Err(error) = kept {
                        let (downstream, downstreams) = (&*lanes[0].downstream, lanes.len());
                        tracing::error!(%error, downstream, downstreams, "the health of downstreams is not kept");
                    }
                    lanes.iter().for_each(|lane| _ = unkept.remove(lane));
                }
            }
            if let Some(lane) = unkept.first().filter(|_| is_last) {
                let (error, downstream, downstreams) = ("the host ends", &*lane.downstream, unkept.len());
                tracing::error!(error, downstream, downstreams, "the health of downstreams is not kept");
                return;
            }
        }
    }
}

/// How often what is past of downstreams is forgotten, and where very many are down.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const FORGET_MANY_EVERY: Duration = Duration::from_secs(60);

/// Forgets what is past of downstreams.
async fn forget_past(parts: Parts) {
    loop {
        if let Err(error) = parts.keeper.forget_past(parts.clock.now()).await {
            tracing::warn!(%error, "what is past of downstreams could not be deleted");
        }
        parts.wake.notify_one();
        for _ in 0..FORGET_EVERY.as_secs() / FORGET_MANY_EVERY.as_secs() {
            tokio::time::sleep(FORGET_MANY_EVERY).await;
            if parts.gates().are_many_down() {
                break;
            }
        }
    }
}

/// Asks the shared gates, one lock a question.
struct SharedGates<'a>(&'a Mutex<Gates>);

impl Admission for SharedGates<'_> {
    fn admit(&mut self, lane: &Lane, now: crate::clock::UnixMs) -> Admit {
        lock(self.0).admit(lane, now)
    }

    fn withdrawn(&mut self, lane: &Lane, started_at: crate::clock::UnixMs, now: crate::clock::UnixMs) {
        lock(self.0).withdrawn(lane, started_at, now);
    }

    fn opened(&mut self) -> Opened {
        lock(self.0).opened()
    }
}

/// How long to leave a full store alone.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Asks a store that is full or busy again until there is room. `what` waits, for the log.
async fn until_room<T, Asked>(what: &str, ask: impl Fn() -> Asked) -> Result<T, StoreError>
where
    Asked: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "{what} wait for room in the store");
                tokio::time::sleep(FULL_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// How long a store that is full or busy may keep a host that stops from recording what ended, and how downstreams are;
/// attempts of which it does not take the end are repeated.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The running loops.
pub struct Worker {
    parts: Parts,
    loops: TaskTracker,
    attempts: TaskTracker,
    recording: tokio::task::JoinHandle<()>,
    keeping: tokio::task::JoinHandle<()>,
    ends: Ends,
    stop: CancellationToken,
    stop_now: CancellationToken,
    /// Fires when a full store is not waited for any more.
    give_up: CancellationToken,
}

impl Worker {
    /// Looks through the plugins folder, takes over what a crash interrupted, and starts the loops. On return every
    /// plugin that was in the folder is loaded or has its load error, and interrupted jobs are runnable. `changes` is
    /// where the plugins' source tells of what it took up.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn start<Change>(parts: Parts, changes: mpsc::UnboundedReceiver<Change>) -> Result<Self, StoreError>
    where
        Change: Into<PluginNews> + Send + 'static,
    {
        let (ends, unrecorded) = ends::channel();
        let (stop, stop_now, give_up) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (loops, attempts) = (TaskTracker::new(), TaskTracker::new());
        let recording = tokio::spawn(completer::run(parts.clone(), unrecorded, give_up.clone()));
        let (changed_health, changes_to_keep) = mpsc::unbounded_channel();
        parts.keeper.restore().await?;
        spawn(&loops, &stop, plugin_sync::apply(parts.clone(), changes));
        parts.plugins.look().await;
        rescuer::run(&parts).await?;
        // What attempts learn while the host stops is kept too.
        let keeping = tokio::spawn(keep_health(parts.clone(), changes_to_keep, give_up.clone()));
        let worker = Self { parts: parts.clone(), loops, attempts, recording, keeping, ends, stop, stop_now, give_up };
        let executor = executor::Executor {
            parts: parts.clone(),
            ends: worker.ends.clone(),
            changed: changed_health,
            stop_now: worker.stop_now.clone(),
        };
        worker.spawn(plugin_sync::watch(parts.clone()));
        worker.loops.spawn(dispatcher::run(parts.clone(), executor, worker.attempts.clone(), worker.stop.clone()));
        worker.spawn(forget_past(parts.clone()));
        worker.spawn(pruner::run(parts));
        Ok(worker)
    }

    /// Takes no more work, lets running attempts finish for at most `grace` or until `hurry` is done, hands the others
    /// back, records everything, but for a few seconds at most, or until `hurry` is done then.
    pub async fn stop(self, grace: Duration, hurry: impl Future<Output = ()>) {
        let Self { parts, loops, attempts, recording, keeping, ends, stop, stop_now, give_up } = self;
        parts.gates().stop();
        stop.cancel();
        loops.close();
        loops.wait().await;
        attempts.close();
        let mut hurry = std::pin::pin!(hurry.fuse());
        tokio::select! {
            biased;
            () = attempts.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = &mut hurry => {}
        }
        stop_now.cancel();
        let mut recorded = std::pin::pin!(async {
            attempts.wait().await;
            drop(ends);
            let (recorded, kept) = (recording.await, keeping.await);
            recorded.and(kept)
        });
        let ended = tokio::select! {
            biased;
            ended = &mut recorded => ended,
            () = last_words(hurry) => {
                give_up.cancel();
                recorded.await
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the recording of attempts, or of downstreams' health, broke off");
        }
    }

    fn spawn(&self, body: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.loops, &self.stop, body);
    }
}

/// As long as the last records are waited for: less where somebody hurries who did not before.
async fn last_words(hurry: impl Future<Output = ()>) {
    tokio::select! {
        () = tokio::time::sleep(LAST_WORDS) => {}
        () = hurry => {}
    }
}

fn spawn(loops: &TaskTracker, stop: &CancellationToken, body: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    loops.spawn(async move { stop.run_until_cancelled(body).await });
}
