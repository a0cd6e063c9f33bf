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
        Ok::<_, StoreError>(())
    })
    .await?;
    let (request, token) = (asked::request_id(), asked::token_id());
    tracing::info!(
        request.id = request,
        token.id = token,
        plugin.name = name,
        paused,
        "a person paused a plugin, or let it go on"
    );
    find(state, name)
}
