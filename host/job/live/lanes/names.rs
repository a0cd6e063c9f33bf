//! The numbers of lanes, of plugins, of their parts in downstreams and of their limit keys: each has one while it has a job.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Behind, KeyState, LaneState, Lanes, PartRing, PartState, PluginState};
use crate::job::gates::{Lane, LaneRef};
use crate::job::live::tally::{Tally, number};

impl Lanes {
    /// The number of that lane. A lane without jobs is forgotten, and its number given to another.
    pub(in crate::job::live) fn intern(&mut self, wanted: LaneRef<'_>) -> u32 {
        let lane = match self.latest.filter(|lane| LaneRef::from(self.name(*lane)) == wanted) {
            Some(lane) => lane,
            None => self.find(wanted).unwrap_or_else(|| self.add(wanted)),
        };
        self.latest = Some(lane);
        lane
    }

    pub(in crate::job::live) fn name(&self, lane: u32) -> &Lane {
        &self.states[lane as usize].lane
    }

    fn find(&self, wanted: LaneRef<'_>) -> Option<u32> {
        let part = &self.parts[self.part_number(wanted)? as usize];
        match wanted.limit_key {
            None => part.plain,
            Some(key) => part.keyed.get(key).copied(),
        }
    }

    pub(super) fn plugin_number(&self, name: &str) -> Option<u32> {
        self.plugin_numbers.get(name).copied()
    }

    pub(super) fn part_number(&self, of: LaneRef<'_>) -> Option<u32> {
        self.plugins[self.plugin_number(of.plugin)? as usize].parts.get(of.downstream).copied()
    }

    pub(super) fn key_number(&self, plugin: &str, key: &str) -> Option<u32> {
        self.plugins[self.plugin_number(plugin)? as usize].keys.get(key).copied()
    }

    fn add(&mut self, wanted: LaneRef<'_>) -> u32 {
        let plugin = self.plugin_number(wanted.plugin).unwrap_or_else(|| self.add_plugin(wanted.plugin));
        let part = self.part_number(wanted).unwrap_or_else(|| self.add_part(plugin, wanted.downstream));
        let key = wanted.limit_key.map(|key| {
            let known = self.plugins[plugin as usize].keys.get(key).copied();
            known.unwrap_or_else(|| self.add_key(plugin, key))
        });
        let lane = Lane {
            plugin: self.plugins[plugin as usize].name.clone(),
            downstream: self.parts[part as usize].downstream.clone(),
            limit_key: key.map(|key| self.keys[key as usize].name.clone()),
        };
        let limit_key = lane.limit_key.clone();
        let added = number(self.states.insert(LaneState::new(lane, part, key)));
        let part = &mut self.parts[part as usize];
        match limit_key {
            None => part.plain = Some(added),
            Some(limit_key) => _ = part.keyed.insert(limit_key, added),
        }
        if let Some(key) = key {
            self.keys[key as usize].lanes += 1;
        }
        added
    }

    fn add_plugin(&mut self, name: &str) -> u32 {
        let state = PluginState::new(name.into());
        let name = state.name.clone();
        let added = number(self.plugins.insert(state));
        self.plugin_numbers.insert(name, added);
        added
    }

    fn add_part(&mut self, plugin: u32, downstream: &str) -> u32 {
        let state = PartState::new(plugin, downstream.into());
        let downstream = state.downstream.clone();
        let added = number(self.parts.insert(state));
        let of_plugin = &mut self.plugins[plugin as usize];
        of_plugin.parts.insert(downstream.clone(), added);
        self.by_downstream.insert(downstream, of_plugin.name.clone(), added);
        added
    }

    fn add_key(&mut self, plugin: u32, name: &str) -> u32 {
        let state = KeyState::new(plugin, name.into());
        let name = state.name.clone();
        let added = number(self.keys.insert(state));
        self.plugins[plugin as usize].keys.insert(name, added);
        added
    }

    /// Forgets a lane without jobs, and all that is empty without it.
    pub(in crate::job::live) fn free_if_idle(&mut self, lane: u32) {
        if self.states[lane as usize].tally.jobs() > 0 {
            return;
        }
        let state = self.states.remove(lane as usize);
        self.latest = None;
        if let Some(key) = state.key {
            self.free_key(key);
        }
        let part = &mut self.parts[state.part as usize];
        match &state.lane.limit_key {
            None => part.plain = None,
            Some(key) => _ = part.keyed.remove(key),
        }
        if part.plain.is_none() && part.keyed.is_empty() {
            self.free_part(state.part);
        }
    }

    fn free_key(&mut self, key: u32) {
        self.keys[key as usize].lanes -= 1;
        if self.keys[key as usize].lanes == 0 {
            self.open_key(key);
            let forgotten = self.keys.remove(key as usize);
            self.plugins[forgotten.plugin as usize].keys.remove(&forgotten.name);
        }
    }

    fn free_part(&mut self, part: u32) {
        self.open_part(part);
        let forgotten = self.parts.remove(part as usize);
        let plugin = &mut self.plugins[forgotten.plugin as usize];
        plugin.parts.remove(&forgotten.downstream);
        self.by_downstream.remove(&forgotten.downstream, &plugin.name);
        if plugin.parts.is_empty() {
            self.open_plugin(forgotten.plugin);
            self.free_plugin_if_idle(forgotten.plugin);
        }
    }

    /// Forgets a plugin without jobs, in memory or on disk.
    pub(super) fn free_plugin_if_idle(&mut self, plugin: u32) {
        let state = &self.plugins[plugin as usize];
        if state.parts.is_empty() && state.unfinished == 0 {
            let forgotten = self.plugins.remove(plugin as usize);
            self.horizons -= usize::from(forgotten.horizon.is_some());
            self.plugin_numbers.remove(&forgotten.name);
        }
    }
}

impl LaneState {
    fn new(lane: Lane, part: u32, key: Option<u32>) -> Self {
        Self {
            lane,
            part,
            key,
            tally: Tally::default(),
            ready: BTreeSet::new(),
            ring: None,
            waits_for_key: false,
            turn: 0,
        }
    }
}

impl PluginState {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            parts: HashMap::new(),
            keys: HashMap::new(),
            ring: BTreeSet::new(),
            place: None,
            tally: Tally::default(),
            waiting: 0,
            unfinished: 0,
            horizon: None,
            turn: 0,
            behind: Behind::default(),
            closed: None,
        }
    }
}

impl PartState {
    fn new(plugin: u32, downstream: Arc<str>) -> Self {
        Self {
            plugin,
            downstream,
            plain: None,
            keyed: HashMap::new(),
            tally: Tally::default(),
            ring: PartRing::default(),
            place: None,
            leaders: HashSet::new(),
            behind: Behind::default(),
            closed: None,
        }
    }
}

impl KeyState {
    fn new(plugin: u32, name: Arc<str>) -> Self {
        Self { plugin, name, lanes: 0, waiting: BTreeSet::new(), closed: None }
    }
}
