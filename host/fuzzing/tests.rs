//! What the fuzzer once began with or found, through the same functions without it: findings stay fixed for everybody.

use std::path::{Path, PathBuf};

use super::*;

/// The inputs that the repository keeps for one target. Text of WebAssembly is assembled.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let is_text = path.extension().is_some_and(|extension| extension == "wat");
            let bytes = if is_text { wat::parse_bytes(&bytes).unwrap().into_owned() } else { bytes };
            (path, bytes)
        })
        .collect()
}

#[test]
fn kept_inputs_break_nothing() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for (path, bytes) in inputs {
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "{name} does not hold for {}; see above", path.display());
        }
    }
}

#[test]
fn every_input_of_a_few_bytes_breaks_nothing() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| *name != "component") {
        target(b"");
        for byte in 0..=u8::MAX {
            target(&[byte]);
            target(&[byte, b'\n', byte, 0, byte]);
        }
        assert!(!name.is_empty());
    }
}
