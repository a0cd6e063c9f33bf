//! What is closed costs nothing, and nobody who opens is forgotten.

use proptest::prelude::*;

use super::*;
use crate::clock::Chance;
use crate::job::{Doors, IdSource, Opened};

/// Doors that keep account, as the gates do: of what is closed, of what opened, and of how often they were asked.
#[derive(Default)]
struct Porter {
    closed: Doors,
    until: Option<UnixMs>,
    opened: Doors,
    asked: usize,
}

impl Porter {
    fn refuses(&self, lane: &Lane) -> Option<Admit> {
        let Self { closed: Doors { keys, downstreams, plugins }, until, .. } = self;
        if plugins.contains(&lane.plugin) {
            Some(Admit::PluginClosed { until: *until })
        } else if downstreams.contains(&*lane.whole()) {
            Some(Admit::DownstreamClosed { until: *until })
        } else if lane.key().is_some_and(|key| keys.contains(&key)) {
            Some(Admit::KeyClosed { until: *until })
        } else {
            None
        }
    }
}

impl Admission for Porter {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        self.asked += 1;
        self.refuses(lane).unwrap_or(Admit::Yes)
    }

    fn opened(&mut self) -> Opened {
        Opened::These(std::mem::take(&mut self.opened))
    }
}

fn filled(lanes: usize, jobs_each: usize) -> LiveSet {
    let (mut live, ids, chance) = (LiveSet::new(usize::MAX, 1), &mut IdSource::after(0), Chance::seeded(1));
    for _ in 0..jobs_each {
        for lane in 0..lanes {
            let job = Unfinished::new(ids.next(UnixMs(1), &chance));
            live.insert(&job, (&*format!("p{}", lane % 10), &*lane.to_string()), UnixMs(1));
        }
    }
    live
}

/// Closes for all but one.
struct OnlyOne {
    open: Lane,
    asked: usize,
}

impl Admission for OnlyOne {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        self.asked += 1;
        if *lane == self.open { Admit::Yes } else { Admit::DownstreamClosed { until: None } }
    }

    fn opened(&mut self) -> Opened {
        Opened::These(Doors::default())
    }
}

#[test]
fn ten_thousand_closed_downstreams_are_asked_for_once() {
    const LANES: usize = 10_000;
    let mut live = filled(LANES, 100);
    let mut doors = OnlyOne { open: Lane::new("p7", "4567"), asked: 0 };
    for _ in 0..100 {
        assert_eq!(live.claim(1, UnixMs(2), &mut doors).len(), 1);
    }
    assert_eq!(live.claim(1, UnixMs(2), &mut doors).len(), 0);
    assert_eq!(doors.asked, LANES - 1 + 100, "each closed one once, and the one that flows once a job");
    assert_eq!(live.next_due(), None, "nothing opens by itself");
}

#[test]
fn a_closed_plugin_is_asked_for_once_whatever_its_lanes() {
    let mut live = filled(1_000, 1);
    let mut doors = Porter::default();
    doors.closed.plugins = (0..9).map(|n| format!("p{n}").into()).collect();
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 100);
    assert_eq!(doors.asked, 100 + 9);
    doors.closed.plugins.clear();
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 0, "nobody said that they opened");
    doors.opened.plugins.push("p3".into());
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 100);
}

#[test]
fn what_opens_by_itself_wakes_the_dispatcher_and_is_asked_for_then() {
    let mut live = filled(2, 1);
    let mut doors = Porter { until: Some(UnixMs(50)), ..Porter::default() };
    doors.closed.downstreams = vec![Lane::new("p0", "0"), Lane::new("p1", "1")];
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    assert_eq!(live.next_due(), Some(UnixMs(50)));
    doors.asked = 0;
    assert!(live.claim(9, UnixMs(49), &mut doors).is_empty());
    assert_eq!(doors.asked, 0);
    doors.closed.downstreams.clear();
    assert_eq!(live.claim(9, UnixMs(50), &mut doors).len(), 2);
}

fn keyed(downstream: &str, key: &str) -> Lane {
    Lane { limit_key: Some(key.into()), ..Lane::new("p", downstream) }
}

fn of_lanes(lanes: impl IntoIterator<Item = Lane>) -> (LiveSet, HashMap<i64, Lane>) {
    let (mut live, mut ids, chance) = (LiveSet::new(usize::MAX, 1), IdSource::after(0), Chance::seeded(1));
    let mut by_place = HashMap::new();
    for lane in lanes {
        let id = ids.next(UnixMs(1), &chance);
        live.insert(&Unfinished::new(id), &lane, UnixMs(1));
        by_place.insert(id.place(), lane);
    }
    (live, by_place)
}

