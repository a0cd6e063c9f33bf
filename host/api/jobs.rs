//! `/v1/jobs`: what clients do with jobs.

mod attempt;
mod batch;
mod cancel;
mod document;
mod enqueue;
mod list;
mod result;
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
pub use document::{ActedJob, AttemptDocument, JobDocument, JobInBrief, JobSummary};
pub use enqueue::Accepted;
pub use list::JobPage;
pub use result::{Attribute, ToldResult};
pub use spec::JobRequest;

use axum::Json;
use axum::response::{IntoResponse as _, Response};

use super::State;
use super::asked;
use super::error::{Problem, ProblemKind};
use super::guard::always_told;
use crate::job::{JobId, State as JobState};
use crate::store::{Acted, JobView};

/// There is no such job.
fn unknown_job(id: JobId) -> Problem {
    Problem::new(ProblemKind::JobUnknown, format!("there is no job {id}, or it was deleted after its retention"))
}

/// The job as it stands.
async fn find(state: &State, id: JobId) -> Result<JobView, Problem> {
    state.store.job(id, state.now()).await?.ok_or_else(|| unknown_job(id))
}

/// What people do to a job.
struct Deed {
    name: &'static str,
    /// Which jobs it takes.
    takes: &'static str,
    /// As what it leaves them.
    leaves: JobState,
}

impl Deed {
    /// What came of it: the job as it stands now, or why the deed was refused.
    async fn came(&self, state: &State, id: JobId, acted: Acted) -> Result<Response, Problem> {
        match acted {
            Acted::Done => {
                state.wake.notify_one();
                Ok(self.done(state, id).await)
            }
            Acted::NotIn(now) => {
                let detail = format!("job {id} is {now}; {} takes a job that is {}", self.name, self.takes);
                Err(Problem::new(ProblemKind::StateConflict, detail))
            }
            Acted::Unknown => Err(unknown_job(id)),
        }
    }

    /// What is done is told as done, also where no more can be read of the job.
    async fn done(&self, state: &State, id: JobId) -> Response {
        match state.store.job(id, state.now()).await {
            Ok(Some(job)) => return always_told(JobDocument::of(state, job), JobDocument::in_short),
            // Deleted since.
            Ok(None) => {}
            Err(error) => {
                let request = asked::request_id();
                tracing::warn!(request.id = request, job.id = %id, %error, "{} is done, and the job cannot be read", self.name);
            }
        }
        Json(JobInBrief { id, state: self.leaves }).into_response()
    }
}
