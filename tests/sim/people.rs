//! What happens from outside: people, programs, the folder, the disk, the weather.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass::api::Ticket;
use windlass::clock::Clock as _;
use windlass::job::health::{Act, ActKind, Overrides};
use windlass::job::units::TimeSpan;
use windlass::job::{JobId, JobSpec, Lane, PluginStanding, RetryOverride, State as JobState};
use windlass::store::{Acted, Enqueued, NewJob, Standing, Store as _};

use crate::draw::Draw as _;
use crate::host::{Ending, Host};
use crate::plan::{DOWNSTREAMS, Event, PLUGINS, Weather};
use crate::plugins::limits;
use crate::trace::Effect;

impl Host {
    /// Lets one thing happen. How the host ends, where it ends by it.
    pub fn happen(&self, event: Event) -> Option<Ending> {
        self.world.state().note(Effect::Outside(event));
        match event {
            Event::Enqueue { jobs, as_batch } => self.enqueue(jobs, as_batch),
            Event::Repeat { same } => self.repeat(same),
            Event::Cancel => self.cancel(),
            Event::Retry => self.retry(),
            Event::Pause { plugin, paused } => self.pause(plugin, paused),
            Event::Remove(_) | Event::Break(_) | Event::Swap { .. } | Event::Grant { .. } | Event::Limit(_) => {
                self.edit(event);
            }
            Event::Weather { downstream, weather } => self.weather(downstream, weather),
            Event::Act { downstream, act } => {
                let act = match act {
                    0 => {
                        let until = Some(self.clock.now().after(Duration::from_secs(3_600)));
                        ActKind::Hold { until, reason: None }
                    }
                    1 => ActKind::Release,
                    2 => ActKind::Probe,
                    _ => ActKind::Limit(Overrides { concurrency: Some(2), rate: None }),
                };
                self.count("act on a downstream");
                self.act(downstream, act);
            }
            Event::Step(ms) => {
                self.world.state().wall_ahead += ms;
                self.count(if ms < 0 { "clock step back" } else { "clock step forward" });
            }
            Event::Stall(ms) => self.world.state().disk.stall_ms = Some(ms),
            Event::Full(ms) => {
                let mut state = self.world.state();
                state.disk.full_until = state.now() + ms;
            }
            Event::Fail { is_on_disk } => self.world.state().disk.fails = Some(is_on_disk),
            Event::Crash { effects } => self.world.state().life.fuse = Some(effects),
            Event::Stop => {
                self.count("graceful stop");
                return Some(Ending::Stops);
            }
            Event::Heal => self.heal(),
        }
        None
    }

    fn count(&self, what: &'static str) {
        self.world.state().tally.count(what);
    }

    fn enqueue(&self, jobs: u32, as_batch: bool) {
        if jobs >= 20 {
            self.count(if jobs >= 1_000 { "burst of thousands" } else { "burst" });
        }
        let jobs: Vec<_> = (0..jobs).map(|_| self.new_job()).collect();
        if as_batch {
            self.send(jobs);
        } else {
            jobs.into_iter().for_each(|job| self.send(vec![job]));
        }
    }

    fn new_job(&self) -> NewJob {
        let (chance, now) = (&self.world.chance, self.clock.now());
        let later_ms = chance.one_of(&[0, 0, 0, 0, 700, 90_000, 7_200_000]);
        let max_attempts = chance.one_of(&[None, None, None, Some(2)]);
        // What a job says of its own delay is its own matter: it does not bound how long others are held.
        let cap = chance.one_of(&[None, None, None, None, Some(0), Some(1_800)]).map(TimeSpan::from_secs);
        let number = chance.below(1_000_000);
        let spec = JobSpec {
            plugin: PLUGINS[chance.below(PLUGINS.len())].to_owned(),
            downstream: DOWNSTREAMS[chance.below(DOWNSTREAMS.len())].to_owned(),
            limit_key: chance.happens(0.15).then(|| format!("key {}", number % 3)),
            content_type: "application/json".to_owned(),
            payload: Default::default(),
            run_at: now.after(Duration::from_millis(chance.below(later_ms + 1) as u64)),
            priority: chance.one_of(&[0, 0, 5, -5]),
            retry: RetryOverride { max_attempts, cap, ..RetryOverride::default() },
            deadline: None,
            labels: BTreeMap::new(),
            traceparent: None,
            idempotency_key: chance.happens(0.5).then(|| format!("order {number}")),
        };
        NewJob { spec, request_digest: [7; 32] }
    }

