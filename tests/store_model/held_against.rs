//! A store held against the book.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use windlass::clock::UnixMs;
use windlass::job::{Admission, Admit, JobId, JobSpec, Lane, State};
use windlass::store::{Claimed, Enqueued, ListFilter, NewJob, Retention, Store};

use crate::book::{Book, Job, Worth};
use crate::harness::Harness;
use crate::op::{How, Op};

#[path = "ask.rs"]
mod ask;
#[path = "compare.rs"]
mod compare;
#[path = "make.rs"]
mod make;

/// 2026-01-02T03:04:05Z.
const START: UnixMs = UnixMs(1_767_323_045_000);
const RETENTION: Retention = Retention {
    completed: Duration::from_secs(2),
    cancelled: Duration::from_secs(4),
    discarded: Duration::from_secs(3_600),
};

/// A store and the book, and what a host would know beside them.
pub struct Trial<H> {
    harness: H,
    held_jobs_max: usize,
    store: Option<Arc<dyn Store>>,
    book: Book,
    now: UnixMs,
    /// Every job that was ever accepted.
    ids: Vec<JobId>,
    running: Vec<Claimed>,
    /// Rights that have run out.
    run_out: Vec<Claimed>,
    /// Jobs found at the opening, which nothing has happened to since: a host may have died of them.
    suspects: BTreeSet<i64>,
    last_token: i64,
}

/// Admits every lane but some.
struct Closed(Vec<Lane>);

impl Admission for Closed {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        if self.0.contains(&*lane.whole()) { Admit::DownstreamClosed { until: None } } else { Admit::Yes }
    }
}

impl<H: Harness> Trial<H> {
    /// A fresh store, and an empty book.
    pub fn new(harness: H, held_jobs_max: usize) -> Self {
        let store = Some(harness.open());
        let (book, now, suspects) = (Book::default(), START, BTreeSet::new());
        let (ids, running, run_out) = (Vec::new(), Vec::new(), Vec::new());
        Self { harness, held_jobs_max, store, book, now, ids, running, run_out, suspects, last_token: 0 }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open but while it is opened anew")
    }

    /// Asks both the same, and compares the answers.
    pub async fn take(&mut self, op: &Op) {
        match op {
            Op::Together(ops) => self.together(ops).await,
            Op::Claim { most, closed } => self.claim(*most, closed.iter().copied().map(make::lane).collect()).await,
            Op::Wait { ms } => self.now = self.now.after(Duration::from_millis(*ms)),
            Op::WaitADay { nearly } => {
                let short = if *nearly { 10 } else { 0 };
                self.now = self.now.after(Duration::from_secs(86_400 - short));
            }
            Op::LookAtAll => self.compare_all().await,
            Op::List { lane, state, labelled, limit } => self.list(*lane, *state, *labelled, *limit).await,
            Op::Rescue => self.rescue().await,
            Op::Reopen => {
                self.book.note_starts();
                self.store = None;
                self.opened(self.harness.open()).await;
            }
            Op::Crash => {
                let after = self.harness.open_as_if_crashed();
                self.opened(after).await;
            }
            call => self.together(std::slice::from_ref(call)).await,
        }
    }

    async fn list(&mut self, lane: Option<usize>, state: Option<usize>, labelled: bool, limit: usize) {
        let lane = lane.map(make::lane);
        let filter = ListFilter {
            state: state.map(|pick| State::ALL[pick % State::ALL.len()]),
            plugin: lane.as_ref().map(|lane| lane.plugin.to_string()),
            downstream: lane.as_ref().map(|lane| lane.downstream.to_string()),
            labels: labelled.then(|| ("colour".to_owned(), "red".to_owned())).into_iter().collect(),
            before: None,
            limit,
        };
        self.compare_list(filter).await;
    }

    /// Sends all calls before the first is answered. The book takes in new jobs afterwards, when their ids are known.
    async fn together(&mut self, ops: &[Op]) {
        let alone = ops.len() == 1;
        let ops: Vec<_> = ops.iter().filter(|op| self.has_cause(op, alone)).collect();
        if ops.is_empty() {
            return;
        }
        // Whatever is written carries the starts of the attempts under way.
        self.book.note_starts();
        let asked: Vec<_> = ops.into_iter().map(|op| self.ask(op)).collect();
        for (jobs, answers) in join_all(asked).await.into_iter().flatten() {
            self.take_in(&jobs, &answers);
        }
        self.sort_out();
    }

    fn take_in(&mut self, jobs: &[NewJob], answers: &[Enqueued]) {
        let created = |answer: &Enqueued| if let Enqueued::Created(id) = answer { Some(*id) } else { None };
        let mut made = answers.iter().filter_map(created).collect::<Vec<_>>().into_iter();
        let nobody = JobId::from_parts(0, 0);
        let known = self.book.enqueue(jobs, self.now, || made.next().unwrap_or(nobody));
        // An id that was given to nobody is told to nobody.
        let same = |told: &Enqueued, known: &Enqueued| match (told, known) {
            (Enqueued::Replayed(_), Enqueued::Replayed(id)) | (Enqueued::KeyReused(_), Enqueued::KeyReused(id))
                if *id == nobody =>
            {
                true
            }
            (told, known) => told == known,
        };
        let all_same = answers.len() == known.len() && answers.iter().zip(&known).all(|(a, b)| same(a, b));
        assert!(all_same, "the store answers {answers:?}, the book {known:?}");
        self.ids.extend(answers.iter().filter_map(created));
        assert!(self.ids.is_sorted(), "ids rise");
    }

