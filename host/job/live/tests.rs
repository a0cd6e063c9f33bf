//! The set against the naive model.

use proptest::prelude::*;

use super::bench::{At, Bench, Doors, open, ops};
use super::*;

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
    assert!(bench.claim(5, Doors { room: 5, closed: [true; 5], until }).is_empty());
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
    bench.live.cancel(place, "a");
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

#[test]
fn what_changed_while_it_was_read_is_not_taken_as_it_was() {
    let mut bench = Bench::new(8);
    let changing = bench.insert(0, 0, 0);
    let token = bench.claim(1, open(1))[0].token;
    (0..12).for_each(|_| _ = bench.insert(0, 0, -500));
    for handed in bench.claim(99, open(99)) {
        bench.finish(handed.id.place(), handed.token, None, false);
    }
    bench.begin_reload();
    let read = bench.what_is_read().expect("the memory is all but empty");
    assert!(read.jobs.iter().any(|(job, _)| job.id.place() == changing), "it ran, and was read as it stood before");
    // It goes on later, and leaves the memory for others before the read is over.
    bench.finish(changing, token, Some(1_000), false);
    (0..8).for_each(|_| _ = bench.insert(0, 0, 100));
    assert!(bench.live.get(bench.jobs[&changing].job.id).is_none());
    bench.end_reload(false);
    bench.drain();
}
