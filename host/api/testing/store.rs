//! A store in memory: as much of one as the API can see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::{Notify, RwLock};

use super::NOW;
use crate::clock::{Chance, UnixMs};
use crate::job::gates::LaneRef;
use crate::job::live::Tally;
use crate::job::{Admission, IdSource, JobId, JobSpec, Lane, OutcomeKind, State};
use crate::store::{
    Act, ActKind, Acted, AttemptDetail, AttemptView, Claimed, Counts, Enqueued, Finish, Finished, JobView, Keyed,
    LaneCounts, Lease, ListFilter, ListPage, NewJob, Pruned, Retention, Standing, Standings, Store, StoreError,
};

/// A due job of that plugin.
pub(in super::super) fn view(plugin: &str) -> JobView {
    let spec = JobSpec::plain(plugin, plugin, NOW);
    accepted(IdSource::after(0).next(NOW, &Chance::seeded(1)), spec, NOW)
}

fn accepted(id: JobId, spec: JobSpec, now: UnixMs) -> JobView {
    JobView {
        id,
        state: if spec.run_at > now { State::Scheduled } else { State::Available },
        held: false,
        created_at: now,
        run_at: spec.run_at,
        finished_at: None,
        attempt: 0,
        failed: 0,
        owed: false,
        result: None,
        attempts: Vec::new(),
        acts: Vec::new(),
        last_error: None,
        spec,
    }
}

/// An attempt that failed.
pub(in super::super) fn attempt_view(n: u32) -> AttemptView {
    AttemptView {
        n,
        started_at: NOW,
        finished_at: Some(NOW),
        kind: Some(OutcomeKind::TryAgain),
        error: Some("503 from the downstream".to_owned()),
        code: Some("http-503".to_owned()),
        delay_ms: Some(2_000),
        next_run_at: Some(UnixMs(NOW.0 + 2_000)),
        revision: Some("ab".repeat(32)),
        cpu_us: 1_500,
        memory_peak_bytes: 1 << 20,
    }
}

struct Kept {
    view: JobView,
    digest: [u8; 32],
    attempts: Vec<AttemptDetail>,
}

#[derive(Default)]
struct Inner {
    /// Oldest first.
    jobs: Vec<Kept>,
    ids: Option<IdSource>,
    paused: BTreeSet<String>,
    health: BTreeMap<Lane, crate::job::health::Kept>,
    /// What calls fail with after so many more of them.
    failure: Option<(usize, StoreError)>,
}

impl Inner {
    fn unfinished(&self) -> impl Iterator<Item = &JobView> {
        self.jobs.iter().map(|kept| &kept.view).filter(|view| view.state.end().is_none())
    }
}

fn count(tally: &mut Tally, state: State) {
    match state {
        State::Available => tally.available += 1,
        State::Running => tally.running += 1,
        _ => tally.later += 1,
    }
}

/// A store in memory.
#[derive(Default)]
pub(in super::super) struct FakeStore {
    inner: Mutex<Inner>,
    panics: AtomicBool,
    /// The most lanes that were asked for at once.
    lanes_asked: AtomicUsize,
    ended: Notify,
    awaited: Notify,
    /// Who holds it keeps enqueues from being written.
    pub(in super::super) pen: RwLock<()>,
    /// Enqueues that have come.
    pub(in super::super) enqueues: AtomicUsize,
}

impl FakeStore {
    /// What was recorded of downstreams.
    pub(in super::super) fn health(&self) -> BTreeMap<Lane, crate::job::health::Kept> {
        self.inner.lock().unwrap().health.clone()
    }

    /// From here on every call fails with this, or none does.
    pub(in super::super) fn fail_with(&self, failure: Option<StoreError>) {
        self.inner.lock().unwrap().failure = failure.map(|failure| (0, failure));
    }

    /// After so many calls every other one fails with this.
    pub(in super::super) fn fail_after(&self, calls: usize, failure: StoreError) {
        self.inner.lock().unwrap().failure = Some((calls, failure));
    }

    /// The most lanes that were asked for at once.
    pub(in super::super) fn lanes_asked(&self) -> usize {
        self.lanes_asked.load(Ordering::Relaxed)
    }

