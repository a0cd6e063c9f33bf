//! The memory's bound: which waiting jobs are dropped from it, and how they come back.

use std::collections::HashSet;

use super::{Entry, Key, Lane, LiveSet, Unfinished, floor};
use crate::clock::UnixMs;
use crate::job::JobId;

/// An order to read the nearest of the jobs that are on disk only.
///
/// Read in a snapshot of the store that is opened after the order was given; see [`LiveSet::merge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    number: u64,
    /// Only jobs whose (due, place) is at or behind this.
    pub from: Key,
    /// At most so many, the nearest.
    pub most: usize,
}

/// Where the memory ends.
#[derive(Debug)]
pub(super) struct Horizon {
    kept_max: usize,
    /// Waiting jobs at or behind it are on disk only. None: every unfinished job is in memory.
    at: Option<Key>,
    /// While a reload reads: its number, and the jobs that ended meanwhile. What waits beyond the horizon then stays
    /// in memory, because the reload's snapshot may be older.
    reload: Option<(u64, HashSet<i64>)>,
    reloads: u64,
    /// The smallest attempt number that a dropped job may need.
    floor: Option<i64>,
}

impl Horizon {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept_max: kept_max.max(4), at: None, reload: None, reloads: 0, floor: None }
    }

    pub(super) fn is_beyond(&self, key: Key) -> bool {
        self.reload.is_none() && self.at.is_some_and(|horizon| key >= horizon)
    }

    pub(super) fn note_end(&mut self, place: i64) {
        if let Some((_, ended)) = &mut self.reload {
            ended.insert(place);
        }
    }

    pub(super) fn note_drop(&mut self, entry: &Entry) {
        if floor::needs_its_attempt(entry) {
            self.floor = Some(self.floor.map_or(entry.newest, |floor| floor.min(entry.newest)));
        }
    }
}

impl LiveSet {
    /// How many jobs in memory could leave it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.entries.len() - self.pinned
    }

    pub(super) fn room_for(&self, jobs: u64) -> usize {
        usize::try_from(jobs).unwrap_or(usize::MAX).min(self.horizon.kept_max)
    }

    /// Whether jobs are kept on disk only.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.horizon.at.is_some()
    }

    /// Drops the farthest due jobs where there are more than the bound: an eighth of it at once, so that the work of
    /// finding them is spread over as many inserts.
    pub(super) fn shrink(&mut self) {
        if self.waiting() <= self.horizon.kept_max {
            return;
        }
        let mut keys = self.waiting_keys();
        let keep = self.horizon.kept_max - self.horizon.kept_max / 8;
        let (_, boundary, _) = keys.select_nth_unstable(keep.min(self.horizon.kept_max - 1));
        let boundary = self.horizon.at.map_or(*boundary, |horizon| horizon.min(*boundary));
        // A reload in flight no longer fits; its answer will be recognised as stale.
        self.horizon.reload = None;
        self.horizon.at = Some(boundary);
        self.drop_beyond(keys);
    }

    /// The order to reload, where the memory is half empty, or nothing below the horizon is left. To be followed by
    /// [`Self::merge`] or [`Self::abandon`].
    pub fn begin_reload(&mut self) -> Option<Reload> {
        let from = self.horizon.at?;
        if self.horizon.reload.is_some() || self.waiting() >= self.horizon.kept_max / 2 {
            return None;
        }
        self.horizon.reloads += 1;
        let number = self.horizon.reloads;
        self.horizon.reload = Some((number, HashSet::new()));
        let most = (self.horizon.kept_max * 3 / 4).saturating_sub(self.waiting()).max(1);
        Some(Reload { number, from, most })
    }

    /// Takes in what a reload read: the nearest jobs, each with its plugin and its downstream, and the key of the first
    /// one that is left on disk. Answers whether it was still wanted.
    pub fn merge(&mut self, reload: Reload, jobs: &[(Unfinished, Lane)], rest_from: Option<Key>, now: UnixMs) -> bool {
        let Some((number, ended)) = self.horizon.reload.take() else { return false };
        if number != reload.number {
            self.horizon.reload = Some((number, ended));
            return false;
        }
        self.horizon.at = rest_from;
        if rest_from.is_none() {
            self.horizon.floor = None;
        }
        // Chosen before any is taken in: taking in can drop a job that changed meanwhile, and what the reload read of
        // that one is out of date.
        let is_news = |id: JobId| !ended.contains(&id.place()) && !self.entries.contains(id.place());
        let news: Vec<_> = jobs.iter().filter(|(job, ..)| is_news(job.id)).collect();
        for (job, lane) in news {
            self.bring(job, lane, now);
        }
        // What came in beyond the new horizon while the reload ran is on disk too.
        let keys = self.waiting_keys();
        self.drop_beyond(keys);
        true
    }

    /// The reload could not be read.
    pub fn abandon(&mut self, reload: Reload) {
        if self.horizon.reload.as_ref().is_some_and(|(number, _)| *number == reload.number) {
            self.cancel_reload();
        }
    }

    pub(super) fn cancel_reload(&mut self) {
        if self.horizon.reload.take().is_some() {
            let keys = self.waiting_keys();
            self.drop_beyond(keys);
        }
    }

    /// A number that no newest attempt of an unfinished job is below, be the job in memory or not, but for the anchored
    /// ones; none where there is no such attempt. It lies a few thousand below the lowest at most.
    #[must_use]
    pub fn attempts_floor(&self) -> Option<i64> {
        self.entries.newest().lowest().into_iter().chain(self.horizon.floor).min()
    }

    /// How many jobs in memory hold the floor below `below`; those that hold it a few thousand below or less may be left out.
    #[must_use]
    pub fn lagging(&self, below: i64) -> usize {
        self.entries.newest().below(below)
    }

    /// Some of these, with their newest attempts: those among `most` places of the memory, from `from` on. Answers also
    /// where to go on.
    #[must_use]
    pub fn laggards(&self, below: i64, from: usize, most: usize) -> (Vec<(i64, i64)>, Option<usize>) {
        let lags = |entry: &Entry| floor::needs_its_attempt(entry) && floor::is_below(entry.newest, below);
        let (part, next) = self.entries.part(from, most);
        (part.filter(|(_, entry)| lags(entry)).map(|(place, entry)| (place, entry.newest)).collect(), next)
    }

    /// The store wrote on the job's own row that its newest attempt is this one.
    pub fn anchor(&mut self, place: i64, newest: i64) {
        if self.entries.get(place).is_some_and(|entry| entry.newest == newest) {
            self.entries.set_newest(place, newest, true);
        }
    }

    fn waiting_keys(&self) -> Vec<Key> {
        let waiting = self.entries.iter().filter(|(_, entry)| !entry.phase.is_pinned());
        waiting.map(|(place, entry)| (entry.due, place)).collect()
    }

    fn drop_beyond(&mut self, keys: Vec<Key>) {
        let beyond = keys.into_iter().filter(|key| self.horizon.at.is_some_and(|horizon| *key >= horizon));
        for (_, place) in beyond.collect::<Vec<_>>() {
            let Some(entry) = self.entries.get(place).copied() else { continue };
            self.unsettle(place);
            self.entries.remove(place);
            self.horizon.note_drop(&entry);
            self.lanes.free_if_idle(entry.lane);
        }
    }
}
