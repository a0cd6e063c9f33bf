//! The guests, built from source once for all tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the guests' components. The first caller builds them; the build is a no-op where nothing changed, and
/// safe beside other test binaries that do the same.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = root().join("target/guests");
        let status = Command::new(root().join("plugins/build")).arg(&folder).status().expect("plugins/build starts");
        assert!(status.success(), "plugins/build failed; it says above what it needs");
        folder
    })
}

/// The component of that guest, as bytes.
pub fn component(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.wasm"))).expect("plugins/build made it")
}

/// The component that the repository ships.
pub fn shipped() -> Vec<u8> {
    std::fs::read(root().join("plugins/http.wasm")).expect("the repository holds it")
}

/// The same component under another digest: with a custom section more.
pub fn variant(component: &[u8], mark: &str) -> Vec<u8> {
    let length = |length: usize| u8::try_from(length).expect("a short mark");
    let mut bytes = component.to_vec();
    bytes.extend([0, length(mark.len() + 1), length(mark.len())]);
    bytes.extend(mark.as_bytes());
    bytes
}
