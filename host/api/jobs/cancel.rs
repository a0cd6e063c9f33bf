//! `POST /v1/jobs/{id}/cancel`: calls off an unfinished job, and stops its running attempt.

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::JobPath;
use super::{JobDocument, acted};

/// Cancel a job
///
/// A running attempt is stopped; what it reports later is void.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, now cancelled", body = JobDocument),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is final already", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn cancel(
    Shared(state): Shared<State>,
    JobPath(id): JobPath,
) -> Result<Json<JobDocument>, Problem> {
    let came = state.store.cancel(id, state.now()).await?;
    acted(&state, id, came, "cancel", "not final yet").await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};

    #[tokio::test]
    async fn an_unfinished_job_is_called_off_once() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        let path = format!("/v1/jobs/{id}/cancel");
        let told = api.send("POST", &path, None).await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("cancelled")));
        assert_eq!(told.json()["acts"][0]["what"], "cancel");
        api.woken().await;
        let problem = api.send("POST", &path, None).await.problem(ProblemKind::StateConflict);
        assert!(problem.detail.contains("is cancelled"), "{problem:?}");
    }

    #[tokio::test]
    async fn an_unknown_job_is_not_found() {
        let path = "/v1/jobs/01920000-0000-7000-8000-000000000000/cancel";
        Api::new().send("POST", path, None).await.problem(ProblemKind::JobUnknown);
    }
}
