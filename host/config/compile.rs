//! `compile = { … }` of `[plugins]`: what compiling one component may use.

use serde::{Deserialize, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

/// What compiling one component may use. Beyond any of it the component is refused, and the older revision goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compile {
    /// CPU time, in whole seconds. 1s to 24h; 2m by default.
    pub cpu: TimeSpan,
    /// Address space of the compiler, its own program included. 512MiB to 64GiB; 2GiB by default.
    pub memory: ByteSize,
    /// Wall time. 1s to 24h; 15m by default.
    pub wall: TimeSpan,
}

impl Default for Compile {
    /// A component of Python, 18 MiB, takes 12 s and 400 MiB by a host built without optimisation.
    fn default() -> Self {
        Self { cpu: TimeSpan::from_secs(120), memory: ByteSize(2 << 30), wall: TimeSpan::from_secs(900) }
    }
}

impl Compile {
    pub(super) fn validate(&self) -> Result<(), String> {
        let (second, day) = (TimeSpan::from_secs(1), TimeSpan::from_secs(86_400));
        super::file::within("plugins.compile.cpu", self.cpu, second, day)?;
        super::file::within("plugins.compile.wall", self.wall, second, day)?;
        super::file::within("plugins.compile.memory", self.memory, ByteSize(512 << 20), ByteSize(64 << 30))
    }
}
