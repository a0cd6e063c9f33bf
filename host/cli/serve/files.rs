//! How the host shares out the files and sockets that the system lets it have at once. With fewer than are asked for,
//! clients would hang in the system's queue instead of being told to come back, and a plugin that opens connections
//! would take the store's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::server::told_max;
use crate::plugin::{Descriptors, LOOKUPS_MAX};

/// What the host keeps for everything else, as a share of all: the store, the listener, plugins' files, compilers, name
/// look-ups, logs. At least what a quiet host has open, and no more than a busy one.
const OTHERS_SHARE: u64 = 4;
const OTHERS_MIN: u64 = 64;
const OTHERS_MAX: u64 = 576;
/// A look-up takes a socket and at times a file.
const A_LOOKUP: u64 = 2;

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Connections of clients at once.
    pub(super) connections: u32,
    /// What plugins' calls may have.
    pub(super) calls: Descriptors,
}

impl Files {
    /// Raises the limit as far as it may be, and shares it out: `wanted` connections of clients, or half of what the host
    /// does not need itself, and the rest for the calls of plugins.
    pub(super) fn share_out(wanted: u32) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where it cannot be raised it stays as it is.
        let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
        let files = Self::of(current.unwrap_or(u64::MAX), wanted);
        let Self { connections, calls: Descriptors { sockets, lookups } } = files;
        tracing::info!(limit = current, connections, sockets, lookups, "open files are shared out");
        if connections < wanted {
            tracing::warn!(
                limit = current,
                connections,
                "the system allows too few open files for server.connections = {wanted}; raise its limit (ulimit -n)"
            );
        }
        files
    }

    fn of(limit: u64, wanted: u32) -> Self {
        // As good as none, and far from where sums end.
        let limit = limit.min(1 << 40);
        let others = (limit / OTHERS_SHARE).clamp(OTHERS_MIN, OTHERS_MAX);
        let room = limit.saturating_sub(others);
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        // For clients half of the room at most, those among them that are told to come back.
        let half = narrow(room / 2);
        let connections = half.saturating_sub(told_max(half)).min(wanted).max(1);
        let of_clients = u64::from(connections) + u64::from(told_max(connections));
        let lookups = usize::try_from((others - OTHERS_MIN) / A_LOOKUP).unwrap_or(LOOKUPS_MAX).clamp(4, LOOKUPS_MAX);
        let sockets = narrow(room.saturating_sub(of_clients)).max(1);
        Self { connections, calls: Descriptors { sockets, lookups } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(limit: u64) -> (u32, u32, usize) {
        let Files { connections, calls } = Files::of(limit, 10_000);
        (connections, calls.sockets, calls.lookups)
    }

    #[test]
    fn a_low_limit_leaves_room_for_the_rest() {
        assert_eq!(shared(u64::MAX), (10_000, u32::MAX, 256));
        assert_eq!(shared(1 << 20), (10_000, 1_037_744, 256));
        assert_eq!(shared(4_096), (1_540, 1_788, 256));
        assert_eq!(shared(1_024), (336, 390, 96));
        assert_eq!(shared(256), (80, 96, 4));
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice(limit in 128_u64..10_000_000, wanted in 1_u32..1_000_000) {
            let Files { connections, calls } = Files::of(limit, wanted);
            let told = told_max(connections);
            let others = 2 * calls.lookups as u64 + OTHERS_MIN - 8;
            let given = u64::from(connections) + u64::from(told) + u64::from(calls.sockets) + others;
            prop_assert!(given <= limit && connections <= wanted, "{given} of {limit}");
        }
    }
}
