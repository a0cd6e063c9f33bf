//! The set and the gates together: nobody who may run is forgotten, and nobody takes what is kept for others.

use proptest::prelude::*;

use super::*;
use crate::clock::Chance;
use crate::job::gates::{Gates, KeyLimits, PluginLimits, PluginStanding};
use crate::job::health::{Ended, Overrides, Sign};
use crate::job::{IdSource, Opened, Share};

const PLACES: u32 = 20;
const PLUGINS: [&str; 4] = ["a", "b", "c", "d"];

/// Gates that are watched as they admit.
struct Watched<'a> {
    gates: &'a mut Gates,
    asked: usize,
    is_alone: bool,
}

impl Admission for Watched<'_> {
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit {
        let (held, free) = (self.gates.running_of(&lane.plugin), PLACES - self.gates.running());
        let answer = self.gates.admit(lane, now);
        self.asked += 1;
        if answer == Admit::Yes && held > 0 && !self.is_alone {
            assert!(free > 1, "{lane:?} took the last place, though it held {held}");
            assert!(Share::default().admits(held.into(), free.into()), "{lane:?} held {held}, {free} were free");
        }
        answer
    }

    fn opened(&mut self) -> Opened {
        self.gates.opened()
    }
}

struct Bench {
    live: LiveSet,
    gates: Gates,
    ids: IdSource,
    chance: Chance,
    now: UnixMs,
    waiting: HashMap<Lane, usize>,
    running: Vec<(Handed, Lane)>,
    /// Where each waiting job waits, and how urgent it is.
    lanes: HashMap<i64, (Lane, i16)>,
    asked: usize,
    is_alone: bool,
}

impl Bench {
    fn new() -> Self {
        let mut gates = Gates::new(PLACES);
        PLUGINS.iter().for_each(|name| gates.set_standing(name, PluginStanding::Ready));
        Self {
            live: LiveSet::new(usize::MAX, 1),
            gates,
            ids: IdSource::after(0),
            chance: Chance::seeded(1),
            now: UnixMs(1),
            waiting: HashMap::new(),
            running: Vec::new(),
            lanes: HashMap::new(),
            asked: 0,
            is_alone: false,
        }
    }

    fn insert(&mut self, lane: &Lane, count: usize) {
        self.insert_urgent(lane, count, 0);
    }

    fn insert_urgent(&mut self, lane: &Lane, count: usize, priority: i16) {
        for _ in 0..count {
            let id = self.ids.next(self.now, &self.chance);
            self.live.insert(&Unfinished { priority, ..Unfinished::new(id) }, lane, self.now);
            self.lanes.insert(id.place(), (lane.clone(), priority));
        }
        *self.waiting.entry(lane.clone()).or_default() += count;
    }

    /// Claims in portions of that size, as the dispatcher does, and checks what stays behind.
    fn claim(&mut self, most: usize) {
        loop {
            let urgent = self.most_urgent();
            let mut watched = Watched { gates: &mut self.gates, asked: 0, is_alone: self.is_alone };
            let handed = self.live.claim(most, self.now, &mut watched);
            self.asked += watched.asked;
            if let Some(first) = handed.first() {
                let (lane, priority) = &self.lanes[&first.id.place()];
                assert!(urgent.get(&lane.plugin) <= Some(priority), "{lane:?} {priority}: {urgent:?}");
            }
            for job in &handed {
                let (lane, _) = self.lanes.remove(&job.id.place()).expect("it waited");
                *self.waiting.get_mut(&lane).expect("it waited") -= 1;
                self.running.push((*job, lane));
            }
            if handed.len() < most {
                break;
            }
        }
        for (lane, _) in self.waiting.iter().filter(|(_, count)| **count > 0) {
            assert!(self.gates.why_waiting(lane, self.now).is_some(), "{lane:?} was forgotten");
        }
    }

    /// How urgent the most urgent job of each plugin is that may run.
    fn most_urgent(&self) -> HashMap<std::sync::Arc<str>, i16> {
        let mut urgent = HashMap::new();
        for (lane, priority) in self.lanes.values().filter(|(lane, _)| self.gates.why_waiting(lane, self.now).is_none())
        {
            let most = urgent.entry(lane.plugin.clone()).or_insert(*priority);
            *most = *priority.max(most);
        }
        urgent
    }

    fn end(&mut self, index: usize) {
        if self.running.is_empty() {
            return;
        }
        let (handed, lane) = self.running.swap_remove(index % self.running.len());
        self.gates.give_back(&lane, handed.started_at, self.now);
        self.live.end(handed.id.place());
    }

    /// An attempt ends, and its downstream asks everybody to wait for so many milliseconds.
    fn pause(&mut self, index: usize, ms: u64) {
        if self.running.is_empty() {
            return;
        }
        let (handed, lane) = self.running.swap_remove(index % self.running.len());
        let sign = Sign::Busy(Some(std::time::Duration::from_millis(ms)), "429".into());
        self.gates.end(&lane, &Ended { started_at: handed.started_at, sign, latency: None }, self.now, 0.0);
        self.live.end(handed.id.place());
    }

