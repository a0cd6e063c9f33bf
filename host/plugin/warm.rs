//! Instances that are kept for the next job, where the operator allows it: for runtimes that start slowly.
//!
//! By default every attempt has an instance of its own, and nothing that a guest remembers reaches another job. With
//! `reuse` an instance that answered goes on to the next job of the same plugin, under the same grants. One that
//! trapped, met a limit or was cancelled never does: its future, which owns it, was dropped.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Stopwatch;
use crate::config::Reuse;
use crate::job::Share;
use crate::lock::lock;

use super::attempt::{Attempt, GuestStore};
use super::bindings::Plugin;
use super::engine::Concurrency;

/// Instances that are kept in one host, over all plugins. The engine's pool has room for so many beside the attempts.
pub(super) const INSTANCES_MAX: u32 = 64;

/// What a guest may hold of the host from one job to the next: its streams and the like.
const HANDLES_MAX: usize = 32;

/// An instance, and how many jobs it has had.
pub(super) struct Instance {
    pub(super) store: GuestStore,
    pub(super) plugin: Plugin,
    pub(super) jobs: u32,
}

impl Instance {
    /// Whether calls of its own parts still wait in it: they would go on in the next job's time.
    pub(super) async fn has_calls(&mut self) -> bool {
        if self.store.data().concurrency == Concurrency::One {
            return false;
        }
        let rests = self.store.run_concurrent(async |tasks| {
            let mut nobody = Context::from_waker(Waker::noop());
            tasks.poll_no_interesting_tasks(&mut nobody).is_ready()
        });
        !rests.await.unwrap_or(false)
    }
}

/// The waiting instances of one plugin, in one revision under one file of grants.
#[derive(Debug)]
pub(super) struct WarmPool {
    policy: Reuse,
    /// Those of the whole host.
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one that came last stands last, and goes first: so the rest grow old.
    waiting: Vec<Waiting>,
    is_watched: bool,
}

struct Waiting {
    instance: Instance,
    since: Stopwatch,
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("jobs", &self.instance.jobs).finish_non_exhaustive()
    }
}

impl WarmPool {
    /// An empty pool.
    pub(super) fn new(policy: Reuse, places: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { policy, places, idle: Mutex::default() })
    }

    /// An instance that serves that attempt from now on, where one waits.
    pub(super) fn take(&self, attempt: &Arc<Attempt>) -> Option<Instance> {
        let mut instance = self.idle().waiting.pop()?.instance;
        instance.store.data_mut().serve(attempt.clone());
        Some(instance)
    }

    /// Keeps an instance that has answered, where the policy and the host have room for it.
    pub(super) fn keep(self: &Arc<Self>, mut instance: Instance) {
        instance.jobs += 1;
        let state = instance.store.data_mut();
        state.end_lines();
        if instance.jobs >= self.policy.max_jobs || state.held_bytes() > self.policy.max_memory.0 {
            return;
        }
        // Requests that are still out are the old job's, and so is most of what a guest forgets to give back.
        if state.attempt.has_requests_out() || state.handles() > HANDLES_MAX {
            return;
        }
        let mut idle = self.idle();
        // No plugin holds all places: who comes anew finds one.
        let (held, free) = (idle.waiting.len(), self.places.available_permits());
        if !Share::default().admits(held as u64, free as u64) {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        idle.waiting.push(Waiting { instance, since: Stopwatch::start(), _place: place });
        if !std::mem::replace(&mut idle.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(self), self.policy.max_idle.0));
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waits(&self) -> usize {
        self.idle().waiting.len()
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }

    /// Drops those that have waited for too long. When to look again; none where nobody waits.
    fn retire(&self) -> Option<Duration> {
        let max_idle = self.policy.max_idle.0;
        let mut idle = self.idle();
        let fresh = idle.waiting.iter().position(|waiting| waiting.since.elapsed() < max_idle);
        let count = fresh.unwrap_or(idle.waiting.len());
        let old: Vec<_> = idle.waiting.drain(..count).collect();
        let next = idle.waiting.first().map(|oldest| max_idle.saturating_sub(oldest.since.elapsed()));
        idle.is_watched = next.is_some();
        drop(idle);
        // Giving an instance back takes a while: nobody waits for it.
        drop(old);
        next
    }
}

