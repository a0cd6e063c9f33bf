//! Recording the ends of attempts.

use std::sync::Arc;

use windlass::job::{
    Calls, Completion, Disposition, Evidence, Exchange, JobSpec, LogLevel, LogLine, OutcomeKind, State,
};
use windlass::store::{Acted, Finish, Finished, NewJob};

use crate::support::*;

pub async fn a_completed_job_keeps_its_result(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let claimed = claim_one(&*store, NOW).await;
    let result = Completion {
        content_type: "application/json".into(),
        body: "{\"ok\":true}".into(),
        attributes: vec![("z".into(), "1".into()), ("a".into(), "2".into())],
    };
    let end = ending(&claimed, OutcomeKind::Completed, Disposition::Complete);
    finish(&*store, Finish { result: Some(result.clone()), ..end }).await;
    drop(store);
    let store = harness.open();
    let view = look(&*store, id, NOW).await;
    assert_eq!((view.state, view.result, view.finished_at), (State::Completed, Some(result), Some(at(1_000))));
    assert_eq!((view.attempt, view.failed, view.last_error, view.run_at), (1, 0, None, NOW));
    assert!(claim(&*store, 1, at(9_000)).await.is_empty());
}

pub async fn a_retry_comes_due_at_its_time(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let claimed = claim_one(&*store, NOW).await;
    fail(&*store, &claimed, at(4_000)).await;
    let view = look(&*store, id, at(3_999)).await;
    assert_eq!((view.state, view.run_at, view.attempt, view.failed), (State::Retryable, at(4_000), 1, 1));
    assert_eq!(view.last_error.as_deref(), Some("attempt 1 failed"));
    assert_eq!(store.next_due().await.unwrap(), Some(at(4_000)));
    assert!(claim(&*store, 1, at(3_999)).await.is_empty());
    let again = claim_one(&*store, at(4_000)).await;
    assert_eq!((again.attempt, again.failed_before), (2, 1));
    let uncounted = Disposition::Retry { at: at(6_000), counted: false };
    finish(&*store, ending(&again, OutcomeKind::Interrupted, uncounted)).await;
    let third = claim_one(&*store, at(6_000)).await;
    assert_eq!((third.attempt, third.failed_before), (3, 1));
}

pub async fn a_retry_is_due_at_its_time_after_a_reopening(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    for n in 1..=3 {
        let claimed = claim_one(&*store, at(n * 10_000)).await;
        fail(&*store, &claimed, at((n + 1) * 10_000)).await;
    }
    drop(store);
    let store = harness.open();
    assert_eq!(store.next_due().await.unwrap(), Some(at(40_000)));
    let view = look(&*store, id, at(39_999)).await;
    assert_eq!((view.state, view.attempt, view.failed), (State::Retryable, 3, 3));
    assert!(claim(&*store, 1, at(39_999)).await.is_empty());
    let claimed = claim_one(&*store, at(40_000)).await;
    assert_eq!((claimed.attempt, claimed.failed_before), (4, 3));
}

async fn hold(store: &dyn windlass::store::Store, claimed: &windlass::store::Claimed) {
    assert_eq!(finish(store, ending(claimed, OutcomeKind::Denied, Disposition::Hold)).await, Finished::Recorded);
}

pub async fn spared_rate_limits_are_counted_apart_from_what_else_does_not_count(harness: &dyn Harness) {
    let store = harness.open();
    accept(&*store, spec()).await;
    let kinds = [(OutcomeKind::TryAgain, false), (OutcomeKind::RateLimited, true), (OutcomeKind::RateLimited, true)];
    for ((kind, is_spared), (n, spared)) in kinds.into_iter().zip([(0, 0), (1, 0), (2, 1)]) {
        let claimed = claim_one(&*store, at(1_000 * n)).await;
        assert_eq!((claimed.spared, claimed.failed_before), (spared, 0));
        let again = Disposition::Retry { at: at(1_000 * (n + 1)), counted: false };
        finish(&*store, Finish { is_spared, ..ending(&claimed, kind, again) }).await;
    }
    let claimed = claim_one(&*store, at(3_000)).await;
    assert_eq!(claimed.spared, 2);
    store.release(vec![claimed.lease]).await.unwrap();
    drop(store);
    assert_eq!(claim_one(&*harness.open(), at(3_000)).await.spared, 0, "the disk does not tell");
}

