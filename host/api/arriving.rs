//! Jobs on their way into the store: let in by the high-water mark, and not yet among those that the store counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::job::HighWater;
use crate::lock::lock;

/// How many jobs are on their way. They count beside the unfinished ones wherever more want to be let in, so that the
/// mark holds however many ask at once.
///
/// What is asked for is added first, and the store's count read after that: of two that ask at once the later one sees
/// the earlier, either here or there. For a moment it may see it in both places, and never in none.
#[derive(Debug, Default)]
pub struct Arriving {
    /// All of them.
    all: AtomicU64,
    /// Those of each plugin that has any; but for single jobs that were let in far below the mark, where it does not
    /// matter whose they are.
    of: Mutex<BTreeMap<String, u64>>,
    /// Whether the last decision was not made far below the mark.
    is_near: AtomicBool,
}

/// Leave to enqueue some jobs, which are on their way until it is dropped: when the store counts them, or never will.
#[derive(Debug)]
#[must_use = "they count as long as it is kept"]
pub struct Ticket {
    arriving: Arc<Arriving>,
    jobs: u64,
    /// How many of each plugin, where that was noted.
    noted: Vec<(String, u64)>,
}

/// Who has no room for its jobs, and what there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The first plugin that has none.
    pub plugin: &'a str,
    /// The jobs that it has, those on their way included.
    pub held: u64,
    /// Unfinished jobs in all.
    pub unfinished: u64,
    /// Jobs on their way in all.
    pub arriving: u64,
}

