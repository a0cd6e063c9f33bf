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

const RUST: Template =
    template!("order-rust", ".gitignore" "Cargo.lock" "Cargo.toml" "README.md" "build" "rustfmt.toml" "src/lib.rs");
const JS: Template = template!("order-js", ".gitignore" "README.md" "build" "order.js" "utf8.js" "windlass.d.ts");
const TS: Template = template!(
    "order-ts",
    ".gitignore" "README.md" "build" "order.ts" "tsconfig.json" "utf8.js" "windlass.d.ts"
);
const PYTHON: Template = template!("order-python", ".gitignore" "README.md" "app.py" "build");
const GO: Template = template!(
    "order-go",
    ".gitignore" "README.md" "build" "go.mod" "plugin/client.go" "plugin/failure.go" "plugin/plugin.go"
    "windlass/LICENSE" "windlass/windlass_plugin_config/empty.s" "windlass/windlass_plugin_config/wit_bindings.go"
    "windlass/windlass_plugin_handler/empty.s" "windlass/windlass_plugin_handler/wit_bindings.go"
    "windlass/windlass_plugin_http/empty.s" "windlass/windlass_plugin_http/wit_bindings.go"
    "windlass/windlass_plugin_log/empty.s" "windlass/windlass_plugin_log/wit_bindings.go"
    "windlass/windlass_plugin_types/empty.s" "windlass/windlass_plugin_types/wit_bindings.go"
    "windlass/wit/runtime/empty.s" "windlass/wit/runtime/runtime.go" "windlass/wit/types/option.go"
    "windlass/wit/types/result.go" "wit_exports.go"
);
const C: Template = template!(
    "order-c",
    ".gitignore" "README.md" "build" "json.c" "json.h" "order.c" "starter.c" "starter.h"
);
const CPP: Template = template!(
    "order-cpp",
    ".gitignore" "README.md" "build" "json.c" "json.h" "order.cpp" "starter.c" "starter.h" "windlass.cpp"
    "windlass.hpp"
);
const ZIG: Template = template!("order-zig", ".gitignore" "README.md" "build" "order.zig" "starter.c" "starter.h");

impl Template {
    /// The one for that language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::Rust => &RUST,
            Language::Js => &JS,
            Language::Ts => &TS,
            Language::Python => &PYTHON,
            Language::Go => &GO,
            Language::C => &C,
            Language::Cpp => &CPP,
            Language::Zig => &ZIG,
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
