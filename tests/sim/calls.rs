//! What the host calls of the store, and what each call does to the disk and to the memory.

use std::pin::pin;

use async_trait::async_trait;
use windlass::clock::{LAST_MOMENT, UnixMs};
use windlass::job::gates::LaneRef;
use windlass::job::live::{Again, Standing as Right};
use windlass::job::{Admission, Admit, EndState, JobId, Lane, Opened, State as JobState};
use windlass::store::{
    Acted, AttemptDetail, Claimed, Counts, Enqueued, Finish, Finished, JobView, Keyed, LaneCounts, Lease, ListFilter,
    ListPage, NewJob, Pruned, Retention, Standing, Standings, Store, StoreError,
};

use super::{Desk, Memory, SimStore, unfinished};
use crate::book::Worth;
use crate::draw::Draw as _;
use crate::refusals::Refusals;

/// Watches what is admitted.
struct Watched<'a> {
    inner: &'a mut (dyn Admission + Send),
    refusals: &'a mut Refusals,
    now: UnixMs,
    /// For each start, when its way was closed last.
    closed: Vec<UnixMs>,
    /// Every answer, where it is told what happens.
    remarks: Option<Vec<String>>,
}

impl Admission for Watched<'_> {
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit {
        let answer = self.inner.admit(lane, now);
        if let Some(remarks) = &mut self.remarks {
            remarks.push(format!("{lane:?}: {answer:?}"));
        }
        match answer {
            Admit::Yes | Admit::Probe => self.closed.push(self.refusals.admitted(lane, self.now)),
            Admit::KeyClosed { .. } => self.refusals.key(lane, self.now),
            Admit::DownstreamClosed { .. } => self.refusals.downstream(lane, self.now),
            Admit::PluginClosed { .. } => self.refusals.plugin(&lane.plugin, self.now),
            Admit::HostFull => self.refusals.host(self.now),
        }
        answer
    }

    fn opened(&mut self) -> Opened {
        self.inner.opened()
    }
}

