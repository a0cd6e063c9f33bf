//! The system's word that something changed in the plugins folder.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::sources;
use crate::lock::lock;

/// Watches one folder. Where the system has no watches left, only looking helps.
#[derive(Debug)]
pub(super) struct Watch {
    changed: Arc<Notify>,
    /// Files elsewhere of which changes are reported too. Nothing else in their folders is.
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    watching: Mutex<Watching>,
}

#[derive(Debug, Default)]
struct Watching {
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched: another may lie at its path by now.
    folder: Option<(u64, u64)>,
    /// The folders of files elsewhere.
    beside: BTreeSet<PathBuf>,
    is_warned: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        Self { changed: Arc::default(), files: Arc::default(), watching: Mutex::default() }
    }

    /// Waits for a change since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes sure that the folder at that path is watched. Call it before looking through it.
    pub(super) fn renew(&self, dir: &Path) {
        let folder = std::fs::metadata(dir).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let mut watching = lock(&self.watching);
        if watching.watcher.is_some() && watching.folder == folder {
            return;
        }
        watching.folder = folder;
        watching.beside.clear();
        match watch(self.changed.clone(), self.files.clone(), dir) {
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

impl Watch {
    /// Watches these files too, and no others any more. What cannot be watched now is tried again the next time.
    pub(super) fn beside(&self, files: BTreeSet<PathBuf>, dir: &Path) {
        let mut watching = lock(&self.watching);
        let mut known = lock(&self.files);
        if files.is_empty() && known.is_empty() {
            return;
        }
        let wanted = sources::folders(&files, dir);
        *known = files;
        drop(known);
        let Watching { watcher: Some(watcher), beside, .. } = &mut *watching else { return };
        for folder in beside.difference(&wanted).cloned().collect::<Vec<_>>() {
            // One that is gone is not watched any more.
            let _ = watcher.unwatch(&folder);
            beside.remove(&folder);
        }
        for folder in wanted {
            if !beside.contains(&folder) && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                beside.insert(folder);
            }
        }
    }
}

fn watch(changed: Arc<Notify>, files: Arc<Mutex<BTreeSet<PathBuf>>>, dir: &Path) -> notify::Result<RecommendedWatcher> {
    // The system's reports name files from the root, however the folder was named.
    let own = std::path::absolute(dir)?;
    let is_told = move |path: &PathBuf| {
        // Mounts of containers change by a link whose name begins with two dots.
        let is_mount = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let is_own = path.starts_with(&own);
        is_own || is_mount || lock(&files).contains(path)
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is a lost event: look to be sure.
        let is_news =
            |event: Event| is_change(event.kind) && (event.paths.is_empty() || event.paths.iter().any(&is_told));
        if event.map_or(true, is_news) {
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
