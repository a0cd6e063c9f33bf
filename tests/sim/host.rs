//! One life of the host: the real worker, in a runtime whose time is simulated, until it stops or dies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use windlass::api::Arriving;
use windlass::clock::{Chance, Clock as _, UnixMs};
use windlass::job::{Disposition, Gates, OutcomeKind};
use windlass::store::{Finish, Finished, HealthKeeper, Lease, Store};
use windlass::telemetry::Metrics;
use windlass::worker::{Parts, PluginNews, Worker};

use crate::book::Begun;
use crate::draw::Draw as _;
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::plugins::{Crew, Source};
use crate::store::SimStore;
use crate::trace::Effect;
use crate::world::{SimClock, World};

/// So long a host that is told to stop waits for a full disk at least, before it gives up on it.
const FULL_WAIT: i64 = 4 * SECOND;

/// What the people outside have in hand of a host.
#[derive(Clone)]
pub struct Host {
    pub world: Arc<World>,
    pub life: u32,
    pub clock: SimClock,
    pub store: Arc<SimStore>,
    pub gates: Arc<Mutex<Gates>>,
    pub keeper: HealthKeeper,
    pub wake: Arc<Notify>,
    pub folder: Arc<Notify>,
    pub arriving: Arc<Arriving>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The host was killed.
    Died,
    /// It is told to stop, and starts again.
    Stops,
    /// Everything has come to its end.
    Done,
}

/// Lives one life in the world. True where it was the last.
pub fn live(world: &Arc<World>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without a driver").block_on(async {
        let (life, clock) = world.begin_life();
        let (host, news) = Host::new(world, life, clock);
        let ending = host.live(news).await;
        let pause = world.chance.one_of(&[1, SECOND, MINUTE]);
        world.end_life(1 + world.chance.below(pause.unsigned_abs() as usize) as i64);
        ending == Ending::Done
    })
}

impl Host {
    fn new(world: &Arc<World>, life: u32, clock: SimClock) -> (Self, mpsc::UnboundedReceiver<PluginNews>) {
        let config = &world.plan.config;
        let concurrency = config.limits.concurrency;
        let gates = Gates::judging(concurrency, config.breaker.policy(concurrency)).shared(config.fairness.policy());
        let gates = Arc::new(Mutex::new(gates));
        {
            let mut state = world.state();
            state.life.gates = Some(gates.clone());
            state.shelf.is_new_to_the_host();
        }
        let store = SimStore::open(world, life, clock.clone());
        let keeper = HealthKeeper::new(store.clone(), gates.clone());
        let (wake, folder, arriving) = (Arc::default(), Arc::default(), Arc::default());
        let (changes, news) = mpsc::unbounded_channel();
        let host = Self { world: world.clone(), life, clock, store, gates, keeper, wake, folder, arriving };
        tokio::spawn(host.store.clone().write());
        host.world.state().life.source =
            Some(Arc::new(Source { world: world.clone(), life, changes, changed: host.folder.clone() }));
        (host, news)
    }

    fn parts(&self) -> Parts {
        let source = self.world.state().life.source.clone().expect("made with the host");
        Parts {
            store: self.store.clone(),
            plugins: source,
            handlers: Arc::new(Crew { world: self.world.clone(), life: self.life }),
            gates: self.gates.clone(),
            keeper: self.keeper.clone(),
            wake: self.wake.clone(),
            config: Arc::new(self.world.plan.config.clone()),
            clock: Arc::new(self.clock.clone()),
            chance: Arc::new(Chance::seeded(self.world.chance.bits())),
            metrics: Arc::new(Metrics::new()),
        }
    }

    async fn live(&self, news: mpsc::UnboundedReceiver<PluginNews>) -> Ending {
        let started = tokio::select! {
            biased;
            () = self.died() => return Ending::Died,
            started = Worker::start(self.parts(), news) => started,
        };
        let Ok(worker) = started else { return Ending::Died };
        {
            let mut state = self.world.state();
            state.life.ready_at = Some(self.clock.now());
            state.note(Effect::Ready);
            state.check_rescue();
        }
        tokio::spawn(self.clone().watch());
        for (lease, begun) in std::mem::take(&mut self.world.state().left_behind) {
            tokio::spawn(self.clone().comes_late(lease, begun));
        }
        let ending = tokio::select! {
            biased;
            () = self.died() => return Ending::Died,
            ending = self.drive() => ending,
        };
        let grace = Duration::from_millis(self.world.chance.below(5_000) as u64);
        let (told_at, told_at_ms) = (self.clock.now(), self.world.state().now());
        tokio::select! {
            biased;
            () = self.died() => return Ending::Died,
            () = worker.stop(grace, std::future::pending()) => {}
        }
        self.has_stopped(told_at.after(grace), told_at_ms);
        ending
    }

