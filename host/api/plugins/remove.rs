//! `DELETE /v1/plugins/{name}`: removes its component; its jobs wait.

use axum::extract::State as Shared;
use axum::http::StatusCode;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::PluginPath;
use super::super::state::no_such_plugin;
use super::put::unwritable;

/// Remove a plugin
///
/// Its jobs wait until it is back; running attempts go on. Its signature goes with it; the file of its grants stays. A
/// component that is just being put there is given up.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9-]{0,62}$", description = "The plugin's name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "Not a plugin's name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "The plugins folder cannot be written", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn remove(
    Shared(state): Shared<State>,
    PluginPath(name): PluginPath,
) -> Result<StatusCode, Problem> {
    let (acting, plugin) = (state.clone(), name.clone());
    let was_there = asked::to_its_end(async move {
        let was_there = acting.loader.remove(&plugin).await.map_err(|error| unwritable(&acting, &error))?;
        if was_there {
            acting.wake.notify_one();
            let (request, token) = (asked::request_id(), asked::token_id());
            tracing::info!(
                request.id = request,
                token.id = token,
                plugin.name = plugin,
                "a component was removed from the plugins folder"
            );
        }
        Ok::<_, Problem>(was_there)
    });
    if was_there.await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_plugin(&name, &state.config)) }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::Api;

    #[tokio::test]
    async fn a_plugin_is_removed_once() {
        let api = Api::new().plugin("echo");
        let answer = api.send("DELETE", "/v1/plugins/echo", None).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        api.send("DELETE", "/v1/plugins/echo", None).await.problem(ProblemKind::PluginUnknown);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_told() {
        let api = Api::new().plugin("stuck");
        api.send("DELETE", "/v1/plugins/stuck", None).await.problem(ProblemKind::FolderUnwritable);
    }
}
