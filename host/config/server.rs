//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

mod name;
mod tls;

pub use name::{HostName, is_loopback_name, split_authority};
pub use tls::ServerTls;

/// The most names that a host answers to.
const HOSTS_MAX: usize = 100;

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The address and the port to listen on. Port 0 takes a free one. An address that others can reach needs tokens, and
    /// either `tls` or `behind_proxy`.
    #[serde(deserialize_with = "read_listen")]
    pub listen: SocketAddr,
    /// Whether a proxy ends TLS in front of the host. false.
    pub behind_proxy: bool,
    /// The names that the host answers to, each with or without a port, for example `windlass.example`. At most 100.
    /// Where there are none: any name; on loopback its own names always, and those alone where there are no others.
    pub hosts: Vec<HostName>,
    /// How long a stopping host lets running attempts finish. 0s to 1h.
    pub grace: TimeSpan,
    /// How long a client may take to send the head of a request. 1s to 5m.
    pub header_timeout: TimeSpan,
    /// How long a client may take to send the body of a request. 1s to 1h.
    pub body_timeout: TimeSpan,
    /// How long a client may take to read an answer. 1s to 1h.
    pub answer_timeout: TimeSpan,
    /// How long an HTTP/2 connection may stand without a request. 1s to 1h.
    pub idle_timeout: TimeSpan,
    /// The most connections at once; further ones are told to come back. 1 to 1000000.
    pub connections: u32,
    /// The most requests at once that are worked on or whose answers are not taken yet; further ones are refused with 503. 1 to 1000000.
    pub requests: u32,
    /// The most requests with `wait` at once, counted apart; further ones are refused with 503. 1 to 1000000.
    pub waits: u32,
    /// The most bytes of bodies in memory at once, and again of large answers; what would go beyond is refused with 503,
    /// and no single body may be larger. 1MiB to 1024GiB.
    pub bodies: ByteSize,
    /// The largest body of a batch; a single job's is bounded by `limits.payload`. 1KiB to 1GiB.
    pub batch: ByteSize,
    /// TLS of the host's own. Without it the port speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// Reads an address to listen on: an IP address, or `localhost` for 127.0.0.1, and a port. Other names are not looked up.
///
/// # Errors
/// Says what is wanted.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let local = || text.strip_prefix("localhost:")?.parse().ok().map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let wanted = || format!("{text:?} is no IP address with a port, such as 127.0.0.1:7070 or [::1]:7070");
    text.parse().ok().or_else(local).ok_or_else(wanted)
}

fn read_listen<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    listen_address(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            behind_proxy: false,
            hosts: Vec::new(),
            grace: TimeSpan::from_secs(30),
            header_timeout: TimeSpan::from_secs(10),
            body_timeout: TimeSpan::from_secs(60),
            answer_timeout: TimeSpan::from_secs(60),
            idle_timeout: TimeSpan::from_secs(120),
            connections: 10_000,
            requests: 4_096,
            waits: 4_096,
            bodies: ByteSize(256 << 20),
            batch: ByteSize(64 << 20),
            tls: None,
        }
    }
}

impl Server {
    /// Whether only this machine can reach the address to listen on.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        use super::file::within;
        let (second, hour) = (TimeSpan::from_secs(1), TimeSpan::from_secs(3_600));
        within("server.grace", self.grace, TimeSpan::default(), hour)?;
        within("server.header_timeout", self.header_timeout, second, TimeSpan::from_secs(300))?;
        within("server.body_timeout", self.body_timeout, second, hour)?;
        within("server.answer_timeout", self.answer_timeout, second, hour)?;
        within("server.idle_timeout", self.idle_timeout, second, hour)?;
        within("server.connections", self.connections, 1, 1_000_000)?;
        within("server.requests", self.requests, 1, 1_000_000)?;
        within("server.waits", self.waits, 1, 1_000_000)?;
        within("server.bodies", self.bodies, ByteSize(1 << 20), ByteSize(1 << 40))?;
        within("server.batch", self.batch, ByteSize(1 << 10), ByteSize(1 << 30))?;
        if self.hosts.len() > HOSTS_MAX {
            return Err(format!("server.hosts has {} names; at most {HOSTS_MAX} are taken", self.hosts.len()));
        }
        self.tls.as_ref().map_or(Ok(()), ServerTls::validate)
    }
}
