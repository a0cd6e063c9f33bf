//! Taking in many jobs at once, as an opening does.

use std::collections::BTreeSet;

use super::{Key, LiveSet, Phase};

impl LiveSet {
    /// Has `fill` take in many jobs: the same as one by one, with the order of those that are not due made once. Nothing is
    /// to be asked of the set before that.
    pub fn fill<T>(&mut self, fill: impl FnOnce(&mut Self) -> T) -> T {
        self.gathered = Some(Vec::new());
        let filled = fill(self);
        let mut gathered = self.gathered.take().unwrap_or_default();
        // Some were dropped again, for want of room.
        gathered.retain(|(due, place)| {
            self.entries.get(place).is_some_and(|entry| entry.phase == Phase::Delayed && entry.due == *due)
        });
        self.delayed.append(&mut gathered.into_iter().collect::<BTreeSet<Key>>());
        filled
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
