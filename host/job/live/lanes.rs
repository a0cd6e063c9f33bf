//! The lanes of the unfinished jobs: who is ready in each, and whose turn it is.
//!
//! Plugins come first: of those with a ready job the one that runs least, then the one that was served longest ago,
//! however many lanes or jobs it has and however urgent they are. Within a plugin the lanes with the most urgent head
//! come first, of these the one that runs least, then the one whose turn is oldest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use super::tally::{Downstreams, Tally, number};
use super::{Lane, LaneRef, Phase};
use crate::clock::UnixMs;

/// A ready job's place in its lane: the highest priority first, then the longest due, then the first to arrive.
pub(super) type ReadyKey = (Reverse<i16>, UnixMs, i64);
/// A lane's place among those of its plugin: the most urgent head first, then the one that runs least, then the one that
/// waits longest for its turn.
type RingKey = (Reverse<i16>, u64, u64, u32);
/// A plugin's place among the plugins: the one that runs least first, then the one that was served longest ago. With
/// the lane that is its first.
type PluginKey = (u64, u64, u32);

#[derive(Debug)]
struct LaneState {
    lane: Lane,
    /// The number of its plugin.
    plugin: u32,
    tally: Tally,
    /// The number of its downstream's counts.
    whole: u32,
    ready: BTreeSet<ReadyKey>,
    /// Where it stands in the ring, while it does.
    ring: Option<RingKey>,
    turn: u64,
    /// It was found closed, and stays out of the ring: when it opens by itself, where that is known.
    closed: Option<Option<UnixMs>>,
}

/// The lanes of one plugin.
#[derive(Debug)]
struct PluginState {
    name: Arc<str>,
    index: HashMap<Arc<str>, DownstreamState>,
    /// The lanes that may be asked for.
    ring: BTreeSet<RingKey>,
    /// Where it stands among the plugins, while it does.
    place: Option<PluginKey>,
    /// Where its jobs stand.
    tally: Tally,
    /// When it was served last.
    turn: u64,
    /// It was found closed: when it opens by itself, where that is known.
    closed: Option<Option<UnixMs>>,
}

/// The lanes of one plugin that call one downstream.
#[derive(Debug)]
struct DownstreamState {
    by_limit_key: HashMap<Option<Arc<str>>, u32>,
    /// The number of their counts.
    whole: u32,
}

/// All lanes that have an unfinished job in memory. What is closed costs nothing until it opens.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    states: Slab<LaneState>,
    /// The lane that was asked for last: many jobs of one come one after the other.
    latest: Option<u32>,
    plugins: Slab<PluginState>,
    /// The numbers of the plugins with a lane.
    plugin_numbers: HashMap<Arc<str>, u32>,
    downstreams: Downstreams,
    ring: BTreeSet<PluginKey>,
    /// When closed lanes open by themselves.
    lane_openings: BTreeSet<(UnixMs, u32)>,
    /// When closed plugins do.
    plugin_openings: BTreeSet<(UnixMs, u32)>,
    next_turn: u64,
}

impl Lanes {
    /// The number of that lane. A lane without jobs is forgotten, and its number given to another.
    pub(super) fn intern(&mut self, wanted: LaneRef<'_>) -> u32 {
        let lane = match self.latest.filter(|lane| LaneRef::from(self.name(*lane)) == wanted) {
            Some(lane) => lane,
            None => self.find(wanted).unwrap_or_else(|| self.add(wanted)),
        };
        self.latest = Some(lane);
        lane
    }

    fn find(&self, wanted: LaneRef<'_>) -> Option<u32> {
        let plugin = &self.plugins[self.plugin_number(wanted.plugin)? as usize];
        let downstream = plugin.index.get(wanted.downstream)?;
        match wanted.limit_key {
            None => downstream.by_limit_key.get(&None).copied(),
            Some(key) => downstream.by_limit_key.get(&Some(key.into())).copied(),
        }
    }

    fn plugin_number(&self, name: &str) -> Option<u32> {
        self.plugin_numbers.get(name).copied()
    }

    fn add(&mut self, wanted: LaneRef<'_>) -> u32 {
        let plugin = self.plugin_number(wanted.plugin).unwrap_or_else(|| self.add_plugin(wanted.plugin.into()));
        let of_plugin = &mut self.plugins[plugin as usize];
        // Lanes of one plugin share its name.
        let lane = Lane { plugin: of_plugin.name.clone(), ..wanted.to_lane() };
        let downstream = of_plugin.index.entry(lane.downstream.clone()).or_insert_with(|| {
            let whole = self.downstreams.number(lane.downstream.clone(), lane.plugin.clone());
            DownstreamState { by_limit_key: HashMap::new(), whole }
        });
        let (limit_key, whole) = (lane.limit_key.clone(), downstream.whole);
        let (tally, ready) = (Tally::default(), BTreeSet::new());
        let state = LaneState { lane, plugin, tally, whole, ready, ring: None, turn: 0, closed: None };
        let added = number(self.states.insert(state));
        downstream.by_limit_key.insert(limit_key, added);
        added
    }