    /// From here on lists panic.
    pub(in super::super) fn panic_at_list(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// How many jobs are kept.
    pub(in super::super) fn len(&self) -> usize {
        self.inner.lock().unwrap().jobs.len()
    }

    /// What was asked for, oldest first.
    pub(in super::super) fn specs(&self) -> Vec<JobSpec> {
        self.inner.lock().unwrap().jobs.iter().map(|kept| kept.view.spec.clone()).collect()
    }

    /// The paused plugins.
    pub(in super::super) fn paused(&self) -> Vec<String> {
        self.inner.lock().unwrap().paused.iter().cloned().collect()
    }

    /// Ends a job.
    pub(in super::super) fn end(&self, id: &str, state: State) {
        self.edit(id.parse().unwrap(), |kept| {
            (kept.view.state, kept.view.finished_at) = (state, Some(NOW));
        });
        self.ended.notify_waiters();
    }

    /// Adds an attempt to a job.
    pub(in super::super) fn add_attempt(&self, id: &str, detail: AttemptDetail) {
        self.edit(id.parse().unwrap(), |kept| {
            kept.view.attempts.push(detail.attempt.clone());
            kept.attempts.push(detail);
        });
    }

    /// Whether anybody beside the store has the payload of a job in memory.
    pub(in super::super) fn is_payload_held(&self, id: &str) -> bool {
        self.edit(id.parse().unwrap(), |kept| !kept.view.spec.payload.is_unique()).expect("a job that is kept")
    }

    /// Waits until somebody waits for the end of a job.
    pub(in super::super) async fn awaited(&self) {
        self.awaited.notified().await;
    }

    fn edit<T>(&self, id: JobId, change: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.inner.lock().unwrap().jobs.iter_mut().find(|kept| kept.view.id == id).map(change)
    }

    fn check(&self) -> Result<(), StoreError> {
        match &mut self.inner.lock().unwrap().failure {
            None => Ok(()),
            Some((0, failure)) => Err(failure.clone()),
            Some((calls, _)) => {
                *calls -= 1;
                Ok(())
            }
        }
    }
}

impl Inner {
    fn enqueue(&mut self, job: NewJob, now: UnixMs) -> Enqueued {
        let key = &job.spec.idempotency_key;
        if let Some(kept) = self.jobs.iter().find(|kept| key.is_some() && kept.view.spec.idempotency_key == *key) {
            let is_same = kept.digest == job.request_digest;
            return if is_same { Enqueued::Replayed(kept.view.id) } else { Enqueued::KeyReused(kept.view.id) };
        }
        let id = self.ids.get_or_insert_with(|| IdSource::after(0)).next(now, &Chance::seeded(1));
        let view = accepted(id, job.spec, now);
        self.jobs.push(Kept { view, digest: job.request_digest, attempts: Vec::new() });
        Enqueued::Created(id)
    }
}

fn act(kept: &mut Kept, from: &[State], to: State, what: ActKind, now: UnixMs) -> Acted {
    if !from.contains(&kept.view.state) {
        return Acted::NotIn(kept.view.state);
    }
    kept.view.state = to;
    kept.view.finished_at = to.end().map(|_| now);
    kept.view.acts.push(Act { at: now, what });
    Acted::Done
}

fn fits(filter: &ListFilter, view: &JobView) -> bool {
    let labels = &view.spec.labels;
    filter.state.is_none_or(|state| state == view.state)
        && filter.plugin.as_ref().is_none_or(|plugin| *plugin == view.spec.plugin)
        && filter.downstream.as_ref().is_none_or(|downstream| *downstream == view.spec.downstream)
        && filter.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        && filter.before.is_none_or(|before| view.id < before)
}

#[async_trait]
impl Store for FakeStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: UnixMs) -> Result<Vec<Enqueued>, StoreError> {
        self.enqueues.fetch_add(1, Ordering::Relaxed);
        drop(self.pen.read().await);
        self.check()?;
        let enqueued = {
            let mut inner = self.inner.lock().unwrap();
            jobs.into_iter().map(|job| inner.enqueue(job, now)).collect()
        };
        // As of a real one, the answer comes later.
        tokio::task::yield_now().await;
        Ok(enqueued)
    }

    async fn keyed(&self, key: &str) -> Result<Option<Keyed>, StoreError> {
        self.check()?;
        let inner = self.inner.lock().unwrap();
        let kept = inner.jobs.iter().find(|kept| kept.view.spec.idempotency_key.as_deref() == Some(key));
        Ok(kept.map(|kept| Keyed { id: kept.view.id, request_digest: kept.digest }))
    }

    async fn ended(&self, id: JobId) {
        loop {
            let ended = self.ended.notified();
            let is_running = self.edit(id, |kept| kept.view.state.end().is_none()).unwrap_or(false);
            if !is_running {
                return;
            }
            self.awaited.notify_one();
            ended.await;
        }
    }

    async fn job(&self, id: JobId, _: UnixMs) -> Result<Option<JobView>, StoreError> {
        self.check()?;
        Ok(self.edit(id, |kept| kept.view.clone()))
    }

    async fn attempt(&self, id: JobId, n: u32) -> Result<Option<AttemptDetail>, StoreError> {
        self.check()?;
        let found = self.edit(id, |kept| kept.attempts.iter().find(|detail| detail.attempt.n == n).cloned());
        Ok(found.flatten())
    }

    async fn list(&self, filter: ListFilter, _: UnixMs) -> Result<ListPage, StoreError> {
        assert!(!self.panics.load(Ordering::Relaxed), "asked to");
        self.check()?;
        let inner = self.inner.lock().unwrap();
        let mut found = inner.jobs.iter().rev().map(|kept| &kept.view).filter(|view| fits(&filter, view));
        let jobs: Vec<_> = found.by_ref().take(filter.limit).cloned().collect();
        let next = found.next().and_then(|_| jobs.last()).map(|last| last.id);
        Ok(ListPage { jobs, next })
    }

    async fn cancel(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.check()?;
        let from = [State::Scheduled, State::Available, State::Running, State::Retryable];
        let acted = self.edit(id, |kept| act(kept, &from, State::Cancelled, ActKind::Cancel, now));
        Ok(acted.unwrap_or(Acted::Unknown))
    }

    async fn retry(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.check()?;
        let from = [State::Scheduled, State::Retryable, State::Discarded, State::Cancelled];
        let acted = self.edit(id, |kept| act(kept, &from, State::Available, ActKind::Retry, now));
        Ok(acted.unwrap_or(Acted::Unknown))
    }

    fn unfinished(&self, plugin: &str) -> (u64, u64) {
        let counts = self.counts();
        (counts.unfinished, counts.plugins.get(plugin).map_or(0, Tally::jobs))
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for view in self.inner.lock().unwrap().unfinished() {
            count(counts.plugins.entry(view.spec.plugin.as_str().into()).or_default(), view.state);
            counts.unfinished += 1;
        }
        counts
    }

    fn lanes(&self, first: LaneRef<'_>, most: usize) -> Vec<LaneCounts> {
        self.lanes_asked.fetch_max(most, Ordering::Relaxed);
        let mut lanes = BTreeMap::<(String, String), Tally>::new();
        for view in self.inner.lock().unwrap().unfinished() {
            let lane = (view.spec.downstream.clone(), view.spec.plugin.clone());
            count(lanes.entry(lane).or_default(), view.state);
        }
        let first = (first.downstream.to_owned(), first.plugin.to_owned());
        let lanes = lanes.range(first..).take(most);
        lanes
            .map(|((downstream, plugin), tally)| LaneCounts { lane: Lane::new(plugin, downstream), tally: *tally })
            .collect()
    }

    async fn set_standing(&self, standing: Standing) -> Result<(), StoreError> {
        self.check()?;
        {
            let mut inner = self.inner.lock().unwrap();
            match standing {
                Standing::Plugin { name, paused: true } => _ = inner.paused.insert(name),
                Standing::Plugin { name, paused: false } => _ = inner.paused.remove(&name),
                Standing::Downstream { lane, kept } => _ = inner.health.insert(lane, kept),
            }
        }
        // As of a real one, the answer comes later.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn health(&self) -> Result<(), StoreError> {
        self.check()
    }

    fn takes_writes(&self) -> bool {
        self.inner.lock().unwrap().failure.is_none()
    }

    // What follows is the worker's.

    async fn claim(&self, _: usize, _: UnixMs, _: &mut (dyn Admission + Send)) -> Result<Vec<Claimed>, StoreError> {
        unreachable!("the API claims nothing")
    }

    async fn release(&self, _: Vec<Lease>) -> Result<(), StoreError> {
        unreachable!("the API claims nothing")
    }

    async fn finish(&self, _: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        unreachable!("the API runs nothing")
    }

    async fn renew(&self, _: &[Lease], _: UnixMs) -> Result<(), StoreError> {
        unreachable!("the API runs nothing")
    }

    async fn rescue(&self, _: UnixMs) -> Result<Vec<Claimed>, StoreError> {
        unreachable!("the API runs nothing")
    }

    async fn next_due(&self) -> Result<Option<UnixMs>, StoreError> {
        unreachable!("the API dispatches nothing")
    }

    async fn changed(&self) {
        unreachable!("the API dispatches nothing")
    }

    async fn unhold(&self, _: &str) -> Result<(), StoreError> {
        unreachable!("the API follows no plugins")
    }

    async fn prune(&self, _: Retention, _: UnixMs, _: usize) -> Result<Pruned, StoreError> {
        unreachable!("the API deletes nothing")
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        unreachable!("the worker reads this at the start")
    }
}