    async fn died(&self) {
        loop {
            if self.world.state().life.is_dead {
                return;
            }
            self.world.died.notified().await;
        }
    }

    /// Lets happen what the plan says, until the host is to stop.
    async fn drive(&self) -> Ending {
        loop {
            let (now, next, is_ill) = {
                let state = self.world.state();
                let is_ill = state.disk.fails.is_some() || state.life.failed_at.is_some();
                (state.now(), state.next_event(&self.world.plan), is_ill)
            };
            if let Some((_, event)) = next.filter(|(at, _)| *at <= now) {
                self.world.state().happened += 1;
                if let Some(ending) = self.happen(event) {
                    return ending;
                }
                continue;
            }
            let pause = if is_ill { 20 * SECOND } else { 10 * MINUTE };
            let until = next.map_or(now + pause, |(at, _)| at.min(now + pause));
            tokio::time::sleep(Duration::from_millis((until - now).unsigned_abs())).await;
            if self.world.state().life.failed_at.is_some() {
                return Ending::Stops;
            }
            if next.is_none() && self.is_all_over() {
                return Ending::Done;
            }
        }
    }

    /// Whether every job is final and was deleted; too late is a mistake.
    fn is_all_over(&self) -> bool {
        let mut state = self.world.state();
        let left = state.book.unfinished().next().cloned();
        let healed_for = state.now() - self.world.plan.healed_at();
        if let Some(left) = left {
            if healed_for > 8 * HOUR {
                state.accuse(format!("a job does not come to its end: {left:?}"));
                self.world.died.notify_one();
            }
            return false;
        }
        let is_over = state.book.jobs.is_empty();
        if !is_over && healed_for > 30 * HOUR {
            let left = state.book.jobs.values().next().cloned();
            state.accuse(format!("a job is never deleted: {left:?}"));
            self.world.died.notify_one();
        }
        is_over
    }

    /// What must hold of a host that has stopped in order.
    fn has_stopped(&self, grace_over_at: UnixMs, told_at_ms: i64) {
        let mut state = self.world.state();
        // What a full disk does not take, or a failed one, is repeated.
        let has_failed = self.store.health().is_err() || state.disk.full_until >= told_at_ms;
        state.has_kept_health = self.store.health().is_ok() && state.disk.full_until < told_at_ms + FULL_WAIT;
        // Attempts that are called off may take a while, and so may the disk.
        let took_longer = self.clock.now().since(grace_over_at);
        if took_longer > Duration::from_secs(25) {
            state.accuse(format!("the host stopped {took_longer:?} after its grace was over"));
        }
        let left = state.book.unfinished().find(|job| job.attempt.is_some()).cloned();
        if let Some(left) = left.filter(|_| !has_failed) {
            state.accuse(format!("the host stopped, and did not hand back {left:?}"));
        }
        if !has_failed {
            let life = self.life;
            state.orderly.insert(life);
        }
        if !state.life.running.is_empty() {
            state.accuse("the host stopped, and attempts still run".to_owned());
        }
    }

    /// An attempt of an earlier life ends after all, as if another host had run it.
    async fn comes_late(self, lease: Lease, begun: Begun) {
        tokio::time::sleep(Duration::from_millis(self.world.chance.below(2_000) as u64)).await;
        let (kind, disposition) = (OutcomeKind::Completed, Disposition::Complete);
        let finish = Finish::bare(lease, begun.n, begun.started_at, self.clock.now(), kind, disposition);
        self.world.state().tally.count("late result of an earlier life");
        if let Ok(answers) = self.store.finish(&[finish]).await
            && answers != [Finished::Fenced]
        {
            self.world.accuse(format!("a result of an earlier life counts: {lease:?}"));
        }
    }

    /// Looks now and then, when nothing goes on, whether nobody was forgotten.
    async fn watch(self) {
        loop {
            let pause = MINUTE + self.world.chance.below(30 * MINUTE as usize) as i64;
            tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
            let mut tries = 0;
            // While something goes on it may look wrong for a moment.
            while let Some(wrong) = self.store.what_is_wrong(&self.gates) {
                tries += 1;
                if tries > 25 {
                    self.world.accuse(wrong);
                    break;
                }
                let pause = 1 + self.world.chance.below(80) as u64;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    }
}
