//! The set against a naive model: a list of jobs that is searched whole each time, and serves as the disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

const LANES: [(&str, &str); 3] = [("a", "x"), ("a", "y"), ("b", "x")];

/// Admits so many in all, and none of the closed lanes.
struct Doors {
    room: usize,
    closed: [bool; 3],
    until: Option<UnixMs>,
}

impl Admission for Doors {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        let index = LANES.iter().position(|names| *names == (&*lane.plugin, &*lane.downstream)).expect("one of ours");
        if self.room == 0 {
            return Admit::HostFull;
        }
        if self.closed[index] {
            return Admit::DownstreamClosed { until: self.until };
        }
        self.room -= 1;
        Admit::Yes
    }
}

fn open(room: usize) -> Doors {
    Doors { room, closed: [false; 3], until: None }
}

#[derive(Clone, Debug, PartialEq)]
enum At {
    Waiting,
    Held,
    Running(i64),
    Ended,
}

#[derive(Clone, Debug)]
struct ModelJob {
    job: Unfinished,
    lane: usize,
    at: At,
}

#[derive(Clone, Debug)]
enum Op {
    Insert { lane: usize, priority: i16, delay: i64 },
    Claim { most: usize, room: usize, closed: [bool; 3] },
    Finish { pick: usize, delay: Option<i64>, held: bool },
    Release { pick: usize },
    Cancel { pick: usize },
    Hasten { pick: usize },
    Unhold { plugin: usize },
    Advance { ms: i64 },
    BeginReload,
    EndReload { lost: bool },
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3_usize, -2..3_i16, 0..60_i64)
            .prop_map(|(lane, priority, delay)| Op::Insert { lane, priority, delay }),
        5 => (1..6_usize, 0..6_usize, any::<[bool; 3]>())
            .prop_map(|(most, room, closed)| Op::Claim { most, room, closed }),
        4 => (any::<usize>(), prop::option::of(0..60_i64), any::<bool>())
            .prop_map(|(pick, delay, held)| Op::Finish { pick, delay, held }),
        1 => any::<usize>().prop_map(|pick| Op::Release { pick }),
        1 => any::<usize>().prop_map(|pick| Op::Cancel { pick }),
        1 => any::<usize>().prop_map(|pick| Op::Hasten { pick }),
        1 => (0..2_usize).prop_map(|plugin| Op::Unhold { plugin }),
        3 => (0..40_i64).prop_map(|ms| Op::Advance { ms }),
        2 => Just(Op::BeginReload),
        2 => prop::bool::weighted(0.1).prop_map(|lost| Op::EndReload { lost }),
    ]
}

/// What a reload read, and the key of the first job it left.
type Snapshot = (Vec<(Unfinished, Lane)>, Option<Key>);

struct Bench {
    live: LiveSet,
    jobs: BTreeMap<i64, ModelJob>,
    now: UnixMs,
    kept_max: usize,
    reload: Option<(Reload, Snapshot)>,
}

impl Bench {
    fn new(kept_max: usize) -> Self {
        Self { live: LiveSet::new(kept_max, 1), jobs: BTreeMap::new(), now: UnixMs(1_000), kept_max, reload: None }
    }

    fn insert(&mut self, lane: usize, priority: i16, delay: i64) -> i64 {
        let id = JobId::from_parts(self.jobs.len() as i64 + 1, 7);
        let due = UnixMs(self.now.0 + delay);
        let job = Unfinished { priority, due, ..Unfinished::new(id) };
        self.live.insert(&job, LANES[lane], self.now);
        self.jobs.insert(id.place(), ModelJob { job, lane, at: At::Waiting });
        id.place()
    }

    fn pick(&self, pick: usize, wanted: fn(&At) -> bool) -> Option<(i64, At)> {
        let fitting: Vec<_> = self.jobs.iter().filter(|(_, job)| wanted(&job.at)).collect();
        (!fitting.is_empty()).then(|| {
            let (place, job) = fitting[pick % fitting.len()];
            (*place, job.at.clone())
        })
    }

