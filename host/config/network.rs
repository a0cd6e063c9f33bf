//! `[network]`

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::proxy::Proxy;
use super::secret::Secret;

/// What plugins may reach beyond their grants' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Special address ranges (private, loopback, link-local, …) that granted host *names* may resolve to, for example
    /// `["10.0.0.0/8"]`. Granted address literals and `localhost` need no entry.
    pub allow_cidrs: Vec<IpNet>,
    /// The HTTP proxy that all plugins' calls go through, where a plugin's file names no other. What the environment
    /// says of proxies counts for nothing. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// `user:password` for `proxy`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_credentials: Option<Secret>,
}

impl Network {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.proxy_credentials.is_some() && !matches!(self.proxy, Some(Proxy::Tunnel { .. })) {
            return Err("network.proxy_credentials: network.proxy is missing beside it".to_owned());
        }
        Ok(())
    }
}
