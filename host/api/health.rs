//! `GET /healthz` and `GET /readyz`: for those who watch over the process.

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::State;
use super::error::{Problem, ProblemDocument, ProblemKind};

/// A host that is well.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `alive` or `ready`.
    pub status: &'static str,
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "host",
    responses((status = 200, description = "It answers", body = Health)),
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Does the host take and run jobs?
///
/// Ready means: the store takes writes, the plugins folder was looked through, and the host is not stopping.
#[utoipa::path(
    get, path = "/readyz", tag = "host",
    responses(
        (status = 200, description = "It is ready", body = Health),
        (status = 503, description = "It is starting or stopping, or the store takes no writes", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn readyz(Shared(state): Shared<State>) -> Result<Json<Health>, Problem> {
    state.store.health()?;
    if !state.is_ready() {
        return Err(Problem::new(ProblemKind::NotReady, "the host is still loading plugins, or is stopping"));
    }
    Ok(Json(Health { status: "ready" }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::api::testing::{Api, json};
    use crate::store::StoreError;

    #[tokio::test]
    async fn a_host_is_alive_before_it_is_ready() {
        let api = Api::new();
        assert_eq!(api.get("/readyz").await.json(), json!({"status": "ready"}));
        api.state.ready.store(false, Ordering::Release);
        api.get("/readyz").await.problem(ProblemKind::NotReady);
        assert_eq!(api.get("/healthz").await.json(), json!({"status": "alive"}));
    }

    #[tokio::test]
    async fn what_a_host_does_not_know_yet_is_not_called_unknown() {
        let api = Api::new().plugin("echo");
        api.state.ready.store(false, Ordering::Release);
        let job = json!({"plugin": "late", "payload": 1});
        for answer in [
            api.post("/v1/jobs", job.clone()).await,
            api.post("/v1/jobs/batch", json!({"jobs": [job.clone()]})).await,
            api.get("/v1/plugins/late").await,
            api.send("POST", "/v1/plugins/late/pause", None).await,
        ] {
            assert_eq!(answer.header("retry-after"), Some("1"), "{:?}", answer.body);
            assert!(answer.problem(ProblemKind::NotReady).detail.contains("\"late\""));
        }
        assert_eq!(api.post("/v1/jobs", json!({"plugin": "echo", "payload": 1})).await.status, 202, "it is known");
        let answer = api.send("DELETE", "/v1/plugins/late", None).await;
        answer.problem(ProblemKind::PluginUnknown); // the folder itself was asked
        api.state.ready.store(true, Ordering::Release);
        api.post("/v1/jobs", job).await.problem(ProblemKind::PluginUnknown);
    }

    #[tokio::test]
    async fn a_host_whose_store_failed_is_not_ready() {
        let api = Api::new();
        api.store.fail_with(Some(StoreError::Failed("fsync".into())));
        assert!(api.get("/readyz").await.problem(ProblemKind::StoreFailed).detail.contains("fsync"));
        assert_eq!(api.get("/healthz").await.status, 200);
    }
}
