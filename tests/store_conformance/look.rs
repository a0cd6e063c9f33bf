//! Looking at jobs.

use std::collections::BTreeMap;

use windlass::job::gates::LaneRef;
use windlass::job::live::Tally;
use windlass::job::{JobId, JobSpec, Lane, OutcomeKind, State};
use windlass::store::{ListFilter, Store};

use crate::support::*;

async fn list(store: &dyn Store, filter: ListFilter) -> (Vec<JobId>, Option<JobId>) {
    let page = store.list(filter, at(2_000)).await.unwrap();
    (page.jobs.iter().map(|job| job.id).collect(), page.next)
}

pub async fn a_list_is_newest_first_and_goes_on_at_its_cursor(harness: &dyn Harness) {
    let store = harness.open();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(accept(&*store, spec()).await);
    }
    ids.reverse();
    let page = |before, limit| ListFilter { before, limit, ..Default::default() };
    assert_eq!(list(&*store, page(None, 3)).await, (ids[..3].to_vec(), Some(ids[2])));
    assert_eq!(list(&*store, page(Some(ids[2]), 3)).await, (ids[3..6].to_vec(), Some(ids[5])));
    assert_eq!(list(&*store, page(Some(ids[5]), 3)).await, (ids[6..].to_vec(), None));
    assert_eq!(list(&*store, page(None, 7)).await, (ids, None));
}

pub async fn a_list_is_filtered(harness: &dyn Harness) {
    let store = harness.open();
    let labels = BTreeMap::from([("tenant".to_owned(), "7".to_owned()), ("kind".to_owned(), "x".to_owned())]);
    let labelled = accept(&*store, JobSpec { labels, ..in_lane("a", "x", 9) }).await;
    complete(&*store, &claim_one(&*store, NOW).await).await;
    let failed = accept(&*store, in_lane("a", "y", 8)).await;
    fail(&*store, &claim_one(&*store, NOW).await, at(90_000)).await;
    let running = accept(&*store, in_lane("b", "y", 7)).await;
    claim_one(&*store, NOW).await;
    let later = accept(&*store, JobSpec { run_at: at(50_000), ..in_lane("b", "x", 0) }).await;
    let ready = accept(&*store, in_lane("b", "x", 0)).await;

    let by = |filter: ListFilter| ListFilter { limit: 50, ..filter };
    let found = |filter| list(&*store, by(filter));
    let plugin = Some("a".to_owned());
    assert_eq!(found(ListFilter { plugin, ..Default::default() }).await.0, [failed, labelled]);
    let downstream = Some("y".to_owned());
    assert_eq!(found(ListFilter { downstream, ..Default::default() }).await.0, [running, failed]);
    let labels = vec![("tenant".to_owned(), "7".to_owned())];
    assert_eq!(found(ListFilter { labels, ..Default::default() }).await.0, [labelled]);
    let labels = vec![("tenant".to_owned(), "8".to_owned())];
    assert!(found(ListFilter { labels, ..Default::default() }).await.0.is_empty());
    let states = [
        (State::Completed, labelled),
        (State::Retryable, failed),
        (State::Running, running),
        (State::Scheduled, later),
        (State::Available, ready),
    ];
    for (state, id) in states {
        assert_eq!(found(ListFilter { state: Some(state), ..Default::default() }).await, (vec![id], None), "{state}");
    }
    let page = store.list(by(ListFilter { state: Some(State::Retryable), ..Default::default() }), NOW).await.unwrap();
    assert_eq!(page.jobs[0].last_error.as_deref(), Some("attempt 1 failed"));
    assert!(page.jobs[0].spec.payload.is_empty() && page.jobs[0].attempts.is_empty());
}

pub async fn a_job_shows_its_attempts(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    fail(&*store, &claim_one(&*store, NOW).await, at(2_000)).await;
    let second = claim_one(&*store, at(2_500)).await;
    let view = look(&*store, id, at(3_000)).await;
    let seen: Vec<_> = view.attempts.iter().map(|attempt| (attempt.n, attempt.started_at, attempt.kind)).collect();
    assert_eq!(seen, [(1, NOW, Some(OutcomeKind::TryAgain)), (2, at(2_500), None)]);
    assert_eq!((view.state, view.attempt, view.run_at), (State::Running, 2, at(2_000)));
    let detail = store.attempt(id, 2).await.unwrap().expect("the running attempt");
    assert_eq!((detail.attempt.n, detail.attempt.finished_at), (2, None));
    complete(&*store, &second).await;
    let view = look(&*store, id, at(9_000)).await;
    assert_eq!((view.attempts.len(), view.run_at, view.failed), (2, at(2_000), 1));
}

pub async fn counts_follow_the_jobs(harness: &dyn Harness) {
    let store = harness.open();
    for spec in [in_lane("a", "x", 0), in_lane("a", "x", 0), in_lane("a", "x", 0), in_lane("b", "x", -1)] {
        accept(&*store, spec).await;
    }
    accept(&*store, JobSpec { run_at: at(90_000), ..in_lane("a", "x", 0) }).await;
    let claimed = claim(&*store, 2, NOW).await;
    complete(&*store, &claimed[0]).await;
    let counts = store.counts();
    let tally = |available, running, later| Tally { available, running, later, held: 0 };
    // The second claimed is the other plugin's, whatever its priority.
    let plugins = [("a", tally(2, 0, 1)), ("b", tally(0, 1, 0))];
    assert_eq!(counts.plugins, plugins.map(|(name, tally)| (name.into(), tally)).into());
    assert_eq!(counts.unfinished, 4);
    assert_eq!((store.unfinished("a"), store.unfinished("b"), store.unfinished("c")), ((4, 3), (4, 1), (4, 0)));
    assert_eq!(counts.ended, BTreeMap::from([("completed", 1), ("discarded", 0), ("cancelled", 0)]));
}

pub async fn lanes_are_told_by_downstream_a_few_at_a_time(harness: &dyn Harness) {
    let store = harness.open();
    for (plugin, downstream) in [("b", "x"), ("a", "y"), ("a", "x"), ("a", "x"), ("c", "x1")] {
        accept(&*store, in_lane(plugin, downstream, 0)).await;
    }
    accept(&*store, JobSpec { limit_key: Some("k".to_owned()), ..in_lane("a", "y", 0) }).await;
    let from = |plugin, downstream, most| {
        let lanes = store.lanes(LaneRef { plugin, downstream, limit_key: None }, most);
        let told = |lane: &Lane| format!("{}/{}", lane.downstream, lane.plugin);
        lanes.iter().map(|counts| (told(&counts.lane), counts.tally.available)).collect::<Vec<_>>()
    };
    assert_eq!(from("", "", 3), [("x/a".into(), 2), ("x/b".into(), 1), ("x1/c".into(), 1)]);
    assert_eq!(from("a\0", "x", 9), [("x/b".into(), 1), ("x1/c".into(), 1), ("y/a".into(), 2)], "keys count together");
    assert_eq!(from("", "z", 9), []);
    let claimed = claim(&*store, 9, NOW).await;
    for claimed in &claimed {
        complete(&*store, claimed).await;
    }
    assert_eq!(from("", "", 9), []);
    assert!(store.counts().plugins.is_empty());
}
