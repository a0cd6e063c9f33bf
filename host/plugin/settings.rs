//! What a host of plugins is told.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Compile, Limits, Network, Plugins, Signers};

/// Look-ups of names at once, over all plugins: half of the threads that block, so that many plugins whose name servers
/// hang leave the other half to the store and to files.
pub const LOOKUPS_MAX: usize = 256;

/// How many of the system's descriptors the calls of all plugins may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Connections to downstreams at once, kept ones included.
    pub sockets: u32,
    /// Look-ups of names at once, at most [`LOOKUPS_MAX`].
    pub lookups: usize,
}

impl Default for Descriptors {
    /// As many as are asked for.
    fn default() -> Self {
        Self { sockets: u32::MAX, lookups: LOOKUPS_MAX }
    }
}

/// What a [`super::PluginHost`] is made of.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Defaults and ceilings of every attempt.
    pub limits: Limits,
    /// What plugins may reach beyond their grants' names.
    pub network: Network,
    /// Where compiled code is kept: a folder of this host alone. The key that marks it lies beside the folder.
    pub cache_dir: PathBuf,
    /// What compiling one component may use.
    pub compile: Compile,
    /// The descriptors for calls.
    pub descriptors: Descriptors,
    /// Whose signature every component in a plugins folder must carry, where anybody's.
    pub signed_by: Option<Signers>,
    /// How often a look through the plugins folder that waits for compilers looks once more, though nothing was reported.
    pub scan: Duration,
    /// The program that compiles: one that has the hidden subcommand.
    pub program: PathBuf,
    /// How long that program may have next to nothing of a processor, where it stands back behind all others, before it is
    /// begun again as one that has its share.
    pub patience: Duration,
}

impl HostSettings {
    /// Settings that ask for no signature and compile by the running program itself. It is found by what runs, not by
    /// its path: another program may lie there by now.
    #[must_use]
    pub fn new(limits: Limits, network: Network, cache_dir: PathBuf) -> Self {
        let program = PathBuf::from(super::compile::OWN_PROGRAM);
        Self {
            limits,
            network,
            cache_dir,
            compile: Compile::default(),
            descriptors: Descriptors::default(),
            signed_by: None,
            scan: Plugins::default().scan.0,
            program,
            patience: super::compile::PATIENCE,
        }
    }
}