async fn watch(pool: std::sync::Weak<WarmPool>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        match pool.upgrade().and_then(|pool| pool.retire()) {
            Some(next) => pause = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::super::testing::{Bench, call, component};
    use crate::config::PluginFile;
    use crate::job::units::{ByteSize, TimeSpan};
    use crate::job::{Outcome, OutcomeKind};

    use super::*;

    /// Counts its jobs, grows by `pages` with each, and traps at the third.
    fn counter(pages: u32) -> bytes::Bytes {
        let body = format!(
            "(global.set $jobs (i32.add (global.get $jobs) (i32.const 1)))
             (drop (memory.grow (i32.const {pages})))
             (if (i32.eq (global.get $jobs) (i32.const 3)) (then unreachable))"
        );
        component("(global $jobs (mut i32) (i32.const 0))", &body, "")
    }

    async fn outcomes(component: bytes::Bytes, reuse: Option<Reuse>, jobs: usize) -> Vec<OutcomeKind> {
        let bench = Bench::new();
        let revision = Arc::new(bench.load(component).await.unwrap());
        let file = PluginFile { reuse, ..PluginFile::default() };
        let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
        let mut kinds = Vec::new();
        for _ in 0..jobs {
            let (outcome, _) = plugin.run(call(b"1"), &CancellationToken::new()).await;
            kinds.push(outcome.kind());
        }
        kinds
    }

    #[tokio::test]
    async fn nothing_is_kept_unless_the_operator_says_so() {
        assert_eq!(outcomes(counter(0), None, 4).await, [OutcomeKind::Completed; 4]);
    }

    #[tokio::test]
    async fn an_instance_goes_on_until_it_traps() {
        use OutcomeKind::{Completed, Trap};

        let reuse = Some(Reuse::default());
        assert_eq!(outcomes(counter(0), reuse, 5).await, [Completed, Completed, Trap, Completed, Completed]);
    }

    #[tokio::test]
    async fn an_instance_is_retired_after_its_jobs_and_when_it_has_grown() {
        let two_jobs = Some(Reuse { max_jobs: 2, ..Reuse::default() });
        assert_eq!(outcomes(counter(0), two_jobs, 7).await, [OutcomeKind::Completed; 7]);
        let little = Some(Reuse { max_memory: ByteSize(1 << 20), ..Reuse::default() });
        assert_eq!(outcomes(counter(17), little, 4).await, [OutcomeKind::Completed; 4]);
    }

    #[tokio::test]
    async fn an_instance_writes_down_what_it_does_for_the_attempt_that_it_serves() {
        let body = r#"(call $log (i32.const 1) (local.get 8) (local.get 9))"#;
        let bench = Bench::new();
        let revision = Arc::new(bench.load(component("", body, "")).await.unwrap());
        let file = PluginFile { reuse: Some(Reuse::default()), ..PluginFile::default() };
        let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
        for payload in ["\"one\"", "\"two\""] {
            let (outcome, evidence) = plugin.run(call(payload.as_bytes()), &CancellationToken::new()).await;
            assert!(matches!(outcome, Outcome::Completed(_)));
            let log: Vec<_> = evidence.log.iter().map(|line| line.message.as_str()).collect();
            assert_eq!(log, [payload]);
            assert!(evidence.memory_peak_bytes >= 64 << 10, "what it holds counts from the start");
        }
    }

    #[tokio::test]
    async fn one_plugin_does_not_hold_every_place() {
        let bench = Bench::new();
        let revision = Arc::new(bench.load(counter(0)).await.unwrap());
        let places = Arc::new(Semaphore::new(10));
        let pool = |places: &Arc<Semaphore>| WarmPool::new(Reuse::default(), places.clone());
        let (greedy, modest) = (pool(&places), pool(&places));
        let instance = async |attempt: Arc<Attempt>| {
            let mut store = super::super::state::store(&revision.code.machine, 0, attempt);
            let plugin = revision.code.pre.instantiate_async(&mut store).await.unwrap();
            Instance { store, plugin, jobs: 0 }
        };
        let limits = super::super::testing::small_limits().attempt(&crate::config::LimitOverride::default());
        let attempt = Attempt::start(
            limits,
            Duration::from_secs(9),
            Arc::default(),
            None,
            Arc::new(crate::clock::SystemClock::start()),
        );
        for _ in 0..10 {
            greedy.keep(instance(attempt.clone()).await);
        }
        assert_eq!(greedy.idle().waiting.len(), 9);
        modest.keep(instance(attempt).await);
        assert_eq!((modest.idle().waiting.len(), places.available_permits()), (1, 0));
    }

    #[tokio::test]
    async fn an_instance_whose_requests_are_out_is_not_kept() {
        let bench = Bench::new();
        let revision = Arc::new(bench.load(counter(0)).await.unwrap());
        let pool = WarmPool::new(Reuse::default(), Arc::new(Semaphore::new(10)));
        let limits = super::super::testing::small_limits().attempt(&crate::config::LimitOverride::default());
        for is_out in [true, false] {
            let clock = Arc::new(crate::clock::SystemClock::start());
            let attempt = Attempt::start(limits, Duration::from_secs(9), Arc::default(), None, clock);
            let out = is_out.then(|| attempt.requests.clone().try_acquire_owned().unwrap());
            let mut store = super::super::state::store(&revision.code.machine, 0, attempt);
            let plugin = revision.code.pre.instantiate_async(&mut store).await.unwrap();
            pool.keep(Instance { store, plugin, jobs: 0 });
            assert_eq!(pool.idle().waiting.is_empty(), is_out);
            drop(out);
        }
    }

    #[tokio::test]
    async fn an_instance_that_waits_for_too_long_is_retired() {
        let bench = Bench::new();
        let revision = Arc::new(bench.load(counter(0)).await.unwrap());
        let reuse = Some(Reuse { max_idle: TimeSpan::from_ms(10), ..Reuse::default() });
        let plugin = bench.host.plugin("t", "t.toml", revision, PluginFile { reuse, ..PluginFile::default() }).unwrap();
        plugin.run(call(b"1"), &CancellationToken::new()).await;
        let pool = plugin.warm.as_ref().unwrap();
        let free = |pool: &WarmPool| pool.places.available_permits();
        assert!(free(pool) <= INSTANCES_MAX as usize);
        let all_free = async {
            while free(pool) < INSTANCES_MAX as usize {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_free).await.expect("it is retired");
        assert!(pool.idle().waiting.is_empty() && !pool.idle().is_watched);
    }
}
