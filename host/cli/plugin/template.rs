//! The projects that `windlass plugin new` begins from: the order examples of `plugins/`, as they are.

use super::new::Language;

/// One example.
pub(super) struct Template {
    /// Its folder in `plugins/`, which is also its name wherever that stands.
    pub(super) folder: &'static str,
    /// Its files, by their paths in the folder, without what all examples share.
    pub(super) files: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($folder:literal, $($file:literal)*) => {
        Template {
            folder: $folder,
            files: &[$(($file, include_str!(concat!("../../../plugins/", $folder, "/", $file)))),*],
        }
    };
}

const RUST: Template = template!("order-rust", ".gitignore" "Cargo.lock" "Cargo.toml" "README.md" "build" "src/lib.rs");
const PYTHON: Template = template!("order-python", ".gitignore" "README.md" "app.py" "build");

impl Template {
    /// The one for that language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::Rust => &RUST,
            Language::Python => &PYTHON,
            _ => todo!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::ValueEnum as _;
    use ignore::WalkBuilder;

    use super::*;

    #[test]
    fn every_file_of_every_example_is_carried() {
        for language in Language::value_variants() {
            let template = Template::of(*language);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(template.folder);
            let walk = WalkBuilder::new(&folder).hidden(false).follow_links(true).build();
            let found: BTreeSet<_> = walk
                .map(|entry| entry.unwrap().into_path())
                .filter(|path| path.is_file())
                .map(|path| path.strip_prefix(&folder).unwrap().display().to_string())
                .collect();
            let shared = [format!("{}.toml", template.folder), "scenarios.toml".to_owned()];
            let carried = template.files.iter().map(|(path, _)| (*path).to_owned()).chain(shared);
            let wit = super::super::interface::FILES.iter().map(|(path, _)| format!("wit/{path}"));
            assert_eq!(found, carried.chain(wit).collect(), "{language:?}");
        }
    }
}