/// Has room for so many at once.
struct Narrow {
    room: usize,
    refusal: Admit,
    opened: Doors,
    asked: usize,
}

impl Narrow {
    fn refusing(refusal: Admit) -> Self {
        Self { room: 0, refusal, opened: Doors::default(), asked: 0 }
    }
}

impl Admission for Narrow {
    fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
        self.asked += 1;
        if self.room == 0 {
            return self.refusal;
        }
        self.room -= 1;
        Admit::Yes
    }

    fn opened(&mut self) -> Opened {
        Opened::These(std::mem::take(&mut self.opened))
    }
}

/// Jobs of very many lanes that are let in one after the other: what each costs in questions.
fn let_in_one_by_one(lanes: impl IntoIterator<Item = Lane>, refusal: Admit, opened: &Doors) -> usize {
    let (mut live, _) = of_lanes(lanes);
    let mut doors = Narrow::refusing(refusal);
    let mut place = Vec::new();
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    doors.asked = 0;
    for _ in 0..100 {
        (doors.room, doors.opened) = (1, opened.clone());
        let handed = live.claim(9, UnixMs(2), &mut doors);
        assert_eq!(handed.len(), 1);
        place.extend(handed.iter().map(|job| job.id.place()));
        live.end(handed[0].id.place());
    }
    assert!(place.is_sorted(), "in the order of their turns");
    doors.asked
}

#[test]
fn a_narrow_downstream_costs_two_questions_a_job_however_many_limit_keys_wait_for_it() {
    let lanes = (0..10_000).map(|number| keyed("narrow", &number.to_string()));
    let opened = Doors { downstreams: vec![Lane::new("p", "narrow")], ..Doors::default() };
    let asked = let_in_one_by_one(lanes, Admit::DownstreamClosed { until: None }, &opened);
    assert_eq!(asked, 200, "one is let in, and one refused");
}

#[test]
fn a_limit_key_costs_two_questions_a_job_however_many_downstreams_it_spans() {
    let lanes = (0..10_000).map(|number| keyed(&number.to_string(), "customer"));
    let asked = let_in_one_by_one(lanes, Admit::KeyClosed { until: None }, &key_opened());
    assert_eq!(asked, 200, "one is let in, and one refused");
}

#[test]
fn who_leads_for_a_limit_key_and_finds_its_downstream_closed_hands_on() {
    let (mut live, by_place) = of_lanes([keyed("x", "customer"), keyed("y", "customer"), keyed("x", "other")]);
    let mut doors = Porter::default();
    doors.closed.keys = vec![("p".into(), "customer".into()), ("p".into(), "other".into())];
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty(), "all wait for their key");
    // Both keys open; x, where both leaders stand, is found closed by the first of them.
    doors.opened.keys = std::mem::take(&mut doors.closed.keys);
    doors.closed.downstreams = vec![Lane::new("p", "x")];
    let handed = live.claim(9, UnixMs(2), &mut doors);
    assert_eq!(handed.iter().map(|job| &by_place[&job.id.place()]).collect::<Vec<_>>(), [&keyed("y", "customer")]);
    doors.opened.downstreams = std::mem::take(&mut doors.closed.downstreams);
    assert_eq!(live.claim(9, UnixMs(2), &mut doors).len(), 2);
}

#[test]
fn who_waits_for_an_open_limit_key_with_something_urgent_is_asked_for_at_once() {
    let (mut live, _) = of_lanes([keyed("x", "customer"), keyed("y", "customer")]);
    let mut doors = Narrow::refusing(Admit::KeyClosed { until: None });
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    assert!(live.claim(0, UnixMs(2), &mut Porter { opened: key_opened(), ..Porter::default() }).is_empty());
    let mut ids = IdSource::after(9);
    let urgent = ids.next(UnixMs(2), &Chance::seeded(2));
    live.insert(&Unfinished { priority: 5, ..Unfinished::new(urgent) }, &keyed("y", "customer"), UnixMs(2));
    doors.room = 1;
    let handed = live.claim(9, UnixMs(2), &mut doors);
    assert_eq!(handed.iter().map(|job| job.id).collect::<Vec<_>>(), [urgent]);
}

