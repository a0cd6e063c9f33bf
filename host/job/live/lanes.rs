//! The lanes of the unfinished jobs: who is ready in each, and whose turn it is.
//!
//! Plugins come first: of those with a ready job the one that runs least, then the one that was served longest ago,
//! however many lanes or jobs it has and however urgent they are. Within a plugin the lanes with the most urgent head
//! come first, of these the one that runs least, then the one whose turn is oldest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use slab::Slab;

use super::tally::Tally;
use super::{Key, Lane, LaneRef, Phase};
use crate::clock::UnixMs;
use crate::job::ByDownstream;

mod behind;
mod doors;
mod holding;
mod names;

use doors::Openings;

/// How urgent a job is: the highest priority first, and behind all of them who steps back.
type Rank = Reverse<Option<i16>>;
/// A ready job's place in its lane: the most urgent first, then the longest due, then the first to arrive.
pub(super) type ReadyKey = (Rank, UnixMs, i64);
/// A lane's place among those of its plugin: the most urgent head first, then the one that runs least, then the one that
/// waits longest for its turn.
type RingKey = (Rank, u64, u64, u32);
/// A plugin's place among the plugins: the one that runs least first, then the one that was served longest ago. With
/// the lane that is its first.
type PluginKey = (u64, u64, u32);
/// Of what was found closed: when it opens by itself, where that is known.
type Closed = Option<Option<UnixMs>>;

#[derive(Debug)]
struct LaneState {
    lane: Lane,
    /// The number of its plugin's part in its downstream.
    part: u32,
    /// The number of its limit key, where it has one.
    key: Option<u32>,
    tally: Tally,
    ready: BTreeSet<ReadyKey>,
    /// Where it stands, while it has a ready job: in its part's ring, or among those that wait for their limit key.
    ring: Option<RingKey>,
    waits_for_key: bool,
    turn: u64,
}

/// The lanes of one plugin.
#[derive(Debug)]
struct PluginState {
    name: Arc<str>,
    /// Its parts in downstreams.
    parts: HashMap<Arc<str>, u32>,
    /// The limit keys of its jobs.
    keys: HashMap<Arc<str>, u32>,
    /// The first lane of each part that may be asked for.
    ring: BTreeSet<RingKey>,
    /// Where it stands among the plugins, while it does.
    place: Option<PluginKey>,
    /// Where its jobs in memory stand, and how many of them could leave it.
    tally: Tally,
    waiting: u64,
    /// How many are unfinished, in memory and on disk.
    unfinished: u64,
    /// Its waiting jobs at or behind it are on disk only. None: every unfinished job is in memory, or is being read back.
    horizon: Option<Key>,
    /// When it was served last.
    turn: u64,
    behind: Behind,
    closed: Closed,
}

/// Who steps back: see [`super::behind`].
#[derive(Debug, Default)]
struct Behind {
    /// Those that failed as the ones that were sent to look after this, and others that did.
    jobs: BTreeSet<i64>,
    /// How many of the ready jobs here step back, be it for this or another.
    ready: u64,
}

/// The lanes of one plugin that call one downstream.
#[derive(Debug)]
struct PartState {
    plugin: u32,
    downstream: Arc<str>,
    /// The lane without a limit key.
    plain: Option<u32>,
    /// Those with one.
    keyed: HashMap<Arc<str>, u32>,
    tally: Tally,
    ring: PartRing,
    /// Where its first lane stands in the plugin's ring, while it does.
    place: Option<RingKey>,
    /// Its lanes that stand in the ring for all that wait for their limit key: see [`doors`].
    leaders: HashSet<u32>,
    behind: Behind,
    closed: Closed,
}

/// The lanes of a part that may be asked for. Most parts have no lane with a limit key, and need no set.
#[derive(Debug, Default)]
struct PartRing {
    plain: Option<RingKey>,
    keyed: BTreeSet<RingKey>,
}

/// The lanes of one plugin whose jobs have one limit key.
#[derive(Debug)]
struct KeyState {
    plugin: u32,
    name: Arc<str>,
    /// How many there are.
    lanes: u32,
    /// Those that wait until it is open and their turn has come.
    waiting: BTreeSet<RingKey>,
    closed: Closed,
}

/// All lanes that have an unfinished job in memory. What is closed costs nothing until it opens.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    states: Slab<LaneState>,
    /// The lane that was asked for last: many jobs of one come one after the other.
    latest: Option<u32>,
    parts: Slab<PartState>,
    /// Their numbers, in the order in which people look through them.
    by_downstream: ByDownstream<u32>,
    keys: Slab<KeyState>,
    plugins: Slab<PluginState>,
    /// The numbers of the plugins with a lane, or with jobs on disk only.
    plugin_numbers: HashMap<Arc<str>, u32>,
    /// How many of them have a horizon.
    horizons: usize,
    ring: BTreeSet<PluginKey>,
    openings: Openings,
    next_turn: u64,
    /// Lanes where, maybe, all ready jobs of their part or their plugin step back.
    rounds: Vec<u32>,
}