    fn add_plugin(&mut self, name: Arc<str>) -> u32 {
        let (index, ring, tally) = (HashMap::new(), BTreeSet::new(), Tally::default());
        let state = PluginState { name: name.clone(), index, ring, place: None, tally, turn: 0, closed: None };
        let added = number(self.plugins.insert(state));
        self.plugin_numbers.insert(name, added);
        added
    }

    pub(super) fn name(&self, lane: u32) -> &Lane {
        &self.states[lane as usize].lane
    }

    /// Forgets a lane without jobs.
    pub(super) fn free_if_idle(&mut self, lane: u32) {
        let state = &self.states[lane as usize];
        if state.tally.jobs() > 0 {
            return;
        }
        let (plugin, Lane { downstream, limit_key, .. }) = (state.plugin, state.lane.clone());
        self.open(lane);
        let of_plugin = &mut self.plugins[plugin as usize];
        let Some(of_downstream) = of_plugin.index.get_mut(&downstream) else { return };
        of_downstream.by_limit_key.remove(&limit_key);
        self.states.remove(lane as usize);
        self.latest = None;
        if of_downstream.by_limit_key.is_empty() {
            of_plugin.index.remove(&downstream);
            self.downstreams.forget(&downstream, &of_plugin.name);
        }
        if of_plugin.index.is_empty() {
            self.open_plugin(plugin);
            let forgotten = self.plugins.remove(plugin as usize);
            self.plugin_numbers.remove(&forgotten.name);
        }
    }

    /// Counts a job in, and makes it claimable where it is ready. One that begins to run takes its lane's turn and its
    /// plugin's.
    pub(super) fn join(&mut self, lane: u32, phase: Phase, (priority, due, place): (i16, UnixMs, i64)) {
        self.count(lane, phase, |count| *count += 1);
        match phase {
            Phase::Ready => _ = self.states[lane as usize].ready.insert((Reverse(priority), due, place)),
            Phase::Running { .. } | Phase::Interrupted { .. } => {
                self.next_turn += 1;
                let state = &mut self.states[lane as usize];
                state.turn = self.next_turn;
                self.plugins[state.plugin as usize].turn = self.next_turn;
            }
            Phase::Delayed | Phase::Barred | Phase::Held => return,
        }
        self.rejoin(lane);
    }

    /// Counts a job in that is put in order later: see [`Self::fill`].
    pub(super) fn count_in(&mut self, lane: u32, phase: Phase) {
        self.count(lane, phase, |count| *count += 1);
    }

    /// Makes a lane's order of ready jobs, all of which were counted in.
    pub(super) fn fill(&mut self, lane: u32, ready: Vec<ReadyKey>) {
        self.states[lane as usize].ready = ready.into_iter().collect();
        self.rejoin(lane);
    }

    /// Counts a job out.
    pub(super) fn leave(&mut self, lane: u32, phase: Phase, (priority, due, place): (i16, UnixMs, i64)) {
        self.count(lane, phase, |count| *count -= 1);
        match phase {
            Phase::Ready => _ = self.states[lane as usize].ready.remove(&(Reverse(priority), due, place)),
            Phase::Running { .. } | Phase::Interrupted { .. } => {}
            Phase::Delayed | Phase::Barred | Phase::Held => return,
        }
        self.rejoin(lane);
    }

    /// Counts a job in or out, everywhere that it is counted.
    fn count(&mut self, lane: u32, phase: Phase, by_one: impl Fn(&mut u64)) {
        let state = &mut self.states[lane as usize];
        by_one(state.tally.of(phase));
        by_one(self.downstreams.tally(state.whole).of(phase));
        by_one(self.plugins[state.plugin as usize].tally.of(phase));
    }

    /// How many jobs a plugin has.
    pub(super) fn jobs_of(&self, plugin: &str) -> u64 {
        self.plugin_number(plugin).map_or(0, |plugin| self.plugins[plugin as usize].tally.jobs())
    }

    /// Where the jobs of each plugin with jobs stand.
    pub(super) fn by_plugin(&self) -> impl Iterator<Item = (&Arc<str>, Tally)> {
        self.plugin_numbers.iter().map(|(name, plugin)| (name, self.plugins[*plugin as usize].tally))
    }

    /// Where the jobs stand of each downstream and each plugin that calls it, from these on.
    pub(super) fn by_downstream(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Tally)> {
        self.downstreams.from(first)
    }

    /// Puts the lane where it belongs among its plugin's, by its head, or nowhere without one or while it is closed;
    /// and the plugin where that puts it.
    fn rejoin(&mut self, lane: u32) {
        let state = &mut self.states[lane as usize];
        let plugin = &mut self.plugins[state.plugin as usize];
        if state.ready.is_empty() {
            state.turn = 0;
        } else if state.turn == 0 {
            // A lane that comes anew queues up behind those that wait already.
            self.next_turn += 1;
            state.turn = self.next_turn;
        }
        let head = state.ready.first().map(|(priority, ..)| *priority).filter(|_| state.closed.is_none());
        let key = head.map(|priority| (priority, state.tally.running, state.turn, lane));
        if key != state.ring {
            if let Some(left) = std::mem::replace(&mut state.ring, key) {
                plugin.ring.remove(&left);
            }
            plugin.ring.extend(key);
        }
        place(&mut self.ring, plugin);
    }