    /// A program sends jobs, where the door lets them in.
    fn send(&self, jobs: Vec<NewJob>) {
        let Some(ticket) = self.ticket(&jobs) else {
            self.count("batch refused at the high-water mark");
            return self.look_up(jobs);
        };
        let host = self.clone();
        tokio::spawn(async move {
            let sent = jobs.len();
            let answers = host.store.enqueue(jobs.clone(), host.clock.now()).await;
            drop(ticket);
            let Ok(answers) = answers else { return };
            let mut state = host.world.state();
            if answers.len() != sent {
                state.accuse(format!("{sent} jobs have {} answers", answers.len()));
            }
            for (job, answer) in jobs.into_iter().zip(answers) {
                match answer {
                    Enqueued::Created(id) | Enqueued::Replayed(id) => state.promise(id, job),
                    Enqueued::KeyReused(_) => state.tally.count("repeat under another body"),
                    Enqueued::Withheld => {}
                }
            }
        });
    }

    /// A job that the door has no room for may be the repeat of one that was accepted, see `host/api/jobs/enqueue.rs`.
    fn look_up(&self, mut jobs: Vec<NewJob>) {
        let Some(job) = jobs.pop().filter(|_| jobs.is_empty()) else { return };
        let Some(key) = job.spec.idempotency_key.clone() else { return };
        let host = self.clone();
        tokio::spawn(async move {
            let Ok(Some(known)) = host.store.keyed(&key).await else { return };
            let mut state = host.world.state();
            if known.request_digest == job.request_digest {
                state.tally.count("repeat answered above the high-water mark");
                state.promise(known.id, job);
            } else {
                state.tally.count("repeat under another body");
            }
        });
    }

    /// As the door asks, see `host/api/jobs/room.rs`.
    fn ticket(&self, jobs: &[NewJob]) -> Option<Ticket> {
        let more =
            PLUGINS.iter().map(|plugin| (*plugin, jobs.iter().filter(|job| job.spec.plugin == *plugin).count() as u64));
        let more = more.filter(|(_, count)| *count > 0);
        let queue = self.world.plan.config.high_water(false);
        self.arriving.draw(queue, more, |plugin| self.store.unfinished(plugin)).ok()
    }

    fn repeat(&self, same: bool) {
        let job = {
            let state = self.world.state();
            let Some(last) = state.requests.len().checked_sub(1) else { return };
            state.requests[last - self.world.chance.below(last + 1)].clone()
        };
        self.count("repeat under the same body");
        self.send(vec![NewJob { request_digest: [if same { 7 } else { 8 }; 32], ..job }]);
    }

    /// A job in one of these states.
    fn pick(&self, states: &[JobState]) -> Option<JobId> {
        let (state, now) = (self.world.state(), self.clock.now());
        let fitting: Vec<_> = state.book.jobs.values().filter(|job| states.contains(&job.state(now))).collect();
        (!fitting.is_empty()).then(|| fitting[self.world.chance.below(fitting.len())].id)
    }

    fn cancel(&self) {
        use JobState::{Available, Retryable, Running, Scheduled};
        let states: &[_] =
            if self.world.chance.happens(0.5) { &[Running] } else { &[Available, Retryable, Scheduled, Running] };
        let Some(id) = self.pick(states).or_else(|| self.pick(&[Available, Retryable, Scheduled])) else { return };
        let host = self.clone();
        tokio::spawn(async move {
            if let Ok(Acted::Done) = host.store.cancel(id, host.clock.now()).await {
                host.count("cancel");
                // Often at once, while its attempt still ends.
                if host.world.chance.happens(0.3) {
                    host.try_again(id).await;
                }
            }
        });
    }

    fn retry(&self) {
        use JobState::{Cancelled, Discarded, Retryable, Scheduled};
        let Some(id) = self.pick(&[Cancelled, Discarded, Retryable, Scheduled]) else { return };
        let host = self.clone();
        tokio::spawn(async move { host.try_again(id).await });
    }

