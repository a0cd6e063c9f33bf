//! Handing out jobs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use windlass::clock::UnixMs;
use windlass::job::{Admission, Admit, JobId, JobSpec, Lane, State};
use windlass::store::{Claimed, Store};

use crate::support::*;

fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|job| job.lease.job).collect()
}

pub async fn higher_priority_goes_first_then_the_longest_due(harness: &dyn Harness) {
    let store = harness.open();
    let late = accept(&*store, JobSpec { run_at: at(20), ..spec() }).await;
    let early = accept(&*store, JobSpec { run_at: at(10), ..spec() }).await;
    let same = accept(&*store, JobSpec { run_at: at(10), ..spec() }).await;
    let urgent = accept(&*store, JobSpec { run_at: at(30), priority: 3, ..spec() }).await;
    let idle = accept(&*store, JobSpec { priority: -3, ..spec() }).await;
    assert_eq!(ids(&claim(&*store, 3, at(50)).await), [urgent, early, same]);
    assert_eq!(ids(&claim(&*store, 3, at(50)).await), [late, idle]);
}

pub async fn lanes_are_served_in_turn(harness: &dyn Harness) {
    let store = harness.open();
    for (plugin, downstream) in [("a", "x"), ("a", "x"), ("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "x")] {
        accept(&*store, in_lane(plugin, downstream, 0)).await;
    }
    let claimed = claim(&*store, 5, NOW).await;
    let lanes: Vec<_> = claimed.iter().map(|job| format!("{}-{}", job.spec.plugin, job.spec.downstream)).collect();
    assert_eq!(lanes, ["a-x", "b-x", "a-y", "b-x", "a-x"], "plugins first, then the lanes of each");
}

pub async fn no_job_starts_before_its_time(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, JobSpec { run_at: at(1_000), ..spec() }).await;
    assert!(claim(&*store, 1, at(999)).await.is_empty());
    assert_eq!(state(&*store, id, at(999)).await, State::Scheduled);
    assert_eq!(state(&*store, id, at(1_000)).await, State::Available);
    let claimed = claim_one(&*store, at(1_000)).await;
    assert_eq!((claimed.lease.job, claimed.attempt, claimed.started_at), (id, 1, at(1_000)));
    assert_eq!(state(&*store, id, at(1_000)).await, State::Running);
}

/// Closes some lanes, and admits so many in all.
struct Doors {
    closed: &'static [&'static str],
    room: usize,
}

impl Admission for Doors {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        if self.room == 0 {
            return Admit::HostFull;
        }
        if self.closed.contains(&&*lane.plugin) {
            return Admit::DownstreamClosed { until: Some(at(700)) };
        }
        self.room -= 1;
        Admit::Yes
    }
}

pub async fn only_what_is_admitted_is_handed_out(harness: &dyn Harness) {
    let store = harness.open();
    for plugin in ["shut", "shut", "open", "open", "open"] {
        accept(&*store, in_lane(plugin, "x", i16::from(plugin == "shut"))).await;
    }
    let mut doors = Doors { closed: &["shut"], room: 2 };
    let claimed = store.claim(9, NOW, &mut doors).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|job| job.spec.plugin == "open"));
    assert_eq!(store.next_due().await.unwrap(), Some(at(700)), "when the closed lane opens");
    assert_eq!(claim(&*store, 9, NOW).await.len(), 3);
}

pub async fn many_claimers_never_share_a_job(harness: &dyn Harness) {
    let store = harness.open();
    for _ in 0..10 {
        let jobs = (0..50).map(|_| keyless()).collect();
        store.enqueue(jobs, NOW).await.unwrap();
    }
    let claimers: Vec<_> = (0..8).map(|_| tokio::spawn(claim_all(Arc::clone(&store)))).collect();
    let mut seen = HashSet::new();
    for claimer in claimers {
        for id in claimer.await.unwrap() {
            assert!(seen.insert(id), "{id} was handed out twice");
        }
    }
    assert_eq!(seen.len(), 500);
}

fn keyless() -> windlass::store::NewJob {
    windlass::store::NewJob { spec: spec(), request_digest: [0; 32] }
}

async fn claim_all(store: Arc<dyn Store>) -> Vec<JobId> {
    let mut all = Vec::new();
    loop {
        let claimed = claim(&*store, 7, NOW).await;
        if claimed.is_empty() {
            return all;
        }
        for job in &claimed {
            complete(&*store, job).await;
        }
        all.extend(ids(&claimed));
    }
}

pub async fn a_released_job_leaves_no_trace(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let first = claim_one(&*store, NOW).await;
    store.release(vec![first.lease]).await.unwrap();
    let view = look(&*store, id, NOW).await;
    assert_eq!((view.state, view.attempt, view.attempts.len()), (State::Available, 0, 0));
    let again = claim_one(&*store, NOW).await;
    assert_eq!(again.attempt, 1);
    assert!(again.lease.token > first.lease.token);
    store.release(vec![first.lease]).await.unwrap();
    assert_eq!(state(&*store, id, NOW).await, State::Running, "an old lease gives nothing back");
    store.release(vec![again.lease]).await.unwrap();
    drop(store);
    let store = harness.open();
    assert!(store.rescue(NOW).await.unwrap().is_empty());
    assert_eq!(claim_one(&*store, NOW).await.attempt, 1);
}

pub async fn the_next_due_moment_is_known(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(store.next_due().await.unwrap(), None);
    accept(&*store, JobSpec { run_at: at(500), ..spec() }).await;
    accept(&*store, JobSpec { run_at: at(200), ..spec() }).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(200)));
    claim_one(&*store, at(200)).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(500)));
    claim_one(&*store, at(500)).await;
    assert_eq!(store.next_due().await.unwrap(), None);
}

pub async fn an_enqueue_wakes_who_waits(harness: &dyn Harness) {
    let store = harness.open();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.changed().await }
    });
    accept(&*store, spec()).await;
    waiting.await.unwrap();
    accept(&*store, spec()).await;
    store.changed().await;
}

pub async fn a_claim_carries_the_whole_spec(harness: &dyn Harness) {
    let store = harness.open();
    let spec =
        JobSpec { payload: vec![7; 100_000].into(), labels: BTreeMap::from([("a".into(), "b".into())]), ..spec() };
    accept(&*store, spec.clone()).await;
    let claimed = claim_one(&*store, NOW).await;
    assert_eq!((&*claimed.spec, claimed.created_at), (&spec, NOW));
    fail(&*store, &claimed, at(5_000)).await;
    let again = claim_one(&*store, at(5_000)).await;
    assert_eq!((&*again.spec, again.created_at), (&spec, NOW), "read back from disk");
}