    /// Moves the rights that have run out.
    fn sort_out(&mut self) {
        let book = &self.book;
        let has_run_out = |claimed: &mut Claimed| book.worth(claimed.lease) == Worth::Void;
        self.run_out.extend(self.running.extract_if(.., has_run_out));
        let runs: BTreeSet<i64> = self.running.iter().map(|claimed| claimed.lease.job.place()).collect();
        let is_idle = |place: &i64| self.book.jobs.get(place).is_some_and(|job| job.acts.is_empty());
        self.suspects.retain(|place| is_idle(place) && !runs.contains(place));
    }

    async fn claim(&mut self, most: usize, closed: Vec<Lane>) {
        let mut admission = Closed(closed);
        let claimed = self.store().claim(most, self.now, &mut admission).await.unwrap();
        assert!(claimed.len() <= most);
        let is_open = |job: &Job| !admission.0.contains(&*job.spec.lane().to_lane().whole());
        let wrote = claimed.iter().any(|claimed| self.suspects.contains(&claimed.lease.job.place()));
        for claimed in &claimed {
            let job = self.book.job(claimed.lease.job).expect("it is in the book");
            assert!(job.is_claimable(self.now) && is_open(job), "{claimed:?} was handed out: {job:?}");
            let known = (job.last_n() + 1, job.failed, job.owed, &job.spec, job.created_at, self.now);
            let Claimed { attempt, failed_before, owed, spec, created_at, started_at, .. } = claimed;
            assert_eq!((*attempt, *failed_before, *owed, &**spec, *created_at, *started_at), known);
            assert!(claimed.lease.token > self.last_token, "tokens rise");
            self.last_token = claimed.lease.token;
            if self.is_whole() {
                let urgency = |job: &Job| (-i32::from(job.spec.priority), job.due, job.id);
                let same_lane = |other: &&Job| other.spec.lane().to_lane() == job.spec.lane().to_lane();
                let lane = self.book.unfinished().filter(|other| other.is_claimable(self.now)).filter(same_lane);
                assert!(lane.map(urgency).min() == Some(urgency(job)), "{job:?} was not the most urgent");
            }
            self.book.begin(claimed);
        }
        let is_left = self.book.unfinished().any(|job| job.is_claimable(self.now) && is_open(job));
        assert!(!self.is_whole() || claimed.len() == most || !is_left, "a due job was left");
        if wrote {
            // A host may have died of one of them: their starts are on disk before they are handed out.
            self.book.note_starts();
        }
        self.running.extend(claimed);
    }

    /// Takes over the attempts of a dead host.
    async fn rescue(&mut self) {
        let rescued = self.store().rescue(self.now).await.unwrap();
        let mut known: Vec<_> = self.book.jobs.values().filter_map(left_behind).collect();
        let told = |claimed: &Claimed| {
            (claimed.lease.job, claimed.attempt, claimed.started_at, claimed.failed_before, claimed.spec.clone())
        };
        let mut told: Vec<_> = rescued.iter().map(told).collect();
        known.sort_by_key(|(id, ..)| *id);
        told.sort_by_key(|(id, ..)| *id);
        assert_eq!(told, known, "what a dead host left behind");
        for claimed in rescued {
            self.book.begin(&claimed);
            self.last_token = self.last_token.max(claimed.lease.token);
            self.running.push(claimed);
        }
    }

    /// What was open is gone, and `store` is what was found.
    async fn opened(&mut self, store: Arc<dyn Store>) {
        self.store = Some(store.clone());
        let is_unsure = |job: &&Job| job.start.is_none() && (job.attempt.is_some() || job.ghost.is_some());
        let unsure: Vec<JobId> = self.book.unfinished().filter(is_unsure).map(|job| job.id).collect();
        for id in unsure {
            // The last starts wait a moment for a commit that carries them: they may be on disk or not.
            let view = store.job(id, self.now).await.unwrap().expect("it is promised");
            if view.state == State::Running {
                self.book.jobs.get_mut(&id.place()).expect("known").note_start();
            }
        }
        self.book.reopen();
        self.run_out.append(&mut self.running);
        self.suspects = self.book.unfinished().map(|job| job.id.place()).collect();
    }

    /// Runs what is left to its end, and compares everything, also after a last opening.
    pub async fn conclude(&mut self) {
        self.compare_all().await;
        self.rescue().await;
        for plugin in 0..2 {
            self.take(&Op::EditGrants { plugin }).await;
        }
        self.take(&Op::WaitADay { nearly: false }).await;
        while self.book.unfinished().next().is_some() {
            self.claim(3, Vec::new()).await;
            if self.running.is_empty() {
                // What is on disk only is read back when the memory has room.
                let store = self.store();
                let read_back = tokio::time::timeout(Duration::from_secs(30), store.changed()).await;
                read_back.expect("jobs that are on disk only come to their turn");
                continue;
            }
            let picks = (0..self.running.len()).collect();
            self.take(&Op::End { picks, how: How::Completes }).await;
        }
        self.compare_all().await;
        self.take(&Op::Reopen).await;
        self.compare_all().await;
    }
}

fn left_behind(job: &Job) -> Option<(JobId, u32, UnixMs, u32, Arc<JobSpec>)> {
    let left = job.attempt.or(job.ghost).filter(|begun| begun.token.is_none())?;
    Some((job.id, left.n, left.started_at, job.failed, Arc::new(job.spec.clone())))
}