    /// The first job of the lane that waits is cancelled.
    fn cancel(&mut self, lane: &Lane) {
        let of_lane = self.lanes.iter().filter(|(_, (of, _))| of == lane).map(|(place, _)| *place);
        let Some(place) = of_lane.min() else { return };
        self.lanes.remove(&place);
        self.live.cancel(place, &lane.plugin);
        *self.waiting.get_mut(lane).expect("it waited") -= 1;
    }

    fn running_of(&self, plugin: &str) -> usize {
        self.running.iter().filter(|(_, lane)| &*lane.plugin == plugin).count()
    }
}

#[test]
fn a_flood_over_a_thousand_downstreams_leaves_room_for_a_single_job() {
    let mut bench = Bench::new();
    for key in 0..1_000 {
        bench.insert(&Lane::new("a", &format!("{key}")), 100);
    }
    bench.claim(7);
    assert_eq!(bench.running_of("a"), 18, "all but the share of others");
    bench.insert(&Lane::new("b", "one"), 1);
    bench.claim(7);
    assert_eq!(bench.running_of("b"), 1, "at once, though nothing has ended");
    bench.insert(&Lane::new("c", "one"), 1);
    bench.claim(7);
    assert_eq!(bench.running_of("c"), 1);
}

#[test]
fn who_is_alone_has_everything_and_makes_room_as_its_attempts_end() {
    let mut bench = Bench::new();
    ["b", "c", "d"].iter().for_each(|name| bench.gates.set_standing(name, PluginStanding::Missing));
    (0..10).for_each(|key| bench.insert(&Lane::new("a", &format!("{key}")), 100));
    bench.is_alone = true;
    bench.claim(usize::MAX);
    assert_eq!(bench.running_of("a"), 20);
    bench.is_alone = false;
    bench.gates.set_standing("b", PluginStanding::Loading);
    bench.gates.set_standing("b", PluginStanding::Ready);
    bench.insert(&Lane::new("b", "one"), 1);
    bench.end(0);
    bench.claim(usize::MAX);
    assert_eq!((bench.running_of("a"), bench.running_of("b")), (19, 1), "the first place that is free");
}

#[test]
fn what_stands_over_its_share_costs_no_questions() {
    let mut bench = Bench::new();
    (0..1_000).for_each(|key| bench.insert(&Lane::new("a", &format!("{key}")), 10));
    bench.claim(usize::MAX);
    bench.asked = 0;
    for _ in 0..1_000 {
        bench.end(3);
        bench.claim(usize::MAX);
    }
    assert_eq!(bench.asked, 2_000, "each end is one start, and one refusal");
}

proptest! {
    #[test]
    fn nobody_who_may_run_is_forgotten_and_nobody_takes_what_is_kept(
        steps in prop::collection::vec((0_usize..8, 0_usize..4, 0_usize..12, 1_usize..9), 1..150),
    ) {
        let mut bench = Bench::new();
        for (what, plugin, key, count) in steps {
            let lane = Lane::new(PLUGINS[plugin], &key.to_string());
            match what {
                0 | 1 => bench.insert(&lane, count),
                2..=4 => (0..count).for_each(|n| bench.end(key + n)),
                5 => {
                    let gone = key < 6;
                    let standing = if gone { PluginStanding::Missing } else { PluginStanding::Ready };
                    // One that is there always has others beside it.
                    if plugin > 1 { bench.gates.set_standing(PLUGINS[plugin], standing); }
                }
                6 => {
                    let concurrency = (count > 4).then_some(count as u32);
                    bench.gates.set_limits(PLUGINS[plugin], PluginLimits { concurrency, ..PluginLimits::default() });
                }
                _ => bench.now = UnixMs(bench.now.0 + 1),
            }
            bench.claim(count);
        }
    }

    /// Limit keys lie across downstreams with limits of their own, some of which ask for a pause; jobs are cancelled, too.
    #[test]
    fn nobody_who_may_run_is_forgotten_behind_a_limit_key(
        steps in prop::collection::vec((0_usize..9, 0_usize..4, 0_usize..4, 1_usize..5), 1..200),
        (in_all, at_once, per_key) in (1_u32..9, 1_u32..4, 1_u32..3),
    ) {
        let mut bench = Bench::new();
        let limits = |per_key| {
            let per_downstream = Overrides { concurrency: Some(at_once), rate: None };
            let per_key = KeyLimits { concurrency: per_key, rate: None };
            PluginLimits { concurrency: Some(in_all), per_downstream, per_key, ..PluginLimits::default() }
        };
        bench.gates.set_limits("a", limits(per_key));
        for (what, downstream, key, count) in steps {
            let limit_key = [None, Some("k".into()), Some("l".into()), Some("m".into())][key].clone();
            let lane = Lane { limit_key, ..Lane::new("a", &downstream.to_string()) };
            match what {
                0..=2 => bench.insert_urgent(&lane, count, what as i16),
                3..=4 => (0..count).for_each(|n| bench.end(downstream + n)),
                5 => bench.pause(key, count as u64),
                6 => bench.cancel(&lane),
                7 => bench.gates.set_limits("a", limits(count as u32)),
                _ => bench.now = UnixMs(bench.now.0 + 1),
            }
            bench.claim(count);
        }
    }
}
