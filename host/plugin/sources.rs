//! The files beside a plugin's own that its grants are made of: secrets, certificates, keys. A change of one of them is
//! taken up like a change of the plugin's file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::{self, Stamp};

/// The files as they lay there at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(BTreeMap<PathBuf, Option<Stamp>>);

impl Sources {
    /// Looks at these. Opens nothing.
    pub(super) fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), folder::followed(&path))).collect())
    }

    /// Looks at the same ones again.
    pub(super) fn again(&self) -> Self {
        Self::look(self.0.keys().cloned())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where they are, from the root.
    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.0.keys().filter_map(|path| std::path::absolute(path).ok()).collect()
    }
}

/// The folders of these, but for one that is watched anyway.
pub(super) fn folders(paths: &BTreeSet<PathBuf>, but: &Path) -> BTreeSet<PathBuf> {
    let but = but.canonicalize().ok();
    let mut folders: BTreeSet<_> = paths.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect();
    folders.retain(|folder| but.is_none() || folder.canonicalize().ok() != but);
    folders
}
