//! Why a job waits.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// Why a job that could run does not. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitReason {
    /// The downstream's breaker is open.
    BreakerOpen,
    /// The downstream asked everybody to wait.
    RetryAfter,
    /// The plugin's rate is used up for the moment.
    RateLimit,
    /// The plugin, or the host, runs as many attempts as it may.
    Concurrency,
    /// A person paused the plugin.
    Paused,
    /// There is no such plugin in the folder.
    PluginMissing,
    /// The plugin's file could not be loaded, and there is no earlier revision.
    PluginBroken,
    /// The last attempt asked for something that the operator has not granted.
    GrantMissing,
}

/// Why a job waits, and until when where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Waiting {
    /// The reason.
    pub reason: WaitReason,
    /// When the reason ends by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<UnixMs>,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}
