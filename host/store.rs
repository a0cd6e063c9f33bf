//! Where jobs are kept: the [`Store`] that the rest of the host speaks to, named by what the queue does.
//!
//! [`sqlite`] keeps them in one file with one owner. Every store passes the suite in `tests/store_conformance.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::UnixMs;
use crate::job::gates::LaneRef;
use crate::job::live::Tally;
use crate::job::{
    Admission, Completion, Disposition, EndState, Evidence, JobId, JobSpec, Lane, OutcomeKind, Probed, State,
};

mod detail;
mod keeper;
pub mod sqlite;
mod standing;
mod view;

pub use detail::AttemptDetail;
pub use keeper::HealthKeeper;
pub use standing::{Standing, Standings};
pub use view::{Act, ActKind, Acted, AttemptView, JobView};

/// A failure of the store. Nothing that it answers to has been acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or the store's size is bounded. Nothing was changed; the same call can succeed later.
    #[error("the store is full: {0}")]
    Full(String),
    /// More callers wait than the store takes, another program holds its lock, or what another caller wanted written in
    /// the same commit could not be. Nothing was changed; the same call can succeed later.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// A write or a sync failed. Final: the store takes nothing more until it is opened anew.
    #[error("the store failed and takes nothing more: {0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It could not be opened.
    #[error("cannot open the store {place}: {reason}")]
    Open {
        /// The file or the address.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A file that was to be made of it could not be. The store is as it was.
    #[error("cannot write {file}: {reason}")]
    Unwritten {
        /// The file.
        file: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call can succeed later, with nothing done in between.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Busy(_))
    }
}

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What was asked for.
    pub spec: JobSpec,
    /// The sha256 of the request, to tell a repeat from another request under the same idempotency key.
    pub request_digest: [u8; 32],
}

/// What became of one job of an enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is on disk.
    Created(JobId),
    /// The same request came before under the same idempotency key: that job's id. Nothing was written.
    Replayed(JobId),
    /// Another request came before under the same idempotency key. Nothing was written.
    KeyReused(JobId),
    /// Nothing is wrong with it, but another job of the same call was [`Self::KeyReused`]. Nothing was written.
    Withheld,
}

/// What is remembered under an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The job that was accepted under it; it may have been deleted since.
    pub id: JobId,
    /// The sha256 of the request that brought it.
    pub request_digest: [u8; 32],
}

/// The right to run one attempt, and the token that voids a late result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Grows with each claim of the store; a result under an older token is void.
    pub token: i64,
}

/// A job that was handed out.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The right to run it.
    pub lease: Lease,
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// When it was accepted.
    pub created_at: UnixMs,
    /// The number of the attempt now beginning, from 1.
    pub attempt: u32,
    /// How many counted attempts failed before.
    pub failed_before: u32,
    /// How many rate limits were not held against it before; see [`Unfinished::spared`](crate::job::live::Unfinished).
    pub spared: u16,
    /// A person's retry promised it an attempt, and none has counted since.
    pub owed: bool,
    /// When the attempt began.
    pub started_at: UnixMs,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Under which right it ran.
    pub lease: Lease,
    /// Its number.
    pub attempt: u32,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended.
    pub finished_at: UnixMs,
    /// What it ended in.
    pub kind: OutcomeKind,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// What went wrong, for programs.
    pub code: Option<String>,
    /// How long the downstream asked to be left alone, in milliseconds.
    pub delay_ms: Option<u32>,
    /// The result, where the job is completed.
    pub result: Option<Completion>,
    /// What is known beside.
    pub evidence: Evidence,
    /// It was a rate limit that is not held against the job. Not kept.
    pub is_spared: bool,
    /// See [`crate::job::live::Again::steps_back`]. Not kept.
    pub steps_back: Option<Probed>,
    /// What becomes of the job.
    pub disposition: Disposition,
}

