//! `proxy`, in `[network]` and in a plugin's file: the way out where there is no direct one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// What calls go through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Proxy {
    /// Nothing: `none`.
    None,
    /// An HTTP proxy that makes tunnels: `http://host:port`.
    Tunnel {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for Proxy {
    type Err = String;

    /// What is refused is not repeated: it may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = |why: &str| format!("`proxy` is \"http://host:port\" or \"none\": {why}");
        if text == "none" {
            return Ok(Self::None);
        }
        let url = Url::parse(text).map_err(|error| refusal(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refusal("user and password come from a secret's source: proxy_credentials = { env = \"…\" }"));
        }
        if url.scheme() != "http" {
            return Err(refusal("it is spoken to over http; TLS goes through it from end to end"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(refusal("it ends with the port"));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(refusal("there is no host")),
        };
        match url.port_or_known_default() {
            Some(port) if port > 0 => Ok(Self::Tunnel { host, port }),
            _ => Err(refusal("port 0 is no port to connect to")),
        }
    }
}

impl TryFrom<String> for Proxy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Proxy> for String {
    fn from(proxy: Proxy) -> Self {
        proxy.to_string()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tunnel { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tunnel { host, port } => write!(f, "http://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_written() {
        for (text, canonical) in [
            ("none", "none"),
            ("http://proxy.internal:3128", "http://proxy.internal:3128"),
            ("http://PROXY.internal:3128/", "http://proxy.internal:3128"),
            ("http://proxy.internal", "http://proxy.internal:80"),
            ("http://[::1]:3128", "http://[::1]:3128"),
        ] {
            assert_eq!(text.parse::<Proxy>().map(|proxy| proxy.to_string()), Ok(canonical.to_owned()));
        }
        for text in ["", "proxy:3128", "https://p:1", "socks5://p:1", "http://p:0", "http://p:1/x", "http://u:pw@p:1"] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
