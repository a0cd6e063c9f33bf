//! What a build writes among the sources by itself, told apart from what its author edits meanwhile.
//!
//! Nobody says who changed a file. But an author does not change the same one during each of several builds in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

use super::sources::Snapshot;

/// During so many builds in a row a file must have changed to be taken for the build's own.
const IN_A_ROW: u32 = 3;

/// What changed during the last builds, and during how many in a row.
#[derive(Debug, Default)]
pub(super) struct Written(BTreeMap<String, u32>);

/// What the changes during one build are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meanwhile {
    /// May be the author's: to be built.
    pub(super) edited: Vec<String>,
    /// The build's own, as is known from now on.
    pub(super) own: Vec<String>,
}

impl Written {
    /// Judges what changed during a build. One that failed may not have come to write what it writes.
    pub(super) fn judge(&mut self, before: &Snapshot, after: &Snapshot, went_well: bool) -> Meanwhile {
        let changed = changed(before, after);
        if went_well {
            self.0.retain(|name, _| changed.contains(name));
        }
        let mut meanwhile = Meanwhile::default();
        for name in changed {
            let count = self.0.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
            match (*count).cmp(&IN_A_ROW) {
                std::cmp::Ordering::Less => meanwhile.edited.push(name),
                std::cmp::Ordering::Equal => meanwhile.own.push(name),
                std::cmp::Ordering::Greater => {}
            }
        }
        meanwhile
    }
}

/// The files that are other than before. For one that is new or gone the folder that was there before and is after, as its
/// name may be another each time.
fn changed(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    let altered = after.iter().filter(|(path, stamp)| before.get(*path).is_some_and(|before| before != *stamp));
    let altered = altered.map(|(path, _)| path.display().to_string());
    let new = after.keys().filter(|path| !before.contains_key(*path)).map(|path| folder_in(before, path));
    let gone = before.keys().filter(|path| !after.contains_key(*path)).map(|path| folder_in(after, path));
    altered.chain(new).chain(gone).collect()
}

/// The innermost folder around that path that holds one of the files.
fn folder_in(files: &Snapshot, path: &Path) -> String {
    // What is in a folder comes right behind its own path.
    let first_behind = |folder: &Path| files.range::<Path, _>((Bound::Included(folder), Bound::Unbounded)).next();
    let is_there = |folder: &&Path| first_behind(folder).is_some_and(|(file, _)| file.starts_with(folder));
    match path.ancestors().skip(1).find(is_there) {
        Some(folder) if !folder.as_os_str().is_empty() => format!("{}/", folder.display()),
        _ => "./".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, u64)]) -> Snapshot {
        files.iter().map(|(path, size)| (path.into(), (*size, None))).collect()
    }

    fn meanwhile(edited: &[&str], own: &[&str]) -> Meanwhile {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Meanwhile { edited: owned(edited), own: owned(own) }
    }

    #[test]
    fn what_changes_with_each_build_is_its_own_and_an_edit_among_it_is_not() {
        let mut written = Written::default();
        let mut build = |log: u64, source: u64, went_well| {
            let before = files(&[("log.txt", log), ("src/a.rs", source)]);
            written.judge(&before, &files(&[("log.txt", log + 1), ("src/a.rs", 0)]), went_well)
        };
        assert_eq!(build(1, 1, true), meanwhile(&["log.txt", "src/a.rs"], &[]));
        assert_eq!(build(2, 1, true), meanwhile(&["log.txt", "src/a.rs"], &[]));
        assert_eq!(build(3, 0, true), meanwhile(&[], &["log.txt"]));
        assert_eq!(build(4, 1, true), meanwhile(&["src/a.rs"], &[]), "the log is told once");
        // A build that fails before it writes is no proof of anything.
        let same = files(&[("log.txt", 5)]);
        assert_eq!(written.judge(&same, &same, false), meanwhile(&[], &[]));
        assert_eq!(written.judge(&same, &files(&[("log.txt", 6)]), true), meanwhile(&[], &[]));
        // One that goes well without it is: whoever changed it was the author after all.
        assert_eq!(written.judge(&same, &same, true), meanwhile(&[], &[]));
        assert_eq!(written.judge(&same, &files(&[("log.txt", 6)]), true), meanwhile(&["log.txt"], &[]));
    }

    #[test]
    fn files_of_another_name_each_time_are_known_by_their_folder() {
        let mut written = Written::default();
        let at = |time: u64| files(&[("logs-of", 1), (&format!("logs/{time}/log.txt"), 1)]);
        let told = [1, 2, 3, 4].map(|time| written.judge(&at(time), &at(time + 1), true));
        let edited = || meanwhile(&["logs/"], &[]);
        assert_eq!(told, [edited(), edited(), meanwhile(&[], &["logs/"]), meanwhile(&[], &[])]);
        // A folder that is new itself is a change of the one around it.
        assert_eq!(changed(&files(&[("a", 1)]), &files(&[("a", 1), ("b/c", 1)])), BTreeSet::from(["./".to_owned()]));
        assert_eq!(changed(&files(&[("a", 1)]), &files(&[])), BTreeSet::from(["./".to_owned()]));
    }
}
