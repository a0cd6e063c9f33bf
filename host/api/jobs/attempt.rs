//! `GET /v1/jobs/{id}/attempts/{n}`: one attempt with its evidence.

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::super::State;
use super::super::error::{Problem, ProblemDocument, ProblemKind};
use super::super::request::AttemptPath;
use super::{AttemptDocument, find};
use crate::job::{Exchange, LogLine};

/// An attempt with its evidence.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AttemptEvidence {
    /// The attempt.
    #[serde(flatten)]
    pub attempt: AttemptDocument,
    /// What the guest logged and printed, in order.
    pub log: Vec<LogLine>,
    /// How many bytes of log and output went over `limits.output` and were dropped.
    pub log_dropped_bytes: u64,
    /// How many lines of log and output were dropped or cut, over `limits.output` or `limits.log_lines`.
    pub log_dropped_lines: u64,
    /// The calls to downstreams, in order.
    pub exchanges: Vec<Exchange>,
    /// How many calls were made and, over `limits.exchanges`, not kept.
    pub exchanges_dropped: u64,
}

/// Show an attempt
///
/// With its log lines and its calls to downstreams. Bodies and secrets are never kept.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/attempts/{n}", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("n" = u32, Path, description = "The attempt's number, from 1"),
    ),
    responses(
        (status = 200, description = "The attempt", body = AttemptEvidence),
        (status = 404, description = "No such job or attempt", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn attempt(
    Shared(state): Shared<State>,
    AttemptPath(id, n): AttemptPath,
) -> Result<Json<AttemptEvidence>, Problem> {
    let Some(detail) = state.store.attempt(id, n).await? else {
        let count = find(&state, id).await?.attempt;
        let detail = format!("job {id} has had {count} attempts; there is no attempt {n}");
        return Err(Problem::new(ProblemKind::AttemptUnknown, detail));
    };
    Ok(Json(AttemptEvidence {
        attempt: detail.attempt.into(),
        log: detail.log,
        log_dropped_bytes: detail.log_dropped_bytes,
        log_dropped_lines: detail.log_dropped_lines,
        exchanges: detail.exchanges,
        exchanges_dropped: detail.exchanges_dropped,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Api, attempt_view, json};
    use crate::job::LogLevel;
    use crate::store::AttemptDetail;

    #[tokio::test]
    async fn an_attempt_is_told_with_its_evidence() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        let line = LogLine { at_ms: 3, level: LogLevel::Warn, message: "slow".into() };
        let detail = AttemptDetail { log: vec![line], log_dropped_bytes: 9, ..AttemptDetail::bare(attempt_view(1)) };
        api.store.add_attempt(&id, detail);
        let told = api.get(&format!("/v1/jobs/{id}/attempts/1")).await.json();
        assert_eq!((&told["n"], &told["outcome"], &told["code"]), (&json!(1), &json!("try-again"), &json!("http-503")));
        assert_eq!((&told["cpu_ms"], &told["retry_after_ms"]), (&json!(1.5), &json!(2_000)));
        assert_eq!(told["log"], json!([{"at_ms": 3, "level": "warn", "message": "slow"}]));
        assert_eq!((&told["log_dropped_bytes"], &told["exchanges"]), (&json!(9), &json!([])));
        let listed = api.get(&format!("/v1/jobs/{id}")).await.json()["attempts"][0].clone();
        assert_eq!(listed["n"], json!(1));
        assert!(listed.get("log").is_none(), "the job's own page has no evidence");
    }

    #[tokio::test]
    async fn an_attempt_that_was_not_made_is_not_found() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        for n in ["1", "0", "-1", "first", "99999999999"] {
            let problem = api.get(&format!("/v1/jobs/{id}/attempts/{n}")).await.problem(ProblemKind::AttemptUnknown);
            assert!(problem.detail.contains(n), "{problem:?}");
        }
        let nobody = "/v1/jobs/01920000-0000-7000-8000-000000000000/attempts/1";
        api.get(nobody).await.problem(ProblemKind::JobUnknown);
    }
}
