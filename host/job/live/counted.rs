//! What is counted as jobs come and go is what is there, and reading it costs what it should.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::Chance;
use crate::job::IdSource;

/// Counts by looking at every job, holds all that is kept against it, and returns the sum.
pub(super) fn recount(live: &LiveSet) -> Tally {
    let mut all = Tally::default();
    let (mut plugins, mut downstreams, mut lanes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (_, entry) in live.entries.iter() {
        let lane = live.lanes.name(entry.lane);
        let part = (lane.downstream.clone(), lane.plugin.clone());
        *all.of(entry.phase()) += 1;
        *plugins.entry(lane.plugin.clone()).or_insert_with(Tally::default).of(entry.phase()) += 1;
        *downstreams.entry(part).or_insert_with(Tally::default).of(entry.phase()) += 1;
        *lanes.entry(lane.clone()).or_insert_with(Tally::default).of(entry.phase()) += 1;
    }
    for (plugin, tally) in &plugins {
        assert!(live.unfinished_of(plugin) >= tally.jobs());
    }
    let by_plugin = live.by_plugin().map(|(name, tally)| (name.clone(), tally));
    assert_eq!(by_plugin.collect::<BTreeMap<_, _>>(), plugins);
    let by_downstream = live.by_downstream(LaneRef { plugin: "", downstream: "", limit_key: None });
    let by_downstream = by_downstream.map(|(key, plugin, tally)| ((key.clone(), plugin.clone()), tally));
    assert_eq!(by_downstream.collect::<Vec<_>>(), downstreams.into_iter().collect::<Vec<_>>(), "and in order");
    let by_lane = live.lanes.by_lane().map(|(lane, tally)| (lane.clone(), tally));
    assert_eq!(by_lane.collect::<BTreeMap<_, _>>(), lanes, "a lane without jobs is forgotten");
    all
}

/// Lets in everybody.
pub(super) struct Open;

impl Admission for Open {
    fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
        Admit::Yes
    }
}

fn id(place: i64) -> JobId {
    JobId::from_parts(place, 7)
}

proptest! {
    /// With limit keys, drops beyond the horizon, ghosts and bars.
    #[test]
    fn the_counts_are_those_of_a_recount(
        kept_max in 4..40_usize,
        steps in prop::collection::vec((0..9_u8, 0..60_i64, 0..3_usize, 0..3_usize, 0..3_usize), 1..150),
    ) {
        let mut live = LiveSet::new(kept_max, 1);
        let (mut places, mut now, mut running) = (0, UnixMs(1_000), Vec::<Handed>::new());
        let mut unfinished = BTreeMap::new();
        for (what, number, plugin, downstream, key) in steps {
            let limit_key = [None, Some("k"), Some("l")][key];
            let lane = LaneRef { plugin: ["a", "b", "c"][plugin], downstream: ["x", "y", "z"][downstream], limit_key };
            let place = if places > 0 { number % places + 1 } else { 1 };
            match what {
                0..=2 => {
                    places += 1;
                    let interrupted = (number == 0).then_some(now);
                    let held = number == 1;
                    let due = now.after(std::time::Duration::from_millis(number.unsigned_abs() / 2));
                    live.insert(&Unfinished { due, held, interrupted, ..Unfinished::new(id(places)) }, lane, now);
                    unfinished.insert(places, lane.plugin);
                }
                3 => running.extend(live.claim(number as usize, now, &mut Open)),
                4 => running.extend(live.rescue()),
                5 if !running.is_empty() => {
                    let handed = running.swap_remove(number as usize % running.len());
                    let again = Again { due: UnixMs(now.0 + number), held: key == 1, attempts: 1, failed: 1, is_spared: false, steps_back: (number % 2 == 0).then_some(crate::job::Probed::Downstream), newest: 1 };
                    match (live.standing(handed.id.place(), handed.token), key) {
                        (Standing::Holds, 0) => {
                            live.end(handed.id.place());
                            unfinished.remove(&handed.id.place());
                        }
                        (Standing::Holds, _) => live.go_on(handed.id.place(), again, now),
                        (Standing::Ghost, _) => live.lay_ghost(handed.id.place(), None, now),
                        (Standing::Void, _) => {}
                    }
                }
                6 => {
                    if let Some(plugin) = unfinished.remove(&place) {
                        live.cancel(place, plugin);
                    }
                    if key == 0 && place <= places {
                        live.insert(&Unfinished::new(id(place)), lane, now);
                        unfinished.insert(place, lane.plugin);
                    }
                }
                7 => live.unhold(lane.plugin, now),
                _ => {
                    if live.get(id(place)).is_some() {
                        live.make_due(&Unfinished { due: now, ..Unfinished::new(id(place)) }, lane, now);
                    }
                    now = UnixMs(now.0 + number);
                }
            }
            recount(&live);
            for plugin in ["a", "b", "c"] {
                let known = unfinished.values().filter(|of| **of == plugin).count();
                prop_assert_eq!(live.unfinished_of(plugin), known as u64, "in memory and on disk");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_lanes_cost_what_is_asked_for() {
    const LANES: usize = 100_000;
    let (mut ids, chance, now) = (IdSource::after(0), Chance::seeded(1), UnixMs(1));
    let mut live = LiveSet::new(usize::MAX, 1);
    for number in 0..LANES {
        let (plugin, downstream) = (["a", "b", "c"][number % 3], format!("{:06}", number / 2));
        live.insert(&Unfinished::new(ids.next(now, &chance)), (plugin, downstream.as_str()), now);
    }
    // What is looked at, not what is answered: nothing is filtered out of these.
    let mut looked_at = 0;
    let plugins: u64 = live.by_plugin().inspect(|_| looked_at += 1).map(|(_, tally)| tally.available).sum();
    assert_eq!((plugins, looked_at), (LANES as u64, 3));
    let (mut place, mut pages, mut seen) = ((String::new(), String::new()), 0, 0);
    loop {
        let first = LaneRef { plugin: &place.1, downstream: &place.0, limit_key: None };
        let page: Vec<_> =
            live.by_downstream(first).take(1_000).map(|(key, plugin, _)| (key.clone(), plugin.clone())).collect();
        let Some((key, plugin)) = page.last() else { break };
        (place, pages, seen) = ((key.to_string(), format!("{plugin}\0")), pages + 1, seen + page.len());
    }
    assert_eq!((pages, seen), (100, LANES));
}
