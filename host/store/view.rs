//! A job, its attempts and what people did to it, as the store tells them.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::job::{Completion, JobId, JobSpec, OutcomeKind, State};

/// A job as it stands.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// What was asked for. The payload is empty where it was not asked for.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: State,
    /// It waits for the operator's grants, uncounted.
    pub held: bool,
    /// When it was accepted.
    pub created_at: UnixMs,
    /// When the next attempt is due, or the last one was.
    pub run_at: UnixMs,
    /// When it became final.
    pub finished_at: Option<UnixMs>,
    /// How many attempts it has had, the running one included.
    pub attempt: u32,
    /// How many of them failed and count.
    pub failed: u32,
    /// A person's retry promised it an attempt, and none has counted since. Not told of a final job.
    pub owed: bool,
    /// The result, where it is completed and was asked for.
    pub result: Option<Completion>,
    /// The attempts, oldest first, where they were asked for.
    pub attempts: Vec<AttemptView>,
    /// What people did to it, oldest first.
    pub acts: Vec<Act>,
    /// What went wrong last, where anything did.
    pub last_error: Option<String>,
}

/// An attempt as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptView {
    /// Its number, from 1.
    pub n: u32,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended; none while it runs.
    pub finished_at: Option<UnixMs>,
    /// What it ended in; none while it runs.
    pub kind: Option<OutcomeKind>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// What went wrong, for programs.
    pub code: Option<String>,
    /// How long the downstream asked to be left alone, in milliseconds.
    pub delay_ms: Option<u32>,
    /// When the next one was due.
    pub next_run_at: Option<UnixMs>,
    /// The revision that ran.
    pub revision: Option<String>,
    /// Time inside the guest, in microseconds.
    pub cpu_us: u64,
    /// The most that all memories and tables held together.
    pub memory_peak_bytes: u64,
}

impl AttemptView {
    /// One that has begun, and of which nothing else is known.
    #[must_use]
    pub fn begun(n: u32, started_at: UnixMs) -> Self {
        Self {
            n,
            started_at,
            finished_at: None,
            kind: None,
            error: None,
            code: None,
            delay_ms: None,
            next_run_at: None,
            revision: None,
            cpu_us: 0,
            memory_peak_bytes: 0,
        }
    }
}

/// What a person did to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Act {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: UnixMs,
    /// What.
    pub what: ActKind,
}

/// The things a person can do to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// Called it off.
    Cancel,
    /// Made it available again.
    Retry,
}

/// The answer to a person's act on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It is on disk.
    Done,
    /// The job's state does not allow it.
    NotIn(State),
    /// There is no such job.
    Unknown,
}
