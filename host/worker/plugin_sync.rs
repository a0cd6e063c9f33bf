//! Follows the plugins folder: takes up what changes there, and tells the gates.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Parts, PluginNews, until_room};
use crate::job::PluginStanding;

/// Looks whenever the system reports a change or something is due, and now and then though neither is so.
pub(super) async fn watch(parts: Parts) {
    let scan = parts.config.plugins.scan.0;
    loop {
        let again = parts.plugins.look().await;
        tokio::select! {
            biased;
            () = parts.plugins.changed() => {}
            () = tokio::time::sleep(again.unwrap_or(scan).min(scan)) => {}
        }
    }
}

/// Tells the gates what changed, in its order. Jobs that may go on by it wait for nobody, and nobody for them: while the
/// store is full, what comes behind must be heard all the same.
pub(super) async fn apply<Change: Into<PluginNews>>(parts: Parts, mut changes: mpsc::UnboundedReceiver<Change>) {
    let mut unholds = JoinSet::new();
    while let Some(change) = changes.recv().await {
        if let Some(edited) = apply_one(&parts, change.into()) {
            unholds.spawn(unhold(parts.clone(), edited));
        }
        parts.wake.notify_one();
        while unholds.try_join_next().is_some() {}
    }
}

/// The plugin whose grants were edited, if it is so.
fn apply_one(parts: &Parts, news: PluginNews) -> Option<String> {
    let mut gates = parts.gates();
    match news {
        PluginNews::Gone { name } => {
            tracing::info!(plugin.name = name, "a plugin was removed; its jobs wait");
            gates.set_standing(&name, PluginStanding::Missing);
            None
        }
        PluginNews::Stands { name, standing, limits, is_another, grants_edited } => {
            if is_another {
                gates.forgive(&name, parts.clock.now());
            }
            gates.set_standing(&name, standing);
            gates.set_limits(&name, limits);
            grants_edited.then_some(name)
        }
    }
}

/// Lets the jobs go on that wait for a grant, when the store has room: nobody else would wake them.
async fn unhold(parts: Parts, plugin: String) {
    if let Err(error) = until_room("jobs that wait for a grant", || parts.store.unhold(&plugin)).await {
        tracing::error!(%error, plugin.name = plugin, "jobs that wait for a grant could not go on");
    }
}
