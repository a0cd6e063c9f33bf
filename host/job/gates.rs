//! Who may run now: the limits and standings that stand between a waiting job and its attempt.
//!
//! A state machine: the host tells it what changed, the store asks it for leave before it hands out a job, and the API
//! asks it why a job waits. It knows no clock; each question carries the present moment.
//!
//! Who asked in vain is told when it is worth asking again, so that what is closed costs nothing, however many lanes wait
//! behind it: see [`Admission::opened`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::health::{Act, Bounds, Change, Ended, Health, HealthPolicy, Kept, Sign};
use super::share::Share;
use crate::clock::UnixMs;

mod admission;
mod count;
mod key_gate;
mod known;
mod lane;
mod limits;
mod past;
mod places;
mod plugin_gate;
mod rate;
mod waiting;

pub use admission::{Admission, Admit, Doors, Opened};
use key_gate::KeyGates;
use known::Known;
pub use lane::{KeyName, Lane, LaneRef};
pub use limits::{KeyLimits, PluginLimits};
use places::Places;
use plugin_gate::PluginGate;
pub use rate::Rate;
pub(in crate::job) use rate::Spent;
pub use waiting::{WaitReason, Waiting};

/// Whether a plugin can take jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginStanding {
    /// A revision is loaded.
    Ready,
    /// There is a file and no revision of it could be loaded; the text says why.
    Broken(String),
    /// Its first component is being compiled.
    Loading,
    /// There is no file.
    Missing,
}

/// Who an attempt was sent to look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Whether its downstream is back.
    Downstream,
    /// Whether its plugin works again.
    Plugin,
}

/// What an attempt that ended was, and changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// It was sent to see whether the downstream is back, or the plugin works again, and it was not: that is not held
    /// against its job.
    pub is_free: bool,
    /// It was sent to look after these, and failed as they did.
    pub found_ill: Option<Probed>,
    /// What people are told of.
    pub change: Option<Change>,
    /// What is kept over a restart is other than it was.
    pub to_keep: bool,
}

/// All gates of one host.
#[derive(Debug)]
pub struct Gates {
    places: Places,
    lanes: Known,
    /// By their names, which are the operator's: nobody outside can choose them so that a plain hash is slow.
    plugins: FxHashMap<Arc<str>, PluginGate>,
    keys: KeyGates,
    health: HealthPolicy,
    stopped: bool,
    refused_downstreams: HashSet<Lane>,
    refused_plugins: HashSet<Arc<str>>,
    opened: Doors,
    /// When the lanes were last looked through for those with nothing to remember.
    swept_at: UnixMs,
    /// From so many lanes on they are looked through at once.
    sweep_from: usize,
    /// When the last attempt ended.
    ended_at: UnixMs,
}

impl Gates {
    /// Gates of a host that runs at most `concurrency` attempts at once. Every plugin is missing until it is said.
    #[must_use]
    pub fn new(concurrency: u32) -> Self {
        Self::judging(concurrency, HealthPolicy::default())
    }

    /// The same, with that policy of health.
    #[must_use]
    pub fn judging(concurrency: u32, health: HealthPolicy) -> Self {
        Self {
            places: Places::new(concurrency),
            lanes: Known::default(),
            plugins: FxHashMap::default(),
            keys: KeyGates::default(),
            health,
            stopped: false,
            refused_downstreams: HashSet::new(),
            refused_plugins: HashSet::new(),
            opened: Doors::default(),
            swept_at: UnixMs(0),
            sweep_from: past::LANES_MANY,
            ended_at: UnixMs(0),
        }
    }

    /// The same, shared by the plugins like that.
    #[must_use]
    pub fn shared(mut self, share: Share) -> Self {
        self.places.share_by(share);
        self
    }

    /// How downstreams are judged.
    #[must_use]
    pub fn health_policy(&self) -> &HealthPolicy {
        &self.health
    }

    /// Says how a plugin stands.
    pub fn set_standing(&mut self, plugin: &str, standing: PluginStanding) {
        let is_there = standing != PluginStanding::Missing;
        let gate = self.plugin(plugin);
        let was_there = std::mem::replace(&mut gate.standing, standing) != PluginStanding::Missing;
        self.places.count_plugin(was_there, is_there);
        self.plugin_opened(plugin);
    }

    /// Says that a plugin is another one from now on: that it failed by itself before says nothing of it.
    pub fn forgive(&mut self, plugin: &str, now: UnixMs) {
        self.plugin(plugin).forgive(now);
        self.plugin_opened(plugin);
    }

