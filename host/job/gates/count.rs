//! How much runs.

use super::{Gates, Health, Lane};

impl Gates {
    /// How many attempts run.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.places.taken()
    }

    /// Whether plugins share the host: there is more than one.
    #[must_use]
    pub fn has_several_plugins(&self) -> bool {
        self.places.plugins() > 1
    }

    /// How many attempts of this plugin run.
    #[must_use]
    pub fn running_of(&self, plugin: &str) -> u32 {
        self.plugins.get(plugin).map_or(0, |gate| gate.running)
    }

    /// How many attempts of this lane run.
    #[must_use]
    pub fn running_in(&self, lane: &Lane) -> u32 {
        self.lanes.get(&lane.whole()).map_or(0, Health::running)
    }
}
