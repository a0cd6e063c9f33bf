//! Names that a host answers to, and the `host[:port]` in which clients call them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of the DNS, and more than any address needs.
const NAME_BYTES_MAX: usize = 253;

/// A name that a host answers to: `windlass.example`, `10.0.0.7`, `[2001:db8::7]`; with a port only under that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName {
    name: String,
    port: Option<u16>,
}

impl HostName {
    /// The port, where it answers under one only.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether a client that says `name` and `port` means this one. Where it says no port, it means any.
    #[must_use]
    pub fn answers(&self, name: &str, port: Option<u16>) -> bool {
        self.name.eq_ignore_ascii_case(name) && (self.port.is_none() || port.is_none() || self.port == port)
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = split_authority(text).ok_or_else(|| {
            format!("{text:?} is not a name such as \"windlass.example\" or \"windlass.example:8443\"")
        })?;
        Ok(Self { name: name.to_ascii_lowercase(), port })
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Takes `host[:port]` apart, without brackets taken off and without the dot that may end a name of the DNS; nothing where
/// it is anything else: no user, no space, no port that is no number from 1 to 65535.
#[must_use]
pub fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match text.rfind(':') {
        // The colons of an address stand within its brackets.
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(port(&text[colon + 1..])?)),
        _ => (text, None),
    };
    let name = if name.len() > 1 { name.strip_suffix('.').unwrap_or(name) } else { name };
    is_name(name).then_some((name, port))
}

fn port(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

fn is_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_label)
        && name.split('.').all(|label| !label.is_empty())
}

/// Whether a host of that name, as it stands in a URL, is this machine and nobody else's.
#[must_use]
pub fn is_loopback_name(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_taken_apart() {
        for (text, name, port) in [
            ("localhost", "localhost", None),
            ("Windlass.Example:8443", "Windlass.Example", Some(8443)),
            ("windlass.example.", "windlass.example", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:7070", "[::1]", Some(7070)),
        ] {
            assert_eq!(split_authority(text), Some((name, port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            ":80",
            "a b",
            "user@localhost",
            "localhost:",
            "localhost:0",
            "localhost:+80",
            "localhost:99999",
            "localhost:80:80",
            "localhost/",
            "a..b",
            "::1",
            "[::1",
            "[localhost]",
            "[::1]x",
            "é.example",
        ] {
            assert_eq!(split_authority(text), None, "{text}");
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_answers_under_any_port_or_under_its_own() {
        let any: HostName = "Windlass.example".parse().unwrap();
        let own: HostName = "windlass.example:8443".parse().unwrap();
        assert!(any.answers("WINDLASS.example", None) && any.answers("windlass.example", Some(1)));
        assert!(own.answers("windlass.example", Some(8443)) && !own.answers("windlass.example", Some(443)));
        assert!(!any.answers("windlass.example.evil", None));
        assert_eq!(own.to_string(), "windlass.example:8443");
    }
}
