//! The sources of a project: what they are now, and the wait for them to become others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ignore::WalkBuilder;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Editors write a file in several steps. So long after the last one they are done.
const SETTLED: Duration = Duration::from_millis(50);

/// The files of a folder, without what its `.gitignore` names, what begins with a dot, and the components that a build
/// leaves there.
#[derive(Debug)]
pub(super) struct Sources {
    folder: PathBuf,
    changed: Arc<Notify>,
    watcher: RecommendedWatcher,
}

/// Each file, by its path in the folder, with its size and the time of its last change.
pub(super) type Snapshot = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

impl Sources {
    /// Watches nothing yet.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let changed = Arc::<Notify>::default();
        let teller = changed.clone();
        let told = move |event: notify::Result<Event>| {
            // Looking through the folder is told of too.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                teller.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(told).context("cannot watch for changes")?;
        Ok(Self { folder: folder.to_owned(), changed, watcher })
    }

    /// What is there now. From here on it is watched.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let mut files = Snapshot::new();
        // A project need not be a repository for its `.gitignore` to count, and what is ignored around it may be all of it.
        let walk = WalkBuilder::new(&self.folder)
            .require_git(false)
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .follow_links(true)
            .build();
        for entry in walk.filter_map(Result::ok) {
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                // A folder that is gone again, or watched already, is no matter.
                let _ = self.watcher.watch(entry.path(), RecursiveMode::NonRecursive);
            } else if let Ok(path) = entry.path().strip_prefix(&self.folder)
                && !(entry.depth() == 1 && is_component(path))
            {
                files.insert(path.to_owned(), (metadata.len(), metadata.modified().ok()));
            }
        }
        files
    }

    /// Waits until something is other than it was in `old`.
    pub(super) async fn changed_since(&mut self, old: &Snapshot) {
        loop {
            let new = self.snapshot();
            if new != *old && self.settled(new).await {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// Whether it stays so for a moment.
    async fn settled(&mut self, seen: Snapshot) -> bool {
        tokio::time::sleep(SETTLED).await;
        let settled = self.snapshot() == seen;
        if !settled {
            // There will be no word of what has happened already.
            self.changed.notify_one();
        }
        settled
    }
}

/// Whether it is what a build makes, by its name.
pub(super) fn is_component(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_of_a_source_is_seen_and_of_a_result_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // What is around a project says nothing about it.
        write(".gitignore", "*");
        write(".git/info/exclude", "*");
        write("project/.gitignore", "/target\n");
        write("project/src/lib.rs", "one");
        let project = folder.path().join("project");
        let write = |path: &str, text: &str| write(&format!("project/{path}"), text);
        let mut sources = Sources::new(&project).unwrap();
        let old = sources.snapshot();
        assert_eq!(old.len(), 1);

        write("erp.wasm", "made");
        write("target/debug/x", "made");
        assert_eq!(sources.snapshot(), old);

        write("src/deep/new.rs", "two");
        tokio::time::timeout(Duration::from_secs(30), sources.changed_since(&old)).await.expect("the change is seen");

        // A look at the folder is no change of it: nothing wakes up.
        sources.changed.notified().now_or_never();
        sources.snapshot();
        let quiet = tokio::time::timeout(Duration::from_millis(200), sources.changed.notified()).await;
        assert!(quiet.is_err(), "it woke up by itself");

        let old = sources.snapshot();
        let waiting = tokio::spawn(async move { sources.changed_since(&old).await });
        write("src/deep/new.rs", "three and more");
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the change is seen").unwrap();
    }
}
