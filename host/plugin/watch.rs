//! The system's word that something changed in the plugins folder.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::{folder, sources};
use crate::lock::lock;

/// Watches one folder: what in it is a plugin's, or is listed as none. Where the system has no watches left, only looking helps.
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
    /// One of these folders was removed or moved: what lies at its path by now is not watched, though it may have the
    /// number of the old one.
    is_lost: Arc<AtomicBool>,
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
        if watching.watcher.is_some() && watching.folder == folder && !watching.is_lost.load(Ordering::Acquire) {
            return;
        }
        watching.folder = folder;
        watching.beside.clear();
        // The old watcher may still report of the old folders.
        watching.is_lost = Arc::default();
        if folder.is_none() {
            // Nothing is there to be watched: who looks for it looks again soon.
            watching.watcher = None;
            return;
        }
        match self.watch(watching.is_lost.clone(), dir) {
            Ok(watcher) => watching.watcher = Some(watcher),
            Err(error) => {
                watching.watcher = None;
                if !std::mem::replace(&mut watching.is_warned, true) {
                    tracing::warn!(%error, "the plugins folder cannot be watched: changes are seen late");
                }
            }
        }
    }

    /// Watches these files too, and no others any more. What cannot be watched now is tried again the next time. True where
    /// there are more than before: what became of those meanwhile was not reported.
    pub(super) fn beside(&self, files: BTreeSet<PathBuf>, dir: &Path) -> bool {
        let mut watching = lock(&self.watching);
        let mut known = lock(&self.files);
        if files.is_empty() && known.is_empty() {
            return false;
        }
        let wanted = sources::folders(&files, dir);
        let are_more = !files.is_subset(&known);
        *known = files;
        drop(known);
        let Watching { watcher: Some(watcher), beside, .. } = &mut *watching else { return are_more };
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
        are_more
    }

    fn watch(&self, is_lost: Arc<AtomicBool>, dir: &Path) -> notify::Result<RecommendedWatcher> {
        // The system's reports name files from the root, however the folder was named.
        let own = std::path::absolute(dir)?;
        let (changed, files) = (self.changed.clone(), self.files.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_news = match event {
                Ok(event) => {
                    let is_going = is_going(event.kind) && event.paths.iter().any(|path| is_folder(path, &own, &files));
                    // Where reports were dropped, that one may have been among them.
                    let goes = is_going || event.need_rescan();
                    is_lost.fetch_or(goes, Ordering::AcqRel);
                    goes || is_change(event.kind)
                        && (event.paths.is_empty() || event.paths.iter().any(|path| is_told(path, &own, &files)))
                }
                // It is a lost event: look to be sure.
                Err(_) => true,
            };
            if is_news {
                changed.notify_one();
            }
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Whether changes of what lies there are reported. A look costs as much as there are plugins: none is made for files
/// that are of no matter.
fn is_told(path: &Path, own: &Path, files: &Mutex<BTreeSet<PathBuf>>) -> bool {
    // Mounts of containers change by a link whose name begins with two dots.
    let is_mount = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    let is_plugins = path.parent() == Some(own)
        && path.file_name().is_some_and(|name| folder::is_looked_at(&name.to_string_lossy()));
    path == own || is_plugins || is_mount || lock(files).contains(path)
}

/// Whether that is one of the folders that are watched.
fn is_folder(path: &Path, own: &Path, files: &Mutex<BTreeSet<PathBuf>>) -> bool {
    path == own || lock(files).iter().any(|file| file.parent() == Some(path))
}

/// Whether something is no longer where it was.
fn is_going(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// Our own reading is reported too, and must not make us read again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Whether what is written there is heard of, each time anew: what one write stirs up may come in several reports.
    async fn is_heard(watch: &Watch, files: &BTreeSet<PathBuf>, dir: &Path, file: &Path) {
        for n in 0..4 {
            watch.renew(dir);
            watch.beside(files.clone(), dir);
            fs::write(file, n.to_string()).unwrap();
            tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("it is watched");
        }
    }

    #[tokio::test]
    async fn a_folder_that_was_removed_and_made_again_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let [dir, secrets] = ["plugins", "secrets"].map(|name| root.path().join(name));
        let (plugin, secret) = (dir.join("a.wasm"), secrets.join("key"));
        let files = BTreeSet::from([secret.clone()]);
        let watch = Watch::new();
        for _ in 0..2 {
            for (folder, file) in [(&dir, &plugin), (&secrets, &secret)] {
                fs::create_dir_all(&dir).unwrap();
                fs::create_dir_all(&secrets).unwrap();
                is_heard(&watch, &files, &dir, file).await;
                // The new one has the inode of the old one on many file systems.
                fs::remove_dir_all(folder).unwrap();
                fs::create_dir(folder).unwrap();
                is_heard(&watch, &files, &dir, file).await;
            }
        }
    }
    #[test]
    fn only_what_a_look_would_look_at_is_told() {
        let own = Path::new("/plugins");
        let files = Mutex::new(BTreeSet::from([PathBuf::from("/secrets/key"), own.join("current")]));
        for (path, expected) in [
            ("/plugins/a.wasm", true),
            ("/plugins/a.toml", true),
            ("/plugins/a.wasm.sig", true),
            ("/plugins", true),
            ("/plugins/..data", true),
            ("/plugins/current", true),
            ("/secrets/key", true),
            // They are listed.
            ("/plugins/Upper.wasm", true),
            ("/plugins/a.cwasm", true),
            ("/plugins/.a.wasm.download.part", false),
            ("/plugins/.new", false),
            ("/plugins/notes.txt", false),
            ("/plugins/folder/a.wasm", false),
            ("/secrets/other", false),
        ] {
            assert_eq!(is_told(Path::new(path), own, &files), expected, "{path}");
        }
    }
}