impl Arriving {
    /// Leave for so many more jobs of each plugin. `unfinished` is how many jobs the store has: in all, and of that
    /// plugin.
    ///
    /// # Errors
    /// Where the mark refuses them.
    pub fn draw<'a>(
        self: &Arc<Self>,
        queue: HighWater,
        more: impl Iterator<Item = (&'a str, u64)> + Clone,
        unfinished: impl Fn(&str) -> (u64, u64),
    ) -> Result<Ticket, Refusal<'a>> {
        let new = more.clone().map(|(_, count)| count).sum::<u64>();
        if let Some(ticket) = self.draw_far_below(queue, new, || unfinished("").0) {
            return Ok(ticket);
        }
        let mut of = lock(&self.of);
        let (mut ticket, arriving) = self.add(new);
        let all = unfinished("").0;
        self.is_near.store(!queue.is_far(all + arriving + new), Ordering::Relaxed);
        let held = |plugin: &str| of.get(plugin).copied().unwrap_or(0) + unfinished(plugin).1;
        if let Some(plugin) = queue.refused(all + arriving, more.clone(), held) {
            return Err(Refusal { plugin, held: held(plugin), unfinished: all, arriving });
        }
        ticket.noted = more.map(|(plugin, count)| (plugin.to_owned(), count)).collect();
        for (plugin, count) in &ticket.noted {
            *of.entry(plugin.clone()).or_default() += count;
        }
        Ok(ticket)
    }

    /// Leave for a single job, of whichever plugin, where the mark is far: one addition is all that this costs. Where
    /// it fails the job has counted for a moment, which is why only single ones try, and none of them near the mark.
    fn draw_far_below(
        self: &Arc<Self>,
        queue: HighWater,
        new: u64,
        unfinished: impl FnOnce() -> u64,
    ) -> Option<Ticket> {
        if new != 1 || self.is_near.load(Ordering::Relaxed) {
            return None;
        }
        let (ticket, arriving) = self.add(new);
        queue.is_far(unfinished() + arriving + new).then_some(ticket)
    }

    /// Adds so many; how many there were before. What was given back until then had come into the store or never will:
    /// who asks the store after this is told of it.
    fn add(self: &Arc<Self>, jobs: u64) -> (Ticket, u64) {
        let before = self.all.fetch_add(jobs, Ordering::AcqRel);
        (Ticket { arriving: Arc::clone(self), jobs, noted: Vec::new() }, before)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.noted.is_empty() {
            let mut of = lock(&self.arriving.of);
            for (plugin, count) in &self.noted {
                if let Some(left) = of.get_mut(plugin) {
                    *left -= count;
                    if *left == 0 {
                        of.remove(plugin);
                    }
                }
            }
        }
        self.arriving.all.fetch_sub(self.jobs, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    /// The unfinished jobs of a store, by plugin.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<&'static str, u64>>);

    impl Kept {
        fn unfinished(&self, plugin: &str) -> (u64, u64) {
            let kept = lock(&self.0);
            (kept.values().sum(), kept.get(plugin).copied().unwrap_or(0))
        }

        /// How many there are then.
        fn add(&self, plugin: &'static str, count: u64) -> u64 {
            let mut kept = lock(&self.0);
            *kept.entry(plugin).or_default() += count;
            kept.values().sum()
        }
    }

    fn is_empty(arriving: &Arriving) -> bool {
        lock(&arriving.of).is_empty() && arriving.all.load(Ordering::Acquire) == 0
    }

    /// Many threads that enqueue at once: some one by one, some in batches; of some the store takes nothing.
    fn crowd(queue: HighWater, plugins: &[&'static str]) -> Kept {
        let (arriving, kept) = (Arc::<Arriving>::default(), Kept::default());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (arriving, kept, plugin) = (&arriving, &kept, plugins[thread % plugins.len()]);
                scope.spawn(move || {
                    for round in 0..400 {
                        let count = if (round + thread) % 3 == 0 { 1 + round as u64 % 90 } else { 1 };
                        let drawn = arriving.draw(queue, [(plugin, count)].into_iter(), |it| kept.unfinished(it));
                        let Ok(ticket) = drawn else { continue };
                        std::thread::yield_now();
                        if round % 5 != 0 {
                            let all = kept.add(plugin, count);
                            assert!(all <= queue.most(), "{all} of {queue:?}");
                        }
                        std::thread::yield_now();
                        drop(ticket);
                    }
                });
            }
        });
        assert!(is_empty(&arriving));
        kept
    }

    #[test]
    fn however_many_ask_at_once_the_mark_holds_and_who_has_nothing_finds_room() {
        for mark in [10, 100, 1_000] {
            let queue = HighWater::new(mark, 0.9);
            let kept = crowd(queue, &["flood"]);
            let arriving = Arc::<Arriving>::default();
            let draw = |plugin| arriving.draw(queue, [(plugin, 1)].into_iter(), |it| kept.unfinished(it));
            while draw("flood").is_ok() {
                kept.add("flood", 1);
            }
            assert_eq!(kept.unfinished("").0, mark, "all of it, and nothing of what is kept above");
            assert!(draw("modest").is_ok());
            crowd(queue, &NAMES);
        }
    }

    #[test]
    fn far_below_the_mark_it_does_not_matter_whose_a_job_is() {
        let (arriving, queue) = (Arc::<Arriving>::default(), HighWater::new(10, 0.9));
        let draw = |plugin, count| arriving.draw(queue, [(plugin, count)].into_iter(), |_| (0, 0));
        let one = draw("a", 1).unwrap();
        assert!(one.noted.is_empty());
        let four = draw("a", 4).unwrap();
        assert_eq!((four.noted.len(), lock(&arriving.of)["a"]), (1, 4));
        let near = draw("b", 1).unwrap();
        assert_eq!((near.noted.len(), lock(&arriving.of)["b"]), (1, 1));
        drop((four, near));
        assert_eq!(draw("a", 1).unwrap().noted.len(), 1, "who is the first to find it far again has looked at all");
        assert!(draw("a", 1).unwrap().noted.is_empty());
        drop(one);
        assert!(is_empty(&arriving));
    }

    proptest! {
        /// Whatever comes between: what is let in stays below the bound, what is on its way counts as if it were there,
        /// and nothing is left of what is over.
        #[test]
        fn what_is_on_its_way_counts_as_if_it_were_there(
            mark in 1_u64..60,
            largest in 0.5_f64..1.0,
            steps in prop::collection::vec((0_usize..4, 1_u64..20, 0_usize..8, any::<bool>()), 0..200),
        ) {
            let (arriving, kept, queue) = (Arc::<Arriving>::default(), Kept::default(), HighWater::new(mark, largest));
            let mut under_way = Vec::<(Ticket, &str, u64)>::new();
            for (plugin, count, end, is_single) in steps {
                let (plugin, count) = (NAMES[plugin], if is_single { 1 } else { count });
                let drawn = arriving.draw(queue, [(plugin, count)].into_iter(), |it| kept.unfinished(it));
                let coming = |it: &str| under_way.iter().filter(|(_, of, _)| it == *of).map(|(.., jobs)| jobs).sum::<u64>();
                let coming_all = under_way.iter().map(|(.., jobs)| jobs).sum::<u64>();
                let all = coming_all + kept.unfinished("").0;
                if let Err(refusal) = &drawn {
                    prop_assert!(all + count > mark, "{refusal:?}");
                    prop_assert_eq!((refusal.arriving, refusal.unfinished + refusal.arriving), (coming_all, all));
                    prop_assert!(refusal.held <= coming(plugin) + kept.unfinished(plugin).1);
                }
                if coming_all == 0 {
                    let refused = queue.refused(all, [(plugin, count)].into_iter(), |it| kept.unfinished(it).1);
                    prop_assert_eq!(refused.is_some(), drawn.is_err());
                }
                if let Ok(ticket) = drawn {
                    prop_assert!(all + count <= queue.most());
                    under_way.push((ticket, plugin, count));
                }
                if end < under_way.len() {
                    let (ticket, plugin, count) = under_way.swap_remove(end);
                    if is_single {
                        kept.add(plugin, count);
                    }
                    drop(ticket);
                }
            }
            drop(under_way);
            prop_assert!(is_empty(&arriving));
        }
    }
}
