//! `GET /v1/downstreams`: the systems that jobs call, and what waits for them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::State;
use crate::job::Waiting;
use crate::store::LaneCounts;

/// The downstreams.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DownstreamList {
    /// Those with unfinished jobs, by key.
    pub downstreams: Vec<DownstreamDocument>,
}

/// A downstream.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct DownstreamDocument {
    /// Its key.
    pub key: String,
    /// How many attempts call it.
    pub running: u64,
    /// How many due jobs wait for it.
    pub waiting: u64,
    /// The plugins through which it is called.
    pub plugins: Vec<DownstreamPlugin>,
}

/// One plugin's part in a downstream.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DownstreamPlugin {
    /// The plugin.
    pub plugin: String,
    /// How many of its attempts call the downstream.
    pub running: u64,
    /// How many of its due jobs wait, those that wait for a grant included.
    pub waiting: u64,
    /// How many of its jobs wait for a grant.
    pub held: u64,
    /// How many of its jobs are not due yet.
    pub later: u64,
    /// Why a due job would not start at this moment; absent where it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Waiting>,
}

/// List downstreams
#[utoipa::path(
    get, path = "/v1/downstreams", tag = "downstreams",
    responses((status = 200, description = "The downstreams", body = DownstreamList)),
)]
pub(super) async fn list(Shared(state): Shared<State>) -> Json<DownstreamList> {
    let mut downstreams: BTreeMap<String, DownstreamDocument> = BTreeMap::new();
    for lane in state.store.counts().lanes {
        let key = lane.lane.downstream.to_string();
        let told = downstreams.entry(key.clone()).or_insert_with(|| DownstreamDocument { key, ..Default::default() });
        let part = part(&state, &lane);
        told.running += part.running;
        told.waiting += part.waiting;
        told.plugins.push(part);
    }
    Json(DownstreamList { downstreams: downstreams.into_values().collect() })
}

fn part(state: &State, lane: &LaneCounts) -> DownstreamPlugin {
    DownstreamPlugin {
        plugin: lane.lane.plugin.to_string(),
        running: lane.running,
        waiting: lane.available + lane.held,
        held: lane.held,
        later: lane.later,
        blocked: state.gates().why_waiting(&lane.lane, state.now()),
    }
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
            {"key": "erp", "running": 0, "waiting": 2, "plugins": [
                {"plugin": "a", "running": 0, "waiting": 1, "held": 0, "later": 1},
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "blocked": {"reason": "paused"}},
            ]},
            {"key": "x", "running": 0, "waiting": 1, "plugins": [
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "blocked": {"reason": "paused"}},
            ]},
        ]});
        assert_eq!(told, expected);
    }
}
