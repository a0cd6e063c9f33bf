//! `POST /v1/jobs/{id}/cancel`: calls off an unfinished job, and stops its running attempt.

use axum::extract::State as Shared;
use axum::response::Response;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::JobPath;
use super::{ActedJob, Deed};
use crate::job::State as JobState;
use crate::store::Acted;

/// Cancel a job
///
/// A running attempt is stopped, and is in the answer with the outcome `cancelled`; what it reports later is void. The
/// answer leaves out payload, result and attempts where other answers leave no room for them, and all but its id and state
/// where the job cannot be read now.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, now cancelled", body = ActedJob),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is final already", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn cancel(Shared(state): Shared<State>, JobPath(id): JobPath) -> Result<Response, Problem> {
    let came = state.store.cancel(id, state.now()).await?;
    if came == Acted::Done {
        // What was stopped is told of.
        state.store.recorded(id).await;
    }
    Deed { name: "cancel", takes: "not final yet", leaves: JobState::Cancelled }.came(&state, id, came).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};
    use crate::config::Config;
    use crate::job::units::ByteSize;
    use crate::store::StoreError;

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
    async fn a_large_answer_shares_the_bytes_of_answers_and_is_short_where_there_are_none() {
        let mut config = Config::default();
        config.server.bodies = ByteSize(1 << 20);
        let api = Api::with_config(config).plugin("echo");
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(api.enqueue(json!({"plugin": "echo", "payload": "x".repeat(600 << 10)})).await);
        }
        let cancel = async |id: &str| {
            let request = Request::builder().method("POST").uri(format!("/v1/jobs/{id}/cancel"));
            let request = request.header("host", "localhost").body(Body::empty()).unwrap();
            api.router().call(request).await.unwrap()
        };
        let first = cancel(&ids[0]).await;
        api.get(&format!("/v1/jobs/{}", ids[0])).await.problem(ProblemKind::Overloaded);
        let second = cancel(&ids[1]).await;
        assert_eq!(second.status(), 200, "what was done is told");
        let short = second.into_body().collect().await.unwrap().to_bytes();
        let short: serde_json::Value = serde_json::from_slice(&short).unwrap();
        assert_eq!((&short["id"], &short["state"]), (&json!(ids[1]), &json!("cancelled")));
        assert_eq!((short["acts"][0]["what"].as_str(), short.get("payload")), (Some("cancel"), None));
        drop(first);
        let third = cancel(&ids[2]).await.into_body().collect().await.unwrap().to_bytes();
        assert!(third.len() > 600 << 10, "where there is room all is told");
    }

    #[tokio::test]
    async fn what_is_done_is_told_also_where_the_job_can_be_read_no_more() {
        for failure in [StoreError::Busy("no".into()), StoreError::Full("no".into()), StoreError::Damaged("no".into())]
        {
            let api = Api::new().plugin("echo");
            let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
            // One call: what is done.
            api.store.fail_after(1, failure);
            let told = api.send("POST", &format!("/v1/jobs/{id}/cancel"), None).await;
            assert_eq!((told.status, told.json()), (200, json!({"id": id, "state": "cancelled"})));
            api.woken().await;
            api.store.fail_after(1, StoreError::Busy("no".into()));
            let told = api.send("POST", &format!("/v1/jobs/{id}/retry"), None).await;
            assert_eq!((told.status, told.json()), (200, json!({"id": id, "state": "available"})));
        }
    }

    #[tokio::test]
    async fn an_unknown_job_is_not_found() {
        let path = "/v1/jobs/01920000-0000-7000-8000-000000000000/cancel";
        Api::new().send("POST", path, None).await.problem(ProblemKind::JobUnknown);
    }
}
