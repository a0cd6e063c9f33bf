//! `GET /v1/plugins`: every plugin, by name.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::super::State;
use super::PluginDocument;
use crate::plugin::{Ignored, IgnoredFile};

/// The plugins.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PluginList {
    /// By name; those that are only missed by their jobs included.
    pub plugins: Vec<PluginDocument>,
    /// Files in the plugins folder that look like a plugin's and are none, with the reason; 100 at most.
    pub ignored: Vec<IgnoredFile>,
    /// How many more there are of them.
    pub more_ignored: usize,
}

/// List plugins
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins",
    responses((status = 200, description = "The plugins", body = PluginList)),
)]
pub(in super::super) async fn list(Shared(state): Shared<State>) -> Json<PluginList> {
    let mut counts = state.store.counts().plugins;
    let mut plugins = BTreeMap::new();
    for plugin in state.loader.all() {
        let tally = counts.remove(plugin.name()).unwrap_or_default();
        plugins.insert(plugin.name().to_owned(), PluginDocument::of(&state, &*plugin, tally));
    }
    for (name, tally) in counts {
        plugins.insert(name.to_string(), PluginDocument::missing(&state, &name, tally));
    }
    let Ignored { files: ignored, more: more_ignored } = state.loader.ignored();
    Json(PluginList { plugins: plugins.into_values().collect(), ignored, more_ignored })
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Api, json};

    #[tokio::test]
    async fn plugins_stand_by_name_and_missed_ones_are_told() {
        let api = Api::new().plugin("zip").plugin("echo").plugin("gone");
        api.enqueue(json!({"plugin": "gone", "payload": 1})).await;
        api.plugins.forget("gone");
        let told = api.get("/v1/plugins").await.json();
        let states: Vec<_> = told["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|plugin| (plugin["name"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
            .collect();
        assert_eq!(states, [("echo", "ready"), ("gone", "missing"), ("zip", "ready")]);
        assert_eq!(told["plugins"][1]["counts"]["available"], 1);
        assert_eq!(told["ignored"], json!([{"file": "Odd.wasm", "reason": "its name"}]));
        assert_eq!(told["more_ignored"], 2);
    }
}
