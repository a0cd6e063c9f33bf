//! How many files and sockets the system lets the host have at once. With fewer than it has connections, further ones
//! would hang in the system's queue instead of being told to come back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the host keeps open besides its connections: the store, plugins, calls of downstreams.
const OTHERS: u64 = 512;

/// Raises the limit as far as it may be, and returns how many connections fit under it, at most `wanted`.
pub(super) fn for_connections(wanted: u32) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it cannot be raised it stays as it is.
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let fitting = fitting(current, wanted);
    if fitting < wanted {
        tracing::warn!(
            limit = current,
            connections = fitting,
            "the system allows too few open files for server.connections = {wanted}; raise its limit (ulimit -n)"
        );
    }
    fitting
}

fn fitting(limit: Option<u64>, wanted: u32) -> u32 {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS).max(limit / 2).max(1));
    u32::try_from(room).unwrap_or(u32::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn a_low_limit_leaves_room_for_the_rest() {
        assert_eq!(fitting(None, 10_000), 10_000);
        assert_eq!(fitting(Some(1 << 20), 10_000), 10_000);
        assert_eq!(fitting(Some(4_096), 10_000), 3_584);
        assert_eq!(fitting(Some(256), 10_000), 128);
    }
}
