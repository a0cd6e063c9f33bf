//! How plugins and downstreams stand, as the store keeps it.

use crate::job::Lane;
use crate::job::health::Kept;

/// How plugins and downstreams stand, as far as it survives a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standings {
    /// The plugins that a person paused, by name.
    pub paused_plugins: Vec<String>,
    /// The downstreams of which there is something to keep.
    pub downstreams: Vec<(Lane, Kept)>,
}

/// How one plugin or downstream stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// A plugin is paused, or no longer.
    Plugin {
        /// Its name.
        name: String,
        /// Whether it is.
        paused: bool,
    },
    /// What is to be kept of a downstream; nothing where there is nothing to keep.
    Downstream {
        /// Through which plugin it is called, and its key.
        lane: Lane,
        /// What is kept.
        kept: Kept,
    },
}
