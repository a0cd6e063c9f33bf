//! Who steps back: how many, and who they are. See [`super::super::behind`].

use std::collections::BTreeSet;

use super::{Behind, Lanes, ReadyKey};
use crate::job::gates::Probed;

impl Lanes {
    /// A job of the lane failed as the one that was sent to look after that.
    pub(in crate::job::live) fn step_back(&mut self, lane: u32, place: i64, probed: Probed) {
        self.behind(lane, probed).jobs.insert(place);
        self.rounds.push(lane);
    }

    /// All is well with what the lane calls: those that stepped back for it.
    pub(in crate::job::live) fn take_behind(&mut self, lane: u32) -> BTreeSet<i64> {
        let mut behind = std::mem::take(&mut self.behind(lane, Probed::Downstream).jobs);
        behind.append(&mut self.behind(lane, Probed::Plugin).jobs);
        behind
    }

    /// Those that stepped back where nobody else is ready: first for one downstream, then for the plugin.
    pub(in crate::job::live) fn take_round(&mut self) -> Option<BTreeSet<i64>> {
        for probed in [Probed::Downstream, Probed::Plugin] {
            let is_round = |lane: &&u32| self.states.contains(**lane as usize) && self.is_round(**lane, probed);
            if let Some(lane) = self.rounds.iter().find(is_round).copied() {
                return Some(std::mem::take(&mut self.behind(lane, probed).jobs));
            }
        }
        self.rounds.clear();
        None
    }

    /// Counts a ready job where it steps back.
    pub(super) fn count_behind(&mut self, lane: u32, (rank, ..): ReadyKey, by_one: impl Fn(&mut u64)) {
        for probed in [Probed::Downstream, Probed::Plugin] {
            if rank.0.is_none() {
                by_one(&mut self.behind(lane, probed).ready);
            }
            if self.is_round(lane, probed) && self.rounds.last() != Some(&lane) {
                self.rounds.push(lane);
            }
        }
    }

    /// Whether all ready jobs that this is of step back.
    fn is_round(&self, lane: u32, probed: Probed) -> bool {
        let part = &self.parts[self.states[lane as usize].part as usize];
        let plugin = &self.plugins[part.plugin as usize];
        let (behind, tally) = match probed {
            Probed::Downstream => (&part.behind, part.tally),
            Probed::Plugin => (&plugin.behind, plugin.tally),
        };
        behind.ready > 0 && behind.ready == tally.available && !behind.jobs.is_empty()
    }

    fn behind(&mut self, lane: u32, probed: Probed) -> &mut Behind {
        let part = &mut self.parts[self.states[lane as usize].part as usize];
        match probed {
            Probed::Downstream => &mut part.behind,
            Probed::Plugin => &mut self.plugins[part.plugin as usize].behind,
        }
    }
}