    /// The lane whose turn it is.
    pub(super) fn first_ready(&self) -> Option<u32> {
        self.ring.first().map(|(_, _, lane)| *lane)
    }

    /// The job that is next in the lane.
    pub(super) fn head(&self, lane: u32) -> Option<ReadyKey> {
        self.states[lane as usize].ready.first().copied()
    }

    /// How many lanes have a job.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The jobs that are ready in the lane, in their order.
    pub(super) fn ready(&self, lane: u32) -> impl Iterator<Item = i64> {
        self.states[lane as usize].ready.iter().map(|(_, _, place)| *place)
    }

    /// Takes a closed lane out of the ring; it comes back in its old turn.
    pub(super) fn close(&mut self, lane: u32, until: Option<UnixMs>) {
        self.open(lane);
        self.states[lane as usize].closed = Some(until);
        self.lane_openings.extend(until.map(|until| (until, lane)));
        self.rejoin(lane);
    }

    /// Takes a closed plugin with all its lanes out of the ring.
    pub(super) fn close_plugin_of(&mut self, lane: u32, until: Option<UnixMs>) {
        let of = self.states[lane as usize].plugin;
        self.open_plugin(of);
        let plugin = &mut self.plugins[of as usize];
        plugin.closed = Some(until);
        place(&mut self.ring, plugin);
        self.plugin_openings.extend(until.map(|until| (until, of)));
    }

    /// A lane may be asked for again.
    pub(super) fn open(&mut self, lane: u32) {
        let Some(until) = self.states[lane as usize].closed.take() else { return };
        if let Some(until) = until {
            self.lane_openings.remove(&(until, lane));
        }
        self.rejoin(lane);
    }

    /// The lane of that name may be asked for again.
    pub(super) fn open_named(&mut self, name: &Lane) {
        if let Some(lane) = self.find(name.into()) {
            self.open(lane);
        }
    }

    /// The lanes of the plugin of that name may be asked for again.
    pub(super) fn open_plugin_named(&mut self, name: &str) {
        if let Some(plugin) = self.plugin_number(name) {
            self.open_plugin(plugin);
        }
    }

    fn open_plugin(&mut self, which: u32) {
        let plugin = &mut self.plugins[which as usize];
        let Some(until) = plugin.closed.take() else { return };
        place(&mut self.ring, plugin);
        if let Some(until) = until {
            self.plugin_openings.remove(&(until, which));
        }
    }

    /// Everything may be asked for again.
    pub(super) fn open_all(&mut self) {
        let closed = self.states.iter().filter(|(_, state)| state.closed.is_some());
        for lane in closed.map(|(lane, _)| number(lane)).collect::<Vec<_>>() {
            self.open(lane);
        }
        let closed = self.plugins.iter().filter(|(_, plugin)| plugin.closed.is_some());
        for plugin in closed.map(|(plugin, _)| number(plugin)).collect::<Vec<_>>() {
            self.open_plugin(plugin);
        }
    }

    /// What opens by itself by now may be asked for again.
    pub(super) fn open_due(&mut self, now: UnixMs) {
        while let Some((_, lane)) = self.lane_openings.first().filter(|(moment, _)| *moment <= now) {
            self.open(*lane);
        }
        while let Some((_, plugin)) = self.plugin_openings.first().filter(|(moment, _)| *moment <= now) {
            self.open_plugin(*plugin);
        }
    }

    /// When the first of what is closed opens by itself.
    pub(super) fn next_opening(&self) -> Option<UnixMs> {
        let lane = self.lane_openings.first().map(|(moment, _)| *moment);
        lane.into_iter().chain(self.plugin_openings.first().map(|(moment, _)| *moment)).min()
    }

    /// The counts of every lane with jobs, lane by lane: what the others must be the sums of.
    #[cfg(test)]
    pub(super) fn by_lane(&self) -> impl Iterator<Item = (&Lane, Tally)> {
        let plugins = self.plugin_numbers.values().map(|plugin| &self.plugins[*plugin as usize]);
        let downstreams = plugins.flat_map(|plugin| plugin.index.values());
        let lanes = downstreams.flat_map(|downstream| downstream.by_limit_key.values());
        lanes.map(|lane| &self.states[*lane as usize]).map(|state| (&state.lane, state.tally))
    }
}

/// Puts a plugin where it belongs among the plugins, or nowhere without a lane that is ready or while it is closed.
fn place(ring: &mut BTreeSet<PluginKey>, plugin: &mut PluginState) {
    let first = plugin.ring.first().filter(|_| plugin.closed.is_none());
    let place = first.map(|(_, _, _, lane)| (plugin.tally.running, plugin.turn, *lane));
    if place != plugin.place {
        if let Some(left) = std::mem::replace(&mut plugin.place, place) {
            ring.remove(&left);
        }
        ring.extend(place);
    }
}
