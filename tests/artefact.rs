//! The shipped component and its sources cannot drift apart.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::guests;
use sha2::{Digest as _, Sha256};

/// The files that make up a guest: its folder, the workspace of the guests, and the interface. Paths relative to the
/// root, in the order of their bytes.
fn sources(name: &str) -> Vec<String> {
    let mut files = vec!["plugins/Cargo.lock".to_owned(), "plugins/Cargo.toml".to_owned()];
    for folder in [format!("plugins/{name}"), "wit".to_owned()] {
        walk(&guests::root().join(&folder), &folder, &mut files);
    }
    files.sort();
    files
}

fn walk(folder: &Path, name: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let entry_name = entry.file_name().into_string().unwrap();
        if entry_name.starts_with('.') || entry_name == "target" {
            continue;
        }
        let path = format!("{name}/{entry_name}");
        if entry.path().is_dir() { walk(&entry.path(), &path, files) } else { files.push(path) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The digest of a guest's sources: over one line a file, its sha256 and its path.
fn digest_of_sources(name: &str) -> String {
    let mut digest = Sha256::new();
    for path in sources(name) {
        let content = std::fs::read(guests::root().join(&path)).unwrap();
        digest.update(format!("{}  {path}\n", hex(&Sha256::digest(content))));
    }
    hex(&digest.finalize())
}

/// The digest that a component carries.
fn digest_carried(component: &[u8]) -> Option<String> {
    let mut carried = None;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        if let Ok(wasmparser::Payload::CustomSection(section)) = payload
            && section.name() == "windlass:sources"
        {
            carried = Some(String::from_utf8(section.data().to_vec()).unwrap());
        }
    }
    carried
}

#[test]
fn the_shipped_component_was_built_from_these_sources() {
    let help = "sources changed since: run `plugins/build --ship` and commit plugins/http.wasm";
    assert_eq!(digest_carried(&guests::shipped()), Some(digest_of_sources("http")), "{help}");
}

#[test]
fn a_fresh_build_carries_the_digest_and_has_the_same_shape() {
    for name in ["http", "echo", "misbehave"] {
        assert_eq!(digest_carried(&guests::component(name)), Some(digest_of_sources(name)), "{name}");
    }
    let shape = |component: &[u8]| -> (Vec<String>, Vec<String>) {
        let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_u32);
        for payload in wasmparser::Parser::new(0).parse_all(component) {
            match payload.unwrap() {
                wasmparser::Payload::ModuleSection { .. } | wasmparser::Payload::ComponentSection { .. } => depth += 1,
                wasmparser::Payload::End(_) => depth = depth.saturating_sub(1),
                wasmparser::Payload::ComponentImportSection(section) if depth == 0 => {
                    imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
                }
                wasmparser::Payload::ComponentExportSection(section) if depth == 0 => {
                    exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
                }
                _ => {}
            }
        }
        // Versions of the WASI interfaces are the toolchain's.
        let own = |names: Vec<String>| {
            let mut names: Vec<_> = names
                .into_iter()
                .map(|name| name.split('@').next().unwrap().to_owned())
                .filter(|name| name.starts_with("windlass:"))
                .collect();
            names.sort();
            names
        };
        (own(imports), own(exports))
    };
    assert_eq!(shape(&guests::shipped()), shape(&guests::component("http")));
    assert!(!shape(&guests::shipped()).1.is_empty());
}

#[test]
fn the_digest_sees_every_file() {
    let files: Vec<PathBuf> = sources("http").into_iter().map(PathBuf::from).collect();
    for file in ["plugins/http/Cargo.toml", "plugins/http/src/lib.rs", "wit/plugin.wit", "plugins/Cargo.lock"] {
        assert!(files.iter().any(|path| path == Path::new(file)), "{file} is no source in {files:?}");
    }
}
