//! What is small passes what is large.

use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use super::super::intake::{Aside, Intake};
use super::super::writer::Op;
use super::*;

/// That many new jobs, marked by a moment.
fn op(store: &SqliteStore, jobs: usize, moment: i64) -> Op {
    let ticket = enqueue::Ticket::draw(&store.shared, jobs, usize::MAX).unwrap();
    let jobs = enqueue::prepare((0..jobs).map(|_| job(NOW)).collect());
    Op::Enqueue { jobs, now: UnixMs(moment), ticket, to: oneshot::channel().0 }
}

fn moment(op: Op) -> i64 {
    match op {
        Op::Enqueue { now, .. } => now.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_calls_pass_large_ones_and_a_group_has_one_large_at_most() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let mut intake = Intake::default();
    intake.extend([(900, 1), (1, 2), (900, 3), (2, 4)].map(|(jobs, moment)| op(&store, jobs, moment)));
    let group: Vec<_> = (0..3).filter_map(|_| intake.next(false)).map(moment).collect();
    assert_eq!(group, [2, 4, 1]);
    assert!(intake.next(true).is_none() && !intake.is_empty());
    // What came meanwhile goes first.
    intake.extend([op(&store, 1, 5)]);
    assert_eq!(intake.take_all().map(moment).collect::<Vec<_>>(), [5, 3]);
}

#[test]
fn what_is_set_aside_comes_first_in_the_next_group_and_in_its_order() {
    let (mut intake, mut aside, touched) = (Intake::default(), Aside::default(), FxHashSet::from_iter([7]));
    let id = |place| JobId::from_parts(place, 0);
    let cancel = |place| Op::Cancel { id: id(place), now: NOW, to: oneshot::channel().0 };
    let retry = |place| Op::Retry { id: id(place), now: NOW, to: oneshot::channel().0 };
    let unhold = || Op::Unhold { plugin: "echo".to_owned(), to: oneshot::channel().0 };
    assert!(aside.is_passed_by(&unhold(), &touched) && aside.is_passed_by(&cancel(8), &touched));
    for op in [cancel(7), retry(7), unhold()] {
        assert!(!aside.is_passed_by(&op, &touched), "{op:?}");
        aside.add(op);
    }
    assert!(aside.is_passed_by(&cancel(8), &touched) && aside.is_passed_by(&Op::Begun, &touched));
    intake.extend([cancel(9)]);
    intake.put_back(aside);
    let told: Vec<_> = intake.take_all().map(|op| op.places().next()).collect();
    assert_eq!(told, [Some(7), Some(7), None, Some(9)]);
}

#[test]
fn large_batches_leave_places_to_small_calls() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let draw = |jobs| enqueue::Ticket::draw(&store.shared, jobs, 22_000);
    let held = [draw(10_000).unwrap(), draw(10_000).unwrap()];
    assert!(matches!(draw(600), Err(StoreError::Busy(_))));
    let single = draw(1).unwrap();
    drop((held, single));
    assert!(draw(22_000).is_ok(), "what comes first is taken however large it is");
}

#[tokio::test]
async fn batches_and_single_jobs_are_all_accepted() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let batch = || store.enqueue((0..2_000).map(|_| job(NOW)).collect(), NOW);
    let single = || store.enqueue(vec![job(NOW)], NOW);
    let (a, b, c, d, e) = tokio::join!(batch(), single(), batch(), single(), batch());
    let mut ids: Vec<_> = [a, b, c, d, e].into_iter().flat_map(Result::unwrap).collect();
    assert!(ids.iter().all(|answer| matches!(answer, Enqueued::Created(_))));
    ids.dedup();
    assert_eq!((ids.len(), store.counts().unfinished), (6_002, 6_002));
}
