//! Whoever's jobs fill the memory and cannot run: those of others come to their turn, and reading them costs little.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{At, Bench, Doors, LANES, PLUGINS, open, ops};
use super::horizon::level;
use super::*;
use crate::clock::Chance;
use crate::job::IdSource;

proptest! {
    /// Also while jobs of those that are blocked come in all the time.
    #[test]
    fn a_due_job_that_nothing_blocks_is_handed_out_beside_plugins_that_are_blocked(
        kept_max in 4..24_usize,
        before in prop::collection::vec(ops(), 1..120),
        blocked in any::<[bool; 4]>(),
        jobs in 0..40_usize,
        flood in 0..30_usize,
        read_ms in 0..20_i64,
    ) {
        let mut bench = Bench::new(kept_max);
        before.into_iter().for_each(|op| bench.apply(op));
        bench.end_reload(false);
        bench.unhold_all();
        let closed = LANES.map(|(plugin, _)| blocked[PLUGINS.iter().position(|name| *name == plugin).unwrap()]);
        for n in 0..jobs {
            bench.insert(n % LANES.len(), 0, 0);
        }
        let is_left = |bench: &Bench| bench.jobs.values().any(|job| job.at != At::Ended && !closed[job.lane]);
        for round in 0..500 {
            if !is_left(&bench) {
                break;
            }
            bench.now.0 += 100;
            bench.begin_reload();
            for lane in (0..flood).map(|n| n % LANES.len()).filter(|lane| closed[*lane] && round < 10) {
                bench.insert(lane, 0, 0);
            }
            bench.now.0 += read_ms;
            bench.end_reload(false);
            bench.claim(5, Doors { closed, ..open(5) });
            while let Some((place, At::Running(token))) = bench.pick(0, |at| matches!(at, At::Running(_))) {
                bench.finish(place, token, None, false);
            }
            bench.check();
        }
        prop_assert!(!is_left(&bench), "they never came to their turn");
    }

    #[test]
    fn the_level_is_the_highest_at_which_all_have_room(
        counts in prop::collection::vec(0..30_u64, 0..9), room in 0..99_u64,
    ) {
        let at = |level: u64| counts.iter().map(|count| *count.min(&level)).sum::<u64>();
        let found = level(counts.clone(), room);
        prop_assert!(at(found) <= room);
        prop_assert!(found == u64::MAX || at(found + 1) > room);
    }
}

#[test]
fn who_has_most_loses_and_who_has_little_keeps_all() {
    let mut bench = Bench::new(16);
    (0..60).for_each(|_| _ = bench.insert(0, 0, 0));
    (0..3).for_each(|_| _ = bench.insert(2, 0, 0));
    (0..60).for_each(|_| _ = bench.insert(3, 0, 0));
    let of_plugins: BTreeMap<_, _> = bench.live.by_plugin().map(|(name, tally)| (&**name, tally.available)).collect();
    let [a, b, c, d] = PLUGINS.map(|plugin| of_plugins.get(plugin).copied().unwrap_or(0));
    assert!(a >= 5 && c >= 5, "{a} and {c}");
    assert_eq!((b, d), (3, 0));
    assert_eq!(PLUGINS.map(|plugin| bench.live.is_partial_of(plugin)), [true, false, true, false]);
    let closed = [true, true, false, true, false];
    assert_eq!(bench.claim(9, Doors { closed, ..open(9) }).len(), 3);
    assert_eq!(bench.live.begin_reload(bench.at()), ReloadDue::Never, "those that are blocked have their part");
}

/// Twenty plugins that share a memory of sixty-four; all but the first are blocked.
struct Crowd {
    live: LiveSet,
    disk: HashMap<i64, (Unfinished, Lane)>,
    ids: IdSource,
    chance: Chance,
    now: UnixMs,
}

impl Crowd {
    const PLUGINS: usize = 20;
    const BOUND: usize = 64;

    fn new() -> Self {
        let (ids, chance, now) = (IdSource::after(0), Chance::seeded(1), UnixMs(1));
        Self { live: LiveSet::new(Self::BOUND, 1), disk: HashMap::new(), ids, chance, now }
    }

    fn insert(&mut self, plugin: usize) {
        let job = Unfinished { due: self.now, ..Unfinished::new(self.ids.next(self.now, &self.chance)) };
        let lane = Lane::new(&format!("p{plugin}"), "x");
        self.live.insert(&job, &lane, self.now);
        self.disk.insert(job.id.place(), (job, lane));
    }

    fn at(&self) -> Duration {
        self.now.since(UnixMs(0))
    }

    /// Runs for so long, where a read takes `read_ms`. Answers how many jobs ended, and how many reads there were.
    fn run(&mut self, ms: i64, read_ms: i64) -> (usize, usize) {
        let (mut ended, mut reads, mut reading) = (0, 0, None);
        let end = self.now.0 + ms;
        while self.now.0 < end {
            if let ReloadDue::Now(reload) = self.live.begin_reload(self.at()) {
                let mut nearest = Nearest::new(&reload);
                self.disk.values().for_each(|(job, lane)| nearest.see(job.clone(), lane.into()));
                reading = Some((reload.clone(), nearest.read(), self.now.0 + read_ms));
                reads += 1;
            }
            self.now.0 += 1;
            if let Some((reload, read, _)) = reading.take_if(|(.., until)| *until <= self.now.0) {
                assert!(self.live.merge(&reload, &read, self.at(), self.now));
            }
            for handed in self.live.claim(99, self.now, &mut OnlyFirst) {
                self.live.end(handed.id.place());
                self.disk.remove(&handed.id.place());
                ended += 1;
            }
            assert!(self.live.waiting() <= Self::BOUND);
        }
        (ended, reads)
    }
}

struct OnlyFirst;

impl Admission for OnlyFirst {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        if *lane.plugin == *"p0" { Admit::Yes } else { Admit::PluginClosed { until: None } }
    }
}

#[test]
fn reads_that_bring_little_take_a_tenth_of_the_time_and_none_where_all_are_blocked() {
    let mut crowd = Crowd::new();
    (0..50).for_each(|_| (1..Crowd::PLUGINS).for_each(|plugin| crowd.insert(plugin)));
    (0..200).for_each(|_| crowd.insert(0));
    const READ_MS: i64 = 20;
    let (ended, reads) = crowd.run(10_000, READ_MS);
    assert!((40..=51).contains(&reads), "{reads} reads of {READ_MS} ms in 10 s");
    assert!(ended >= 2 * reads, "{ended} jobs in {reads} reads");
    crowd.run(20_000, READ_MS);
    assert_eq!(crowd.live.unfinished_of("p0"), 0);
    assert_eq!(crowd.run(10_000, READ_MS), (0, 0), "nobody can run, and nothing is read");
    // Who comes anew is in memory at once, and so is what it leaves.
    (0..3).for_each(|_| crowd.insert(0));
    assert_eq!(crowd.run(10, READ_MS), (3, 0));
}

#[test]
fn who_has_a_backlog_beside_one_that_is_blocked_is_read_back_at_once() {
    let mut crowd = Crowd::new();
    (0..500).for_each(|_| crowd.insert(1));
    (0..500).for_each(|_| crowd.insert(0));
    let (ended, reads) = crowd.run(800, 20);
    assert_eq!(ended, 500);
    assert!(reads <= 25, "{reads} reads: each brings more than an eighth of the memory");
}