    fn claim(&mut self, most: usize, mut doors: Doors) -> Vec<Handed> {
        let (closed, room) = (doors.closed, doors.room);
        let handed = self.live.claim(most, self.now, &mut doors);
        assert!(handed.len() <= most.min(room), "more than was asked for, or admitted");
        assert_eq!(room - doors.room, handed.len(), "every place that was taken is used");
        let mut last_in_lane = HashMap::new();
        for job in &handed {
            let model = self.jobs.get_mut(&job.id.place()).expect("only jobs that exist are handed out");
            assert_eq!(model.at, At::Waiting, "handed out twice, or not claimable");
            assert!(model.job.due <= self.now, "handed out before its time");
            assert!(!closed[model.lane], "handed out from a closed lane");
            assert_eq!((job.attempt, job.failed_before), (model.job.attempts + 1, model.job.failed));
            let order = (Reverse(model.job.priority), model.job.due, job.id.place());
            if let Some(before) = last_in_lane.insert(model.lane, order) {
                assert!(before < order, "out of order within its lane");
            }
            model.at = At::Running(job.token);
        }
        // Where every job is in memory, what is left behind in a lane comes after all that was handed out.
        if !self.live.is_partial() {
            for model in self.jobs.values().filter(|model| model.at == At::Waiting && model.job.due <= self.now) {
                let order = (Reverse(model.job.priority), model.job.due, model.job.id.place());
                assert!(last_in_lane.get(&model.lane).is_none_or(|last| *last < order), "passed over");
                assert!(handed.len() == most.min(room) || closed[model.lane], "a claimable job stayed behind");
            }
        }
        handed
    }

    fn finish(&mut self, place: i64, token: i64, delay: Option<i64>, held: bool) {
        assert_eq!(self.live.standing(place, token), Standing::Holds);
        assert_eq!(self.live.standing(place, token + 1), Standing::Void);
        let newest = self.jobs.values().map(|model| model.job.newest).max().unwrap_or(0) + 1;
        let model = self.jobs.get_mut(&place).expect("picked from the model");
        let Some(delay) = delay else {
            model.at = At::Ended;
            return self.live.end(place, true);
        };
        let due = UnixMs(self.now.0 + delay);
        (model.job.due, model.job.attempts, model.job.newest) = (due, model.job.attempts + 1, newest);
        (model.job.held, model.job.failed) = (held, model.job.failed + u32::from(!held));
        model.at = if held { At::Held } else { At::Waiting };
        let again = Again { due, held, attempts: model.job.attempts, failed: model.job.failed, newest };
        self.live.go_on(place, again, self.now);
    }

    fn read(&self, reload: Reload) -> Snapshot {
        // A running job stands on disk as it stood before.
        let on_disk = self.jobs.values().filter(|model| model.at != At::Ended);
        let mut jobs: Vec<_> = on_disk
            .map(|model| {
                let (plugin, downstream) = LANES[model.lane];
                (model.job.clone(), Lane::new(plugin, downstream))
            })
            .filter(|(job, ..)| (job.due, job.id.place()) >= reload.from)
            .collect();
        jobs.sort_by_key(|(job, ..)| (job.due, job.id.place()));
        let rest = jobs.get(reload.most).map(|(job, ..)| (job.due, job.id.place()));
        jobs.truncate(reload.most);
        (jobs, rest)
    }

    fn begin_reload(&mut self) {
        if let Some(reload) = self.live.begin_reload() {
            self.reload = Some((reload, self.read(reload)));
        }
    }

