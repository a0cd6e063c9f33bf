//! `/v1/jobs`: what clients do with jobs.

mod attempt;
mod batch;
mod cancel;
mod document;
mod enqueue;
mod list;
mod retry;
mod room;
mod show;
mod spec;

pub(super) use attempt::{__path_attempt, attempt};
pub(super) use batch::{__path_batch, batch};
pub(super) use cancel::{__path_cancel, cancel};
pub(super) use enqueue::{__path_enqueue, enqueue};
pub(super) use list::{__path_list, list};
pub(super) use retry::{__path_retry, retry};
pub(super) use show::{__path_show, show};

pub use attempt::AttemptEvidence;
pub use batch::BatchAccepted;
pub use document::{AttemptDocument, Attribute, JobDocument, JobSummary};
pub use enqueue::Accepted;
pub use list::JobPage;
pub use spec::JobRequest;

use axum::response::Response;

use super::State;
use super::error::{Problem, ProblemKind};
use super::guard::always_told;
use crate::job::JobId;
use crate::store::{Acted, JobView};

/// There is no such job.
fn unknown_job(id: JobId) -> Problem {
    Problem::new(ProblemKind::JobUnknown, format!("there is no job {id}, or it was deleted after its retention"))
}

/// The job as it stands.
async fn find(state: &State, id: JobId) -> Result<JobView, Problem> {
    state.store.job(id, state.now()).await?.ok_or_else(|| unknown_job(id))
}

/// What came of an act on a job: the job as it stands now, or why the act was refused.
async fn acted(state: &State, id: JobId, acted: Acted, act: &str, from: &str) -> Result<Response, Problem> {
    match acted {
        Acted::Done => {
            state.wake.notify_one();
            Ok(always_told(JobDocument::of(state, find(state, id).await?), JobDocument::in_short))
        }
        Acted::NotIn(now) => {
            let detail = format!("job {id} is {now}; {act} takes a job that is {from}");
            Err(Problem::new(ProblemKind::StateConflict, detail))
        }
        Acted::Unknown => Err(unknown_job(id)),
    }
}
