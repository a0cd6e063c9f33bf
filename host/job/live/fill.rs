//! Taking in many jobs at once, as an opening does.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::lanes::ReadyKey;
use super::{LiveSet, Phase};

impl LiveSet {
    /// Has `fill` take in many jobs: the same as one by one, but that each order is made once, of all that belong there.
    /// Nothing is to be asked of the set before that.
    pub fn fill<T>(&mut self, fill: impl FnOnce(&mut Self) -> T) -> T {
        self.is_filling = true;
        let filled = fill(self);
        self.is_filling = false;
        self.make_orders();
        filled
    }

    fn make_orders(&mut self) {
        let mut delayed = Vec::with_capacity(self.entries.len());
        // Of each lane its ready jobs, and the first of them to arrive.
        let mut lanes: FxHashMap<u32, (i64, Vec<ReadyKey>)> = FxHashMap::default();
        for (place, entry) in self.entries.iter() {
            match entry.phase {
                Phase::Delayed => delayed.push((entry.due, place)),
                Phase::Ready => {
                    let (first, ready) = lanes.entry(entry.lane).or_insert((place, Vec::new()));
                    *first = place.min(*first);
                    ready.push((Reverse(entry.priority), entry.due, place));
                }
                Phase::Held | Phase::Barred | Phase::Interrupted { .. } | Phase::Running { .. } => {}
            }
        }
        // A set sorts what it is made of, too, in a way that is slower where that is in disorder.
        delayed.sort_unstable();
        self.delayed = delayed.into_iter().collect();
        // Lanes queue up as their jobs arrived.
        let mut lanes: Vec<_> = lanes.into_iter().map(|(lane, (first, ready))| (first, lane, ready)).collect();
        lanes.sort_unstable_by_key(|(first, ..)| *first);
        for (_, lane, mut ready) in lanes {
            ready.sort_unstable();
            self.lanes.fill(lane, ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{LaneRef, Unfinished};
    use super::*;
    use crate::clock::UnixMs;
    use crate::job::JobId;

    proptest! {
        /// Also where there are more than the memory keeps.
        #[test]
        fn filling_is_inserting_one_by_one(
            kept_max in 4..40_usize,
            jobs in prop::collection::vec((0..200_i64, any::<bool>(), any::<bool>()), 0..120),
        ) {
            let (now, lane) = (UnixMs(100), LaneRef { plugin: "a", downstream: "x", limit_key: None });
            let insert = |live: &mut LiveSet| {
                for (place, (due, held, interrupted)) in jobs.iter().enumerate() {
                    let id = JobId::from_parts(1 + place as i64, 7);
                    let interrupted = interrupted.then_some(now);
                    let job = Unfinished { due: UnixMs(*due), held: *held, interrupted, ..Unfinished::new(id) };
                    live.insert(&job, lane, now);
                }
            };
            let (mut one_by_one, mut filled) = (LiveSet::new(kept_max, 1), LiveSet::new(kept_max, 1));
            insert(&mut one_by_one);
            filled.fill(insert);
            prop_assert_eq!(&filled.delayed, &one_by_one.delayed);
            prop_assert_eq!(filled.entries.len(), one_by_one.entries.len());
            prop_assert_eq!(filled.next_due(), one_by_one.next_due());
            prop_assert!(filled.gathered.is_none());
        }
    }
}
