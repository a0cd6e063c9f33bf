//! What a seed draws before time begins: the settings of the host, and everything that will happen to it from outside.
//!
//! Settings and kinds of trouble differ from seed to seed, and any of them may be missing: what hides behind another is
//! found by the seeds that do without it.

use std::time::Duration;

use windlass::clock::Chance;
use windlass::config::Config;
use windlass::job::Jitter;
use windlass::job::units::TimeSpan;

use crate::draw::Draw as _;

/// A second, a minute and an hour, in milliseconds.
pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
/// How long things go wrong.
const TROUBLE: i64 = 24 * HOUR;
/// The plugins; each calls two downstreams.
pub const PLUGINS: [&str; 3] = ["erp", "hook", "pay"];
pub const DOWNSTREAMS: [&str; 2] = ["north", "south"];

/// What happens from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// So many jobs are enqueued one by one, or as one batch.
    Enqueue {
        jobs: u32,
        as_batch: bool,
    },
    /// A request comes once more under its idempotency key, with the same body or another.
    Repeat {
        same: bool,
    },
    Cancel,
    Retry,
    Pause {
        plugin: usize,
        paused: bool,
    },
    /// The plugin's files go away.
    Remove(usize),
    /// A component that cannot be loaded where there is no other.
    Break(usize),
    /// A new revision; one that traps, or a good one.
    Swap {
        plugin: usize,
        traps: bool,
    },
    /// Its grants are edited: taken away, or given.
    Grant {
        plugin: usize,
        granted: bool,
    },
    /// Its limits are edited.
    Limit(usize),
    Weather {
        downstream: usize,
        weather: Weather,
    },
    /// A person holds, releases or probes a downstream.
    Act {
        downstream: usize,
        act: usize,
    },
    /// The wall clock steps by so many milliseconds.
    Step(i64),
    /// The next commit takes so long.
    Stall(i64),
    /// The disk is full for so long.
    Full(i64),
    /// The next write fails; on disk or not.
    Fail {
        is_on_disk: bool,
    },
    /// The host dies, after so many further effects.
    Crash {
        effects: u32,
    },
    /// The host is told to stop.
    Stop,
    /// Everything is well from now on.
    Heal,
}

/// How a downstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weather {
    Up,
    Down,
    Hangs,
    /// Everybody is asked to wait so many milliseconds.
    Limits(u32),
    /// Up and down by turns.
    Flaps,
}

/// See the module.
pub struct Plan {
    pub config: Config,
    /// How many waiting jobs the store holds in memory.
    pub held_jobs_max: usize,
    /// How often an attempt goes wrong though all is well.
    pub trouble: f64,
    /// What happens, and when, in the order of time.
    pub events: Vec<(i64, Event)>,
}

impl Plan {
    pub fn draw(chance: &Chance) -> Self {
        let events = events(chance);
        let held_jobs_max = chance.one_of(&[16, 60, 1_000_000, 1_000_000]);
        Self { config: config(chance), held_jobs_max, trouble: chance.unit() * 0.1, events }
    }
}

impl Plan {
    /// Nothing but this happens, and some hours after it everything heals.
    pub fn only(events: Vec<(i64, Event)>) -> Self {
        let mut config = Config::default();
        config.retention.every = TimeSpan::from_secs(600);
        (config.retention.completed, config.retention.cancelled) = (TimeSpan::from_secs(60), TimeSpan::from_secs(60));
        config.retention.discarded = TimeSpan::from_secs(60);
        let ends = events.iter().map(|(at, event)| match event {
            Event::Full(ms) | Event::Stall(ms) => at + ms,
            _ => *at,
        });
        let heals_at = ends.max().unwrap_or(0) + 3 * HOUR;
        let mut events = events;
        events.push((heals_at, Event::Heal));
        events.sort();
        Self { config, held_jobs_max: 1_000_000, trouble: 0.0, events }
    }

    /// When everything is well again: nothing happens after that.
    pub fn healed_at(&self) -> i64 {
        self.events.last().map_or(0, |(at, _)| *at)
    }
}

