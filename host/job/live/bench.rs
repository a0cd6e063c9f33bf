//! A naive model of the set: a list of jobs that is searched whole each time, and serves as the disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Lanes of four plugins; the first one has two.
pub(super) const LANES: [(&str, &str); 5] = [("a", "x"), ("a", "y"), ("b", "x"), ("c", "x"), ("d", "x")];
pub(super) const PLUGINS: [&str; 4] = ["a", "b", "c", "d"];

/// Admits so many in all, and none of the closed lanes.
pub(super) struct Doors {
    pub(super) room: usize,
    pub(super) closed: [bool; 5],
    pub(super) until: Option<UnixMs>,
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

pub(super) fn open(room: usize) -> Doors {
    Doors { room, closed: [false; 5], until: None }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum At {
    Waiting,
    Held,
    Running(i64),
    Ended,
}

#[derive(Clone, Debug)]
pub(super) struct ModelJob {
    pub(super) job: Unfinished,
    pub(super) lane: usize,
    pub(super) at: At,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Insert { lane: usize, priority: i16, delay: i64 },
    Claim { most: usize, room: usize, closed: [bool; 5] },
    Finish { pick: usize, delay: Option<i64>, held: bool },
    Release { pick: usize },
    Cancel { pick: usize },
    Hasten { pick: usize },
    Unhold { plugin: usize },
    Advance { ms: i64 },
    BeginReload,
    EndReload { lost: bool },
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..LANES.len(), -2..3_i16, 0..60_i64)
            .prop_map(|(lane, priority, delay)| Op::Insert { lane, priority, delay }),
        5 => (1..6_usize, 0..6_usize, any::<[bool; 5]>())
            .prop_map(|(most, room, closed)| Op::Claim { most, room, closed }),
        4 => (any::<usize>(), prop::option::of(0..60_i64), any::<bool>())
            .prop_map(|(pick, delay, held)| Op::Finish { pick, delay, held }),
        1 => any::<usize>().prop_map(|pick| Op::Release { pick }),
        1 => any::<usize>().prop_map(|pick| Op::Cancel { pick }),
        1 => any::<usize>().prop_map(|pick| Op::Hasten { pick }),
        1 => (0..PLUGINS.len()).prop_map(|plugin| Op::Unhold { plugin }),
        3 => (0..40_i64).prop_map(|ms| Op::Advance { ms }),
        2 => Just(Op::BeginReload),
        2 => prop::bool::weighted(0.1).prop_map(|lost| Op::EndReload { lost }),
    ]
}

pub(super) struct Bench {
    pub(super) live: LiveSet,
    pub(super) jobs: BTreeMap<i64, ModelJob>,
    pub(super) now: UnixMs,
    kept_max: usize,
    reload: Option<(Reload, Read)>,
}