#[async_trait]
impl Store for SimStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: UnixMs) -> Result<Vec<Enqueued>, StoreError> {
        self.saw(now);
        let world = self.world.clone();
        self.ask("enqueue", move |desk| desk.enqueue(&jobs, now, &world.chance)).await
    }

    async fn keyed(&self, key: &str) -> Result<Option<Keyed>, StoreError> {
        self.failure()?;
        Ok(self.world.state().book.keyed(key))
    }

    async fn claim(
        &self,
        most: usize,
        now: UnixMs,
        admission: &mut (dyn Admission + Send),
    ) -> Result<Vec<Claimed>, StoreError> {
        self.world.live_on(self.life).await;
        self.failure()?;
        let seen = self.saw(now);
        let (handed, closed) = {
            let Memory { live, refusals, .. } = &mut *self.memory();
            let remarks = self.world.state().trace.is_told().then(Vec::new);
            let mut watched = Watched { inner: admission, refusals, now, closed: Vec::new(), remarks };
            let handed = live.claim(most, now, &mut watched);
            watched.remarks.iter().flatten().for_each(|remark| self.world.state().trace.remark(remark));
            (handed, watched.closed)
        };
        if handed.is_empty() {
            return Ok(Vec::new());
        }
        if self.world.chance.happens(0.01) {
            return Err(self.put_back(&handed, now, admission));
        }
        let claimed = self.claimed(&handed);
        self.check_times(&claimed, &closed, seen);
        let places: Vec<i64> = handed.iter().map(|job| job.id.place()).collect();
        if !handed.iter().any(|job| job.suspect) {
            self.memory().begun.extend(places);
            self.work.notify_one();
            return Ok(claimed);
        }
        match self.ask("start", move |desk| places.iter().for_each(|place| desk.note_start(*place))).await {
            Ok(()) | Err(StoreError::Full(_) | StoreError::Busy(_)) => Ok(claimed),
            Err(error) => Err(error),
        }
    }

    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError> {
        self.ask("release", move |desk| leases.iter().for_each(|lease| desk.release(*lease))).await
    }

    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        let finishes = finishes.to_vec();
        self.ask("finish", move |desk| finishes.iter().map(|finish| desk.finish(finish)).collect()).await
    }

    async fn renew(&self, _: &[Lease], _: UnixMs) -> Result<(), StoreError> {
        self.failure()
    }

    async fn rescue(&self, _: UnixMs) -> Result<Vec<Claimed>, StoreError> {
        self.world.live_on(self.life).await;
        self.failure()?;
        let handed = self.memory().live.rescue();
        Ok(self.claimed(&handed))
    }

    async fn next_due(&self) -> Result<Option<UnixMs>, StoreError> {
        self.failure()?;
        Ok(self.memory().live.next_due())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn ended(&self, id: JobId) {
        let bell = self.waiters().entry(id.place()).or_default().clone();
        let mut rung = pin!(bell.notified());
        rung.as_mut().enable();
        let is_over = self.failure().is_err() || self.world.state().book.job(id).is_none_or(|job| job.end.is_some());
        if !is_over {
            rung.await;
        }
    }

    async fn unhold(&self, plugin: &str) -> Result<(), StoreError> {
        let plugin = plugin.to_owned();
        self.ask("unhold", move |desk| desk.unhold(&plugin)).await
    }

    async fn job(&self, id: JobId, now: UnixMs) -> Result<Option<JobView>, StoreError> {
        self.failure()?;
        Ok(self.world.state().book.view(id, now))
    }

    async fn attempt(&self, id: JobId, n: u32) -> Result<Option<AttemptDetail>, StoreError> {
        let view = self.job(id, self.seen()).await?;
        let attempt = view.and_then(|view| view.attempts.into_iter().find(|attempt| attempt.n == n));
        Ok(attempt.map(AttemptDetail::bare))
    }

    async fn list(&self, filter: ListFilter, now: UnixMs) -> Result<ListPage, StoreError> {
        self.failure()?;
        let mut jobs = self.world.state().book.list(&filter, now);
        let next = jobs.get(filter.limit).is_some().then(|| jobs[filter.limit - 1].id);
        jobs.truncate(filter.limit);
        Ok(ListPage { jobs, next })
    }

    async fn cancel(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.ask("cancel", move |desk| desk.cancel(id, now)).await
    }

    async fn retry(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError> {
        self.saw(now);
        self.ask("retry", move |desk| desk.retry(id, now)).await
    }

    fn counts(&self) -> Counts {
        let memory = self.memory();
        let plugins = memory.live.by_plugin().map(|(name, tally)| (name.clone(), tally)).collect();
        let ended = self.world.state().book.ended.clone();
        Counts { plugins, unfinished: memory.live.unfinished(), ended }
    }

    fn lanes(&self, first: LaneRef<'_>, most: usize) -> Vec<LaneCounts> {
        let memory = self.memory();
        let lanes = memory.live.by_downstream(first).take(most);
        lanes.map(|(downstream, plugin, tally)| LaneCounts::of(plugin, downstream, tally)).collect()
    }

    fn unfinished(&self, plugin: &str) -> (u64, u64) {
        let memory = self.memory();
        (memory.live.unfinished(), memory.live.unfinished_of(plugin))
    }

    async fn prune(&self, retention: Retention, now: UnixMs, most: usize) -> Result<Pruned, StoreError> {
        let said = &self.world.plan.config.retention;
        for (end, said) in [
            (EndState::Completed, said.completed),
            (EndState::Cancelled, said.cancelled),
            (EndState::Discarded, said.discarded),
        ] {
            if retention.of(end) != said.0 || now > self.world.state().host_now() {
                self.world.accuse(format!("{} jobs are pruned early", JobState::from(end)));
            }
        }
        self.ask("prune", move |desk| desk.prune(retention, now, most)).await
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        self.failure()?;
        Ok(self.world.state().book.standings())
    }

    async fn set_standing(&self, standing: Standing) -> Result<(), StoreError> {
        self.ask("set_standing", move |desk| desk.state.book.set_standing(standing)).await
    }

    fn health(&self) -> Result<(), StoreError> {
        self.failure()
    }

    fn takes_writes(&self) -> bool {
        self.failure().is_ok()
    }
}

impl Desk<'_> {
    fn enqueue(&mut self, jobs: &[NewJob], now: UnixMs, chance: &windlass::clock::Chance) -> Vec<Enqueued> {
        let ids = &mut self.state.ids;
        let answers = self.state.book.enqueue(jobs, now, || ids.next(now, chance));
        for (job, answer) in jobs.iter().zip(&answers) {
            if let Enqueued::Created(id) = answer {
                self.state.is_accepted(*id, &job.spec);
                self.memory.live.insert(&unfinished(&self.state.book.jobs[&id.place()]), job.spec.lane(), self.seen);
            }
        }
        answers
    }

    fn note_start(&mut self, place: i64) {
        if let Some(job) = self.state.book.jobs.get_mut(&place) {
            job.note_start();
        }
    }

    fn release(&mut self, lease: Lease) {
        self.state.book.release(lease);
        _ = self.memory.live.release(lease.job.place(), lease.token, LAST_MOMENT);
        self.state.touch(lease.job.place());
    }

    fn finish(&mut self, finish: &Finish) -> Finished {
        let (id, place) = (finish.lease.job, finish.lease.job.place());
        self.state.check_finish(finish);
        let worth = self.state.book.worth(finish.lease);
        let right = self.memory.live.standing(place, finish.lease.token);
        let agree = matches!(
            (worth, right),
            (Worth::Decides, Right::Holds) | (Worth::Ghost, Right::Ghost) | (Worth::Void, Right::Void)
        );
        if !agree {
            self.state.accuse(format!("the book holds a result for {worth:?}, the memory for {right:?}: {finish:?}"));
        }
        let answer = self.state.book.finish(finish);
        let Some(job) = self.state.book.job(id) else {
            self.memory.live.lay_ghost(place, None, LAST_MOMENT);
            return answer;
        };
        let newest = i64::try_from(job.attempts.len()).expect("few");
        match worth {
            Worth::Decides if job.end.is_some() => {
                self.memory.live.end(place);
                self.memory.ended.push(id);
            }
            Worth::Decides => {
                let (due, held, attempts, failed) = (job.due, job.held, job.last_n(), job.failed);
                let again = Again {
                    due,
                    held,
                    attempts,
                    failed,
                    is_spared: finish.is_spared,
                    steps_back: finish.steps_back,
                    newest,
                };
                self.memory.live.go_on(place, again, self.seen);
            }
            Worth::Ghost => self.memory.live.lay_ghost(place, Some(newest), LAST_MOMENT),
            Worth::Void => {}
        }
        self.state.touch(place);
        answer
    }

    fn cancel(&mut self, id: JobId, now: UnixMs) -> Acted {
        let acted = self.state.book.cancel(id, now);
        if acted == Acted::Done {
            self.state.call_off(id.place());
            let job = self.state.book.job(id).expect("it was cancelled");
            self.memory.live.cancel(id.place(), &job.spec.plugin);
            self.memory.ended.push(id);
        }
        acted
    }

    fn retry(&mut self, id: JobId, now: UnixMs) -> Acted {
        let was_final = self.state.book.job(id).is_some_and(|job| job.end.is_some());
        let acted = self.state.book.retry(id, now);
        let Some(job) = self.state.book.job(id).filter(|_| acted == Acted::Done) else { return acted };
        let live = &mut self.memory.live;
        if was_final {
            live.insert(&unfinished(job), job.spec.lane(), self.seen);
        } else {
            live.make_due(&unfinished(job), job.spec.lane(), self.seen);
        }
        self.state.touch(id.place());
        if let Some(track) = self.state.tracks.get_mut(&id.place()) {
            track.done_in = None;
        }
        acted
    }

    fn unhold(&mut self, plugin: &str) {
        self.state.book.unhold(plugin, self.memory.live.next_token());
        self.memory.live.unhold(plugin, LAST_MOMENT);
        let of_plugin = self.state.book.unfinished().filter(|job| job.spec.plugin == plugin);
        for place in of_plugin.map(|job| job.id.place()).collect::<Vec<_>>() {
            self.state.touch(place);
        }
    }

    fn prune(&mut self, retention: Retention, now: UnixMs, most: usize) -> Pruned {
        let jobs = self.state.prune(retention, now, most);
        Pruned { jobs, more: jobs == most }
    }
}