    async fn try_again(&self, id: JobId) {
        if let Ok(Acted::Done) = self.store.retry(id, self.clock.now()).await {
            self.count("retry by a person");
        }
    }

    fn pause(&self, plugin: usize, paused: bool) {
        self.count("pause");
        let host = self.clone();
        tokio::spawn(async move {
            let name = PLUGINS[plugin].to_owned();
            if host.store.set_standing(Standing::Plugin { name, paused }).await.is_ok() {
                host.gates.lock().expect("nobody panicked").set_paused(PLUGINS[plugin], paused);
                let now = host.clock.now();
                host.world.state().paused[plugin] = paused.then_some(now);
                host.wake.notify_one();
            }
        });
    }

    /// Somebody edits the folder.
    fn edit(&self, event: Event) {
        let mut state = self.world.state();
        match event {
            Event::Remove(plugin) => {
                state.tally.count("removed plugin");
                state.shelf.edit(plugin, false, |plugin| plugin.standing = PluginStanding::Missing);
            }
            Event::Break(plugin) => {
                state.tally.count("broken plugin");
                let standing = PluginStanding::Broken("not a component".to_owned());
                state.shelf.edit(plugin, false, |plugin| plugin.standing = standing);
            }
            Event::Swap { plugin, traps } => {
                state.tally.count("swap");
                state.shelf.edit(plugin, false, |plugin| {
                    (plugin.standing, plugin.traps) = (PluginStanding::Ready, traps);
                });
            }
            Event::Grant { plugin, granted } => {
                state.tally.count("edit of the grants");
                state.shelf.edit(plugin, true, |plugin| plugin.is_granted = granted);
            }
            Event::Limit(plugin) => {
                state.tally.count("edit of the limits");
                let limits = limits(&self.world.chance);
                state.shelf.edit(plugin, true, |plugin| plugin.limits = limits);
            }
            _ => {}
        }
        self.folder.notify_one();
    }

    fn weather(&self, downstream: usize, weather: Weather) {
        match weather {
            Weather::Up => {}
            Weather::Down => self.count("downstream down"),
            Weather::Hangs => self.count("downstream hanging"),
            Weather::Limits(_) => self.count("downstream that limits"),
            Weather::Flaps => self.count("downstream flapping"),
        }
        let mut state = self.world.state();
        let now = state.now();
        if let Some((calls, most)) = state.downstreams[downstream].set(weather, now, &self.world.plan.config) {
            state.tally.add("call of a downstream that is down", calls);
            if calls > most {
                state.accuse(format!("downstream {downstream} was called {calls} times while it was down, not {most}"));
            }
        }
    }

    fn act(&self, downstream: usize, what: ActKind) {
        {
            let mut state = self.world.state();
            state.downstreams[downstream].outage.beginnings += 1;
            state.downstreams[downstream].asked = None;
        }
        let host = self.clone();
        tokio::spawn(async move {
            let lane = Lane::new(PLUGINS[downstream / DOWNSTREAMS.len()], DOWNSTREAMS[downstream % DOWNSTREAMS.len()]);
            let until = if let ActKind::Hold { until, .. } = what { until } else { None };
            if host.keeper.act(&lane, Act { at: host.clock.now(), what }).await.is_ok() {
                let now = host.clock.now();
                host.world.state().downstreams[downstream].asked = until.map(|until| (now, until));
                host.wake.notify_one();
            }
        });
    }

    /// Everything is well from now on, and people have undone what they did. Breakers close and holds end by themselves.
    fn heal(&self) {
        {
            let mut state = self.world.state();
            state.is_healed = true;
            (state.disk.full_until, state.disk.fails, state.life.fuse) = (0, None, None);
            for plugin in 0..PLUGINS.len() {
                state.shelf.edit(plugin, true, |plugin| {
                    (plugin.standing, plugin.traps, plugin.is_granted) = (PluginStanding::Ready, false, true);
                });
            }
        }
        self.folder.notify_one();
        for downstream in 0..PLUGINS.len() * DOWNSTREAMS.len() {
            self.weather(downstream, Weather::Up);
            self.act(downstream, ActKind::Limit(Overrides::default()));
        }
        (0..PLUGINS.len()).for_each(|plugin| self.pause(plugin, false));
    }
}
