//! Keeping and deleting.

use std::time::Duration;

use windlass::clock::UnixMs;
use windlass::job::Lane;
use windlass::job::health::{Hold, Kept};
use windlass::job::{JobId, State};
use windlass::store::{Enqueued, ListFilter, Retention, Standing, Store};

use crate::support::*;

const HOUR_MS: u64 = 3_600_000;

fn retention() -> Retention {
    let hours = |hours| Duration::from_millis(hours * HOUR_MS);
    Retention { completed: hours(1), cancelled: hours(2), discarded: hours(3) }
}

/// Calls until so many went, or there are no more, and answers how many went.
async fn prune(store: &dyn Store, now: UnixMs, most: usize) -> usize {
    let mut jobs = 0;
    loop {
        let pruned = store.prune(retention(), now, most - jobs).await.unwrap();
        jobs += pruned.jobs;
        if jobs == most || !pruned.more {
            return jobs;
        }
    }
}

async fn exists(store: &dyn Store, id: JobId) -> bool {
    store.job(id, NOW).await.unwrap().is_some()
}

pub async fn what_is_past_its_retention_goes(harness: &dyn Harness) {
    let store = harness.open();
    let mut completed = Vec::new();
    for _ in 0..3 {
        completed.push(accept(&*store, spec()).await);
        fail(&*store, &claim_one(&*store, NOW).await, at(1_000)).await;
        complete(&*store, &claim_one(&*store, at(1_000)).await).await;
    }
    let discarded = accept(&*store, spec()).await;
    give_up(&*store, &claim_one(&*store, NOW).await).await;
    let cancelled = accept(&*store, spec()).await;
    store.cancel(cancelled, NOW).await.unwrap();
    let waiting = accept(&*store, spec()).await;

    assert_eq!(prune(&*store, at(HOUR_MS), 10).await, 0, "the jobs ended after their arrival");
    assert_eq!(prune(&*store, at(HOUR_MS + 5_000), 2).await, 2, "no more than was asked for");
    assert!(!exists(&*store, completed[0]).await && exists(&*store, completed[2]).await);
    assert_eq!(prune(&*store, at(HOUR_MS + 5_000), 9).await, 1);
    assert_eq!(prune(&*store, at(2 * HOUR_MS + 5_000), 9).await, 1);
    assert!(!exists(&*store, cancelled).await && exists(&*store, discarded).await);
    assert_eq!(prune(&*store, at(3 * HOUR_MS + 5_000), 9).await, 1);
    assert!(!exists(&*store, discarded).await);
    assert_eq!(prune(&*store, at(999 * HOUR_MS), 9).await, 0);
    assert_eq!(state(&*store, waiting, NOW).await, State::Available, "an unfinished job is never pruned");
}

pub async fn a_key_outlives_its_job_for_a_day(harness: &dyn Harness) {
    let store = harness.open();
    let first = store.enqueue(vec![keyed("k", 1)], NOW).await.unwrap();
    let [Enqueued::Created(id)] = first[..] else { panic!("{first:?}") };
    complete(&*store, &claim_one(&*store, NOW).await).await;
    assert_eq!(prune(&*store, at(2 * HOUR_MS), 9).await, 1);
    assert_eq!(store.enqueue(vec![keyed("k", 1)], at(3 * HOUR_MS)).await.unwrap(), [Enqueued::Replayed(id)]);
    prune(&*store, at(23 * HOUR_MS), 9).await;
    assert_eq!(store.enqueue(vec![keyed("k", 1)], at(23 * HOUR_MS)).await.unwrap(), [Enqueued::Replayed(id)]);
    prune(&*store, at(25 * HOUR_MS), 9).await;
    let anew = store.enqueue(vec![keyed("k", 2)], at(25 * HOUR_MS)).await.unwrap();
    assert!(matches!(anew[..], [Enqueued::Created(_)]), "{anew:?}");
    // A job that lives keeps its key however long.
    prune(&*store, at(99 * HOUR_MS), 9).await;
    let again = store.enqueue(vec![keyed("k", 2)], at(99 * HOUR_MS)).await.unwrap();
    assert!(matches!(again[..], [Enqueued::Replayed(_)]), "{again:?}");
}

pub async fn paused_plugins_stay_paused(harness: &dyn Harness) {
    let store = harness.open();
    for (plugin, paused) in [("b", true), ("a", true), ("a", true), ("c", true), ("c", false), ("d", false)] {
        store.set_standing(Standing::Plugin { name: plugin.to_owned(), paused }).await.unwrap();
    }
    drop(store);
    assert_eq!(harness.open().standings().await.unwrap().paused_plugins, ["a", "b"]);
}

pub async fn what_is_known_of_downstreams_is_kept(harness: &dyn Harness) {
    let store = harness.open();
    let hold =
        |cause: &str| Kept { hold: Some(Hold { until: Some(at(7)), cause: cause.to_owned() }), ..Kept::default() };
    for (downstream, kept) in [("a", hold("one")), ("b", hold("two")), ("a", hold("three")), ("b", Kept::default())] {
        store.set_standing(Standing::Downstream { lane: Lane::new("erp", downstream), kept }).await.unwrap();
    }
    drop(store);
    let kept = harness.open().standings().await.unwrap().downstreams;
    assert_eq!(kept, [(Lane::new("erp", "a"), hold("three"))]);
}

pub async fn nothing_comes_back_of_what_was_pruned(harness: &dyn Harness) {
    let store = harness.open();
    let waiting = accept(&*store, spec()).await;
    fail(&*store, &claim_one(&*store, NOW).await, at(800 * HOUR_MS)).await;
    for _ in 0..5 {
        accept(&*store, spec()).await;
        fail(&*store, &claim_one(&*store, NOW).await, at(1_000)).await;
        give_up(&*store, &claim_one(&*store, at(1_000)).await).await;
    }
    assert_eq!(prune(&*store, at(9 * HOUR_MS), 99).await, 5);
    drop(store);
    let store = harness.open();
    let view = look(&*store, waiting, NOW).await;
    assert_eq!((view.state, view.attempt, view.run_at), (State::Retryable, 1, at(800 * HOUR_MS)));
    let page = store.list(ListFilter { limit: 9, ..Default::default() }, NOW).await.unwrap();
    assert_eq!(page.jobs.len(), 1);
    // New attempts are not mistaken for those that were pruned.
    let id = accept(&*store, spec()).await;
    fail(&*store, &claim_one(&*store, at(10 * HOUR_MS)).await, at(900 * HOUR_MS)).await;
    drop(store);
    let store = harness.open();
    assert_eq!(look(&*store, id, NOW).await.run_at, at(900 * HOUR_MS));
    assert_eq!(store.counts().unfinished, 2);
}
