//! What each plugin has in memory and on disk, and where its part of the memory ends.

use super::{Lanes, PluginState};
use crate::job::live::horizon::level;
use crate::job::live::{Key, ReloadPart};

impl PluginState {
    /// How many of its jobs are on disk only.
    fn on_disk(&self) -> u64 {
        self.unfinished.saturating_sub(self.tally.jobs())
    }
}

impl Lanes {
    /// One more job of that lane is unfinished.
    pub(in crate::job::live) fn begin(&mut self, lane: u32) {
        let plugin = self.plugin_of(lane);
        self.plugins[plugin as usize].unfinished += 1;
    }

    /// A job of that lane is final.
    pub(in crate::job::live) fn end(&mut self, lane: u32) {
        self.end_one(self.plugin_of(lane));
    }

    /// A job of that plugin is final that was on disk only.
    pub(in crate::job::live) fn end_on_disk(&mut self, plugin: &str) {
        if let Some(plugin) = self.plugin_number(plugin) {
            self.end_one(plugin);
            self.free_plugin_if_idle(plugin);
        }
    }

    fn end_one(&mut self, plugin: u32) {
        let unfinished = &mut self.plugins[plugin as usize].unfinished;
        *unfinished = unfinished.saturating_sub(1);
    }

    /// How many unfinished jobs a plugin has, in memory and on disk.
    pub(in crate::job::live) fn unfinished_of(&self, plugin: &str) -> u64 {
        self.plugin_number(plugin).map_or(0, |plugin| self.plugins[plugin as usize].unfinished)
    }

    /// How many plugins have unfinished jobs.
    pub(in crate::job::live) fn plugins(&self) -> usize {
        self.plugins.len()
    }

    pub(in crate::job::live) fn plugin_of(&self, lane: u32) -> u32 {
        self.parts[self.states[lane as usize].part as usize].plugin
    }

    /// How many jobs wait in memory of each plugin, by its number.
    pub(in crate::job::live) fn waiting_each(&self) -> impl Iterator<Item = usize> {
        let waiting = |plugin: &PluginState| usize::try_from(plugin.waiting).unwrap_or(0);
        (0..self.plugins.capacity()).map(move |plugin| self.plugins.get(plugin).map_or(0, waiting))
    }

    /// Whether a plugin has a horizon. Without any nothing is beyond one.
    pub(in crate::job::live) fn have_horizons(&self) -> bool {
        self.horizons > 0
    }

    pub(in crate::job::live) fn has_horizon(&self, plugin: &str) -> bool {
        self.plugin_number(plugin).is_some_and(|plugin| self.plugins[plugin as usize].horizon.is_some())
    }

    /// Whether a waiting job of that lane is on disk only.
    pub(in crate::job::live) fn is_beyond(&self, lane: u32, key: Key) -> bool {
        self.have_horizons()
            && self.plugins[self.plugin_of(lane) as usize].horizon.is_some_and(|horizon| key >= horizon)
    }

    /// Where the plugin of that number has its horizon.
    pub(in crate::job::live) fn horizon(&self, plugin: usize) -> Option<Key> {
        self.plugins.get(plugin)?.horizon
    }

    /// From there on the plugin's waiting jobs are on disk only, unless they are from before that.
    pub(in crate::job::live) fn lower_horizon(&mut self, plugin: usize, to: Key) {
        let horizon = &mut self.plugins[plugin].horizon;
        self.horizons += usize::from(horizon.is_none());
        *horizon = Some(horizon.map_or(to, |horizon| horizon.min(to)));
    }

    /// The same of a plugin that has unfinished jobs; of others nothing is on disk only.
    pub(in crate::job::live) fn lower_horizon_of(&mut self, plugin: &str, to: Key) {
        if let Some(plugin) = self.plugin_number(plugin) {
            self.lower_horizon(plugin as usize, to);
        }
    }

    pub(in crate::job::live) fn clear_horizon(&mut self, plugin: &str) {
        if let Some(plugin) = self.plugin_number(plugin) {
            let horizon = self.plugins[plugin as usize].horizon.take();
            self.horizons -= usize::from(horizon.is_some());
        }
    }

    /// Whether a plugin with jobs on disk has nothing in a memory of that size, or less than an eighth of what each would
    /// have if all had the same.
    pub(in crate::job::live) fn is_one_starved(&self, bound: usize) -> bool {
        let little = (bound / self.plugins.len().max(1) / 8).max(1) as u64;
        self.plugins.iter().any(|(_, plugin)| plugin.horizon.is_some() && plugin.waiting < little)
    }

    /// What each plugin with jobs on disk has less in memory than the level at which all together fill so much of it, and
    /// how many jobs that is.
    pub(in crate::job::live) fn missing(&self, room: usize) -> (Vec<ReloadPart>, u64) {
        let wanted = |plugin: &PluginState| plugin.waiting + plugin.on_disk();
        let level = level(self.plugins.iter().map(|(_, plugin)| wanted(plugin)).collect(), room as u64);
        let level = level.clamp(1, room as u64);
        let (mut parts, mut gain) = (Vec::new(), 0);
        for (_, plugin) in self.plugins.iter().filter(|(_, plugin)| plugin.waiting < level) {
            if let Some(from) = plugin.horizon {
                let most = level - plugin.waiting;
                gain += most.min(plugin.on_disk());
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                parts.push(ReloadPart { plugin: plugin.name.clone(), from, most });
            }
        }
        (parts, gain)
    }
}
