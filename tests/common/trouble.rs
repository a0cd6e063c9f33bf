//! Trouble for the host's disk and clock: the library in `tests/trouble`, put before the real binary, and the page on
//! which a test writes what it wishes for.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::guests::root;
use super::host::Setup;

#[path = "../trouble/src/wish.rs"]
mod wish;

pub use wish::Wish;

/// One host's trouble, over its restarts.
pub struct Trouble {
    folder: TempDir,
    page: File,
}

impl Trouble {
    /// None yet.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("page"), [0; 4_096]).expect("a new file");
        let page = File::options().read(true).write(true).open(folder.path().join("page")).expect("just made");
        Self { folder, page }
    }

    /// The setup of a host that is to have it, with or without a record of what its store does.
    pub fn around(&self, setup: Setup, is_recorded: bool) -> Setup {
        self.environment(is_recorded).into_iter().fold(setup, |setup, (name, value)| setup.env(name, &value))
    }

    /// What a host is told by its environment.
    pub fn environment(&self, is_recorded: bool) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        let mut environment = vec![
            ("LD_PRELOAD", text(library().to_path_buf())),
            ("TROUBLE_CONTROL", text(self.folder.path().join("page"))),
            ("TROUBLE_FOLDER", "data".to_owned()),
        ];
        if is_recorded {
            environment.push(("TROUBLE_RECORD", text(self.record())));
        }
        environment
    }

    /// Wishes for something.
    pub fn wish(&self, what: Wish, number: i64) {
        self.page.write_all_at(&number.to_le_bytes(), what as u64 * 8).expect("the page can be written");
    }

    /// What the page says.
    pub fn number(&self, what: Wish) -> i64 {
        let mut number = [0; 8];
        self.page.read_exact_at(&mut number, what as u64 * 8).expect("the page can be read");
        i64::from_le_bytes(number)
    }

    /// The file of the record.
    pub fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }
}

/// The library, built once for all tests; the build is a no-op where nothing changed.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = root().join("target/trouble");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--manifest-path"])
            .arg(root().join("tests/trouble/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .expect("cargo starts");
        assert!(status.success(), "tests/trouble cannot be built");
        target.join("debug/libtrouble.so")
    })
}
