//! `GET /v1/downstreams`: all of them.

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::super::State;
use super::document::{self, DownstreamDocument};

/// The downstreams.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DownstreamList {
    /// Those with unfinished jobs, and those of which anything is known, by key.
    pub downstreams: Vec<DownstreamDocument>,
}

/// List downstreams
#[utoipa::path(
    get, path = "/v1/downstreams", tag = "downstreams",
    responses((status = 200, description = "The downstreams", body = DownstreamList)),
)]
pub(in super::super) async fn list(Shared(state): Shared<State>) -> Json<DownstreamList> {
    Json(DownstreamList { downstreams: document::all(&state) })
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Api, json};

    #[tokio::test]
    async fn jobs_are_counted_by_what_they_call() {
        let api = Api::new().plugin("a").plugin("b");
        for (plugin, downstream, delay) in
            [("a", "erp", "0s"), ("a", "erp", "1h"), ("b", "erp", "0s"), ("b", "x", "0s")]
        {
            let job = json!({"plugin": plugin, "downstream": downstream, "payload": 1, "delay": delay});
            api.enqueue(job).await;
        }
        api.send("POST", "/v1/plugins/b/pause", None).await;
        let told = api.get("/v1/downstreams").await.json();
        let expected = json!({"downstreams": [
            {"key": "erp", "breaker": "closed", "running": 0, "waiting": 2, "plugins": [
                {"plugin": "a", "running": 0, "waiting": 1, "held": 0, "later": 1, "breaker": "closed"},
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "breaker": "closed", "blocked": {"reason": "paused"}},
            ]},
            {"key": "x", "breaker": "closed", "running": 0, "waiting": 1, "plugins": [
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "breaker": "closed", "blocked": {"reason": "paused"}},
            ]},
        ]});
        assert_eq!(told, expected);
    }
}
