//! What a machine lacks for a moment, by the system's own numbers. It says nothing about the component or the file over
//! which it is met, and the same may succeed a moment later.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError};

/// Whether the machine, or what this process is given of it, has no open files, memory or threads left.
pub(super) fn of_machine(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_of_machine) || error.kind() == io::ErrorKind::OutOfMemory
}

/// Whether there is nothing left to make one more connection to that address of: no open file, memory or port. Where a
/// machine has no IPv6, each of its addresses is told as one for which there is no port.
pub(super) fn of_connections(error: &io::Error, address: &SocketAddr) -> bool {
    of_machine(error) || address.is_ipv4() && error.kind() == io::ErrorKind::AddrNotAvailable
}

/// As [`of_machine`], or a disk or a network's file system that does not answer now.
pub(super) fn may_pass(error: &io::Error) -> bool {
    let of_disk = [
        Errno::BUSY,
        Errno::DQUOT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::INTR,
        Errno::IO,
        Errno::NOLCK,
        Errno::NOSPC,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::TXTBSY,
    ];
    of_machine(error) || Errno::from_io_error(error).is_some_and(|errno| of_disk.contains(&errno))
}

/// Whether wasmtime met such a want as it mapped code or made an instance. Where all places for instances are taken, it
/// is attempts that have them.
pub(super) fn of_wasmtime(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Errno>().is_some_and(|errno| is_of_machine(*errno))
        || error.downcast_ref::<io::Error>().is_some_and(of_machine)
        || of_places(error)
        || error.is::<OutOfMemory>()
}

/// Whether the system does not let code be mapped to be run, whoever made it.
pub(super) fn is_forbidden(error: &wasmtime::Error) -> bool {
    let forbidden = [Errno::ACCESS, Errno::PERM];
    error.downcast_ref::<Errno>().is_some_and(|errno| forbidden.contains(errno))
        || error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether all places for instances and their stacks are taken.
pub(super) fn of_places(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

fn is_of_machine(errno: Errno) -> bool {
    [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_ports_is_told_from_one_without_an_address_family() {
        let lacks = |errno: Errno, address: &str| of_connections(&errno.into(), &address.parse().unwrap());
        assert!(lacks(Errno::ADDRNOTAVAIL, "192.0.2.1:80") && !lacks(Errno::ADDRNOTAVAIL, "[::1]:80"));
        assert!(lacks(Errno::MFILE, "192.0.2.1:80") && lacks(Errno::MFILE, "[::1]:80"));
        assert!(!lacks(Errno::CONNREFUSED, "192.0.2.1:80") && !lacks(Errno::NETUNREACH, "192.0.2.1:80"));
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for (errno, [is_of_machine, passes]) in [
            (Errno::MFILE, [true, true]),
            (Errno::NFILE, [true, true]),
            (Errno::NOMEM, [true, true]),
            (Errno::AGAIN, [true, true]),
            // Compiled code that cannot be read is compiled again at once: that needs no other moment.
            (Errno::IO, [false, true]),
            (Errno::STALE, [false, true]),
            (Errno::ACCESS, [false, false]),
            (Errno::NOENT, [false, false]),
            (Errno::LOOP, [false, false]),
        ] {
            let error = io::Error::from(errno);
            assert_eq!([of_machine(&error), may_pass(&error)], [is_of_machine, passes], "{error}");
            let error = wasmtime::Error::from(error).context("failed to create file mapping");
            assert_eq!(of_wasmtime(&error), is_of_machine, "{error:?}");
            assert_eq!(of_wasmtime(&wasmtime::Error::from(errno)), is_of_machine, "{errno}");
            assert_eq!(super::is_forbidden(&error), errno == Errno::ACCESS, "{errno}");
        }
        assert!(!of_machine(&io::Error::other("it was not made by this host")));
        assert!(!of_wasmtime(&wasmtime::Error::msg("Cannot allocate memory")), "no text tells");
    }
}
