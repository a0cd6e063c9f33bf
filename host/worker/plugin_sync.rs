//! Follows the plugins folder: takes up what changes there, and tells the gates.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Parts;
use crate::job::PluginStanding;
use crate::plugin::PluginChange;
use crate::store::StoreError;

/// How long to leave a full store alone.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Looks whenever the system reports a change, and now and then though it did not.
pub(super) async fn watch(parts: Parts) {
    let scan = parts.config.plugins.scan.0;
    loop {
        let again = parts.loader.look().await;
        tokio::select! {
            () = parts.loader.changed() => {}
            () = tokio::time::sleep(again.unwrap_or(scan).min(scan)) => {}
        }
    }
}

/// Tells the gates what the loader did, in its order.
pub(super) async fn apply(parts: Parts, mut changes: mpsc::UnboundedReceiver<PluginChange>) {
    while let Some(change) = changes.recv().await {
        apply_one(&parts, change).await;
        parts.wake.notify_one();
    }
}

async fn apply_one(parts: &Parts, change: PluginChange) {
    match change {
        PluginChange::Removed { name } => {
            tracing::info!(plugin.name = name, "a plugin was removed; its jobs wait");
            parts.gates().set_standing(&name, PluginStanding::Missing);
        }
        PluginChange::Updated { plugin, grants_edited } => {
            {
                let mut gates = parts.gates();
                gates.set_standing(&plugin.name, plugin.standing());
                gates.set_limits(&plugin.name, plugin.file.gate_limits());
            }
            if grants_edited {
                unhold(parts, &plugin.name).await;
            }
        }
    }
}

/// Lets the jobs go on that wait for a grant. A store that is full is asked again: nobody else would wake them.
async fn unhold(parts: &Parts, plugin: &str) {
    loop {
        match parts.store.unhold(plugin).await {
            Ok(()) => return,
            Err(error @ (StoreError::Full(_) | StoreError::Busy(_))) => {
                tracing::warn!(%error, plugin.name = plugin, "jobs that wait for a grant wait for room in the store");
                tokio::time::sleep(FULL_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, plugin.name = plugin, "jobs that wait for a grant could not go on");
                return;
            }
        }
    }
}
