//! How many jobs may be unfinished at once: the high-water mark, and what is kept above it.

use super::Share;

/// The high-water mark.
///
/// Up to the mark anybody may enqueue. Where plugins are beside each other, some places above it are kept for those that
/// have few jobs, so that one that filled the queue refuses nobody but itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HighWater {
    mark: u64,
    above: u64,
}

impl HighWater {
    /// With this mark and, above it, the part of it that is more than the largest share: a tenth of it for nine tenths,
    /// rounded up. From 1 on nothing is kept.
    #[must_use]
    pub fn new(mark: u64, largest: f64) -> Self {
        Self { mark, above: (mark as f64 * (1.0 - largest).clamp(0.0, 1.0)).ceil() as u64 }
    }

    /// The most jobs that it lets in.
    #[must_use]
    pub fn most(self) -> u64 {
        self.mark.saturating_add(self.above)
    }

    /// Whether so many are far below the mark: half of it at most.
    #[must_use]
    pub fn is_far(self, jobs: u64) -> bool {
        jobs <= self.mark / 2
    }

    /// Who keeps these jobs, so many of each plugin, from joining those that are unfinished: the first plugin that has no
    /// room for its own. It is told how many unfinished jobs there are in all, and asks how many a plugin has.
    #[must_use]
    pub fn refused<'a>(
        self,
        unfinished: u64,
        mut more: impl Iterator<Item = (&'a str, u64)> + Clone,
        held: impl Fn(&str) -> u64,
    ) -> Option<&'a str> {
        let new = more.clone().map(|(_, count)| count).sum::<u64>();
        if unfinished + new <= self.mark {
            return None;
        }
        // What is free before the last of them; and what the plugin has before its last one.
        let free = self.most().saturating_sub(unfinished + new.saturating_sub(1));
        // Half of them: a plugin goes above the mark while it has fewer than are free there.
        let half = Share::new(0.5);
        more.find(|(plugin, count)| !half.admits(held(plugin) + count.saturating_sub(1), free))
            .map(|(plugin, _)| plugin)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Enqueues one by one, in this order; how many each plugin has then.
    fn enqueue<'a>(queue: HighWater, order: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
        let mut held = BTreeMap::new();
        for plugin in order {
            let all = held.values().sum();
            if queue.refused(all, [(plugin, 1)].into_iter(), |plugin| held.get(plugin).copied().unwrap_or(0)).is_none()
            {
                *held.entry(plugin).or_default() += 1;
            }
        }
        held
    }

    #[test]
    fn up_to_the_mark_anybody_may_and_above_it_those_with_few_jobs() {
        let queue = HighWater::new(100, 0.9);
        let flood = ["flood"; 200];
        assert_eq!(enqueue(queue, flood), BTreeMap::from([("flood", 100)]));
        assert_eq!(enqueue(queue, flood.into_iter().chain(["modest"; 100]))["modest"], 5, "half of the ten above");
        assert_eq!(enqueue(queue, ["a", "b"].into_iter().cycle().take(200)), BTreeMap::from([("a", 50), ("b", 50)]));
        for mark in 1..10 {
            let queue = HighWater::new(mark, 0.9);
            assert_eq!(enqueue(queue, flood)["flood"], mark);
            assert_eq!(enqueue(queue, flood.into_iter().chain(["modest"; 2]))["modest"], 1, "above {mark}");
        }
        assert!(!enqueue(HighWater::new(100, 1.0), flood.into_iter().chain(["modest"])).contains_key("modest"));
    }

    proptest! {
        /// Never more than the mark and what is kept above it; up to the mark nobody is refused; who has nothing finds a
        /// place unless that many others found one before it.
        #[test]
        fn what_is_kept_is_kept_for_newcomers(
            mark in 1_u64..300, largest in 0.1_f64..1.0, order in prop::collection::vec(0_usize..8, 0..700),
        ) {
            let queue = HighWater::new(mark, largest);
            const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
            let (mut held, mut all) = (BTreeMap::<&str, u64>::new(), 0);
            for plugin in order.into_iter().map(|n| NAMES[n]) {
                let has = |plugin: &str| held.get(plugin).copied().unwrap_or(0);
                let refused = queue.refused(all, [(plugin, 1)].into_iter(), has);
                prop_assert!(refused.is_none() || all >= mark);
                prop_assert!(refused.is_none() || has(plugin) > 0 || all == queue.most());
                if refused.is_none() {
                    *held.entry(plugin).or_default() += 1;
                    all += 1;
                }
                prop_assert!(all <= queue.most());
            }
        }

        /// A batch is let in where its jobs would be one by one.
        #[test]
        fn a_batch_has_the_room_that_its_jobs_have(
            mark in 1_u64..50, before in 0_u64..60, held in 0_u64..60, count in 1_u64..20,
        ) {
            let queue = HighWater::new(mark, 0.5);
            let held = held.min(before);
            let one_by_one = (0..count).all(|n| queue.refused(before + n, [("a", 1)].into_iter(), |_| held + n).is_none());
            let together = queue.refused(before, [("a", count)].into_iter(), |_| held).is_none();
            prop_assert_eq!(one_by_one, together);
        }
    }
}
