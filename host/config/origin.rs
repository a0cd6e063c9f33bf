//! An origin, as it is granted: `scheme://host[:port]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::quote;

/// The longest host name.
const NAME_BYTES_MAX: usize = 253;

/// Why an origin is refused that has a name, and maybe a password, before its host.
pub(super) const USER_INFORMATION: &str = "it carries user information";

/// Where a plugin may go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is `https`, else `http`.
    pub tls: bool,
    /// The host.
    pub host: OriginHost,
    /// The port, the scheme's own where none is written.
    pub port: u16,
}

/// The host of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginHost {
    /// An address literal: grants that very address.
    Address(IpAddr),
    /// `localhost`: grants the loopback addresses.
    Localhost,
    /// A name, lower case, without a trailing dot: grants what it resolves to, unless that is special.
    Name(String),
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// Where the scheme is neither `http` nor `https`, or there is no host, or the port is 0.
    pub fn of(url: &Url) -> Result<Self, String> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme {other:?} is neither http nor https")),
        };
        let host = match url.host() {
            Some(Host::Ipv4(address)) => OriginHost::from_address(address.into())?,
            Some(Host::Ipv6(address)) => OriginHost::from_address(address.into())?,
            Some(Host::Domain(name)) => OriginHost::from_name(name)?,
            None => return Err("there is no host".to_owned()),
        };
        match url.port_or_known_default() {
            Some(0) | None => Err("port 0 is no port to connect to".to_owned()),
            Some(port) => Ok(Self { tls, host, port }),
        }
    }
}

impl OriginHost {
    /// An address that is mapped into IPv6 is the one of IPv4. Those that stand for many hosts, or for none, are no
    /// address to connect to: the system would take 0.0.0.0 for this machine.
    fn from_address(address: IpAddr) -> Result<Self, String> {
        let address = address.to_canonical();
        let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || is_broadcast {
            return Err(format!("{address} is no address to connect to"));
        }
        Ok(Self::Address(address))
    }

    fn from_name(name: &str) -> Result<Self, String> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.as_str() {
            "" => Err("there is no host".to_owned()),
            _ if name.len() > NAME_BYTES_MAX || name.split('.').any(str::is_empty) => {
                Err(format!("{name:?} is no host name"))
            }
            "localhost" => Ok(Self::Localhost),
            _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) => {
                Err(format!("{name:?} is no host name; there are no wildcards"))
            }
            _ => Ok(Self::Name(name)),
        }
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = quote::url(text);
        let refusal = |why: &str| format!("{shown:?} is not an origin such as \"https://api.example.com\": {why}");
        let url = Url::parse(text).map_err(|error| refusal(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refusal(USER_INFORMATION));
        }
        if url.path() != "/" && !url.path().is_empty() || url.query().is_some() || url.fragment().is_some() {
            return Err(refusal("it ends with the host or the port, without a path"));
        }
        Self::of(&url).map_err(|why| refusal(&why))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://")?;
        match &self.host {
            OriginHost::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            OriginHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            OriginHost::Localhost => write!(f, "localhost")?,
            OriginHost::Name(name) => write!(f, "{name}")?,
        }
        if self.port == default_port { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_spellings_of_one_origin_are_one_origin() {
        for (text, canonical) in [
            ("https://API.Example.com:443/", "https://api.example.com"),
            ("http://api.example.com.", "http://api.example.com"),
            ("http://127.1:8080", "http://127.0.0.1:8080"),
            ("http://0x7f.1", "http://127.0.0.1"),
            ("http://2130706433", "http://127.0.0.1"),
            ("http://0177.0.0.1", "http://127.0.0.1"),
            ("http://127.0.0.1.", "http://127.0.0.1"),
            ("http://１２７.０.０.１", "http://127.0.0.1"),
            ("http://127%2e0%2E0.1", "http://127.0.0.1"),
            ("http://[::ffff:127.0.0.1]", "http://127.0.0.1"),
            ("http://[0:0:0:0:0:FFFF:7f00:1]", "http://127.0.0.1"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("https://ＡＰＩ.example.com", "https://api.example.com"),
            ("http://[::0001]:81", "http://[::1]:81"),
            ("http://LOCALHOST.:9", "http://localhost:9"),
        ] {
            assert_eq!(text.parse::<Origin>().map(|origin| origin.to_string()), Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_password_before_the_host_is_not_repeated() {
        for text in
            ["https://u:s3cret@a.example", "https://s3cret@a", "https:u:s3cret@a", "https://u:s3/cret@a", "u:s3cret@a"]
        {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(
                error.contains("is not an origin such as \"https://api.example.com\"") && !error.contains("s3"),
                "{error}"
            );
        }
        let error = "https://u:s3cret@a.example".parse::<Origin>().unwrap_err();
        assert!(error.ends_with("it carries user information"), "{error}");
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://a",
            "https://a/path",
            "https://a?x",
            "https://u:p@a",
            "http://a:0",
            "https://*",
            "http://0.0.0.0",
            "http://0",
            "http://[::]",
            "http://[::ffff:0.0.0.0]",
            "http://255.255.255.255",
            "http://224.0.0.1",
            "http://[ff02::1]",
            "http://[fe80::1%25eth0]",
            "http://localhost..",
            "http://a..b",
            "http://1.2.3.4.5",
            "http://a%00b",
            "http://a:65536",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?} was taken");
        }
    }
}
