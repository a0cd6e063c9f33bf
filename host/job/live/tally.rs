//! How many unfinished jobs stand where, kept as they come and go: nobody has to look through them to know.

use std::sync::Arc;

use slab::Slab;

use super::{LaneRef, Phase};
use crate::job::ByDownstream;

/// How many unfinished jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Due ones that do not run.
    pub available: u64,
    /// Running ones.
    pub running: u64,
    /// Those whose time has not come, for the first time or again.
    pub later: u64,
    /// Those that wait for a grant.
    pub held: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.available + self.running + self.later + self.held
    }

    /// The number of those in that phase.
    pub(super) fn of(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Ready => &mut self.available,
            Phase::Delayed | Phase::Barred => &mut self.later,
            Phase::Held => &mut self.held,
            Phase::Interrupted { .. } | Phase::Running { .. } => &mut self.running,
        }
    }
}

/// The number under which a lane, a plugin or a part is kept.
pub(super) fn number(key: usize) -> u32 {
    u32::try_from(key).expect("there are fewer than jobs, and those are bounded")
}

/// The counts of each plugin's part in each downstream, whatever limit keys its jobs have.
#[derive(Debug, Default)]
pub(super) struct Downstreams {
    tallies: Slab<Tally>,
    numbers: ByDownstream<u32>,
}

impl Downstreams {
    /// The number of a part that has none yet.
    pub(super) fn number(&mut self, downstream: Arc<str>, plugin: Arc<str>) -> u32 {
        let added = number(self.tallies.insert(Tally::default()));
        self.numbers.insert(downstream, plugin, added);
        added
    }

    /// Forgets a part without jobs.
    pub(super) fn forget(&mut self, downstream: &Arc<str>, plugin: &Arc<str>) {
        if let Some(number) = self.numbers.remove(downstream, plugin) {
            self.tallies.remove(number as usize);
        }
    }

    /// The counts of the part with that number.
    pub(super) fn tally(&mut self, number: u32) -> &mut Tally {
        &mut self.tallies[number as usize]
    }

    /// The parts from that downstream and that plugin on.
    pub(super) fn from(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Tally)> {
        self.numbers
            .from(first)
            .map(|(downstream, plugin, number)| (downstream, plugin, self.tallies[*number as usize]))
    }
}
