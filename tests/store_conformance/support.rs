//! What the cases share: jobs, admissions and endings.

use std::time::Duration;

use windlass::clock::UnixMs;
use windlass::job::{Admission, Admit, Disposition, JobId, JobSpec, Lane, OutcomeKind, State};
use windlass::store::{Claimed, Enqueued, Finish, Finished, JobView, NewJob, Store};

pub use crate::harness::Harness;

/// A moment that serves as the present: 2026-01-02T03:04:05Z.
pub const NOW: UnixMs = UnixMs(1_767_323_045_000);

/// So many milliseconds after [`NOW`].
pub fn at(ms: u64) -> UnixMs {
    NOW.after(Duration::from_millis(ms))
}

/// A job of the plugin `echo`, due at [`NOW`].
pub fn spec() -> JobSpec {
    JobSpec {
        limit_key: None,
        plugin: "echo".into(),
        downstream: "echo".into(),
        content_type: "application/json".into(),
        payload: "{\"n\":1}".into(),
        run_at: NOW,
        priority: 0,
        retry: Default::default(),
        deadline: None,
        labels: Default::default(),
        traceparent: None,
        idempotency_key: None,
    }
}

/// A job of that lane and that priority.
pub fn in_lane(plugin: &str, downstream: &str, priority: i16) -> JobSpec {
    JobSpec { plugin: plugin.into(), downstream: downstream.into(), priority, ..spec() }
}

/// A job with an idempotency key and a request.
pub fn keyed(key: &str, request: u8) -> NewJob {
    let spec = JobSpec { idempotency_key: Some(key.into()), ..spec() };
    NewJob { spec, request_digest: [request; 32] }
}

/// Accepts one job at [`NOW`].
pub async fn accept(store: &dyn Store, spec: JobSpec) -> JobId {
    let answers = store.enqueue(vec![NewJob { spec, request_digest: [0; 32] }], NOW).await.expect("accepted");
    match answers[..] {
        [Enqueued::Created(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

/// Admits everything.
pub struct Open;

impl Admission for Open {
    fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
        Admit::Yes
    }
}

/// Claims as much as there is, up to `most`.
pub async fn claim(store: &dyn Store, most: usize, now: UnixMs) -> Vec<Claimed> {
    store.claim(most, now, &mut Open).await.expect("claimed")
}

/// Claims the one job there is.
pub async fn claim_one(store: &dyn Store, now: UnixMs) -> Claimed {
    let mut claimed = claim(store, 2, now).await;
    assert_eq!(claimed.len(), 1, "one job is due at {now}");
    claimed.remove(0)
}

/// The end of an attempt, a second after its beginning.
pub fn ending(claimed: &Claimed, kind: OutcomeKind, disposition: Disposition) -> Finish {
    let (attempt, started_at) = (claimed.attempt, claimed.started_at);
    let finished_at = started_at.after(Duration::from_secs(1));
    Finish {
        error: (kind != OutcomeKind::Completed).then(|| format!("attempt {attempt} failed")),
        ..Finish::bare(claimed.lease, attempt, started_at, finished_at, kind, disposition)
    }
}

/// Records one end.
pub async fn finish(store: &dyn Store, finish: Finish) -> Finished {
    store.finish(&[finish]).await.expect("finished")[0]
}

/// Records that the attempt completed its job.
pub async fn complete(store: &dyn Store, claimed: &Claimed) {
    let end = ending(claimed, OutcomeKind::Completed, Disposition::Complete);
    assert_eq!(finish(store, end).await, Finished::Recorded);
}

/// Records that the attempt failed, and that the next is due at that moment.
pub async fn fail(store: &dyn Store, claimed: &Claimed, next: UnixMs) {
    let end = ending(claimed, OutcomeKind::TryAgain, Disposition::Retry { at: next, counted: true });
    assert_eq!(finish(store, end).await, Finished::Recorded);
}

/// Records that the attempt was the last.
pub async fn give_up(store: &dyn Store, claimed: &Claimed) {
    let end = ending(claimed, OutcomeKind::Reject, Disposition::Discard);
    assert_eq!(finish(store, end).await, Finished::Recorded);
}

/// The job, which must exist.
pub async fn look(store: &dyn Store, id: JobId, now: UnixMs) -> JobView {
    store.job(id, now).await.expect("read").expect("the job exists")
}

/// The job's state.
pub async fn state(store: &dyn Store, id: JobId, now: UnixMs) -> State {
    look(store, id, now).await.state
}
