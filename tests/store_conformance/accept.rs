//! Accepting jobs.

use std::collections::BTreeMap;

use windlass::job::units::TimeSpan;
use windlass::job::{JobId, JobSpec, RetryOverride, State};
use windlass::store::{Enqueued, Keyed, NewJob};

use crate::support::*;

pub async fn what_was_accepted_is_there_after_a_reopening(harness: &dyn Harness) {
    let full = JobSpec {
        limit_key: None,
        content_type: "text/plain".into(),
        payload: vec![0, 255, 7].into(),
        run_at: at(60_000),
        priority: -5,
        retry: RetryOverride { max_attempts: Some(3), ..Default::default() },
        deadline: Some(TimeSpan::from_secs(9)),
        labels: BTreeMap::from([("tenant".into(), "ö".into())]),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        idempotency_key: Some("k".into()),
        ..spec()
    };
    let empty = JobSpec { payload: Vec::new().into(), ..spec() };
    let store = harness.open();
    let (a, b) = (accept(&*store, full.clone()).await, accept(&*store, empty.clone()).await);
    drop(store);
    let store = harness.open();
    let (full_view, empty_view) = (look(&*store, a, NOW).await, look(&*store, b, NOW).await);
    assert_eq!((full_view.spec, full_view.state), (full, State::Scheduled));
    assert_eq!((empty_view.spec, empty_view.state), (empty, State::Available));
    assert_eq!((empty_view.created_at, empty_view.run_at, empty_view.attempt), (NOW, NOW, 0));
}

pub async fn a_repeated_key_answers_the_first_job(harness: &dyn Harness) {
    let store = harness.open();
    let first = store.enqueue(vec![keyed("k", 1)], NOW).await.unwrap();
    let [Enqueued::Created(id)] = first[..] else { panic!("{first:?}") };
    assert_eq!(store.enqueue(vec![keyed("k", 1)], at(5)).await.unwrap(), [Enqueued::Replayed(id)]);
    drop(store);
    let store = harness.open();
    assert_eq!(store.enqueue(vec![keyed("k", 1)], at(9)).await.unwrap(), [Enqueued::Replayed(id)]);
    assert_eq!(store.counts().unfinished, 1);
}

pub async fn a_key_with_another_request_is_refused(harness: &dyn Harness) {
    let store = harness.open();
    let first = store.enqueue(vec![keyed("k", 1)], NOW).await.unwrap();
    let [Enqueued::Created(id)] = first[..] else { panic!("{first:?}") };
    assert_eq!(store.enqueue(vec![keyed("k", 2)], NOW).await.unwrap(), [Enqueued::KeyReused(id)]);
    assert_eq!(store.counts().unfinished, 1);
}

pub async fn a_key_is_looked_up_without_an_enqueue(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(store.keyed("k").await.unwrap(), None);
    let job = keyed("k", 1);
    let request_digest = job.request_digest;
    let answer = store.enqueue(vec![job], NOW).await.unwrap();
    let [Enqueued::Created(id)] = answer[..] else { panic!("{answer:?}") };
    store.enqueue(vec![keyed("k", 2)], NOW).await.unwrap();
    let known = Some(Keyed { id, request_digest });
    assert_eq!((store.keyed("k").await.unwrap(), store.keyed("K").await.unwrap()), (known, None));
    drop(store);
    assert_eq!(harness.open().keyed("k").await.unwrap(), known);
}

pub async fn keys_count_within_one_call(harness: &dyn Harness) {
    let store = harness.open();
    let answers = store.enqueue(vec![keyed("a", 1), keyed("a", 1), keyed("b", 1)], NOW).await.unwrap();
    let [Enqueued::Created(a), Enqueued::Replayed(again), Enqueued::Created(b)] = answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(a, again);
    assert_ne!(a, b);
    let answers = store.enqueue(vec![keyed("c", 1), keyed("c", 2)], NOW).await.unwrap();
    assert!(matches!(answers[..], [Enqueued::Withheld, Enqueued::KeyReused(_)]), "{answers:?}");
    assert_eq!(store.counts().unfinished, 2);
}

pub async fn a_batch_is_taken_whole_or_not_at_all(harness: &dyn Harness) {
    let store = harness.open();
    store.enqueue(vec![keyed("taken", 1)], NOW).await.unwrap();
    let plain = || NewJob { spec: spec(), request_digest: [0; 32] };
    let answers = store.enqueue(vec![plain(), keyed("taken", 2), plain()], NOW).await.unwrap();
    assert!(matches!(answers[..], [Enqueued::Withheld, Enqueued::KeyReused(_), Enqueued::Withheld]), "{answers:?}");
    assert_eq!(store.counts().unfinished, 1);
    let answers = store.enqueue(vec![plain(), keyed("taken", 1), plain()], NOW).await.unwrap();
    assert!(matches!(answers[..], [Enqueued::Created(_), Enqueued::Replayed(_), Enqueued::Created(_)]));
    assert_eq!(store.counts().unfinished, 3);
    assert_eq!(claim(&*store, 9, NOW).await.len(), 3);
}

pub async fn a_key_used_by_many_at_once_makes_one_job(harness: &dyn Harness) {
    let store = harness.open();
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.enqueue(vec![keyed("k", 1)], NOW).await.unwrap()[0] })
        })
        .collect();
    let mut created = Vec::new();
    let mut answered: Vec<JobId> = Vec::new();
    for caller in callers {
        match caller.await.unwrap() {
            Enqueued::Created(id) => created.push(id),
            Enqueued::Replayed(id) => answered.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created.len(), 1);
    assert!(answered.iter().all(|id| *id == created[0]));
}

pub async fn ids_rise_over_a_reopening(harness: &dyn Harness) {
    let store = harness.open();
    let mut last = accept(&*store, spec()).await;
    drop(store);
    let store = harness.open();
    for _ in 0..3 {
        let next = accept(&*store, spec()).await;
        assert!(next > last, "the clock stands still, the ids rise");
        last = next;
    }
}
