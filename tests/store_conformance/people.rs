//! What people do to jobs.

use windlass::job::{Disposition, JobId, JobSpec, OutcomeKind, RetryOverride, State};
use windlass::store::{Act, ActKind, Acted, Claimed, Store};

use crate::support::*;

/// Brings one job into a state, by priority so that claims meet no other.
async fn job_in(store: &dyn Store, state: State) -> JobId {
    let due = if state == State::Scheduled { at(500_000) } else { NOW };
    let id = accept(store, JobSpec { run_at: due, ..spec() }).await;
    match state {
        State::Scheduled | State::Available => {}
        State::Running => _ = claim_one(store, NOW).await,
        State::Retryable => fail(store, &claim_one(store, NOW).await, at(500_000)).await,
        State::Completed => complete(store, &claim_one(store, NOW).await).await,
        State::Discarded => give_up(store, &claim_one(store, NOW).await).await,
        State::Cancelled => assert_eq!(store.cancel(id, NOW).await.unwrap(), Acted::Done),
    }
    assert_eq!(store.job(id, at(2_000)).await.unwrap().map(|job| job.state), Some(state));
    id
}

pub async fn cancel_and_retry_in_every_state(harness: &dyn Harness) {
    let store = harness.open();
    let table = [
        (State::Scheduled, true, true),
        (State::Running, true, false),
        (State::Retryable, true, true),
        (State::Completed, false, false),
        (State::Discarded, false, true),
        (State::Cancelled, false, true),
        (State::Available, true, false),
    ];
    for (from, cancels, retries) in table {
        let expected = |allowed| if allowed { Acted::Done } else { Acted::NotIn(from) };
        let id = job_in(&*store, from).await;
        assert_eq!(store.cancel(id, at(2_000)).await.unwrap(), expected(cancels), "cancel in {from}");
        let after = state(&*store, id, at(2_000)).await;
        assert_eq!(after, if cancels { State::Cancelled } else { from }, "after a cancel in {from}");

        let id = job_in(&*store, from).await;
        assert_eq!(store.retry(id, at(3_000)).await.unwrap(), expected(retries), "retry in {from}");
        let after = state(&*store, id, at(3_000)).await;
        assert_eq!(after, if retries { State::Available } else { from }, "after a retry in {from}");
        if retries {
            let claimed = claim_one(&*store, at(3_000)).await;
            assert_eq!(claimed.lease.job, id, "claimable after a retry in {from}");
            complete(&*store, &claimed).await;
        }
    }
}

pub async fn acts_are_recorded(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    store.cancel(id, at(1)).await.unwrap();
    store.retry(id, at(2)).await.unwrap();
    store.cancel(id, at(3)).await.unwrap();
    drop(store);
    let view = look(&*harness.open(), id, at(9)).await;
    let act = |ms, what| Act { at: at(ms), what };
    assert_eq!(view.acts, [act(1, ActKind::Cancel), act(2, ActKind::Retry), act(3, ActKind::Cancel)]);
    assert_eq!((view.state, view.finished_at), (State::Cancelled, Some(at(3))));
}

pub async fn a_used_up_job_gets_one_more_attempt(harness: &dyn Harness) {
    let store = harness.open();
    let retry = RetryOverride { max_attempts: Some(2), ..Default::default() };
    let id = accept(&*store, JobSpec { retry, ..spec() }).await;
    fail(&*store, &claim_one(&*store, NOW).await, at(1_000)).await;
    give_up(&*store, &claim_one(&*store, at(1_000)).await).await;
    assert_eq!(store.retry(id, at(5_000)).await.unwrap(), Acted::Done);
    assert!(look(&*store, id, at(5_000)).await.owed);
    let claimed = claim_one(&*store, at(5_000)).await;
    assert_eq!((claimed.attempt, claimed.failed_before, claimed.owed), (3, 2, true));
    assert_eq!(claimed.spec.retry.max_attempts, Some(2));
    give_up(&*store, &claimed).await;
    assert!(!look(&*store, id, at(7_000)).await.owed, "it had it");
}

pub async fn a_retried_job_is_owed_an_attempt_until_one_counts(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let first = claim_one(&*store, NOW).await;
    assert!(!first.owed);
    fail(&*store, &first, at(500_000)).await;
    store.retry(id, at(2_000)).await.unwrap();
    let end = |claimed: &Claimed, counted| {
        let at = claimed.started_at.after(std::time::Duration::from_secs(1));
        ending(claimed, OutcomeKind::TryAgain, Disposition::Retry { at, counted })
    };
    for n in 0..3 {
        let claimed = claim_one(&*store, at(2_000 + 1_000 * n)).await;
        assert!(claimed.owed, "what does not count does not pay it");
        finish(&*store, end(&claimed, false)).await;
    }
    drop(store);
    let store = harness.open();
    assert!(look(&*store, id, at(6_000)).await.owed, "after a reopening too");
    let claimed = claim_one(&*store, at(6_000)).await;
    assert!(claimed.owed);
    finish(&*store, end(&claimed, true)).await;
    let claimed = claim_one(&*store, at(7_000)).await;
    assert!(!claimed.owed);
    finish(&*store, end(&claimed, false)).await;
    drop(store);
    assert!(!look(&*harness.open(), id, at(8_000)).await.owed, "one has counted");
}

pub async fn a_retry_after_a_reopening_is_due(harness: &dyn Harness) {
    let store = harness.open();
    let retryable = accept(&*store, spec()).await;
    fail(&*store, &claim_one(&*store, NOW).await, at(500_000)).await;
    let discarded = accept(&*store, spec()).await;
    give_up(&*store, &claim_one(&*store, NOW).await).await;
    drop(store);
    let store = harness.open();
    assert_eq!(store.retry(retryable, at(2_000)).await.unwrap(), Acted::Done);
    assert_eq!(store.retry(discarded, at(2_000)).await.unwrap(), Acted::Done);
    drop(store);
    let store = harness.open();
    let claimed = claim(&*store, 9, at(2_000)).await;
    let found: Vec<_> = claimed.iter().map(|job| (job.lease.job, job.attempt, job.failed_before)).collect();
    assert_eq!(found, [(retryable, 2, 1), (discarded, 2, 1)]);
    fail(&*store, &claimed[0], at(700_000)).await;
    drop(store);
    let store = harness.open();
    store.rescue(at(3_000)).await.unwrap();
    assert_eq!(look(&*store, retryable, at(3_000)).await.run_at, at(700_000), "the newer attempt counts again");
}

pub async fn unknown_jobs_are_unknown(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let stranger = JobId::from_parts(id.place(), id.tail() ^ 1);
    for unknown in [stranger, JobId::from_parts(1, 1)] {
        assert_eq!(store.cancel(unknown, NOW).await.unwrap(), Acted::Unknown);
        assert_eq!(store.retry(unknown, NOW).await.unwrap(), Acted::Unknown);
        assert!(store.job(unknown, NOW).await.unwrap().is_none());
        assert!(store.attempt(unknown, 1).await.unwrap().is_none());
    }
    assert_eq!(state(&*store, id, NOW).await, State::Available);
}