impl Finish {
    /// An end of which nothing more is known.
    #[must_use]
    pub fn bare(
        lease: Lease,
        attempt: u32,
        started_at: UnixMs,
        finished_at: UnixMs,
        kind: OutcomeKind,
        disposition: Disposition,
    ) -> Self {
        Self {
            lease,
            attempt,
            started_at,
            finished_at,
            kind,
            error: None,
            code: None,
            delay_ms: None,
            result: None,
            evidence: Evidence::default(),
            is_spared: false,
            steps_back: None,
            disposition,
        }
    }
}

/// What became of a [`Finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is on disk.
    Recorded,
    /// The lease was void: the job had been cancelled meanwhile, or is another host's. The attempt is kept, the
    /// job's state stays as it is.
    Fenced,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this plugin.
    pub plugin: Option<String>,
    /// Only those of this downstream.
    pub downstream: Option<String>,
    /// Only those with all these labels.
    pub labels: Vec<(String, String)>,
    /// Only those that arrived before this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// The jobs, newest first, without payloads, results and attempts.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; none at the end. A page can be shorter than its limit with more to come, because
    /// one call looks at a bounded number of jobs.
    pub next: Option<JobId>,
}

/// How many jobs stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The unfinished jobs of each plugin that has any.
    pub plugins: BTreeMap<Arc<str>, Tally>,
    /// Unfinished jobs in all, those beyond the memory's cap included.
    pub unfinished: u64,
    /// Jobs that became final since the store was opened, by state.
    pub ended: BTreeMap<&'static str, u64>,
}

/// The unfinished jobs of one plugin that call one downstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneCounts {
    /// The lane, whatever limit keys its jobs have.
    pub lane: Lane,
    /// Where they stand.
    pub tally: Tally,
}

impl LaneCounts {
    /// Those of that plugin and that downstream.
    #[must_use]
    pub fn of(plugin: &Arc<str>, downstream: &Arc<str>, tally: Tally) -> Self {
        let (plugin, downstream) = (Arc::clone(plugin), Arc::clone(downstream));
        Self { lane: Lane { plugin, downstream, limit_key: None }, tally }
    }
}

/// What a pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many jobs went.
    pub jobs: usize,
    /// There may be more to delete: the next call need not wait.
    pub more: bool,
}

/// How long finished jobs are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Completed ones.
    pub completed: Duration,
    /// Cancelled ones.
    pub cancelled: Duration,
    /// Discarded ones.
    pub discarded: Duration,
}

impl Retention {
    /// How long jobs in this state are kept.
    #[must_use]
    pub fn of(&self, end: EndState) -> Duration {
        match end {
            EndState::Completed => self.completed,
            EndState::Cancelled => self.cancelled,
            EndState::Discarded => self.discarded,
        }
    }
}

/// A durable queue of jobs.
///
/// What returns `Ok` is on disk, synced (with `store.sync = "normal"`: with the system), unless it says otherwise. Every
/// method may be called from any task.
#[async_trait]
pub trait Store: Send + Sync {
    /// Accepts all these jobs, or none where one of them is [`Enqueued::KeyReused`].
    /// The answers stand in the order of the jobs.
    async fn enqueue(&self, jobs: Vec<NewJob>, now: UnixMs) -> Result<Vec<Enqueued>, StoreError>;

    /// What is remembered under an idempotency key; none where nothing is. Only looks: what is being written meanwhile may
    /// be missed, and it is [`Self::enqueue`] that decides.
    async fn keyed(&self, key: &str) -> Result<Option<Keyed>, StoreError>;

