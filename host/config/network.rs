//! `[network]`

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What plugins may reach beyond their grants' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Special address ranges (private, loopback, link-local, …) that granted host *names* may resolve to, for example
    /// `["10.0.0.0/8"]`. Granted address literals and `localhost` need no entry.
    pub allow_cidrs: Vec<IpNet>,
}
