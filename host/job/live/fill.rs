//! Taking in many jobs at once, as an opening does.

use rustc_hash::FxHashMap;

use super::lanes::ReadyKey;
use super::{Entry, LiveSet, Phase};

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

    /// Takes in a job that waits, to be put in order later. It is not looked up again: what was just written into a large
    /// table is not there to be read for a while.
    pub(super) fn gather(&mut self, place: i64, entry: Entry) {
        if self.lanes.is_beyond(entry.lane, (entry.due, place)) {
            self.horizon.note_drop(place, &entry);
            self.lanes.free_if_idle(entry.lane);
        } else {
            self.lanes.count_in(entry.lane, entry.phase());
            self.entries.insert(place, entry);
        }
    }

    fn make_orders(&mut self) {
        let mut delayed = Vec::with_capacity(self.entries.len());
        // Of each lane its ready jobs, and the first of them to arrive.
        let mut lanes: FxHashMap<u32, (i64, Vec<ReadyKey>)> = FxHashMap::default();
        for (place, entry) in self.entries.iter() {
            match entry.phase() {
                Phase::Delayed => delayed.push((entry.due, place)),
                Phase::Ready => {
                    let (first, ready) = lanes.entry(entry.lane).or_insert((place, Vec::new()));
                    *first = place.min(*first);
                    ready.push(entry.order(place));
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

    use super::super::counted::{Open, recount};
    use super::super::{LaneRef, Unfinished};
    use super::*;
    use crate::clock::UnixMs;
    use crate::job::JobId;

    proptest! {
        /// Also where there are more than the memory keeps.
        #[test]
        fn filling_is_inserting_one_by_one(
            kept_max in 4..40_usize,
            jobs in prop::collection::vec((0..200_i64, 0..3_i16, 0..3_usize, any::<bool>(), any::<bool>()), 0..120),
        ) {
            let now = UnixMs(100);
            let insert = |live: &mut LiveSet| {
                for (place, (due, priority, downstream, held, interrupted)) in (1..).zip(&jobs) {
                    let lane = LaneRef { plugin: "a", downstream: ["x", "y", "z"][*downstream], limit_key: None };
                    let (due, priority, held) = (UnixMs(*due), *priority, *held);
                    let interrupted = interrupted.then_some(now);
                    let blank = Unfinished::new(JobId::from_parts(place, 7));
                    live.insert(&Unfinished { due, priority, held, interrupted, ..blank }, lane, now);
                }
            };
            let (mut one_by_one, mut filled) = (LiveSet::new(kept_max, 1), LiveSet::new(kept_max, 1));
            insert(&mut one_by_one);
            filled.fill(insert);
            prop_assert_eq!(&filled.delayed, &one_by_one.delayed);
            prop_assert_eq!(recount(&filled), recount(&one_by_one));
            prop_assert_eq!(filled.next_due(), one_by_one.next_due());
            for now in [now, UnixMs(200)] {
                prop_assert_eq!(filled.rescue(), one_by_one.rescue());
                let claimed = one_by_one.claim(usize::MAX, now, &mut Open);
                prop_assert_eq!(filled.claim(usize::MAX, now, &mut Open), claimed);
            }
        }
    }
}
