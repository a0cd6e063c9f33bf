//! `[plugins]`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::units::TimeSpan;

/// Where plugins are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// The folder of `NAME.wasm` and `NAME.toml`.
    pub dir: PathBuf,
    /// How often the folder is looked through even though the system reported no change.
    pub scan: TimeSpan,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { dir: PathBuf::from("plugins"), scan: TimeSpan::from_secs(5) }
    }
}
