//! What a component says it imports and exports, read before anything is compiled.

use serde::{Deserialize, Serialize};
use wasmparser::{CanonicalFunction, CanonicalOption, Encoding, Parser, Payload};

use super::LoadError;
use super::bindings::{PACKAGE, VERSION};
use super::report;
use super::survey::{self, Stop, Survey};

/// The interfaces that the linker holds, by package, with the version of each package.
const OFFERED: [(&str, &str, &[&str]); 8] = [
    (PACKAGE, VERSION, &["config", "http", "log", "types"]),
    (
        "wasi:cli",
        WASI,
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", WASI, &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", WASI, &["preopens", "types"]),
    ("wasi:http", WASI, &["outgoing-handler", "types"]),
    ("wasi:io", WASI, &["error", "poll", "streams"]),
    ("wasi:random", WASI, &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        WASI,
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];
const WASI: &str = "0.2.12";

/// What is known of a component before it is compiled: names of what it imports and exports, and what it will take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// Imports, with versions.
    pub(super) imports: Vec<String>,
    /// Exports, with versions.
    pub(super) exports: Vec<String>,
    /// Whether it is of the asynchronous component model.
    pub(super) is_async: bool,
    /// What an instance takes of the host beside its memories and tables, in bytes, at most.
    pub(super) held_bytes: u64,
}

/// Tells what is not WebAssembly at all by how it begins. So little is looked at that the host itself can do it.
pub(super) fn glance(head: &[u8]) -> Result<(), LoadError> {
    // What wasmtime compiles is an ELF file, whatever it is for; nothing else that begins like this is a plugin either.
    if head.starts_with(b"\x7fELF") {
        return Err(report::precompiled());
    }
    if !head.starts_with(b"\0asm") {
        return Err(report::not_wasm(head));
    }
    Ok(())
}

/// Reads the names and checks that they are those of our world. Versions fit as wasmtime's linker says. One pass over
/// the bytes, and no more is kept of them than [`Survey`] allows.
pub(super) fn inspect(bytes: &[u8]) -> Result<Shape, LoadError> {
    glance(bytes)?;
    let shape = read(bytes).map_err(|stop| match stop {
        Stop::Broken(error) => broken(&error, bytes.len()),
        Stop::Refused(error) => error,
    })?;
    check_imports(&shape.imports)?;
    check_exports(&shape.exports)?;
    Ok(shape)
}

fn read(bytes: &[u8]) -> Result<Shape, Stop> {
    let mut shape = Shape::default();
    let mut survey = Survey::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        let is_outermost = survey.depth == 0;
        survey.count(&payload)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if is_outermost => {
                return Err(Stop::Refused(report::core_module()));
            }
            Payload::ComponentImportSection(section) if is_outermost => {
                for import in section {
                    survey::keep_name(&mut shape.imports, import?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if is_outermost => {
                for export in section {
                    survey::keep_name(&mut shape.exports, export?.name.name)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    shape.is_async |= is_async(&function?);
                }
            }
            _ => {}
        }
    }
    let whole = survey.whole(shape.is_async)?;
    shape.held_bytes = whole.bytes;
    Ok(shape)
}

/// Whether only the asynchronous component model has this.
fn is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}

fn broken(error: &wasmparser::BinaryReaderError, length: usize) -> LoadError {
    if error.message().contains("unexpected end") {
        report::truncated(length)
    } else {
        report::malformed(error.message())
    }
}

fn check_imports(imports: &[String]) -> Result<(), LoadError> {
    let mut unknown = Vec::new();
    for import in imports {
        let Some((package, interface, version)) = split(import) else {
            unknown.push(import.clone());
            continue;
        };
        let offered = OFFERED.iter().find(|(name, ..)| *name == package);
        match offered {
            Some((_, ours, interfaces)) if interfaces.contains(&interface) && track(ours) == track(version) => {}
            _ if package.starts_with("wasi:") && track(version) == track("0.3.0") => {
                return Err(report::wasi_03(import));
            }
            Some((PACKAGE, ours, _)) if track(ours) != track(version) => {
                return Err(report::other_version(import, version));
            }
            _ => unknown.push(import.clone()),
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(report::unknown_imports(&unknown)) }
}

fn check_exports(exports: &[String]) -> Result<(), LoadError> {
    let handlers: Vec<_> = exports
        .iter()
        .filter_map(|export| split(export))
        .filter(|(package, interface, _)| *package == PACKAGE && *interface == "handler")
        .collect();
    match handlers.as_slice() {
        [] => Err(report::no_handler(exports)),
        some if some.iter().any(|(_, _, version)| track(version) == track(VERSION)) => Ok(()),
        [(_, _, version), ..] => Err(report::other_version("handler", version)),
    }
}

/// `wasi:io/poll@0.2.12` in its three parts.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let (package, interface) = path.split_once('/')?;
    Some((package, interface, version))
}

/// Versions of one track fit each other, as far as a function is not missing: 1.x, 0.2.x. Pre-releases and 0.0.x fit
/// only themselves.
fn track(version: &str) -> &str {
    let core_end = version.find(['-', '+']).unwrap_or(version.len());
    if version[core_end..].starts_with('-') {
        return version;
    }
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (major, minor) {
        ("0", "0") => version,
        ("0", _) => &version[..version.len().min("0.".len() + minor.len())],
        _ => major,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn versions_of_one_track_fit() {
        for (a, b, fit) in [
            ("0.1.0", "0.1.9", true),
            ("0.2.12", "0.2.0", true),
            ("0.1.0", "0.2.0", false),
            ("1.0.0", "1.7.3", true),
            ("0.3.0", "0.3.0-rc-2026-03-15", false),
            ("0.0.1", "0.0.2", false),
            ("0.1.0", "", false),
            ("0", "0.", false),
            ("0", "0", true),
            ("0.2", "0.2.1", true),
            ("", "+", false),
        ] {
            assert_eq!(track(a) == track(b), fit, "{a} and {b}");
        }
    }

    #[test]
    fn imports_are_judged_by_name_and_track() {
        assert!(check_imports(&names(&["wasi:io/poll@0.2.0", "windlass:plugin/log@0.1.9"])).is_ok());
        for (import, told) in [
            ("wasi:http/client@0.3.0", "WASI 0.3"),
            ("wasi:cli/environment@0.3.0", "WASI 0.3"),
            ("windlass:plugin/log@0.2.0", "was built for windlass:plugin 0.2.0"),
            ("windlass:plugin/state@0.1.0", "does not have: windlass:plugin/state@0.1.0"),
            ("acme:kv/store@1.0.0", "does not have: acme:kv/store@1.0.0"),
            ("wasi:io/poll@0.1.0", "does not have"),
            ("print", "does not have: print"),
        ] {
            let error = check_imports(&names(&[import])).unwrap_err();
            assert!(error.summary.contains(told), "{import} gave {error}");
        }
    }

    #[test]
    fn exports_are_judged_by_name_and_track() {
        assert!(check_exports(&names(&["windlass:plugin/handler@0.1.3"])).is_ok());
        for (export, told) in [
            ("windlass:plugin/handler@0.2.0", "was built for windlass:plugin 0.2.0"),
            ("wasi:cli/run@0.2.3", "does not export windlass:plugin/handler"),
        ] {
            let error = check_exports(&names(&[export])).unwrap_err();
            assert!(error.summary.contains(told), "{export} gave {error}");
        }
        assert!(check_exports(&[]).unwrap_err().summary.contains("it exports nothing"));
    }
}
