//! What is closed costs nothing, and nobody who opens is forgotten.

use proptest::prelude::*;

use super::*;
use crate::clock::Chance;
use crate::job::IdSource;

/// Doors that keep account, as the gates do: of lanes, of plugins, and of how often they were asked.
#[derive(Default)]
struct Doors {
    closed_lanes: Vec<Lane>,
    closed_plugins: Vec<String>,
    until: Option<UnixMs>,
    opened: Vec<Lane>,
    opened_plugins: Vec<std::sync::Arc<str>>,
    asked: usize,
}

impl Admission for Doors {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        self.asked += 1;
        if self.closed_plugins.iter().any(|name| **name == *lane.plugin) {
            return Admit::PluginClosed { until: self.until };
        }
        if self.closed_lanes.contains(lane) {
            return Admit::LaneClosed { until: self.until };
        }
        Admit::Yes
    }

    fn opened(&mut self) -> Opened {
        Opened::These { lanes: std::mem::take(&mut self.opened), plugins: std::mem::take(&mut self.opened_plugins) }
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
        if *lane == self.open { Admit::Yes } else { Admit::LaneClosed { until: None } }
    }

    fn opened(&mut self) -> Opened {
        Opened::These { lanes: Vec::new(), plugins: Vec::new() }
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
    let mut doors = Doors { closed_plugins: (0..9).map(|n| format!("p{n}")).collect(), ..Doors::default() };
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 100);
    assert_eq!(doors.asked, 100 + 9);
    doors.closed_plugins.clear();
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 0, "nobody said that they opened");
    doors.opened_plugins.push("p3".into());
    assert_eq!(live.claim(usize::MAX, UnixMs(2), &mut doors).len(), 100);
}

#[test]
fn what_opens_by_itself_wakes_the_dispatcher_and_is_asked_for_then() {
    let mut live = filled(2, 1);
    let closed = vec![Lane::new("p0", "0"), Lane::new("p1", "1")];
    let mut doors = Doors { closed_lanes: closed, until: Some(UnixMs(50)), ..Doors::default() };
    assert!(live.claim(9, UnixMs(2), &mut doors).is_empty());
    assert_eq!(live.next_due(), Some(UnixMs(50)));
    doors.asked = 0;
    assert!(live.claim(9, UnixMs(49), &mut doors).is_empty());
    assert_eq!(doors.asked, 0);
    doors.closed_lanes.clear();
    assert_eq!(live.claim(9, UnixMs(50), &mut doors).len(), 2);
}

proptest! {
    /// Doors open and close at random, and say so: what may run is what a look at every lane would find.
    #[test]
    fn nobody_who_opens_is_forgotten(
        steps in prop::collection::vec((0_usize..6, 0_usize..4, 0_usize..3, 1_i64..30), 1..150),
    ) {
        let (mut live, mut ids, chance) = (LiveSet::new(usize::MAX, 1), IdSource::after(0), Chance::seeded(1));
        let (mut doors, mut now, mut waiting) = (Doors::default(), UnixMs(1), HashMap::<Lane, usize>::new());
        for (what, lane, plugin, pause) in steps {
            let name = Lane::new(&format!("p{plugin}"), &lane.to_string());
            match what {
                0 | 1 => {
                    live.insert(&Unfinished::new(ids.next(now, &chance)), &name, now);
                    *waiting.entry(name).or_default() += 1;
                }
                2 => doors.closed_lanes.push(name),
                3 => {
                    doors.closed_lanes.retain(|closed| *closed != name);
                    doors.opened.push(name);
                }
                4 => doors.closed_plugins.push(name.plugin.to_string()),
                _ => {
                    doors.closed_plugins.retain(|closed| **closed != *name.plugin);
                    doors.opened_plugins.push(name.plugin);
                }
            }
            now = UnixMs(now.0 + pause);
            let is_open = |lane: &Lane| {
                !doors.closed_lanes.contains(lane) && !doors.closed_plugins.iter().any(|name| **name == *lane.plugin)
            };
            let may_run: usize = waiting.iter().filter(|(lane, _)| is_open(lane)).map(|(_, count)| count).sum();
            waiting.retain(|lane, _| !is_open(lane));
            prop_assert_eq!(live.claim(usize::MAX, now, &mut doors).len(), may_run);
        }
    }
}
