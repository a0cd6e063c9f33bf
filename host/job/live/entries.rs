//! The jobs in memory, by their place.
//!
//! What is kept of a job is long, and an opening takes in very many: they lie one behind the other as they came, and only
//! the small table of where is in the disorder of a hash.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use slab::Slab;

use super::Entry;
use super::tally::number;

/// The jobs in memory.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Each with its place.
    kept: Slab<(i64, Entry)>,
    /// Where each is among those kept.
    table: HashTable<u32>,
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

    pub(super) fn get_mut(&mut self, place: i64) -> Option<&mut Entry> {
        self.at(place).map(|at| &mut self.kept[at].1)
    }

    /// Takes in a job that is not here.
    pub(super) fn insert(&mut self, place: i64, entry: Entry) {
        debug_assert!(!self.contains(place));
        let at = number(self.kept.insert((place, entry)));
        let kept = &self.kept;
        self.table.insert_unique(hash(place), at, |at| hash(kept[*at as usize].0));
    }

    pub(super) fn remove(&mut self, place: i64) {
        let kept = &mut self.kept;
        if let Ok(found) = self.table.find_entry(hash(place), |at| kept[*at as usize].0 == place) {
            kept.remove(found.remove().0 as usize);
        }
    }

    /// All of them, with their places, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Entry)> {
        self.kept.iter().map(|(_, (place, entry))| (*place, entry))
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

    use super::super::{Phase, Unfinished};
    use super::*;
    use crate::clock::UnixMs;
    use crate::job::JobId;

    fn entry(place: i64, due: i64) -> Entry {
        let job = Unfinished { due: UnixMs(due), ..Unfinished::new(JobId::from_parts(place, 0)) };
        Entry::of(&job, Phase::Ready, 0)
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3_u8, 0..40_i64), 1..200)) {
            let (mut entries, mut map) = (Entries::default(), BTreeMap::new());
            for (due, (what, place)) in (0..).zip(steps) {
                match what {
                    0 if !entries.contains(place) => {
                        entries.insert(place, entry(place, due));
                        map.insert(place, due);
                    }
                    0 | 1 => {
                        if let Some(entry) = entries.get_mut(place) {
                            entry.due = UnixMs(due);
                            map.insert(place, due);
                        }
                    }
                    _ => {
                        entries.remove(place);
                        map.remove(&place);
                    }
                }
                prop_assert_eq!(entries.len(), map.len());
                prop_assert_eq!(entries.get(place).map(|entry| entry.due.0), map.get(&place).copied());
                let all: BTreeMap<_, _> = entries.iter().map(|(place, entry)| (place, entry.due.0)).collect();
                prop_assert_eq!(&all, &map);
            }
        }
    }
}