    fn end_reload(&mut self, lost: bool) {
        match self.reload.take() {
            Some((reload, _)) if lost => self.live.abandon(reload),
            Some((reload, (jobs, rest))) => _ = self.live.merge(reload, &jobs, rest, self.now),
            None => {}
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert { lane, priority, delay } => _ = self.insert(lane, priority, delay),
            Op::Claim { most, room, closed } => _ = self.claim(most, Doors { room, closed, until: None }),
            Op::Finish { pick, delay, held } => {
                if let Some((place, At::Running(token))) = self.pick(pick, |at| matches!(at, At::Running(_))) {
                    self.finish(place, token, delay, held);
                }
            }
            Op::Release { pick } => {
                if let Some((place, At::Running(token))) = self.pick(pick, |at| matches!(at, At::Running(_))) {
                    _ = self.live.release(place, token, self.now);
                    self.jobs.get_mut(&place).expect("picked").at = At::Waiting;
                }
            }
            Op::Cancel { pick } => {
                if let Some((place, at)) = self.pick(pick, |at| *at != At::Ended) {
                    self.live.end(place, false);
                    self.jobs.get_mut(&place).expect("picked").at = At::Ended;
                    if let At::Running(token) = at {
                        assert_eq!(self.live.standing(place, token), Standing::Ghost);
                        self.live.lay_ghost(place, None, self.now);
                    }
                }
            }
            Op::Hasten { pick } => {
                if let Some((place, _)) = self.pick(pick, |at| matches!(at, At::Waiting | At::Held)) {
                    let model = self.jobs.get_mut(&place).expect("picked");
                    (model.at, model.job.due, model.job.held) = (At::Waiting, self.now, false);
                    self.live.make_due(&model.job, LANES[model.lane], self.now);
                }
            }
            Op::Unhold { plugin } => {
                let plugin = ["a", "b"][plugin];
                self.live.unhold(plugin, self.now);
                for model in self.jobs.values_mut().filter(|model| LANES[model.lane].0 == plugin) {
                    if model.at == At::Held {
                        (model.at, model.job.held) = (At::Waiting, false);
                    }
                }
            }
            Op::Advance { ms } => self.now.0 += ms,
            Op::BeginReload => self.begin_reload(),
            Op::EndReload { lost } => self.end_reload(lost),
        }
        self.check();
    }

    fn check(&self) {
        let unfinished = self.jobs.values().filter(|model| model.at != At::Ended).count();
        assert_eq!(self.live.unfinished(), unfinished as u64);
        assert!(self.live.waiting() <= self.kept_max, "{} are in memory", self.live.waiting());
        let all = counted::recount(&self.live);
        assert_eq!(all.jobs() - all.running, self.live.waiting() as u64);
        let running = self.jobs.values().filter(|model| matches!(model.at, At::Running(_))).count();
        assert_eq!(all.running, running as u64);
        let floor = self.live.attempts_floor();
        for model in self.jobs.values().filter(|model| model.at != At::Ended && model.job.newest > 0) {
            assert!(floor.is_some_and(|floor| floor <= model.job.newest), "the floor hides an attempt");
        }
    }

    /// Runs every job to its end.
    fn drain(&mut self) {
        self.end_reload(false);
        self.apply(Op::Unhold { plugin: 0 });
        self.apply(Op::Unhold { plugin: 1 });
        for _ in 0..10_000 {
            self.now.0 += 100;
            self.begin_reload();
            self.end_reload(false);
            self.claim(5, open(5));
            while let Some((place, At::Running(token))) = self.pick(0, |at| matches!(at, At::Running(_))) {
                self.finish(place, token, None, false);
            }
            self.check();
            if self.live.unfinished() == 0 {
                return;
            }
        }
        panic!("{} jobs were never claimable", self.live.unfinished());
    }
}

proptest! {
    #[test]
    fn whole_in_memory_it_is_the_naive_list(ops in prop::collection::vec(ops(), 1..120)) {
        let mut bench = Bench::new(10_000);
        ops.into_iter().for_each(|op| bench.apply(op));
        bench.drain();
    }

    #[test]
    fn with_little_memory_it_loses_nothing(kept_max in 4..20_usize, ops in prop::collection::vec(ops(), 1..200)) {
        let mut bench = Bench::new(kept_max);
        ops.into_iter().for_each(|op| bench.apply(op));
        bench.drain();
    }
}

fn lanes(bench: &mut Bench, most: usize) -> Vec<usize> {
    let handed = bench.claim(most, open(usize::MAX));
    handed.iter().map(|job| bench.jobs[&job.id.place()].lane).collect()
}