    /// Says what bounds a plugin.
    pub fn set_limits(&mut self, plugin: &str, limits: PluginLimits) {
        self.plugin(plugin).limits = limits;
        self.plugin_opened(plugin);
        // They are part of what bounds its downstreams, and bound its limit keys.
        self.opened.downstreams.extend(self.refused_downstreams.extract_if(|lane| &*lane.plugin == plugin));
        self.opened.keys.extend(self.keys.reopen(plugin));
    }

    /// Pauses a plugin, or lets it go on.
    pub fn set_paused(&mut self, plugin: &str, paused: bool) {
        self.plugin(plugin).paused = paused;
        self.plugin_opened(plugin);
    }

    /// Whether a person paused the plugin.
    #[must_use]
    pub fn is_paused(&self, plugin: &str) -> bool {
        self.plugins.get(plugin).is_some_and(|gate| gate.paused)
    }

    /// Admits nothing any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// An attempt ended. `draw`, from 0 to 1, spreads the next probe. Whoever asks for leave is to be woken after it.
    pub fn end(&mut self, lane: &Lane, ended: &Ended, now: UnixMs, draw: f64) -> Judged {
        self.leave(lane);
        self.ended_at = self.ended_at.max(now);
        let bounds = self.bounds(&lane.plugin);
        let whole = lane.whole();
        let policy = &self.health;
        let ended_here = self
            .lanes
            .change(&whole, |health| (health.is_probe(ended.started_at), health.end(policy, bounds, ended, now, draw)));
        let Some((was_downstream_probe, change)) = ended_here else {
            return Judged { is_free: false, found_ill: None, change: None, to_keep: false };
        };
        self.downstream_opened(&whole);
        self.sweep(now);
        let gate = self.plugin(&lane.plugin);
        let was_plugin_probe = gate.is_probe(ended.started_at);
        let of_plugin = gate.end(ended, now, draw);
        self.plugin_opened(&lane.plugin);
        // What a job does by itself is held against it also where it was the one that was sent.
        let found_ill = match ended.sign {
            Sign::Ill(_) | Sign::Busy(..) => was_downstream_probe.then_some(Probed::Downstream),
            Sign::Unfit(_) => was_plugin_probe.then_some(Probed::Plugin),
            Sign::Nothing | Sign::Well | Sign::Silent => None,
        };
        let says_nothing = matches!(ended.sign, Sign::Nothing) && (was_downstream_probe || was_plugin_probe);
        let is_free = found_ill.is_some() || says_nothing;
        Judged { is_free, found_ill, to_keep: was_downstream_probe || change.is_some(), change: change.or(of_plugin) }
    }

    /// Gives back the place of an attempt that never began, or says nothing of its downstream.
    pub fn give_back(&mut self, lane: &Lane, started_at: UnixMs, now: UnixMs) {
        self.leave(lane);
        let whole = lane.whole();
        self.lanes.change(&whole, |health| health.give_back(started_at, now));
        self.plugin(&lane.plugin).give_back(started_at, now);
        self.plugin_opened(&lane.plugin);
        self.downstream_opened(&whole);
    }

    fn leave(&mut self, lane: &Lane) {
        let held = self.plugins.get_mut(&lane.plugin).map_or(0, |gate| {
            gate.running = gate.running.saturating_sub(1);
            gate.running
        });
        self.places.give_back(&lane.plugin, held);
        self.plugin_opened(&lane.plugin);
        self.opened.keys.extend(self.keys.leave(lane));
    }

    /// The health of a downstream, where anything is known of it.
    #[must_use]
    pub fn health(&self, lane: &Lane) -> Option<&Health> {
        self.lanes.get(lane)
    }

    /// The downstreams of which anything is known, from that one on, in their order and there in that of the plugins. Costs
    /// as much as is taken.
    pub fn known_from(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.lanes.from(first)
    }

    /// How many downstreams of each plugin are down, where any is.
    #[must_use]
    pub fn down(&self) -> &BTreeMap<Arc<str>, u64> {
        self.lanes.down()
    }

    /// A person does something to a downstream.
    pub fn act(&mut self, lane: &Lane, act: Act) {
        let policy = &self.health;
        self.lanes.learn(lane, || Health::new(policy));
        self.lanes.change(lane, |health| health.act(policy, act));
        self.downstream_opened(lane);
    }

    /// Says what was kept of a downstream.
    pub fn restore_health(&mut self, lane: &Lane, kept: Kept) {
        let restored = Health::restored(&self.health, kept);
        self.lanes.learn(lane, || Health::new(&self.health));
        self.lanes.change(lane, |health| *health = restored);
    }

