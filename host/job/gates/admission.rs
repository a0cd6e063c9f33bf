//! What a store asks before it hands out a job.

use std::sync::Arc;

use super::{KeyName, Lane};
use crate::clock::UnixMs;

/// The answer to a store that asks to hand out one job of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Yes: the place is taken, and must be given back by [`super::Gates::end`] or
    /// [`super::Gates::give_back`].
    Yes,
    /// The same, to see whether the lane's downstream is back, or its plugin works again.
    Probe,
    /// No job of this plugin now that has the lane's limit key, whatever downstream it calls. Only for a lane with one.
    KeyClosed {
        /// When it is worth asking again, where that is known.
        until: Option<UnixMs>,
    },
    /// No job of this plugin now that calls the lane's downstream, whatever its limit key.
    DownstreamClosed {
        /// When the downstream opens by itself.
        until: Option<UnixMs>,
    },
    /// No job of any lane of this plugin now.
    PluginClosed {
        /// When the plugin opens by itself.
        until: Option<UnixMs>,
    },
    /// No job of any lane: the host is full.
    HostFull,
}

/// What may have opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Anything: ask again for every lane.
    Any,
    /// These.
    These(Doors),
}

/// What was closed, and may have opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// Limit keys.
    pub keys: Vec<KeyName>,
    /// Downstreams, each under the name of its lane without a limit key.
    pub downstreams: Vec<Lane>,
    /// Plugins.
    pub plugins: Vec<Arc<str>>,
}

impl Opened {
    /// Whether there is nothing more to ask for. Who says that anything may have opened says it for one round.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Any => true,
            Self::These(Doors { keys, downstreams, plugins }) => {
                keys.is_empty() && downstreams.is_empty() && plugins.is_empty()
            }
        }
    }
}

/// Gives leave to hand out jobs, one by one.
pub trait Admission {
    /// May one job of this lane start now?
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit;

    /// A job that was let in at that moment will not start after all: its place is free.
    fn withdrawn(&mut self, lane: &Lane, started_at: UnixMs, now: UnixMs) {
        _ = (lane, started_at, now);
    }

    /// Which of those that were refused may have opened since this was last asked, other than by the time that the
    /// refusal named. Who does not keep account says that anything may have.
    fn opened(&mut self) -> Opened {
        Opened::Any
    }
}
