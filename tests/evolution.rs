//! The interface between host and plugins only grows: what was built against an earlier version still runs.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Value, guests};
use wit_parser::{Resolve, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

const PACKAGE: &str = "windlass:plugin";

/// One folder for each version that there was.
fn versions() -> Vec<PathBuf> {
    let fixtures = guests::root().join("tests/fixtures");
    let folders = std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = folders.filter(|path| path.join("plugin.wasm").exists()).collect();
    assert!(!folders.is_empty());
    folders
}

#[test]
fn a_plugin_of_every_earlier_version_keeps_its_scenarios() {
    for version in versions() {
        let output = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["plugin", "test", "--json"])
            .args([version.join("plugin.wasm"), version.join("scenarios.toml")])
            .env("XDG_CACHE_HOME", guests::root().join("target/languages/cache"))
            .output()
            .unwrap();
        let played: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(output.status.success(), "{}: {played:#}", version.display());
        assert!(played["passed"].as_u64() > Some(20));
    }
}

#[test]
fn nothing_of_an_earlier_version_is_gone_or_changed() {
    let now = Surface::of(&std::fs::read_to_string(guests::root().join("wit/plugin.wit")).unwrap());
    for version in versions() {
        let then = Surface::of(&std::fs::read_to_string(version.join("plugin.wit")).unwrap());
        assert_eq!(then.lost_in(&now), Vec::<String>::new(), "compared with {}", version.display());
        assert!(then.0.len() > 20, "{then:?}");
    }
}

#[test]
fn what_is_gone_or_changed_is_noticed_and_what_is_new_is_not() {
    let text = std::fs::read_to_string(guests::root().join("wit/plugin.wit")).unwrap();
    let then = Surface::of(&text);
    for (old, new, lost) in [
        ("get: func(name: string)", "fetch: func(name: string)", "config.get"),
        ("remaining-ms: u32,", "remaining-ms: u64,", "types.job"),
        ("unknown-outcome(fault),", "unknown-outcome(setback),", "types.failure"),
        ("        attempt: u32,", "        attempt: u32,\n        extra: u32,", "types.job"),
        (
            "    import log;\n    import http;\n    /// The standard",
            "    import http;\n    /// The standard",
            "plugin imports log",
        ),
        (
            "    export metadata;\n}\n\n/// A plugin that describes itself and calls",
            "}\n\n/// A plugin",
            "described-plugin exports metadata",
        ),
    ] {
        assert!(text.contains(old), "{old:?} is no longer in the interface");
        let told = then.lost_in(&Surface::of(&text.replacen(old, new, 1)));
        assert!(told.iter().any(|told| told.starts_with(lost)), "{lost}: {told:?}");
    }
    let grown = text.replacen("interface config {", "interface config {\n    all: func() -> list<string>;", 1);
    assert_eq!(then.lost_in(&Surface::of(&grown)), Vec::<String>::new());
}

/// Everything that a component can have been built against: a name, and what stands behind it.
#[derive(Debug)]
struct Surface(BTreeMap<String, String>);

impl Surface {
    fn of(text: &str) -> Self {
        let mut resolve = Resolve::default();
        let deps = guests::root().join("wit/deps");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plugin.wit"), text).unwrap();
        copy(&deps, &folder.path().join("deps"));
        let (package, _) = resolve.push_path(folder.path()).unwrap_or_else(|error| panic!("{error:#}"));
        let package = &resolve.packages[package];
        assert_eq!(format!("{}:{}", package.name.namespace, package.name.name), PACKAGE);
        let mut surface = BTreeMap::new();
        for (name, id) in &package.interfaces {
            let interface = &resolve.interfaces[*id];
            for (item, id) in &interface.types {
                surface.insert(format!("{name}.{item}"), definition(&resolve, *id));
            }
            for (item, function) in &interface.functions {
                let parameters: Vec<_> = function.params.iter().map(|param| shown(&resolve, &param.ty)).collect();
                let result = function.result.as_ref().map(|result| shown(&resolve, result));
                surface.insert(format!("{name}.{item}"), format!("{:?} {parameters:?} -> {result:?}", function.kind));
            }
        }
        for (name, id) in &package.worlds {
            let world = &resolve.worlds[*id];
            for (verb, items) in [("imports", &world.imports), ("exports", &world.exports)] {
                for (key, item) in items {
                    let key = match (key, item) {
                        (WorldKey::Interface(id), WorldItem::Interface { .. }) => {
                            resolve.interfaces[*id].name.clone().unwrap_or_default()
                        }
                        (key, _) => format!("{key:?}"),
                    };
                    surface.insert(format!("{name} {verb} {key}"), String::new());
                }
            }
        }
        Self(surface)
    }

    /// What is not in `other`, or is something else there.
    fn lost_in(&self, other: &Self) -> Vec<String> {
        let is_lost = |(name, what): &(&String, &String)| other.0.get(*name) != Some(*what);
        let tell = |(name, what): (&String, &String)| match other.0.get(name) {
            None => format!("{name} is gone"),
            Some(instead) => format!("{name} was {what} and is {instead}"),
        };
        self.0.iter().filter(is_lost).map(tell).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// A type without its documentation.
fn definition(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| shown(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let fields: Vec<_> =
                record.fields.iter().map(|field| format!("{}: {}", field.name, of(&field.ty))).collect();
            format!("record {{ {} }}", fields.join(", "))
        }
        TypeDefKind::Variant(variant) => {
            let cases: Vec<_> =
                variant.cases.iter().map(|case| format!("{}({})", case.name, maybe(&case.ty))).collect();
            format!("variant {{ {} }}", cases.join(", "))
        }
        TypeDefKind::Enum(it) => {
            format!("enum {:?}", it.cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>())
        }
        TypeDefKind::List(item) => format!("list<{}>", of(item)),
        TypeDefKind::Option(item) => format!("option<{}>", of(item)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Type(other) => of(other),
        other => panic!("the check does not know {other:?} yet"),
    }
}

fn shown(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => resolve.types[*id].name.clone().unwrap_or_else(|| definition(resolve, *id)),
        plain => format!("{plain:?}").to_lowercase(),
    }
}
