//! The memory's bound: which waiting jobs are dropped from it.
//!
//! Where there are more than the bound, those plugins lose that have most: each keeps its nearest jobs up to one level,
//! so that no plugin's jobs, blocked as they may be, keep those of another out. How they come back: see
//! [`reload`](super::reload).

use super::reload::Reading;
use super::{Entry, Key, LiveSet, floor};

/// What bounds the memory, and what is being read back. Where each plugin's part of it ends its lanes know.
#[derive(Debug)]
pub(super) struct Horizon {
    kept_max: usize,
    pub(super) reading: Reading,
    /// The smallest attempt number that a dropped job may need.
    floor: Option<i64>,
}

impl Horizon {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept_max: kept_max.max(4), reading: Reading::default(), floor: None }
    }

    pub(super) fn note_drop(&mut self, place: i64, entry: &Entry) {
        self.reading.note_gone(place);
        if floor::needs_its_attempt(entry) {
            self.floor = Some(self.floor.map_or(entry.newest, |floor| floor.min(entry.newest)));
        }
    }

    pub(super) fn floor(&self) -> Option<i64> {
        self.floor
    }

    /// Every unfinished job is in memory.
    pub(super) fn forget_floor(&mut self) {
        self.floor = None;
    }
}

/// The highest level at which so many, of each no more than it, are `room` at most.
pub(super) fn level(mut counts: Vec<u64>, mut room: u64) -> u64 {
    counts.sort_unstable();
    for (count, left) in counts.iter().zip((1..=counts.len() as u64).rev()) {
        if *count > room / left {
            return room / left;
        }
        room -= count;
    }
    u64::MAX
}

impl LiveSet {
    /// How many jobs in memory could leave it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.entries.len() - self.pinned
    }

    /// The most of them: as many as were asked for, and one or two of each plugin at least.
    pub(super) fn bound(&self) -> usize {
        self.horizon.kept_max.max(2 * self.lanes.plugins())
    }

    pub(super) fn room_for(&self, jobs: u64) -> usize {
        usize::try_from(jobs).unwrap_or(usize::MAX).min(self.horizon.kept_max)
    }

    /// Whether jobs are kept on disk only.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.lanes.have_horizons() || self.horizon.reading.is_under_way()
    }

    /// Whether jobs of that plugin are.
    #[must_use]
    pub fn is_partial_of(&self, plugin: &str) -> bool {
        self.lanes.has_horizon(plugin) || self.horizon.reading.is_of(plugin)
    }

    /// Drops the farthest due jobs where there are more than the bound, of the plugins that have most: an eighth of the
    /// bound at once, so that the work of finding them is spread over as many inserts.
    pub(super) fn shrink(&mut self) {
        let bound = self.bound();
        if self.waiting() <= bound {
            return;
        }
        let mut keys = self.waiting_keys();
        let keep = (bound - bound / 8).min(bound - 1);
        let level = level(keys.iter().map(|keys| keys.len() as u64).collect(), keep as u64);
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        for (plugin, keys) in keys.iter_mut().enumerate().filter(|(_, keys)| keys.len() > level) {
            let (_, boundary, _) = keys.select_nth_unstable(level);
            self.lanes.lower_horizon(plugin, *boundary);
        }
        self.drop_beyond(keys);
    }

    /// Where the waiting jobs of each plugin stand, by its number.
    pub(super) fn waiting_keys(&self) -> Vec<Vec<Key>> {
        let mut keys: Vec<Vec<Key>> = self.lanes.waiting_each().map(Vec::with_capacity).collect();
        for (place, entry) in self.entries.iter().filter(|(_, entry)| !entry.phase().is_pinned()) {
            keys[self.lanes.plugin_of(entry.lane) as usize].push((entry.due, place));
        }
        keys
    }

    /// Drops those of these jobs that lie beyond their plugin's horizon.
    pub(super) fn drop_beyond(&mut self, keys: Vec<Vec<Key>>) {
        for (plugin, keys) in keys.into_iter().enumerate() {
            let Some(horizon) = self.lanes.horizon(plugin) else { continue };
            for (_, place) in keys.into_iter().filter(|key| *key >= horizon) {
                let Some(entry) = self.entries.get(place).copied() else { continue };
                self.unsettle(place);
                self.entries.remove(place);
                self.horizon.note_drop(place, &entry);
                self.lanes.free_if_idle(entry.lane);
            }
        }
    }
}