    /// What bounds each of a plugin's downstreams whatever its health.
    #[must_use]
    pub fn bounds(&self, plugin: &str) -> Bounds {
        let limits = self.plugins.get(plugin).map(|gate| gate.limits).unwrap_or_default();
        let said = limits.concurrency.into_iter().chain(limits.per_downstream.concurrency).min();
        let all = self.places.all();
        Bounds { ceiling: said.unwrap_or(all).min(all), rate: limits.per_downstream.rate }
    }

    /// Why a due job of this lane would not start at this moment; none where it would.
    #[must_use]
    pub fn why_waiting(&self, lane: &Lane, now: UnixMs) -> Option<Waiting> {
        if let Some(waiting) = self.plugin_waits(&lane.plugin, now) {
            return Some(waiting);
        }
        if let Some(waiting) = self.downstream_waits(lane, now).or_else(|| self.key_waits(lane, now)) {
            return Some(waiting);
        }
        if self.stopped {
            let detail = Some("the host is stopping".to_owned());
            return Some(Waiting { reason: WaitReason::Concurrency, until: None, detail });
        }
        self.places.why_waiting(self.running_of(&lane.plugin))
    }

    fn plugin_waits(&self, plugin: &str, now: UnixMs) -> Option<Waiting> {
        match self.plugins.get(plugin) {
            Some(gate) => gate.why_waiting(now),
            None => PluginGate::default().why_waiting(now),
        }
    }

    fn downstream_waits(&self, lane: &Lane, now: UnixMs) -> Option<Waiting> {
        let health = self.lanes.get(&lane.whole())?;
        health.why_waiting(&self.health, self.bounds(&lane.plugin), now)
    }

    fn key_waits(&self, lane: &Lane, now: UnixMs) -> Option<Waiting> {
        self.keys.why_waiting(lane, self.key_limits(&lane.plugin), now)
    }

    fn key_limits(&self, plugin: &str) -> KeyLimits {
        self.plugins.get(plugin).map(|gate| gate.limits.per_key).unwrap_or_default()
    }

    fn plugin(&mut self, name: &str) -> &mut PluginGate {
        if !self.plugins.contains_key(name) {
            self.plugins.insert(name.into(), PluginGate::default());
        }
        self.plugins.get_mut(name).expect("inserted above")
    }

    fn plugin_opened(&mut self, name: &str) {
        if let Some(name) = self.refused_plugins.take(name) {
            self.opened.plugins.push(name);
        }
    }

    fn downstream_opened(&mut self, whole: &Lane) {
        self.opened.downstreams.extend(self.refused_downstreams.take(whole));
    }
}

impl Admission for Gates {
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit {
        // Who asks at a moment before the last end would seem to have run beside whom it follows. It asks again: an end
        // wakes it.
        if self.stopped || self.places.are_full() || now < self.ended_at {
            return Admit::HostFull;
        }
        if let Some(waiting) = self.plugin_waits(&lane.plugin, now) {
            self.refused_plugins.insert(lane.plugin.clone());
            return Admit::PluginClosed { until: waiting.until };
        }
        let held = self.running_of(&lane.plugin);
        if !self.places.admit(held) {
            self.places.refuse(&lane.plugin, held);
            return Admit::PluginClosed { until: None };
        }
        if let Some(waiting) = self.downstream_waits(lane, now) {
            self.refused_downstreams.insert(lane.whole().into_owned());
            return Admit::DownstreamClosed { until: waiting.until };
        }
        if let Some(waiting) = self.key_waits(lane, now) {
            self.keys.refuse(lane);
            return Admit::KeyClosed { until: waiting.until };
        }
        self.places.take();
        let whole = lane.whole();
        let (bounds, policy) = (self.bounds(&lane.plugin), &self.health);
        self.lanes.learn(&whole, || Health::new(policy));
        let started = self.lanes.change(&whole, |health| {
            health.start(bounds, now);
            health.opening().is_some()
        });
        let key_limits = self.key_limits(&lane.plugin);
        self.keys.start(lane, key_limits, now);
        let gate = self.plugin(&lane.plugin);
        gate.running += 1;
        gate.spend(now);
        if started == Some(true) || gate.is_unfit() { Admit::Probe } else { Admit::Yes }
    }

    fn withdrawn(&mut self, lane: &Lane, started_at: UnixMs, now: UnixMs) {
        self.give_back(lane, started_at, now);
    }

    fn opened(&mut self) -> Opened {
        let mut opened = std::mem::take(&mut self.opened);
        opened.plugins.extend(self.places.next());
        Opened::These(opened)
    }
}

#[cfg(test)]
mod tests;
