//! What a crash leaves, and what becomes of it.

use windlass::job::{Disposition, JobSpec, OutcomeKind, State};
use windlass::store::{Acted, Finished};

use crate::support::*;

pub async fn an_interrupted_attempt_is_handed_out_to_be_closed(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let first = claim_one(&*store, NOW).await;
    fail(&*store, &first, at(2_000)).await;
    claim_one(&*store, at(3_000)).await;
    // The start rides the next commit: this one.
    accept(&*store, JobSpec { run_at: at(90_000), ..spec() }).await;
    let store = harness.open_as_if_crashed();
    let view = look(&*store, id, at(5_000)).await;
    assert_eq!((view.state, view.attempt), (State::Running, 2));
    assert!(claim(&*store, 9, at(5_000)).await.is_empty(), "not to be run before it is closed");
    let rescued = store.rescue(at(5_000)).await.unwrap();
    assert_eq!(rescued.len(), 1);
    assert_eq!((rescued[0].lease.job, rescued[0].attempt, rescued[0].started_at), (id, 2, at(3_000)));
    assert_eq!(rescued[0].failed_before, 1);
    assert!(store.rescue(at(5_000)).await.unwrap().is_empty(), "handed out once");
    let again = Disposition::Retry { at: at(5_000), counted: true };
    assert_eq!(finish(&*store, ending(&rescued[0], OutcomeKind::Interrupted, again)).await, Finished::Recorded);
    let third = claim_one(&*store, at(5_000)).await;
    assert_eq!((third.attempt, third.failed_before), (3, 2));
    complete(&*store, &third).await;
    assert_eq!(look(&*store, id, at(9_000)).await.attempts.len(), 3);
}

pub async fn an_interrupted_attempt_of_a_cancelled_job_is_recorded(harness: &dyn Harness) {
    let store = harness.open();
    let cancelled_after = accept(&*store, spec()).await;
    let retried_after = accept(&*store, spec()).await;
    let cancelled_before = accept(&*store, spec()).await;
    assert_eq!(claim(&*store, 9, at(10)).await.len(), 3);
    store.cancel(cancelled_before, at(20)).await.unwrap();
    let store = harness.open_as_if_crashed();
    for id in [cancelled_after, retried_after] {
        assert_eq!(store.cancel(id, at(1_000)).await.unwrap(), Acted::Done);
    }
    // The host that would have recorded them dies too.
    drop(store);
    let store = harness.open();
    assert_eq!(store.retry(retried_after, at(2_000)).await.unwrap(), Acted::Done);
    assert!(claim(&*store, 9, at(2_000)).await.is_empty(), "its attempt is not recorded yet");
    let rescued = store.rescue(at(3_000)).await.unwrap();
    let mut found: Vec<_> = rescued.iter().map(|job| (job.lease.job, job.attempt, job.started_at)).collect();
    found.sort();
    assert_eq!(found, [cancelled_after, retried_after, cancelled_before].map(|id| (id, 1, at(10))));
    assert!(store.rescue(at(3_000)).await.unwrap().is_empty(), "handed out once");
    for job in &rescued {
        let again = Disposition::Retry { at: at(3_000), counted: true };
        assert_eq!(finish(&*store, ending(job, OutcomeKind::Interrupted, again)).await, Finished::Fenced);
    }
    let second = claim_one(&*store, at(4_000)).await;
    assert_eq!((second.lease.job, second.attempt, second.failed_before), (retried_after, 2, 0));
    complete(&*store, &second).await;
    drop(store);
    let store = harness.open();
    assert!(store.rescue(at(5_000)).await.unwrap().is_empty(), "they are recorded");
    for (id, state) in
        [(cancelled_after, State::Cancelled), (retried_after, State::Completed), (cancelled_before, State::Cancelled)]
    {
        let view = look(&*store, id, at(9_000)).await;
        let attempt = &view.attempts[0];
        assert_eq!((view.state, attempt.n, attempt.kind), (state, 1, Some(OutcomeKind::Interrupted)));
    }
}

pub async fn a_suspects_start_is_on_disk_before_it_is_handed_out(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    drop(store);
    let store = harness.open();
    claim_one(&*store, at(10)).await;
    let after = harness.open_as_if_crashed();
    let rescued = after.rescue(at(20)).await.unwrap();
    assert_eq!(rescued.len(), 1);
    assert_eq!((rescued[0].lease.job, rescued[0].attempt, rescued[0].started_at), (id, 1, at(10)));
}

pub async fn nothing_acknowledged_is_lost_in_a_crash(harness: &dyn Harness) {
    let store = harness.open();
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(accept(&*store, spec()).await);
        if n % 3 == 0 {
            let claimed = claim(&*store, 1, at(n)).await;
            complete(&*store, &claimed[0]).await;
        }
    }
    let after = harness.open_as_if_crashed();
    let mut states = Vec::new();
    for id in ids {
        states.push(state(&*after, id, at(99)).await);
    }
    assert_eq!(states.iter().filter(|state| **state == State::Completed).count(), 10);
    assert_eq!(states.iter().filter(|state| **state == State::Available).count(), 20);
    assert_eq!(claim(&*after, 99, at(99)).await.len(), 20);
}

pub async fn a_retried_job_never_runs_twice_at_once(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let first = claim_one(&*store, NOW).await;
    assert_eq!(store.cancel(id, at(10)).await.unwrap(), Acted::Done);
    assert_eq!(store.retry(id, at(20)).await.unwrap(), Acted::Done);
    assert!(claim(&*store, 1, at(30)).await.is_empty(), "the cancelled attempt still runs");
    let end = ending(&first, OutcomeKind::Cancelled, Disposition::Cancel);
    assert_eq!(finish(&*store, end).await, Finished::Fenced);
    let second = claim_one(&*store, at(2_000)).await;
    assert_eq!((second.attempt, second.failed_before), (2, 0));
    complete(&*store, &second).await;
    drop(store);
    let view = look(&*harness.open(), id, at(9_000)).await;
    let numbers: Vec<_> = view.attempts.iter().map(|attempt| attempt.n).collect();
    assert_eq!((view.state, numbers), (State::Completed, vec![1, 2]));
}
