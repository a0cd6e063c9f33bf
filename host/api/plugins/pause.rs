//! `POST /v1/plugins/{name}/pause`: starts no more of its jobs.

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::PluginPath;
use super::{PluginDocument, set_paused};

/// Pause a plugin
///
/// None of its jobs starts until it is resumed; running attempts go on. It holds over restarts and swaps.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/pause", tag = "plugins",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", description = "The plugin's name")),
    responses(
        (status = 200, description = "The plugin, now paused", body = PluginDocument),
        (status = 400, description = "Not a plugin's name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn pause(
    Shared(state): Shared<State>,
    PluginPath(name): PluginPath,
) -> Result<Json<PluginDocument>, Problem> {
    set_paused(&state, &name, true).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};
    use crate::store::StoreError;

    #[tokio::test]
    async fn a_paused_plugin_keeps_its_jobs_waiting_until_it_is_resumed() {
        let api = Api::new().plugin("echo");
        let id = api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        let waiting = async || api.get(&format!("/v1/jobs/{id}")).await.json()["waiting"].clone();
        assert_eq!(waiting().await, json!(null));
        let told = api.send("POST", "/v1/plugins/echo/pause", None).await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("paused")));
        assert_eq!(waiting().await, json!({"reason": "paused"}));
        assert_eq!(api.store.paused(), ["echo"]);
        api.woken().await;
        let told = api.send("POST", "/v1/plugins/echo/resume", None).await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("ready")));
        assert_eq!(waiting().await, json!(null));
        assert_eq!(api.store.paused(), [] as [String; 0]);
        api.woken().await;
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let api = Api::new();
        for act in ["pause", "resume"] {
            api.send("POST", &format!("/v1/plugins/nobody/{act}"), None).await.problem(ProblemKind::PluginUnknown);
        }
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_half_done() {
        let mut waits = 1;
        loop {
            let api = Api::new().plugin("echo");
            let came = Api::left_after(waits, api.send("POST", "/v1/plugins/echo/pause", None)).await;
            assert_eq!(api.state.gates().is_paused("echo"), !api.store.paused().is_empty(), "after {waits} waits");
            if came {
                break;
            }
            waits += 1;
        }
        assert!(waits > 1, "it was waited for");
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_does_not_hold() {
        let api = Api::new().plugin("echo");
        api.store.fail_with(Some(StoreError::Failed("no".into())));
        api.send("POST", "/v1/plugins/echo/pause", None).await.problem(ProblemKind::StoreFailed);
        assert!(!api.state.gates().is_paused("echo"));
    }
}
