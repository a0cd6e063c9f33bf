//! What the operator can set: `windlass.toml`, the environment, and the file beside each plugin.
//!
//! Everything is read and checked before a port is bound; a mistake is one line that names the key and the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::job::HighWater;

mod breaker;
mod compile;
pub(crate) mod disk;
mod downstream;
mod fairness;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inject;
mod limits;
mod network;
mod origin;
mod pin;
mod plugin_file;
mod plugins;
mod proxy;
mod queue;
mod quote;
mod retention;
mod retry;
mod reuse;
mod secret;
mod server;
mod store;
mod tls;
mod variable;

pub use breaker::Breaker;
pub use compile::Compile;
pub use downstream::{DownstreamRule, KeyPart, PayloadRule};
pub use fairness::Fairness;
pub use file::ConfigError;
pub(crate) use file::downstream_key;
pub(crate) use inject::Piece;
pub use inject::{Inject, is_host_owned, is_same_header};
pub use limits::{AttemptLimits, LimitOverride, LimitRow, Limits};
pub use network::Network;
pub use origin::{Origin, OriginHost};
pub use pin::{ComponentDigest, PublicKey, Signers};
pub use plugin_file::PluginFile;
pub(crate) use plugin_file::parse_rate;
pub use plugins::Plugins;
pub use proxy::Proxy;
pub use queue::Queue;
pub use retention::Retention;
pub use reuse::Reuse;
pub use secret::{Secret, SecretSource};
pub use server::{HostName, Server, ServerTls, is_loopback_name, listen_address, split_authority};
pub use store::{Store, SyncMode};
pub use tls::Tls;
pub(crate) use variable::mistake_of as variable_mistake;

/// The name of the file that is read where none is named.
pub const DEFAULT_FILE: &str = "windlass.toml";
/// What the name of each environment variable that overrides a key begins with.
pub const ENV_PREFIX: &str = "WINDLASS_";

/// All settings of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Where jobs are kept.
    pub store: Store,
    /// Where plugins are.
    pub plugins: Plugins,
    /// When a failed job is tried again.
    pub retry: retry::Retry,
    /// When a downstream counts as down.
    pub breaker: Breaker,
    /// What an attempt may use.
    pub limits: Limits,
    /// How plugins share the host.
    pub fairness: Fairness,
    /// How much may wait.
    pub queue: Queue,
    /// How long finished jobs are kept.
    pub retention: Retention,
    /// What plugins may reach beyond their grants' names.
    pub network: Network,
}

impl Config {
    /// Reads the file, overlays the environment and checks the whole. Without `file`, `windlass.toml` in the current
    /// folder is read where it exists.
    ///
    /// # Errors
    /// Names the file and the line, or the environment variable, and what is wrong there.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        file::load(file, env)
    }

    /// Checks what no single key shows.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<(), String> {
        self.server.validate()?;
        self.store.validate()?;
        self.plugins.validate()?;
        self.retry.validate()?;
        self.breaker.validate()?;
        self.limits.validate()?;
        self.fairness.validate()?;
        self.queue.validate()?;
        self.retention.validate()?;
        self.network.validate()
    }

    /// How many jobs may be unfinished: of a plugin that is alone, or of one among several.
    #[must_use]
    pub fn high_water(&self, is_alone: bool) -> HighWater {
        HighWater::new(self.queue.high_water, if is_alone { 1.0 } else { self.fairness.share })
    }

    /// The most jobs that the mark admits.
    #[must_use]
    pub fn admitted_max(&self) -> usize {
        usize::try_from(self.high_water(false).most()).unwrap_or(usize::MAX)
    }

    /// The folder of everything that the host keeps.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.store.file().parent().map(Path::to_path_buf).unwrap_or_default()
    }
}