impl Lanes {
    /// Counts a job in, and makes it claimable where it is ready. One that begins to run takes its lane's turn and its
    /// plugin's.
    pub(super) fn join(&mut self, lane: u32, phase: Phase, order: ReadyKey) {
        self.count(lane, phase, |count| *count += 1);
        match phase {
            Phase::Ready => {
                self.states[lane as usize].ready.insert(order);
                self.count_behind(lane, order, |count| *count += 1);
            }
            Phase::Running { .. } | Phase::Interrupted { .. } => {
                self.next_turn += 1;
                let state = &mut self.states[lane as usize];
                state.turn = self.next_turn;
                let plugin = self.parts[state.part as usize].plugin;
                self.plugins[plugin as usize].turn = self.next_turn;
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
    pub(super) fn leave(&mut self, lane: u32, phase: Phase, order: ReadyKey) {
        self.count(lane, phase, |count| *count -= 1);
        match phase {
            Phase::Ready => {
                self.states[lane as usize].ready.remove(&order);
                self.count_behind(lane, order, |count| *count -= 1);
            }
            Phase::Running { .. } | Phase::Interrupted { .. } => {}
            Phase::Delayed | Phase::Barred | Phase::Held => return,
        }
        self.rejoin(lane);
    }

    /// Counts a job in or out, everywhere that it is counted.
    fn count(&mut self, lane: u32, phase: Phase, by_one: impl Fn(&mut u64)) {
        let state = &mut self.states[lane as usize];
        let part = &mut self.parts[state.part as usize];
        by_one(state.tally.of(phase));
        by_one(part.tally.of(phase));
        let plugin = &mut self.plugins[part.plugin as usize];
        by_one(plugin.tally.of(phase));
        if !phase.is_pinned() {
            by_one(&mut plugin.waiting);
        }
    }

    /// Where the jobs of each plugin with jobs in memory stand.
    pub(super) fn by_plugin(&self) -> impl Iterator<Item = (&Arc<str>, Tally)> {
        let plugins = self.plugin_numbers.iter().map(|(name, plugin)| (name, self.plugins[*plugin as usize].tally));
        plugins.filter(|(_, tally)| tally.jobs() > 0)
    }

    /// Where the jobs stand of each downstream and each plugin that calls it, from these on.
    pub(super) fn by_downstream(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Tally)> {
        let parts = self.by_downstream.from(first);
        parts.map(|(downstream, plugin, part)| (downstream, plugin, self.parts[*part as usize].tally))
    }

    /// Puts the lane where its head says, or nowhere without one.
    fn rejoin(&mut self, lane: u32) {
        let state = &mut self.states[lane as usize];
        if state.ready.is_empty() {
            state.turn = 0;
        } else if state.turn == 0 {
            // A lane that comes anew queues up behind those that wait already.
            self.next_turn += 1;
            state.turn = self.next_turn;
        }
        let head = state.ready.first().map(|(rank, ..)| *rank);
        let ring = head.map(|rank| (rank, state.tally.running, state.turn, lane));
        let old = state.ring;
        // Who waits may come before its leader now, and a leader behind who waits: also one that was let in.
        let waits = state.waits_for_key && (ring == old || self.is_key_closed(lane));
        self.stand(lane, ring, waits);
        if ring.is_none_or(|ring| old.is_some_and(|old| ring > old)) {
            self.hand_on(lane);
        }
    }

    /// Puts the lane there, in its part's ring or among those that wait for their limit key.
    fn stand(&mut self, lane: u32, ring: Option<RingKey>, waits_for_key: bool) {
        let state = &mut self.states[lane as usize];
        let PartRing { plain, keyed } = &mut self.parts[state.part as usize].ring;
        match state.key {
            None => *plain = ring,
            Some(_) if (ring, waits_for_key) == (state.ring, state.waits_for_key) => {}
            Some(key) => {
                let waiting = &mut self.keys[key as usize].waiting;
                if let Some(left) = state.ring {
                    let from = if state.waits_for_key { &mut *waiting } else { &mut *keyed };
                    from.remove(&left);
                }
                let to = if waits_for_key { waiting } else { keyed };
                to.extend(ring);
            }
        }
        (state.ring, state.waits_for_key) = (ring, waits_for_key);
        let part = state.part;
        self.place(part);
    }

    /// Puts a part where it belongs among its plugin's, or nowhere without a lane in its ring or while it is closed; and
    /// the plugin where that puts it.
    fn place(&mut self, part: u32) {
        let part = &mut self.parts[part as usize];
        let plugin = &mut self.plugins[part.plugin as usize];
        let first = if part.closed.is_none() { part.ring.first() } else { None };
        if first != part.place {
            if let Some(left) = std::mem::replace(&mut part.place, first) {
                plugin.ring.remove(&left);
            }
            plugin.ring.extend(first);
        }
        let plugin = part.plugin;
        self.place_plugin(plugin);
    }

    /// Puts a plugin where it belongs among the plugins, or nowhere without a lane in its ring or while it is closed.
    fn place_plugin(&mut self, plugin: u32) {
        let plugin = &mut self.plugins[plugin as usize];
        let first = plugin.ring.first().filter(|_| plugin.closed.is_none());
        let place = first.map(|(_, _, _, lane)| (plugin.tally.running, plugin.turn, *lane));
        if place != plugin.place {
            if let Some(left) = std::mem::replace(&mut plugin.place, place) {
                self.ring.remove(&left);
            }
            self.ring.extend(place);
        }
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

    /// The counts of every lane with jobs, lane by lane: what the others must be the sums of.
    #[cfg(test)]
    pub(super) fn by_lane(&self) -> impl Iterator<Item = (&Lane, Tally)> {
        self.states.iter().map(|(_, state)| (&state.lane, state.tally))
    }
}

impl PartRing {
    fn first(&self) -> Option<RingKey> {
        self.plain.into_iter().chain(self.keyed.first().copied()).min()
    }
}