impl Bench {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { live: LiveSet::new(kept_max, 1), jobs: BTreeMap::new(), now: UnixMs(1_000), kept_max, reload: None }
    }

    pub(super) fn insert(&mut self, lane: usize, priority: i16, delay: i64) -> i64 {
        let id = JobId::from_parts(self.jobs.len() as i64 + 1, 7);
        let due = UnixMs(self.now.0 + delay);
        let job = Unfinished { priority, due, ..Unfinished::new(id) };
        self.live.insert(&job, LANES[lane], self.now);
        self.jobs.insert(id.place(), ModelJob { job, lane, at: At::Waiting });
        id.place()
    }

    pub(super) fn pick(&self, pick: usize, wanted: fn(&At) -> bool) -> Option<(i64, At)> {
        let fitting: Vec<_> = self.jobs.iter().filter(|(_, job)| wanted(&job.at)).collect();
        (!fitting.is_empty()).then(|| {
            let (place, job) = fitting[pick % fitting.len()];
            (*place, job.at.clone())
        })
    }

    pub(super) fn claim(&mut self, most: usize, mut doors: Doors) -> Vec<Handed> {
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

    pub(super) fn finish(&mut self, place: i64, token: i64, delay: Option<i64>, held: bool) {
        assert_eq!(self.live.standing(place, token), Standing::Holds);
        assert_eq!(self.live.standing(place, token + 1), Standing::Void);
        let newest = self.jobs.values().map(|model| model.job.newest).max().unwrap_or(0) + 1;
        let model = self.jobs.get_mut(&place).expect("picked from the model");
        let Some(delay) = delay else {
            model.at = At::Ended;
            return self.live.end(place);
        };
        let due = UnixMs(self.now.0 + delay);
        (model.job.due, model.job.attempts, model.job.newest) = (due, model.job.attempts + 1, newest);
        (model.job.held, model.job.failed) = (held, model.job.failed + u32::from(!held));
        model.at = if held { At::Held } else { At::Waiting };
        let again = Again {
            due,
            held,
            attempts: model.job.attempts,
            failed: model.job.failed,
            is_spared: false,
            steps_back: None,
            newest,
        };
        self.live.go_on(place, again, self.now);
    }

    fn read(&self, reload: &Reload) -> Read {
        let mut read = Read::default();
        for part in reload.parts.iter() {
            // A running job stands on disk as it stood before.
            let on_disk = self.jobs.values().filter(|model| model.at != At::Ended);
            let of_part = on_disk.filter(|model| LANES[model.lane].0 == &*part.plugin);
            let with_lane = |model: &ModelJob| (model.job.clone(), Lane::new(LANES[model.lane].0, LANES[model.lane].1));
            let mut jobs: Vec<_> = of_part.map(with_lane).filter(|(job, _)| key(job) >= part.from).collect();
            jobs.sort_by_key(|(job, _)| key(job));
            read.rest_from.push(jobs.get(part.most).map(|(job, _)| key(job)));
            jobs.truncate(part.most);
            read.jobs.append(&mut jobs);
        }
        read
    }

    /// The time that reads take is the model's.
    pub(super) fn at(&self) -> Duration {
        self.now.since(UnixMs(0))
    }

    pub(super) fn begin_reload(&mut self) {
        if let ReloadDue::Now(reload) = self.live.begin_reload(self.at()) {
            let read = self.read(&reload);
            let mut chosen = Nearest::new(&reload);
            self.jobs.values().filter(|model| model.at != At::Ended).for_each(|model| {
                chosen.see(model.job.clone(), LANES[model.lane].into());
            });
            let (mut told, mut known) = (chosen.read(), read.clone());
            told.jobs.sort_by_key(|(job, _)| job.id);
            known.jobs.sort_by_key(|(job, _)| job.id);
            assert_eq!(told, known, "what is chosen of all that is unfinished");
            self.reload = Some((reload, read));
        }
    }

    /// What the read under way has found, where there is one.
    pub(super) fn what_is_read(&self) -> Option<&Read> {
        self.reload.as_ref().map(|(_, read)| read)
    }

    pub(super) fn end_reload(&mut self, lost: bool) {
        match self.reload.take() {
            Some((reload, _)) if lost => self.live.abandon(&reload, self.at()),
            Some((reload, read)) => _ = self.live.merge(&reload, &read, self.at(), self.now),
            None => {}
        }
    }

    pub(super) fn apply(&mut self, op: Op) {
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
                    let model = self.jobs.get_mut(&place).expect("picked");
                    model.at = At::Ended;
                    self.live.cancel(place, LANES[model.lane].0);
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
                let plugin = PLUGINS[plugin];
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

    pub(super) fn check(&self) {
        let unfinished = self.jobs.values().filter(|model| model.at != At::Ended).count();
        assert_eq!(self.live.unfinished(), unfinished as u64);
        for plugin in PLUGINS {
            let of_plugin = |model: &&ModelJob| model.at != At::Ended && LANES[model.lane].0 == plugin;
            let unfinished = self.jobs.values().filter(of_plugin).count();
            assert_eq!(self.live.unfinished_of(plugin), unfinished as u64, "in memory and on disk");
        }
        assert!(self.live.waiting() <= self.kept_max.max(2 * PLUGINS.len()), "{} are in memory", self.live.waiting());
        let all = counted::recount(&self.live);
        assert_eq!(all.jobs() - all.running, self.live.waiting() as u64);
        let running = self.jobs.values().filter(|model| matches!(model.at, At::Running(_))).count();
        assert_eq!(all.running, running as u64);
        let floor = self.live.attempts_floor();
        for model in self.jobs.values().filter(|model| model.at != At::Ended && model.job.newest > 0) {
            assert!(floor.is_some_and(|floor| floor <= model.job.newest), "the floor hides an attempt");
        }
    }

    pub(super) fn unhold_all(&mut self) {
        (0..PLUGINS.len()).for_each(|plugin| self.apply(Op::Unhold { plugin }));
    }

    /// Runs every job to its end.
    pub(super) fn drain(&mut self) {
        self.end_reload(false);
        self.unhold_all();
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

fn key(job: &Unfinished) -> Key {
    (job.due, job.id.place())
}