    /// Hands out at most `most` due jobs, each with the leave of `admission`: lanes in turn, within a lane the highest
    /// priority first, then the longest due. Does not wait for the disk: the start of each attempt rides the next
    /// commit. A job found unfinished at the opening is the exception: its start is on disk before it is handed out,
    /// so that one which kills the host is counted. Await it to its end: jobs handed out to a dropped future run nowhere.
    async fn claim(
        &self,
        most: usize,
        now: UnixMs,
        admission: &mut (dyn Admission + Send),
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Gives back jobs that were handed out and not begun; they are due at once and the claim leaves no trace.
    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError>;

    /// Records the ends of attempts. The answers stand in the same order.
    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError>;

    /// Keeps leases alive. A store with one owner has nothing to do.
    async fn renew(&self, leases: &[Lease], now: UnixMs) -> Result<(), StoreError>;

    /// Takes over attempts whose host is gone, be their jobs cancelled or not: each is handed out anew as [`Claimed`],
    /// with the number and the start of the interrupted attempt, to be finished as [`OutcomeKind::Interrupted`]. Not to
    /// be run.
    async fn rescue(&self, now: UnixMs) -> Result<Vec<Claimed>, StoreError>;

    /// The moment at which the next job of the future comes due; none where there is none.
    async fn next_due(&self) -> Result<Option<UnixMs>, StoreError>;

    /// Waits until something may have become claimable since this was last awaited: an enqueue, a retry, a release.
    /// Keeps one wake-up for who is not waiting yet.
    async fn changed(&self);

    /// Waits until the job is final. Returns at once where it is, or is unknown.
    async fn ended(&self, id: JobId);

    /// Waits, for a few seconds at most, until an attempt that was stopped with its job is recorded. Returns at once where
    /// there is none, or the store does not know of such.
    async fn recorded(&self, _: JobId) {}

    /// Makes the held jobs of a plugin due again, after its grants were edited.
    ///
    /// An attempt that runs meanwhile does not hold its job either: it began under the old grants.
    async fn unhold(&self, plugin: &str) -> Result<(), StoreError>;

    /// The job with payload, result, attempts and acts; none where it is unknown.
    async fn job(&self, id: JobId, now: UnixMs) -> Result<Option<JobView>, StoreError>;

    /// One attempt with its evidence; none where the job or the attempt is unknown.
    async fn attempt(&self, id: JobId, n: u32) -> Result<Option<AttemptDetail>, StoreError>;

    /// A page of jobs, newest first.
    async fn list(&self, filter: ListFilter, now: UnixMs) -> Result<ListPage, StoreError>;

    /// Calls off an unfinished job and records the act. The later result of an attempt that runs, or that a dead host
    /// left behind, is [`Finished::Fenced`].
    async fn cancel(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError>;

    /// Makes a scheduled, retryable, held, discarded or cancelled job due now and records the act. From then on it is
    /// owed an attempt until one counts, see [`Claimed::owed`]. It does not start before an attempt that was cancelled
    /// has ended.
    async fn retry(&self, id: JobId, now: UnixMs) -> Result<Acted, StoreError>;

    /// How many jobs stand where. From memory; costs as much as there are plugins with unfinished jobs.
    fn counts(&self) -> Counts;

    /// How many unfinished jobs each plugin has for each downstream, in the order of the downstreams and there of the
    /// plugins: at most `most`, from these on. From memory; costs as much as it returns.
    fn lanes(&self, first: LaneRef<'_>, most: usize) -> Vec<LaneCounts>;

    /// How many jobs are unfinished: in all, and of that plugin. The same cost however many there are.
    fn unfinished(&self, plugin: &str) -> (u64, u64);

    /// Deletes finished jobs that are past their retention, at most `most` of them, and idempotency keys past theirs. One
    /// call looks at a bounded number of jobs and keys, so that it holds up nobody for long: it can take several of them
    /// until all are gone, and some of these may delete nothing.
    async fn prune(&self, retention: Retention, now: UnixMs, most: usize) -> Result<Pruned, StoreError>;

    /// How plugins and downstreams stood when that was recorded last.
    async fn standings(&self) -> Result<Standings, StoreError>;

    /// Records how one of them stands now.
    async fn set_standing(&self, standing: Standing) -> Result<(), StoreError>;

    /// Whether the store has not failed; the error says why it has.
    fn health(&self) -> Result<(), StoreError>;

    /// Whether it takes writes: it has not failed, and the last one was not [`StoreError::Full`].
    fn takes_writes(&self) -> bool;
}
