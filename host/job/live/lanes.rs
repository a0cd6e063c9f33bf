//! The lanes of the unfinished jobs: who is ready in each, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Lane, Phase};
use crate::clock::UnixMs;

/// A ready job's place in its lane: the highest priority first, then the longest due, then the first to arrive.
type ReadyKey = (Reverse<i16>, UnixMs, i64);
/// A lane's place in the ring: the most urgent head first, then the one that waits longest for its turn.
type RingKey = (Reverse<i16>, u64, u32);

/// How many unfinished jobs of a lane stand where, of those in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTally {
    /// The lane.
    pub lane: Lane,
    /// Due ones that do not run.
    pub ready: u64,
    /// Running ones.
    pub running: u64,
    /// Those whose time has not come.
    pub later: u64,
    /// Those that wait for a grant.
    pub held: u64,
}

#[derive(Debug)]
struct LaneState {
    tally: LaneTally,
    ready: BTreeSet<ReadyKey>,
    /// Where it stands in the ring, while it does.
    ring: Option<RingKey>,
    turn: u64,
    /// When it opens by itself, where it was found closed.
    opens_at: Option<UnixMs>,
}

/// All lanes that have an unfinished job in memory.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    states: Vec<LaneState>,
    free: Vec<u32>,
    index: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
    ring: BTreeSet<RingKey>,
    next_turn: u64,
}

impl Lanes {
    /// The number of that lane. A lane without jobs is forgotten, and its number given to another.
    pub(super) fn intern(&mut self, plugin: &str, downstream: &str) -> u32 {
        if let Some(lane) = self.index.get(plugin).and_then(|lanes| lanes.get(downstream)) {
            return *lane;
        }
        let name = self.new_name(plugin, downstream);
        let tally = LaneTally { lane: name.clone(), ready: 0, running: 0, later: 0, held: 0 };
        let state = LaneState { tally, ready: BTreeSet::new(), ring: None, turn: 0, opens_at: None };
        let lane = match self.free.pop() {
            Some(lane) => {
                self.states[lane as usize] = state;
                lane
            }
            None => {
                self.states.push(state);
                u32::try_from(self.states.len() - 1).expect("fewer lanes than jobs, and those are bounded")
            }
        };
        self.index.entry(name.plugin).or_default().insert(name.downstream, lane);
        lane
    }

    /// Lanes of one plugin share its name.
    fn new_name(&self, plugin: &str, downstream: &str) -> Lane {
        let plugin = self.index.get_key_value(plugin).map_or_else(|| plugin.into(), |(name, _)| Arc::clone(name));
        Lane { plugin, downstream: downstream.into() }
    }

    pub(super) fn name(&self, lane: u32) -> &Lane {
        &self.states[lane as usize].tally.lane
    }

    /// Forgets a lane without jobs.
    pub(super) fn free_if_idle(&mut self, lane: u32) {
        let tally = &self.states[lane as usize].tally;
        if tally.ready + tally.running + tally.later + tally.held > 0 {
            return;
        }
        let Lane { plugin, downstream } = tally.lane.clone();
        let Some(of_plugin) = self.index.get_mut(&plugin) else { return };
        if of_plugin.remove(&downstream).is_some() {
            self.free.push(lane);
        }
        if of_plugin.is_empty() {
            self.index.remove(&plugin);
        }
    }

    /// Counts a job in, and makes it claimable where it is ready.
    pub(super) fn join(&mut self, lane: u32, phase: Phase, (priority, due, place): (i16, UnixMs, i64)) {
        *self.count(lane, phase) += 1;
        if phase == Phase::Ready {
            self.states[lane as usize].ready.insert((Reverse(priority), due, place));
            self.rejoin(lane);
        }
    }

    /// Counts a job out.
    pub(super) fn leave(&mut self, lane: u32, phase: Phase, (priority, due, place): (i16, UnixMs, i64)) {
        *self.count(lane, phase) -= 1;
        if phase == Phase::Ready {
            self.states[lane as usize].ready.remove(&(Reverse(priority), due, place));
            self.rejoin(lane);
        }
    }

    fn count(&mut self, lane: u32, phase: Phase) -> &mut u64 {
        let tally = &mut self.states[lane as usize].tally;
        match phase {
            Phase::Ready => &mut tally.ready,
            Phase::Delayed | Phase::Barred => &mut tally.later,
            Phase::Held => &mut tally.held,
            Phase::Interrupted { .. } | Phase::Running { .. } => &mut tally.running,
        }
    }

    /// Puts the lane where it belongs in the ring: by its head, or nowhere without one.
    pub(super) fn rejoin(&mut self, lane: u32) {
        let state = &mut self.states[lane as usize];
        let head = state.ready.first().map(|(priority, ..)| *priority);
        if head == state.ring.map(|(priority, ..)| priority) {
            return;
        }
        if let Some(left) = state.ring.take() {
            self.ring.remove(&left);
        } else if state.turn == 0 {
            // A lane that comes anew queues up behind those that wait already.
            self.next_turn += 1;
            state.turn = self.next_turn;
        }
        match head {
            Some(priority) => {
                let key = (priority, state.turn, lane);
                state.ring = Some(key);
                self.ring.insert(key);
            }
            None => (state.turn, state.opens_at) = (0, None),
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

    /// Sends the lane to the end of the queue of its urgency.
    pub(super) fn take_turn(&mut self, lane: u32) {
        let state = &mut self.states[lane as usize];
        state.opens_at = None;
        let Some(left) = state.ring.take() else { return };
        self.ring.remove(&left);
        self.next_turn += 1;
        state.turn = self.next_turn;
        self.rejoin(lane);
    }

    /// Takes a closed lane out of the ring; [`Self::rejoin`] brings it back, in its old turn.
    pub(super) fn close(&mut self, lane: u32, until: Option<UnixMs>) {
        let state = &mut self.states[lane as usize];
        state.opens_at = until;
        if let Some(left) = state.ring.take() {
            self.ring.remove(&left);
        }
    }

    /// Forgets the openings that have come.
    pub(super) fn forget_openings(&mut self, now: UnixMs) {
        for (_, _, lane) in &self.ring {
            let opens_at = &mut self.states[*lane as usize].opens_at;
            *opens_at = opens_at.filter(|moment| *moment > now);
        }
    }

    /// When the first closed lane opens by itself.
    pub(super) fn next_opening(&self) -> Option<UnixMs> {
        self.ring.iter().filter_map(|(_, _, lane)| self.states[*lane as usize].opens_at).min()
    }

    /// The counts of every lane with jobs, in the order of their names.
    pub(super) fn tallies(&self) -> Vec<LaneTally> {
        let lanes = self.index.values().flat_map(HashMap::values);
        let mut tallies: Vec<_> = lanes.map(|lane| self.states[*lane as usize].tally.clone()).collect();
        tallies.sort_unstable_by(|a, b| a.lane.cmp(&b.lane));
        tallies
    }
}
