//! `POST /v1/plugins/{name}/resume`: lets its jobs go on.

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::PluginPath;
use super::{PluginDocument, set_paused};

/// Resume a plugin
#[utoipa::path(
    post, path = "/v1/plugins/{name}/resume", tag = "plugins",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", description = "The plugin's name")),
    responses(
        (status = 200, description = "The plugin, no longer paused", body = PluginDocument),
        (status = 400, description = "Not a plugin's name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn resume(
    Shared(state): Shared<State>,
    PluginPath(name): PluginPath,
) -> Result<Json<PluginDocument>, Problem> {
    set_paused(&state, &name, false).await.map(Json)
}

// Its tests stand beside `pause`: the two are told apart by what one undoes of the other.
