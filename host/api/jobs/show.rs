//! `GET /v1/jobs/{id}`: the job as it stands, or as it ended.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::{JobPath, Query};
use super::{JobDocument, find};
use crate::job::JobId;
use crate::job::units::TimeSpan;

/// The longest wait.
const WAIT_MAX: TimeSpan = TimeSpan::from_secs(300);

/// Show a job
///
/// With `wait` the answer comes as soon as the job is final, or when the time is up, whichever is first.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("wait" = Option<String>, Query, description = "How long to wait for the job's end, at most 5m", example = "30s"),
    ),
    responses(
        (status = 200, description = "The job", body = JobDocument),
        (status = 400, description = "The query is invalid", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn show(
    Shared(state): Shared<State>,
    JobPath(id): JobPath,
    query: Query,
) -> Result<Json<JobDocument>, Problem> {
    query.only(&["wait"])?;
    let wait = query.one("wait", read_wait)?;
    // Nothing of the job is read before: a request that waits would hold its payload all the while.
    if let Some(wait) = wait {
        until_ended(&state, id, wait.0).await?;
    }
    Ok(Json(JobDocument::of(&state, find(&state, id).await?)))
}

/// Waits until the job is final, the time is up or the host stops; not at all where it is final already, or unknown. Refuses
/// who would not be let in any more by then.
async fn until_ended(state: &State, id: JobId, most: Duration) -> Result<(), Problem> {
    let told_whole = async {
        state.store.ended(id).await;
        state.store.recorded(id).await;
    };
    tokio::select! {
        () = told_whole => {}
        () = tokio::time::sleep(most) => {}
        () = state.stopping.cancelled() => {}
    }
    asked::again(state).map(drop)
}

fn read_wait(text: &str) -> Result<TimeSpan, String> {
    let wait: TimeSpan = text.parse()?;
    if wait > WAIT_MAX {
        return Err(format!("{text:?} is longer than {WAIT_MAX}; ask again after that"));
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};
    use crate::job::State as JobState;

    #[tokio::test]
    async fn a_job_is_told_with_every_member_of_the_contract() {
        let api = Api::new().plugin("echo");
        let job = json!({"plugin": "echo", "payload": {"a": 1}, "labels": {"k": "v"}, "priority": 3});
        let id = api.enqueue(job).await;
        let told = api.get(&format!("/v1/jobs/{id}")).await.json();
        for member in [
            "id",
            "plugin",
            "state",
            "attempt",
            "max_attempts",
            "run_at",
            "created_at",
            "finished_at",
            "downstream",
            "priority",
            "labels",
            "payload",
            "result",
            "last_error",
            "attempts",
            "acts",
        ] {
            assert!(told.get(member).is_some(), "{member} is not in {told:#}");
        }
        assert_eq!((&told["id"], &told["payload"], &told["priority"]), (&json!(id), &json!({"a": 1}), &json!(3)));
        assert_eq!(told["created_at"], "2026-01-02T03:04:05.007Z");
    }

    #[tokio::test]
    async fn an_unknown_job_is_not_found() {
        let api = Api::new();
        for id in ["01920000-0000-7000-8000-000000000000", "7", "not%20an%20id", "%ff"] {
            let answer = api.get(&format!("/v1/jobs/{id}")).await;
            assert_eq!(answer.status, 404, "{id}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }

    #[tokio::test]
    async fn a_wait_must_be_a_duration_of_at_most_five_minutes() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        for query in ["wait=long", "wait=6m", "wait=-1s", "wait=1s&wait=2s", "weight=1s"] {
            api.get(&format!("/v1/jobs/{id}?{query}")).await.problem(ProblemKind::QueryInvalid);
        }
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_job() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        let path = format!("/v1/jobs/{id}?wait=5m");
        let end = async {
            api.store.awaited().await;
            api.store.end(&id, JobState::Completed);
        };
        let (told, ()) = tokio::join!(api.get(&path), end);
        assert_eq!(told.json()["state"], "completed");
        assert_eq!(api.get(&path).await.json()["state"], "completed", "at once where it is final already");
    }

    #[tokio::test]
    async fn a_wait_does_not_hold_the_payload() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": "x".repeat(1_000)})).await;
        let path = format!("/v1/jobs/{id}?wait=5m");
        let look = async {
            api.store.awaited().await;
            let is_held = api.store.is_payload_held(&id);
            api.store.end(&id, JobState::Completed);
            is_held
        };
        let (told, is_held) = tokio::join!(api.get(&path), look);
        assert!(!is_held, "somebody beside the store has the payload while the request waits");
        assert_eq!(told.json()["payload"].as_str().map(str::len), Some(1_000));
    }

    #[tokio::test]
    async fn a_wait_for_an_unknown_job_ends_at_once() {
        let path = "/v1/jobs/01920000-0000-7000-8000-000000000000?wait=5m";
        Api::new().get(path).await.problem(ProblemKind::JobUnknown);
    }

    #[tokio::test]
    async fn a_wait_ends_when_its_time_is_up() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        assert_eq!(api.get(&format!("/v1/jobs/{id}?wait=1ms")).await.json()["state"], "available");
    }

    #[tokio::test]
    async fn a_wait_does_not_hold_a_host_that_stops() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        api.state.stopping.cancel();
        assert_eq!(api.get(&format!("/v1/jobs/{id}?wait=5m")).await.status, 200);
    }
}