pub async fn a_held_job_waits_for_the_grants(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    hold(&*store, &claim_one(&*store, NOW).await).await;
    let view = look(&*store, id, at(2_000)).await;
    assert_eq!((view.state, view.held, view.attempt, view.failed), (State::Available, true, 1, 0));
    assert!(claim(&*store, 1, at(99_000)).await.is_empty());
    store.unhold("another").await.unwrap();
    assert!(claim(&*store, 1, at(99_000)).await.is_empty());
    store.unhold("echo").await.unwrap();
    let again = claim_one(&*store, at(99_000)).await;
    assert_eq!((again.attempt, again.failed_before), (2, 0));
    hold(&*store, &again).await;
    assert_eq!(store.retry(id, at(99_500)).await.unwrap(), Acted::Done, "a person sends it on");
    assert_eq!(claim_one(&*store, at(99_500)).await.attempt, 3);
}

pub async fn a_held_job_is_held_after_a_reopening_until_it_is_not(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    hold(&*store, &claim_one(&*store, NOW).await).await;
    drop(store);
    let store = harness.open();
    assert!(look(&*store, id, NOW).await.held);
    assert!(claim(&*store, 1, at(99_000)).await.is_empty());
    store.unhold("echo").await.unwrap();
    drop(store);
    let store = harness.open();
    assert!(!look(&*store, id, NOW).await.held);
    let again = claim_one(&*store, at(99_000)).await;
    hold(&*store, &again).await;
    drop(store);
    let store = harness.open();
    assert!(claim(&*store, 1, at(99_000)).await.is_empty(), "the old edit does not free the new hold");
}

/// The grants are edited between the denial and its record: nobody would ever wake the job again.
pub async fn an_edit_while_an_attempt_runs_is_not_lost(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let claimed = claim_one(&*store, NOW).await;
    store.unhold("another").await.unwrap();
    store.unhold("echo").await.unwrap();
    hold(&*store, &claimed).await;
    let view = look(&*store, id, at(2_000)).await;
    assert_eq!((view.held, view.failed), (false, 0), "it goes on, and the denial does not count");
    let again = claim_one(&*store, at(2_000)).await;
    assert_eq!((again.attempt, again.failed_before), (2, 0));
    hold(&*store, &again).await;
    assert!(look(&*store, id, at(3_000)).await.held, "it ran under the new grants");
    drop(store);
    assert!(look(&*harness.open(), id, at(3_000)).await.held);
}

/// One edit, one row on disk, and all go on.
pub async fn ten_thousand_held_jobs_go_on_after_one_edit(harness: &dyn Harness) {
    const JOBS: usize = 10_000;
    let store = harness.open();
    let job = || NewJob { spec: spec(), request_digest: [0; 32] };
    store.enqueue(std::iter::repeat_with(job).take(JOBS).collect(), NOW).await.unwrap();
    let denied = claim(&*store, JOBS, NOW).await;
    assert_eq!(denied.len(), JOBS);
    let ends: Vec<_> = denied.iter().map(|claimed| ending(claimed, OutcomeKind::Denied, Disposition::Hold)).collect();
    assert!(store.finish(&ends).await.unwrap().iter().all(|answer| *answer == Finished::Recorded));
    assert!(claim(&*store, JOBS, at(2_000)).await.is_empty());
    store.unhold("echo").await.unwrap();
    assert_eq!(claim(&*store, JOBS, at(2_000)).await.len(), JOBS);
}

pub async fn a_result_after_a_cancel_is_fenced_and_kept(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let claimed = claim_one(&*store, NOW).await;
    assert_eq!(store.cancel(id, at(500)).await.unwrap(), Acted::Done);
    assert_eq!(state(&*store, id, at(500)).await, State::Cancelled);
    let end = ending(&claimed, OutcomeKind::Completed, Disposition::Complete);
    assert_eq!(finish(&*store, end).await, Finished::Fenced);
    let view = look(&*store, id, at(2_000)).await;
    assert_eq!((view.state, view.finished_at, view.attempt), (State::Cancelled, Some(at(500)), 1));
    assert_eq!(view.attempts.len(), 1);
    assert_eq!(view.attempts[0].kind, Some(OutcomeKind::Completed));
    drop(store);
    let store = harness.open();
    assert!(store.rescue(at(3_000)).await.unwrap().is_empty());
    assert!(claim(&*store, 1, at(3_000)).await.is_empty());
}

