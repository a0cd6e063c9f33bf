//! `[server] tls`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::units::TimeSpan;

/// TLS of the host's own: 1.2 and 1.3, HTTP/2 and HTTP/1.1. Files that change are read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The file of the certificate and those of its issuers, in PEM, its own first.
    pub cert: PathBuf,
    /// The file of its private key, in PEM. Nobody but the owner and the group may have any right to it.
    pub key: PathBuf,
    /// How long a client may take for the handshake. 1s to 5m; 10s.
    #[serde(default = "handshake_default")]
    pub handshake_timeout: TimeSpan,
}

const fn handshake_default() -> TimeSpan {
    TimeSpan::from_secs(10)
}

impl ServerTls {
    pub(super) fn validate(&self) -> Result<(), String> {
        for (name, file) in [("cert", &self.cert), ("key", &self.key)] {
            if file.as_os_str().is_empty() {
                return Err(format!("server.tls.{name} names no file; name one in PEM"));
            }
        }
        let key = "server.tls.handshake_timeout";
        crate::config::file::within(key, self.handshake_timeout, TimeSpan::from_secs(1), TimeSpan::from_secs(300))
    }
}