#[test]
fn who_leads_for_a_limit_key_and_becomes_less_urgent_hands_on() {
    let (mut live, mut ids, chance) = (LiveSet::new(usize::MAX, 1), IdSource::after(0), Chance::seeded(1));
    let mut insert = |live: &mut LiveSet, lane: &Lane, priority| {
        let id = ids.next(UnixMs(1), &chance);
        live.insert(&Unfinished { priority, ..Unfinished::new(id) }, lane, UnixMs(1));
        id
    };
    let urgent = insert(&mut live, &keyed("x", "customer"), 5);
    insert(&mut live, &keyed("x", "customer"), 0);
    let second = insert(&mut live, &keyed("y", "customer"), 4);
    let mut doors = Narrow::refusing(Admit::KeyClosed { until: None });
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    doors.opened = key_opened();
    assert!(live.claim(0, UnixMs(2), &mut doors).is_empty(), "x leads, and is not asked for yet");
    live.cancel(urgent.place(), "p");
    insert(&mut live, &Lane::new("p", "z"), 2);
    doors.room = 1;
    let handed = live.claim(1, UnixMs(2), &mut doors);
    assert_eq!(handed.iter().map(|job| job.id).collect::<Vec<_>>(), [second]);
}

#[test]
fn who_leads_for_a_limit_key_and_is_cancelled_hands_on() {
    let (mut live, by_place) = of_lanes([keyed("x", "customer"), keyed("y", "customer")]);
    let mut doors = Narrow::refusing(Admit::KeyClosed { until: None });
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    doors.opened = key_opened();
    assert!(live.claim(0, UnixMs(2), &mut doors).is_empty());
    let first = by_place.iter().find(|(_, lane)| **lane == keyed("x", "customer")).expect("it is there");
    live.cancel(*first.0, "p");
    doors.room = 1;
    assert_eq!(live.claim(9, UnixMs(2), &mut doors).len(), 1);
}

#[test]
fn those_who_wait_for_a_limit_key_take_turns() {
    let lanes = ["x", "x", "x", "y", "y", "z"].map(|downstream| keyed(downstream, "customer"));
    let (mut live, by_place) = of_lanes(lanes);
    let mut doors = Narrow::refusing(Admit::KeyClosed { until: None });
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    (doors.room, doors.opened) = (9, key_opened());
    let handed = live.claim(9, UnixMs(2), &mut doors);
    let downstreams: Vec<_> = handed.iter().map(|job| &*by_place[&job.id.place()].downstream).collect();
    assert_eq!(downstreams, ["x", "y", "z", "x", "y", "x"]);
}

fn key_opened() -> Doors {
    Doors { keys: vec![("p".into(), "customer".into())], ..Doors::default() }
}

proptest! {
    /// Doors open and close at random, and say so: what may run is what a look at every lane would find.
    #[test]
    fn nobody_who_opens_is_forgotten(
        steps in prop::collection::vec((0_usize..9, 0_usize..3, 0_usize..3, 0_usize..2, 1_i64..30), 1..150),
    ) {
        let (mut live, mut ids, chance) = (LiveSet::new(usize::MAX, 1), IdSource::after(0), Chance::seeded(1));
        let (mut doors, mut now, mut waiting) = (Porter::default(), UnixMs(1), HashMap::<Lane, usize>::new());
        for (what, downstream, key, plugin, pause) in steps {
            let limit_key = [None, Some("k".into()), Some("l".into())][key].clone();
            let lane = Lane { limit_key, ..Lane::new(&format!("p{plugin}"), &downstream.to_string()) };
            let whole = lane.whole().into_owned();
            match what {
                0..=2 => {
                    live.insert(&Unfinished::new(ids.next(now, &chance)), &lane, now);
                    *waiting.entry(lane).or_default() += 1;
                }
                3 => doors.closed.downstreams.push(whole),
                4 => {
                    doors.closed.downstreams.retain(|closed| *closed != whole);
                    doors.opened.downstreams.push(whole);
                }
                5 => doors.closed.keys.extend(lane.key()),
                6 => {
                    doors.closed.keys.retain(|closed| Some(closed) != lane.key().as_ref());
                    doors.opened.keys.extend(lane.key());
                }
                7 => doors.closed.plugins.push(lane.plugin),
                _ => {
                    doors.closed.plugins.retain(|closed| *closed != lane.plugin);
                    doors.opened.plugins.push(lane.plugin);
                }
            }
            now = UnixMs(now.0 + pause);
            let may_run: usize =
                waiting.iter().filter(|(lane, _)| doors.refuses(lane).is_none()).map(|(_, count)| count).sum();
            waiting.retain(|lane, _| doors.refuses(lane).is_some());
            prop_assert_eq!(live.claim(usize::MAX, now, &mut doors).len(), may_run);
        }
    }
}
