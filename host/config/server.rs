//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The address and the port to listen on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long a stopping host lets running attempts finish. 0s to 1h.
    pub grace: TimeSpan,
    /// How long a client may take to send the head of a request. 1s to 5m.
    pub header_timeout: TimeSpan,
    /// How long a client may take to send the body of a request. 1s to 1h.
    pub body_timeout: TimeSpan,
    /// The most connections at once; further ones wait to be accepted. 1 to 1000000.
    pub connections: u32,
    /// The largest body of a batch; a single job's is bounded by `limits.payload`. 1KiB to 1GiB.
    pub batch: ByteSize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            grace: TimeSpan::from_secs(30),
            header_timeout: TimeSpan::from_secs(10),
            body_timeout: TimeSpan::from_secs(60),
            connections: 10_000,
            batch: ByteSize(64 << 20),
        }
    }
}

impl Server {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("server.grace", self.grace, TimeSpan::default(), TimeSpan::from_secs(3_600))?;
        super::file::within(
            "server.header_timeout",
            self.header_timeout,
            TimeSpan::from_secs(1),
            TimeSpan::from_secs(300),
        )?;
        super::file::within(
            "server.body_timeout",
            self.body_timeout,
            TimeSpan::from_secs(1),
            TimeSpan::from_secs(3_600),
        )?;
        super::file::within("server.connections", self.connections, 1, 1_000_000)?;
        super::file::within("server.batch", self.batch, ByteSize(1 << 10), ByteSize(1 << 30))
    }
}
