//! The names by which links lead to what they lead to: whoever gives one of them to something else changes what is found.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Folders of such names, in all: each is watched. What lies in others is found by the slow scan.
const FOLDERS_MAX: usize = 256;
/// Links that are followed one after the other, as many as the system follows.
const LINKS_MAX: usize = 40;

/// Such names, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Links {
    names: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Links {
    /// The names of all of them.
    pub(in super::super) fn names(&self) -> &BTreeSet<PathBuf> {
        &self.names
    }

    /// The links on the way from the root to the plugins folder, and it where it is one. Plain folders on that way are not
    /// among them: theirs may be busy places.
    pub(super) fn on_the_way_to(&mut self, dir: &Path) {
        walk(Path::new("/"), dir, |name, is_link| {
            if is_link {
                self.add(name.to_path_buf());
            }
        });
    }

    /// Whatever below `root` is on the way that the link of that name leads. They are told as lying in `dir`, which is how
    /// the folder at `root` is named.
    pub(super) fn from(&mut self, root: &Path, dir: &Path, file_name: &Path) {
        walk(root, file_name, |name, _| {
            // A link that begins at the root leads through the folder itself.
            if let Some(below) = name.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty()) {
                self.add(dir.join(below));
            }
        });
    }

    fn add(&mut self, name: PathBuf) {
        let Some(folder) = name.parent() else { return };
        if !self.folders.contains(folder) {
            if self.folders.len() >= FOLDERS_MAX {
                return;
            }
            self.folders.insert(folder.to_path_buf());
        }
        self.names.insert(name);
    }
}

/// What is still to be gone.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Goes a path from a folder that no link is part of, as the system does, and shows each name on the way in the folder
/// that it really lies in, and whether a link has it. Ends at the first name that nothing has.
fn walk(from: &Path, path: &Path, mut show: impl FnMut(&Path, bool)) {
    let (mut at, mut links) = (from.to_path_buf(), 0);
    let mut ahead = steps(path);
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::Root => {
                at = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                at.pop();
                continue;
            }
            Step::Down(name) => at.join(name),
        };
        match fs::read_link(&name) {
            Ok(target) => {
                show(&name, true);
                links += 1;
                if links > LINKS_MAX {
                    return;
                }
                ahead.extend(steps(&target));
            }
            // The system's word for what is no link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                show(&name, false);
                at = name;
            }
            Err(_) => return show(&name, false),
        }
    }
}

/// The last one first.
fn steps(path: &Path) -> Vec<Step> {
    let steps = path.components().rev().filter_map(|part| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_name_on_the_way_counts_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/v1")).unwrap();
        fs::write(root.join("releases/v1/a.wasm"), "").unwrap();
        for (target, name) in [
            ("releases/v1", "current"),
            ("current/a.wasm", "a.wasm"),
            ("./releases/../releases/v2/b.wasm", "b.wasm"),
            ("c.wasm", "c.wasm"),
            ("../elsewhere", "d.wasm"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        symlink(root.join("releases/v1/a.wasm"), root.join("e.wasm")).unwrap();
        for (name, expected) in [
            ("a.wasm", &["a.wasm", "current", "releases", "releases/v1", "releases/v1/a.wasm"][..]),
            ("b.wasm", &["b.wasm", "releases", "releases/v2"]),
            ("c.wasm", &["c.wasm"]),
            ("d.wasm", &["d.wasm"]),
            ("e.wasm", &["e.wasm", "releases", "releases/v1", "releases/v1/a.wasm"]),
        ] {
            let mut links = Links::default();
            links.from(&root, Path::new("/as/named"), Path::new(name));
            let expected = expected.iter().map(|name| Path::new("/as/named").join(name));
            assert_eq!(links.names, expected.collect(), "{name}");
        }
    }

    #[test]
    fn of_the_way_to_the_folder_only_links_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("one/plugins")).unwrap();
        symlink("one", root.join("two")).unwrap();
        let names = |path: &str| {
            let mut links = Links::default();
            links.on_the_way_to(&root.join(path));
            links.names.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(names("one/plugins"), [] as [PathBuf; 0]);
        assert_eq!(names("two/plugins"), [root.join("two")]);
    }

    #[test]
    fn folders_are_bounded_and_names_in_them_are_not() {
        let mut links = Links::default();
        for n in 0..FOLDERS_MAX * 2 {
            links.add(PathBuf::from(format!("/{n}/a")));
            links.add(PathBuf::from(format!("/0/{n}")));
        }
        assert_eq!((links.folders.len(), links.names.len()), (FOLDERS_MAX, FOLDERS_MAX * 3));
    }
}
