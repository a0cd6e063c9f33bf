//! Reaching for what no plugin should get.

use std::fmt::Debug;
use std::fs;

use serde_json::{Value, json};

use crate::wasi::sockets::instance_network::instance_network;
use crate::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use crate::wasi::sockets::tcp_create_socket::create_tcp_socket;

/// What each attempt gave: `{"env", "args", "passwd", "root", "tcp"}`, the last three as `{"ok": …}` or `{"error": …}`.
pub fn probe() -> Value {
    json!({
        "env": std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "args": std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "passwd": told(fs::read("/etc/passwd").map(|bytes| bytes.len())),
        "root": told(fs::read_dir("/").map(Iterator::count)),
        "tcp": told(connect()),
    })
}

fn told<E: Debug>(result: Result<usize, E>) -> Value {
    match result {
        Ok(found) => json!({ "ok": found }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}

/// Connects to port 1 of this machine, by the sockets of WASI: the standard library's are not there with every libc.
fn connect() -> Result<usize, ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 1, address: (127, 0, 0, 1) });
    socket.start_connect(&instance_network(), address)?;
    socket.subscribe().block();
    socket.finish_connect().map(|_| 1)
}

/// How many of so many sockets were made, all held at the same time.
pub fn sockets(count: u32) -> usize {
    let held: Vec<_> = (0..count).filter_map(|_| create_tcp_socket(IpAddressFamily::Ipv4).ok()).collect();
    held.len()
}
