//! Compiling a component, away from the host: in a process of its own that is bounded, and that can be killed.
//!
//! The compiler is the largest part of the host that hostile bytes reach. So the host starts its own program once more
//! for each component ([`process`]), that program gives up all it does not need ([`confine`]), does the work
//! ([`child`]), and is told apart by how it ended ([`verdict`]).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::config::{Compile, Limits};

use super::inspect::Shape;
use super::{LoadError, report};
pub(super) use process::wait;

pub(super) mod child;
mod confine;
mod process;
mod verdict;

/// The hidden subcommand by which the host's own program compiles.
pub const SUBCOMMAND: &str = "compile-component";

/// Where the running program is found, whatever lies at its path by now.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";

/// The largest compiled code of one component.
pub(super) const CODE_BYTES_MAX: u64 = 512 << 20;

/// How long a compiler that stands back may starve.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Who compiles.
#[derive(Clone, Debug)]
pub(super) enum Compiler {
    /// That program, in a process of its own for each component.
    Process(Program),
    /// This process: the program of a unit test is not the host's.
    #[cfg(any(test, feature = "fuzzing"))]
    Here,
}

/// A program that compiles.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// How long it may starve behind all others.
    patience: Duration,
}

/// What the compiler needs to know beside the component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The limits of attempts, which the engine's settings follow.
    pub(super) limits: Limits,
    /// What it may use.
    pub(super) bounds: Compile,
}

/// A component, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What it imports and exports.
    pub(super) shape: Shape,
    /// The engine that its code is for.
    pub(super) engine: String,
    /// Its code: an anonymous file that nobody can change any more.
    pub(super) code: File,
}

/// What the compiler answers, beside the code.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// The code is there.
    Compiled {
        /// What the component imports and exports.
        shape: Shape,
        /// The engine that its code is for.
        engine: String,
    },
    /// The component is no plugin.
    Refused(LoadError),
    /// It ran out of memory, and noticed.
    Starved,
    /// It could not do its part, whatever the component is.
    Failed(String),
    /// It panicked over the component.
    Panicked,
}

impl Compiler {
    /// The one that is that program, with that patience.
    pub(super) fn of(program: &Path, patience: Duration) -> Self {
        #[cfg(any(test, feature = "fuzzing"))]
        if program == Path::new(OWN_PROGRAM) {
            return Self::Here;
        }
        Self::Process(Program { path: program.to_path_buf(), patience })
    }

    /// Checks and compiles a component. Who drops the future ends the work.
    pub(super) async fn compile(&self, order: Order, component: Bytes) -> Result<Compiled, LoadError> {
        match self {
            Self::Process(program) => process::compile(program.clone(), order, component).await,
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Here => child::compile_here(order, component).await,
        }
    }
}

/// A file without a name, in memory.
fn anonymous(name: &str) -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

/// From here on nobody can change the file, whoever else may hold it.
fn seal(file: &File) -> std::io::Result<()> {
    use rustix::fs::SealFlags;

    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    Ok(rustix::fs::fcntl_add_seals(file, all)?)
}

/// Lays out what the compiler reads: the length of the order, who gives it, the order, the component. Answers where the
/// component begins.
fn request(order: &Order, component: &[u8]) -> std::io::Result<(File, u64)> {
    use std::io::Seek as _;

    let order = serde_json::to_vec(order)?;
    let length = u32::try_from(order.len()).map_err(std::io::Error::other)?;
    let mut file = anonymous("component")?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&std::process::id().to_le_bytes())?;
    file.write_all(&order)?;
    let begin = file.stream_position()?;
    file.write_all(component)?;
    file.rewind()?;
    Ok((file, begin))
}

fn host_failed(what: &str, error: &std::io::Error) -> LoadError {
    report::host_failed(&format!("{what}: {error}"))
}
