//! Which jobs come next, for who has to read them from disk.

use std::collections::BTreeSet;

use super::LiveSet;

impl LiveSet {
    /// The jobs that come next in the lanes of these: of each lane as many as would be `most` if all lanes had their share,
    /// so that none is pushed out before its lane has its turn; and only up to the first that is not `wanted`.
    pub fn next_beside(&self, places: &[i64], most: usize, wanted: impl Fn(i64) -> bool) -> Vec<i64> {
        let lanes: BTreeSet<u32> =
            places.iter().filter_map(|place| self.entries.get(*place)).map(|entry| entry.lane).collect();
        let each = most / self.lanes.len().max(1);
        let next = |lane| self.lanes.ready(lane).take(each).take_while(|place| wanted(*place));
        lanes.into_iter().flat_map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Chance, UnixMs};
    use crate::job::IdSource;
    use crate::job::live::Unfinished;
    use crate::job::live::counted::Open;

    #[test]
    fn what_comes_next_is_what_is_claimed_next() {
        let (mut live, mut ids, chance) = (LiveSet::new(usize::MAX, 1), IdSource::after(0), Chance::seeded(1));
        let now = UnixMs(9);
        for number in 0..40_i16 {
            let mut job = Unfinished::new(ids.next(now, &chance));
            job.priority = number % 3;
            live.insert(&job, ("p", if number % 2 == 0 { "a" } else { "b" }), now);
        }
        let claim = |live: &mut LiveSet, most| -> Vec<i64> {
            live.claim(most, now, &mut Open).iter().map(|job| job.id.place()).collect()
        };
        let first = claim(&mut live, 2);
        assert!(live.next_beside(&first[..1], 0, |_| true).is_empty());
        let of_one_lane = live.next_beside(&first[..1], 99, |_| true);
        assert_eq!(of_one_lane.len(), 19, "all the others of that lane");
        let next = live.next_beside(&first, 10, |_| true);
        let mut claimed = claim(&mut live, 10);
        claimed.sort_unstable();
        let mut in_order = next.clone();
        in_order.sort_unstable();
        assert_eq!(in_order, claimed, "five of each lane, and in their order the same");
        let next = live.next_beside(&first, 10, |_| true);
        assert_eq!(live.next_beside(&first, 10, |place| place != next[2]).len(), 7, "two, and five of the other lane");
    }
}
