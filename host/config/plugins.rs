//! `[plugins]`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::Compile;
use super::pin::Signers;
use crate::job::units::TimeSpan;

/// Where plugins are, and what is asked of them before they are taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// The folder of `NAME.wasm` and `NAME.toml`.
    pub dir: PathBuf,
    /// How often the folder is looked through even though the system reported no change. 100ms to 1h.
    pub scan: TimeSpan,
    /// What compiling one component may use.
    pub compile: Compile,
    /// Whose signature every component must carry: Ed25519 public keys, 1 to 64, any one of them. Without it: nobody's.
    /// A plugin's own `signed_by` narrows it and never widens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<Signers>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("plugins"),
            scan: TimeSpan::from_secs(5),
            compile: Compile::default(),
            signed_by: None,
        }
    }
}

impl Plugins {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("plugins.scan", self.scan, TimeSpan::from_ms(100), TimeSpan::from_secs(3_600))?;
        self.compile.validate()
    }
}