fn config(chance: &Chance) -> Config {
    let mut config = Config::default();
    let secs = |most: usize| TimeSpan::from_secs(1 + chance.below(most) as u64);
    let hours = |most: usize| TimeSpan::from_secs(3_600 * (1 + chance.below(most) as u64));
    config.limits.concurrency = chance.one_of(&[3, 8, 24]);
    config.retry.base = secs(5);
    config.retry.cap = TimeSpan::from_secs(chance.one_of(&[60, 300, 900]));
    config.retry.jitter = chance.one_of(&[Jitter::None, Jitter::Equal, Jitter::Full]);
    config.retry.max_attempts = 3 + chance.below(15) as u32;
    config.breaker.failures = 2 + chance.below(5) as u32;
    config.breaker.probe = secs(5);
    config.breaker.probe_cap = TimeSpan::from_secs(chance.one_of(&[60, 180, 600]));
    config.breaker.probes = 1 + chance.below(3) as u32;
    config.breaker.successes = 1 + chance.below(3) as u32;
    config.breaker.initial = 1 + chance.below(8) as u32;
    config.breaker.count_rate_limits = chance.happens(0.2);
    config.fairness.share = chance.one_of(&[0.5, 0.9, 1.0]);
    config.queue.high_water = chance.one_of(&[150, 400, 10_000, 10_000]);
    (config.retention.completed, config.retention.cancelled) = (hours(4), hours(4));
    config.retention.discarded = hours(12);
    config.retention.every = TimeSpan::from_secs(600);
    config.plugins.scan = TimeSpan::from_secs(3_600);
    config
}

fn events(chance: &Chance) -> Vec<(i64, Event)> {
    let mut events = Vec::new();
    let mut at_times = |most: usize, make: &dyn Fn() -> Event| {
        for _ in 0..chance.below(most + 1) {
            events.push(((chance.unit() * TROUBLE as f64) as i64, make()));
        }
    };
    let plugin = || chance.below(PLUGINS.len());
    let downstream = || chance.below(PLUGINS.len() * DOWNSTREAMS.len());
    at_times(240, &|| Event::Enqueue { jobs: 1 + chance.below(2) as u32, as_batch: false });
    at_times(4, &|| Event::Enqueue { jobs: 20 + chance.below(60) as u32, as_batch: chance.happens(0.5) });
    if chance.happens(0.04) {
        at_times(2, &|| Event::Enqueue { jobs: 1_000 + chance.below(2_000) as u32, as_batch: true });
    }
    at_times(20, &|| Event::Repeat { same: chance.happens(0.7) });
    at_times(30, &|| Event::Cancel);
    at_times(15, &|| Event::Retry);
    at_times(4, &|| Event::Pause { plugin: plugin(), paused: chance.happens(0.5) });
    at_times(2, &|| Event::Remove(plugin()));
    at_times(2, &|| Event::Break(plugin()));
    at_times(6, &|| Event::Swap { plugin: plugin(), traps: chance.happens(0.4) });
    at_times(6, &|| Event::Grant { plugin: plugin(), granted: chance.happens(0.6) });
    at_times(4, &|| Event::Limit(plugin()));
    at_times(10, &|| Event::Weather { downstream: downstream(), weather: weather(chance) });
    at_times(6, &|| Event::Weather { downstream: downstream(), weather: Weather::Up });
    at_times(5, &|| Event::Act { downstream: downstream(), act: chance.below(4) });
    at_times(3, &|| Event::Step(chance.one_of(&[-HOUR, 24 * HOUR, -SECOND, 700])));
    at_times(4, &|| Event::Stall(chance.below(5_000) as i64));
    at_times(2, &|| Event::Full(chance.below(20 * MINUTE as usize) as i64));
    at_times(2, &|| Event::Fail { is_on_disk: chance.happens(0.5) });
    at_times(8, &|| Event::Crash { effects: chance.below(40) as u32 });
    at_times(2, &|| Event::Stop);
    events.push((TROUBLE, Event::Heal));
    events.sort();
    events
}

fn weather(chance: &Chance) -> Weather {
    let pause = Duration::from_secs(1 + chance.below(1_200) as u64);
    let limits = Weather::Limits(u32::try_from(pause.as_millis()).expect("some minutes"));
    chance.one_of(&[Weather::Down, Weather::Down, Weather::Hangs, limits, Weather::Flaps])
}
