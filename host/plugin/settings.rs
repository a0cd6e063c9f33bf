//! What a host of plugins is told.

use std::path::PathBuf;

use crate::config::{Compile, Limits, Network, Signers};

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
    /// Whose signature every component in a plugins folder must carry, where anybody's.
    pub signed_by: Option<Signers>,
    /// The program that compiles: one that has the hidden subcommand.
    pub program: PathBuf,
}

impl HostSettings {
    /// Settings that ask for no signature and compile by the running program itself. It is found by what runs, not by
    /// its path: another program may lie there by now.
    #[must_use]
    pub fn new(limits: Limits, network: Network, cache_dir: PathBuf) -> Self {
        let program = PathBuf::from(super::compile::OWN_PROGRAM);
        Self { limits, network, cache_dir, compile: Compile::default(), signed_by: None, program }
    }
}
