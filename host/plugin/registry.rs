//! The plugins by name. Reading takes no lock; a change is one step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::UnboundedSender;

use super::{Plugin, PluginChange, Registry};
use crate::lock::lock;

/// The plugins as they stand.
pub(super) type Plugins = ArcSwap<BTreeMap<String, Arc<Plugin>>>;

/// Changes the registry and tells of it, in one order.
#[derive(Debug)]
pub(super) struct Publisher {
    registry: Arc<Registry>,
    changes: Mutex<UnboundedSender<PluginChange>>,
}

impl Publisher {
    /// The one who writes to that registry.
    pub(super) fn new(registry: Arc<Registry>, changes: UnboundedSender<PluginChange>) -> Self {
        Self { registry, changes: Mutex::new(changes) }
    }

    /// A plugin as it was shown last.
    pub(super) fn shown(&self, name: &str) -> Option<Arc<Plugin>> {
        self.registry.get(name)
    }

    /// A plugin is new or changed.
    pub(super) fn update(&self, plugin: &Arc<Plugin>, grants_edited: bool) {
        self.change(|plugins| {
            let before = plugins.insert(plugin.name.clone(), plugin.clone());
            let digest = |plugin: &Plugin| plugin.revision.as_ref().map(|revision| revision.digest.clone());
            let is_same = before.is_some_and(|before| digest(&before) == digest(plugin) && before.file == plugin.file);
            Some(PluginChange::Updated { plugin: plugin.clone(), is_another: !is_same || grants_edited, grants_edited })
        });
    }

    /// A plugin is gone, and stands like that.
    pub(super) fn remove(&self, plugin: &Arc<Plugin>) {
        self.change(|plugins| {
            let before = plugins.remove(&plugin.name)?;
            // It was on its way and never came: nothing was removed.
            let was_coming = before.loading.is_some() && before.revision.is_none() && before.load_error.is_none();
            Some(if was_coming {
                PluginChange::Updated { plugin: plugin.clone(), is_another: false, grants_edited: false }
            } else {
                PluginChange::Removed { name: plugin.name.clone() }
            })
        });
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<String, Arc<Plugin>>) -> Option<PluginChange>) {
        let changes = lock(&self.changes);
        let mut plugins = BTreeMap::clone(&self.registry.plugins.load());
        let Some(change) = edit(&mut plugins) else { return };
        self.registry.plugins.store(Arc::new(plugins));
        // Nobody listens any more while the host stops.
        let _ = changes.send(change);
    }
}

/// Whether that is the name of a plugin: `[a-z0-9][a-z0-9-]{0,62}`.
#[must_use]
pub fn is_plugin_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| word(*first))
        && bytes.len() <= 63
        && bytes.iter().all(|byte| word(*byte) || *byte == b'-')
}
