//! The downstreams of which anything is known: their health, in an order in which people can look through them, and how
//! many are down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Lane, LaneRef};
use crate::job::ByDownstream;
use crate::job::health::Health;

/// Health by plugin and downstream.
#[derive(Debug, Default)]
pub(super) struct Known {
    health: HashMap<Lane, Health>,
    order: ByDownstream<()>,
    /// How many of each plugin's downstreams are down; none where none is.
    down: BTreeMap<Arc<str>, u64>,
}

impl Known {
    pub(super) fn get(&self, lane: &Lane) -> Option<&Health> {
        self.health.get(lane)
    }

    /// Something happens to it, where anything is known of it.
    pub(super) fn change<T>(&mut self, lane: &Lane, change: impl FnOnce(&mut Health) -> T) -> Option<T> {
        let health = self.health.get_mut(lane)?;
        let was_down = health.opening().is_some();
        let changed = change(health);
        let is_down = health.opening().is_some();
        self.count_down(&lane.plugin, was_down, is_down);
        Some(changed)
    }

    /// From now on something is known of it. Where anything was before, that stays.
    pub(super) fn learn(&mut self, lane: &Lane, health: impl FnOnce() -> Health) {
        if !self.health.contains_key(lane) {
            let health = health();
            self.count_down(&lane.plugin, false, health.opening().is_some());
            self.order.insert(lane.downstream.clone(), lane.plugin.clone(), ());
            self.health.insert(lane.clone(), health);
        }
    }

    /// Forgets those of which `is_plain` holds, but for those that are down.
    pub(super) fn forget(&mut self, is_plain: impl Fn(&Lane, &Health) -> bool) {
        let order = &mut self.order;
        self.health.retain(|lane, health| {
            let keeps = health.opening().is_some() || !is_plain(lane, health);
            if !keeps {
                order.remove(&lane.downstream, &lane.plugin);
            }
            keeps
        });
    }

    /// How many there are of each plugin.
    pub(super) fn by_plugin(&self) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::<_, usize>::new();
        self.health.keys().for_each(|lane| *counts.entry(lane.plugin.clone()).or_default() += 1);
        counts
    }

    pub(super) fn len(&self) -> usize {
        self.health.len()
    }

    /// Those from that downstream and that plugin on, in the order of the downstreams.
    pub(super) fn from(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.order.from(first).map(|(downstream, plugin, ())| (downstream, plugin))
    }

    /// How many downstreams of each plugin are down, where any is.
    pub(super) fn down(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.down
    }

    fn count_down(&mut self, plugin: &Arc<str>, was_down: bool, is_down: bool) {
        match (was_down, is_down) {
            (false, true) => *self.down.entry(plugin.clone()).or_default() += 1,
            (true, false) => {
                let count = self.down.get_mut(plugin).expect("it was counted when it went down");
                *count -= 1;
                if *count == 0 {
                    self.down.remove(plugin);
                }
            }
            _ => {}
        }
    }
}
