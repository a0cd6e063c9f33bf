//! `/v1/plugins`: what operators do with plugins.

mod document;
mod face;
mod list;
mod pause;
mod put;
mod remove;
mod resume;
mod show;

pub use document::{PluginCounts, PluginDocument, PluginGrants, PluginState};
pub use face::{PluginFolder, RevisionFacts, ServedPlugin};
pub use list::PluginList;

pub(super) use list::{__path_list, list};
pub(super) use pause::{__path_pause, pause};
pub(super) use put::{__path_put, put};
pub(super) use remove::{__path_remove, remove};
pub(super) use resume::{__path_resume, resume};
pub(super) use show::{__path_show, show};

use super::State;
use super::asked;
use super::error::Problem;
use crate::store::StoreError;

/// The plugin as it stands: one that the folder knows, or whose jobs wait for it.
fn find(state: &State, name: &str) -> Result<PluginDocument, Problem> {
    let counts = state.store.counts().plugins;
    let tally = counts.get(name).copied();
    match (state.loader.get(name), tally) {
        (Some(plugin), tally) => Ok(PluginDocument::of(state, &*plugin, tally.unwrap_or_default())),
        (None, Some(tally)) => Ok(PluginDocument::missing(state, name, tally)),
        (None, None) => Err(state.unknown_plugin(name)),
    }
}

/// Pauses a plugin or lets it go on.
async fn set_paused(state: &State, name: &str, paused: bool) -> Result<PluginDocument, Problem> {
    find(state, name)?;
    let (acting, plugin) = (state.clone(), name.to_owned());
    asked::to_its_end(async move {
        acting.keeper.set_paused(&plugin, paused).await?;
        acting.wake.notify_one();
        let (request, token) = (asked::request_id(), asked::token_id());
        tracing::info!(
            request.id = request,
            token.id = token,
            plugin.name = plugin,
            paused,
            "a person paused a plugin, or let it go on"
        );
        Ok::<_, StoreError>(())
    })
    .await?;
    find(state, name)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tempfile::TempDir;

    use crate::api::testing::{Api, Log};
    use crate::api::tokens::{Minted, TokenFile, for_tests};
    use crate::config::Config;

    #[tokio::test]
    async fn what_is_done_is_in_the_log_with_who_asked_also_where_they_go_away() {
        let folder = TempDir::new().unwrap();
        let minted = Minted::from_random(&[1; 38]);
        TokenFile::in_folder(folder.path()).add(for_tests(&minted, &["operate", "admin"])).unwrap();
        for (method, path) in [
            ("POST", "/v1/plugins/echo/pause"),
            ("POST", "/v1/plugins/echo/resume"),
            ("DELETE", "/v1/plugins/echo"),
            ("PUT", "/v1/plugins/new"),
        ] {
            let mut waits = 1;
            loop {
                let api = Api::with_tokens(Config::default(), folder.path()).plugin("echo");
                let log = Log::kept();
                let request = Request::builder().method(method).uri(path).header("host", "localhost");
                let request = request.header("authorization", format!("Bearer {}", minted.text));
                let request = request.header("x-request-id", "it-was-me").body(Body::from("component")).unwrap();
                let came = Api::left_after(waits, api.request(request)).await;
                let text = log.text();
                let is_told =
                    text.contains("request.id=\"it-was-me\"") && text.contains(&format!("token.id=\"{}\"", minted.id));
                assert!(is_told, "{method} {path} after {waits} waits: {text:?}");
                api.woken().await;
                if came {
                    break;
                }
                waits += 1;
            }
            assert!(waits > 1, "{method} {path} was waited for");
        }
    }
}