#[test]
fn plugins_are_served_in_turn_and_so_are_their_lanes() {
    let mut bench = Bench::new(1_000);
    for lane in [0, 0, 0, 0, 0, 1, 2, 2, 2] {
        bench.insert(lane, 0, 0);
    }
    // Lanes 0 and 1 are of one plugin, 2 is the other's.
    assert_eq!(lanes(&mut bench, 5), [0, 2, 1, 2, 0]);
    bench.insert(1, 0, 0);
    assert_eq!(lanes(&mut bench, 9), [2, 1, 0, 0, 0]);
}

#[test]
fn the_plugin_that_runs_least_comes_first_whatever_its_urgency() {
    let mut bench = Bench::new(1_000);
    for (lane, priority) in [(0, 9), (0, 9), (0, 9), (1, 9)] {
        bench.insert(lane, priority, 0);
    }
    assert_eq!(lanes(&mut bench, 3), [0, 1, 0]);
    bench.insert(2, -9, 0);
    bench.insert(2, -9, 0);
    assert_eq!(lanes(&mut bench, 2), [2, 2], "two of it run, and three of the other");
    let (place, token) = bench
        .pick(0, |at| matches!(at, At::Running(_)))
        .map(|(place, at)| match at {
            At::Running(token) => (place, token),
            other => panic!("{other:?}"),
        })
        .unwrap();
    bench.finish(place, token, None, false);
    bench.insert(2, -9, 0);
    bench.insert(0, 9, 0);
    assert_eq!(lanes(&mut bench, 1), [0], "both run two, and this one was served longer ago");
}

#[test]
fn the_most_urgent_head_goes_first_whatever_its_lane() {
    let mut bench = Bench::new(1_000);
    let ordinary = bench.insert(0, 0, 0);
    let urgent = bench.insert(1, 5, 0);
    let places: Vec<_> = bench.claim(2, open(9)).iter().map(|job| job.id.place()).collect();
    assert_eq!(places, [urgent, ordinary]);
}

#[test]
fn a_closed_lane_says_when_to_come_back() {
    let mut bench = Bench::new(1_000);
    bench.insert(0, 0, 0);
    bench.insert(1, 0, 500);
    assert_eq!(bench.live.next_due(), Some(UnixMs(1_500)));
    let until = Some(UnixMs(1_200));
    assert!(bench.claim(5, Doors { room: 5, closed: [true; 3], until }).is_empty());
    assert_eq!(bench.live.next_due(), Some(UnixMs(1_200)));
    bench.now = UnixMs(1_200);
    assert_eq!(bench.claim(5, open(5)).len(), 1);
    assert_eq!(bench.live.next_due(), Some(UnixMs(1_500)));
}

#[test]
fn a_job_retried_while_its_cancelled_attempt_runs_waits_for_that_attempt() {
    let mut bench = Bench::new(1_000);
    let place = bench.insert(0, 0, 0);
    let token = bench.claim(1, open(1))[0].token;
    bench.live.end(place, false);
    let job = bench.jobs[&place].job.clone();
    bench.live.insert(&job, ("a", "x"), bench.now);
    assert!(bench.live.claim(1, bench.now, &mut open(1)).is_empty(), "two attempts at once");
    assert_eq!(bench.live.standing(place, token), Standing::Ghost);
    bench.live.lay_ghost(place, Some(3), bench.now);
    let again = bench.live.claim(1, bench.now, &mut open(1));
    assert_eq!(again[0].attempt, 2);
}

#[test]
fn an_attempt_left_behind_is_handed_out_once_and_only_to_be_closed() {
    let mut bench = Bench::new(1_000);
    let id = JobId::from_parts(1, 7);
    let job = Unfinished { attempts: 2, failed: 1, newest: 9, interrupted: Some(UnixMs(400)), ..Unfinished::new(id) };
    bench.live.insert(&job, ("a", "x"), bench.now);
    assert!(bench.live.claim(1, bench.now, &mut open(1)).is_empty());
    let rescued = bench.live.rescue();
    assert_eq!((rescued[0].attempt, rescued[0].started_at), (3, UnixMs(400)));
    assert!(bench.live.rescue().is_empty());
}
