//! Whom a file belongs to that root makes for a host which runs as another user: that user, or the host could read it no
//! more.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Gid, Uid};

use crate::config::disk;

/// User and group.
type Owner = (u32, u32);

/// Whom a file is given to when it is made; nobody where it is its maker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heir(Option<Owner>);

/// A file that could not be given to its user.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be given to the user {uid}: {why}")]
pub(super) struct NotGiven {
    pub(super) uid: u32,
    pub(super) why: io::Error,
}

impl Heir {
    /// The one of a file there.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let owner = |meta: Metadata| (meta.uid(), meta.gid());
        let present = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            meta => Some(owner(meta?)),
        };
        let folder = owner(disk::folder_of(path).metadata()?);
        Ok(Self::where_it_is(rustix::process::geteuid().as_raw(), present, folder))
    }

    /// Root leaves a file to whom it belonged, and a new one to whom its folder belongs. Others make what is theirs.
    fn where_it_is(maker: u32, present: Option<Owner>, folder: Owner) -> Self {
        Self((maker == 0).then(|| present.unwrap_or(folder)))
    }

    /// Gives it the file.
    pub(super) fn give(self, file: File) -> io::Result<File> {
        let Some((uid, gid)) = self.0 else { return Ok(file) };
        let meta = file.metadata()?;
        if (meta.uid(), meta.gid()) != (uid, gid) {
            let given = rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            given.map_err(|error| io::Error::other(NotGiven { uid, why: error.into() }))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_alone_makes_files_for_others() {
        let (host, other, root) = ((500, 50), (600, 60), (0, 0));
        for (maker, present, folder, heir) in [
            (0, None, host, Some(host)),
            (0, Some(other), host, Some(other)),
            (0, Some(root), host, Some(root)),
            (0, None, root, Some(root)),
            (500, Some(host), host, None),
            (500, None, other, None),
        ] {
            assert_eq!(Heir::where_it_is(maker, present, folder), Heir(heir), "{maker} {present:?} {folder:?}");
        }
    }

    #[test]
    fn what_cannot_be_given_names_the_user() {
        let file = tempfile::tempfile().unwrap();
        let own = file.metadata().unwrap();
        Heir(Some((own.uid(), own.gid()))).give(file).unwrap();
        if !rustix::process::geteuid().is_root() {
            let error = Heir(Some((0, 0))).give(tempfile::tempfile().unwrap()).unwrap_err();
            assert_eq!(error.downcast::<NotGiven>().unwrap().uid, 0);
        }
    }
}
