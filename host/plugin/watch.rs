//! The system's word that something changed in the plugins folder.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Watches one folder. Where the system has no watches left, only looking helps.
#[derive(Debug)]
pub(super) struct Watch {
    changed: Arc<Notify>,
    watching: Mutex<Watching>,
}

#[derive(Debug, Default)]
struct Watching {
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched: another may lie at its path by now.
    folder: Option<(u64, u64)>,
    is_warned: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        Self { changed: Arc::default(), watching: Mutex::default() }
    }

    /// Waits for a change since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes sure that the folder at that path is watched. Call it before looking through it.
    pub(super) fn renew(&self, dir: &Path) {
        let folder = std::fs::metadata(dir).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if watching.watcher.is_some() && watching.folder == folder {
            return;
        }
        watching.folder = folder;
        match watch(self.changed.clone(), dir) {
            Ok(watcher) => watching.watcher = Some(watcher),
            Err(error) => {
                watching.watcher = None;
                if !std::mem::replace(&mut watching.is_warned, true) {
                    tracing::warn!(%error, "the plugins folder cannot be watched: changes are seen late");
                }
            }
        }
    }
}

fn watch(changed: Arc<Notify>, dir: &Path) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is a lost event: look to be sure.
        if event.map_or(true, |event| is_change(event.kind)) {
            changed.notify_one();
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Our own reading is reported too, and must not make us read again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