pub async fn a_result_counts_once(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let claimed = claim_one(&*store, NOW).await;
    fail(&*store, &claimed, at(2_000)).await;
    let late = || ending(&claimed, OutcomeKind::Completed, Disposition::Complete);
    assert_eq!(finish(&*store, late()).await, Finished::Fenced);
    let again = claim_one(&*store, at(2_000)).await;
    assert_eq!(finish(&*store, late()).await, Finished::Fenced, "an older token while a newer one runs");
    let twice = vec![ending(&again, OutcomeKind::Completed, Disposition::Complete), late()];
    assert_eq!(store.finish(&twice).await.unwrap(), [Finished::Recorded, Finished::Fenced]);
    let view = look(&*store, id, at(9_000)).await;
    assert_eq!((view.state, view.attempts.len()), (State::Completed, 2));
}

pub async fn a_result_from_before_a_reopening_is_void(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let old = claim_one(&*store, NOW).await;
    drop(store);
    let store = harness.open();
    let rescued = store.rescue(at(100)).await.unwrap();
    assert_eq!(rescued.len(), 1);
    let end = ending(&old, OutcomeKind::Completed, Disposition::Complete);
    assert_eq!(finish(&*store, end).await, Finished::Fenced);
    assert_eq!(state(&*store, id, at(100)).await, State::Running);
}

pub async fn evidence_reads_back(harness: &dyn Harness) {
    let store = harness.open();
    let id = accept(&*store, spec()).await;
    let evidence = |claimed: &windlass::store::Claimed| Evidence {
        cpu_us: 1_234,
        memory_peak_bytes: 65_536,
        revision: Some("ab".repeat(32)),
        log: vec![LogLine { at_ms: 3, level: LogLevel::Warn, message: format!("line {}", claimed.attempt) }],
        log_dropped_bytes: 17,
        log_dropped_lines: 3,
        calls: Calls::default(),
        crowded: false,
        not_begun: false,
        exchanges_dropped: 2,
        exchanges: vec![Exchange {
            method: "POST".into(),
            url: "https://x.test/".into(),
            status: Some(503),
            retry_after_ms: Some(7_000),
            error: None,
            started_at: NOW,
            head_us: Some(900),
            total_us: 1_000,
            sent_bytes: 5,
            received_bytes: 6,
        }],
    };
    for n in 0..2 {
        let claimed = claim_one(&*store, at(n * 10_000)).await;
        let again = Disposition::Retry { at: at((n + 1) * 10_000), counted: true };
        let end = ending(&claimed, OutcomeKind::RateLimited, again);
        let (code, delay_ms) = (Some("slow-down".into()), Some(2_500));
        finish(&*store, Finish { evidence: evidence(&claimed), code, delay_ms, ..end }).await;
    }
    drop(store);
    let store = harness.open();
    let detail = store.attempt(id, 1).await.unwrap().expect("the first attempt");
    assert_eq!(detail.log[0].message, "line 1");
    assert_eq!((detail.log_dropped_bytes, detail.exchanges[0].status), (17, Some(503)));
    assert_eq!((detail.log_dropped_lines, detail.exchanges_dropped), (3, 2));
    let attempt = &detail.attempt;
    assert_eq!((attempt.n, attempt.kind), (1, Some(OutcomeKind::RateLimited)));
    assert_eq!((attempt.started_at, attempt.finished_at), (NOW, Some(at(1_000))));
    assert_eq!((attempt.code.as_deref(), attempt.delay_ms), (Some("slow-down"), Some(2_500)));
    assert_eq!((attempt.cpu_us, attempt.memory_peak_bytes), (1_234, 65_536));
    assert_eq!(attempt.revision, Some("ab".repeat(32)));
    assert_eq!(attempt.next_run_at, Some(at(10_000)));
    assert_eq!(look(&*store, id, NOW).await.attempts[0], *attempt);
    assert!(store.attempt(id, 2).await.unwrap().is_some());
    assert!(store.attempt(id, 3).await.unwrap().is_none());
}

pub async fn the_end_wakes_who_waits_for_it(harness: &dyn Harness) {
    let store = harness.open();
    let (done, cancelled) = (accept(&*store, spec()).await, accept(&*store, JobSpec { run_at: at(9), ..spec() }).await);
    let waiters: Vec<_> = [done, done, cancelled]
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.ended(id).await })
        })
        .into();
    tokio::task::yield_now().await;
    let claimed = claim_one(&*store, NOW).await;
    complete(&*store, &claimed).await;
    store.cancel(cancelled, NOW).await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    store.ended(done).await;
    store.ended(windlass::job::JobId::from_parts(77, 7)).await;
}
