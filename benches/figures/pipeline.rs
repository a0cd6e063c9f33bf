//! The host's own loops over a store, in this process: the queue alone, or with plugins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use windlass::clock::{Chance, Clock};
use windlass::config::Config;
use windlass::job::gates::PluginLimits;
use windlass::job::{Completion, Evidence, Gates, Outcome, PluginStanding, RetryOverride};
use windlass::plugin::Call;
use windlass::store::{HealthKeeper, NewJob, Store};
use windlass::telemetry::Metrics;
use windlass::worker::{Handler, Handlers, Parts, PluginNews, PluginSource, Worker};

use crate::machine::Meter;

/// What jobs without a plugin name.
pub const NATIVE: &str = "native";

/// Who runs jobs, and where the plugins come from.
pub struct Crew<Change> {
    /// Finds who runs a job.
    pub handlers: Arc<dyn Handlers>,
    /// Takes plugins up.
    pub plugins: Arc<dyn PluginSource>,
    /// What it tells of them.
    pub changes: mpsc::UnboundedReceiver<Change>,
}

impl Crew<PluginNews> {
    /// This handler alone, which runs the jobs that name [`NATIVE`].
    pub fn native(handler: Arc<dyn Handler>) -> Self {
        let (tell, changes) = mpsc::unbounded_channel();
        let (name, standing, limits) = (NATIVE.to_owned(), PluginStanding::Ready, PluginLimits::default());
        let _ = tell.send(PluginNews::Stands { name, standing, limits, is_another: true, grants_edited: false });
        Self { handlers: Arc::new(Native(handler)), plugins: Arc::new(NoPlugins), changes }
    }
}

/// The loops at work.
pub struct Pipeline {
    /// Where its jobs are.
    pub store: Arc<dyn Store>,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    worker: Worker,
}

impl Pipeline {
    /// Starts them.
    pub async fn start<Change: Into<PluginNews> + Send + 'static>(
        store: Arc<dyn Store>,
        config: Config,
        clock: Arc<dyn Clock>,
        crew: Crew<Change>,
    ) -> Self {
        let concurrency = config.limits.concurrency;
        let gates = Gates::judging(concurrency, config.breaker.policy(concurrency)).shared(config.fairness.policy());
        let gates = Arc::new(Mutex::new(gates));
        let parts = Parts {
            keeper: HealthKeeper::new(store.clone(), gates.clone()),
            store: store.clone(),
            plugins: crew.plugins,
            handlers: crew.handlers,
            gates,
            wake: Arc::new(Notify::new()),
            config: Arc::new(config),
            clock: clock.clone(),
            chance: Arc::new(Chance::seeded(1)),
            metrics: Arc::new(Metrics::new()),
        };
        let worker = Worker::start(parts, crew.changes).await.expect("a worker");
        Self { store, clock, worker }
    }

    /// Enqueues so many jobs, `chunk` a call and `streams` calls at once, and waits until as many have been completed.
    /// How many a second, and CPU microseconds of this process for each.
    pub async fn pass(
        &self,
        jobs: usize,
        chunk: usize,
        streams: usize,
        make: &(impl Fn() -> NewJob + Sync),
    ) -> Vec<f64> {
        let target = self.completed() + jobs as u64;
        let meter = Meter::start();
        let stream = |number: usize| {
            let share = jobs / streams + usize::from(number < jobs % streams);
            self.enqueue(share, chunk, make)
        };
        futures_util::future::join_all((0..streams).map(stream)).await;
        while self.completed() < target {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        meter.numbers(jobs)
    }

    async fn enqueue(&self, jobs: usize, chunk: usize, make: &impl Fn() -> NewJob) {
        for first in (0..jobs).step_by(chunk) {
            let batch = (first..jobs.min(first + chunk)).map(|_| make()).collect();
            self.store.enqueue(batch, self.clock.now()).await.expect("room");
        }
    }

    fn completed(&self) -> u64 {
        self.store.counts().ended.get("completed").copied().unwrap_or(0)
    }

    /// Stops the loops at once.
    pub async fn stop(self) {
        self.worker.stop(Duration::ZERO, std::future::ready(())).await;
    }
}

struct Native(Arc<dyn Handler>);

impl Handlers for Native {
    fn find(&self, name: &str) -> Option<Arc<dyn Handler>> {
        (name == NATIVE).then(|| self.0.clone())
    }
}

struct NoPlugins;

#[async_trait]
impl PluginSource for NoPlugins {
    async fn look(&self) -> Option<Duration> {
        None
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

/// A handler that does nothing.
#[derive(Default)]
pub struct Nothing {
    retry: RetryOverride,
}

#[async_trait]
impl Handler for Nothing {
    fn retry(&self) -> &RetryOverride {
        &self.retry
    }

    async fn run(&self, _: Call, _: &CancellationToken) -> (Outcome, Evidence) {
        let (content_type, body, attributes) = (String::new(), Bytes::new(), Vec::new());
        (Outcome::Completed(Completion { content_type, body, attributes }), Evidence::default())
    }
}
