//! What bounds a plugin whatever its health: what its file says.

use super::Rate;
use crate::job::health::Overrides;

/// What bounds one plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PluginLimits {
    /// The most attempts at once; none: only the host's own limit.
    pub concurrency: Option<u32>,
    /// The most starts per second.
    pub rate: Option<Rate>,
    /// What bounds each of its downstreams.
    pub per_downstream: Overrides,
    /// What bounds the jobs of one limit key.
    pub per_key: KeyLimits,
}

/// What bounds the jobs of one limit key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyLimits {
    /// The most attempts at once.
    pub concurrency: u32,
    /// The most starts per second.
    pub rate: Option<Rate>,
}

impl Default for KeyLimits {
    /// One after the other.
    fn default() -> Self {
        Self { concurrency: 1, rate: None }
    }
}
