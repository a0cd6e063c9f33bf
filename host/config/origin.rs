//! An origin, as it is granted: `scheme://host[:port]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

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
            Some(Host::Ipv4(address)) => OriginHost::Address(address.into()),
            Some(Host::Ipv6(address)) => OriginHost::Address(address.into()),
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
    fn from_name(name: &str) -> Result<Self, String> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.as_str() {
            "" => Err("there is no host".to_owned()),
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
        let refusal = |why: &str| format!("{text:?} is not an origin such as \"https://api.example.com\": {why}");
        let url = Url::parse(text).map_err(|error| refusal(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refusal("it carries user information"));
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
            ("http://[::0001]:81", "http://[::1]:81"),
            ("http://LOCALHOST.:9", "http://localhost:9"),
        ] {
            assert_eq!(text.parse::<Origin>().map(|origin| origin.to_string()), Ok(canonical.to_owned()), "{text}");
        }
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
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?} was taken");
        }
    }
}
