//! The jobs in memory, by their place.
//!
//! What is kept of a job is long, and an opening takes in very many: they lie one behind the other as they came, and only
//! the small table of where is in the disorder of a hash.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use slab::Slab;

use super::Entry;
use super::floor::Newest;
use super::tally::number;

/// The jobs in memory.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Each with its place.
    kept: Slab<(i64, Entry)>,
    /// Where each is among those kept.
    table: HashTable<u32>,
    /// Where their newest attempts lie.
    newest: Newest,
}

impl Entries {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, jobs: usize) {
        self.kept.reserve(jobs);
        let kept = &self.kept;
        self.table.reserve(jobs, |at| hash(kept[*at as usize].0));
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn contains(&self, place: i64) -> bool {
        self.at(place).is_some()
    }

    pub(super) fn get(&self, place: i64) -> Option<&Entry> {
        self.at(place).map(|at| &self.kept[at].1)
    }

    /// To change anything of it but its newest attempt, for which there is [`Self::set_newest`].
    pub(super) fn get_mut(&mut self, place: i64) -> Option<&mut Entry> {
        self.at(place).map(|at| &mut self.kept[at].1)
    }

    /// The job's newest attempt has that number, and whether its own row says so.
    pub(super) fn set_newest(&mut self, place: i64, newest: i64, anchored: bool) {
        let Some(at) = self.at(place) else { return };
        let entry = &mut self.kept[at].1;
        self.newest.take(entry);
        (entry.newest, entry.anchored) = (newest, anchored);
        self.newest.add(entry);
    }

    /// Takes in a job that is not here.
    pub(super) fn insert(&mut self, place: i64, entry: Entry) {
        debug_assert!(!self.contains(place));
        self.newest.add(&entry);
        let at = number(self.kept.insert((place, entry)));
        let kept = &self.kept;
        self.table.insert_unique(hash(place), at, |at| hash(kept[*at as usize].0));
    }

    pub(super) fn remove(&mut self, place: i64) {
        let kept = &mut self.kept;
        if let Ok(found) = self.table.find_entry(hash(place), |at| kept[*at as usize].0 == place) {
            let (_, entry) = kept.remove(found.remove().0 as usize);
            self.newest.take(&entry);
        }
    }

    /// All of them, with their places, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Entry)> {
        self.kept.iter().map(|(_, (place, entry))| (*place, entry))
    }

    /// Those that lie in the places from `from` on, at most `most` of them, and where to go on; none behind the last.
    pub(super) fn part(&self, from: usize, most: usize) -> (impl Iterator<Item = (i64, &Entry)>, Option<usize>) {
        let to = from.saturating_add(most);
        let part = (from..to.min(self.kept.capacity())).filter_map(|at| self.kept.get(at));
        (part.map(|(place, entry)| (*place, entry)), (to < self.kept.capacity()).then_some(to))
    }

    /// Where their newest attempts lie.
    pub(super) fn newest(&self) -> &Newest {
        &self.newest
    }

    fn at(&self, place: i64) -> Option<usize> {
        self.table.find(hash(place), |at| self.kept[*at as usize].0 == place).map(|at| *at as usize)
    }
}

fn hash(place: i64) -> u64 {
    FxBuildHasher.hash_one(place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::{Phase, Unfinished, floor};
    use super::*;
    use crate::clock::UnixMs;
    use crate::job::JobId;

    fn entry(place: i64, due: i64) -> Entry {
        let job = Unfinished { due: UnixMs(due), ..Unfinished::new(JobId::from_parts(place, 0)) };
        Entry::of(&job, Phase::Ready, 0)
    }

    /// The counts, against a look at every job.
    fn check_newest(entries: &Entries, below: i64) {
        let mut parts = Vec::new();
        let mut from = Some(0);
        while let Some(place) = from {
            let (part, next) = entries.part(place, 7);
            parts.extend(part.map(|(place, entry)| (place, *entry)));
            from = next;
        }
        assert_eq!(parts.len(), entries.len());
        let newest = parts.iter().filter(|(_, entry)| floor::needs_its_attempt(entry)).map(|(_, entry)| entry.newest);
        let least = newest.clone().min();
        assert_eq!(entries.newest().lowest().is_some(), least.is_some());
        let is_near = |floor: i64| least.is_some_and(|least| floor <= least && !floor::is_below(floor, least));
        assert!(entries.newest().lowest().is_none_or(is_near));
        let lagging = newest.filter(|newest| floor::is_below(*newest, below)).count();
        assert_eq!(entries.newest().below(below), lagging);
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_knows_where_the_newest_attempts_are(
            steps in prop::collection::vec((0..4_u8, 0..40_i64, 0..60_i64, any::<bool>()), 1..200),
        ) {
            let (mut entries, mut map) = (Entries::default(), BTreeMap::new());
            for (due, (what, place, newest, anchored)) in (0..).zip(steps) {
                match what {
                    0 if !entries.contains(place) => {
                        let mut entry = entry(place, due);
                        (entry.newest, entry.anchored) = (newest, anchored);
                        entries.insert(place, entry);
                        map.insert(place, due);
                    }
                    0 | 1 => {
                        if let Some(entry) = entries.get_mut(place) {
                            entry.due = UnixMs(due);
                            map.insert(place, due);
                        }
                    }
                    2 => entries.set_newest(place, newest, anchored),
                    _ => {
                        entries.remove(place);
                        map.remove(&place);
                    }
                }
                prop_assert_eq!(entries.len(), map.len());
                prop_assert_eq!(entries.get(place).map(|entry| entry.due.0), map.get(&place).copied());
                let all: BTreeMap<_, _> = entries.iter().map(|(place, entry)| (place, entry.due.0)).collect();
                prop_assert_eq!(&all, &map);
                check_newest(&entries, newest);
            }
        }
    }
}
