//! `POST /v1/jobs/{id}/retry`: makes a job that waits or was given up due now.

use axum::extract::State as Shared;
use axum::response::Response;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::JobPath;
use super::{ActedJob, Deed};
use crate::job::State as JobState;

/// Retry a job
///
/// Takes a job that is `retryable`, `scheduled`, `discarded` or `cancelled`. One whose attempts were used up gets one
/// more, and so does one whose plugin allows fewer by the time that it runs. The answer leaves out payload, result and
/// attempts where other answers leave no room for them, and all but its id and state where the job cannot be read now.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, now available", body = ActedJob),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is available, running or completed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn retry(Shared(state): Shared<State>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let came = state.store.retry(id, state.now()).await?;
    Deed { name: "retry", takes: "retryable, scheduled, discarded or cancelled", leaves: JobState::Available }
        .came(&state, id, came)
        .await
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};
    use crate::job::State as JobState;

    #[tokio::test]
    async fn a_job_that_was_given_up_is_due_again() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1, "retry": {"max_attempts": 3}})).await;
        api.store.end(&id, JobState::Discarded);
        let told = api.send("POST", &format!("/v1/jobs/{id}/retry"), None).await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("available")));
        assert_eq!(told.json()["acts"][0]["what"], "retry");
        api.woken().await;
    }

    #[tokio::test]
    async fn a_job_that_is_done_is_not_done_again() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        api.store.end(&id, JobState::Completed);
        let problem = api.send("POST", &format!("/v1/jobs/{id}/retry"), None).await.problem(ProblemKind::StateConflict);
        assert!(problem.detail.contains("is completed"), "{problem:?}");
    }

    #[tokio::test]
    async fn an_unknown_job_is_not_found() {
        let path = "/v1/jobs/01920000-0000-7000-8000-000000000000/retry";
        Api::new().send("POST", path, None).await.problem(ProblemKind::JobUnknown);
    }
}
