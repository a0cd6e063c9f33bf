//! `inject` in a plugin's file: headers that the host adds to a plugin's requests, with secrets that it never sees.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize};

use super::origin::Origin;

/// The headers that say where a request goes and how it travels. They are the host's, as is all that begins with
/// `proxy-`.
const HOST_OWNED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The most headers that one plugin's file adds.
const INJECTS_MAX: usize = 16;
/// The longest value, before it is filled in.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// Whether a header of that name is set by the host alone.
#[must_use]
pub fn is_host_owned(header: &str) -> bool {
    let begins_alike = |start: &str| folded(header).take(start.len()).eq(folded(start));
    HOST_OWNED.iter().any(|owned| is_same_header(owned, header)) || begins_alike("proxy-")
}

/// Whether a server may read both names as one.
#[must_use]
pub fn is_same_header(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

/// A name as CGI, and what followed it, make a variable of it: in one case of letters, and with one sign for all that
/// are neither letters nor digits (RFC 3875, section 4.1.18; some servers fold more than the hyphen).
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
}

/// A header that the host adds to requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// Its name.
    pub header: String,
    /// Its value: text, with secrets and values of `config` by name in braces. A brace itself is written twice.
    pub value: String,
    /// The granted origins whose requests have it. Default: all that are granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<Origin>>,
    /// Whether it also goes over plain `http`, where everybody on the way can read it. Without it: only to loopback and
    /// to addresses of `allow_cidrs`. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it is.
    Text(String),
    /// What has that name.
    Named(String),
}

impl Inject {
    /// The value in pieces.
    pub(crate) fn pieces(&self) -> Result<Vec<Piece>, String> {
        pieces(&self.value)
    }

    /// The names in its value.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let named = |piece| if let Piece::Named(name) = piece { Some(name) } else { None };
        self.pieces().unwrap_or_default().into_iter().filter_map(named).collect()
    }

    /// Whether requests to that origin have it.
    pub(crate) fn covers(&self, origin: &Origin) -> bool {
        self.origins.as_ref().is_none_or(|origins| origins.contains(origin))
    }

    fn validate<S>(
        &self,
        granted: &[Origin],
        secrets: &BTreeMap<String, S>,
        config: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let header = &self.header;
        let Ok(name) = HeaderName::from_bytes(header.as_bytes()) else {
            return Err(format!("header: {header:?} is no name of a header"));
        };
        if is_host_owned(name.as_str()) {
            return Err(format!("header: {name} is set by the host alone"));
        }
        if self.value.is_empty() || self.value.len() > VALUE_BYTES_MAX {
            return Err(format!("value: it is empty or longer than {VALUE_BYTES_MAX} bytes"));
        }
        self.pieces().map_err(|why| format!("value: {why}"))?;
        if let Some(unknown) =
            self.names().iter().find(|name| !secrets.contains_key(*name) && !config.contains_key(*name))
        {
            return Err(format!("value: {{{unknown}}} is no secret and no value of config in this file"));
        }
        match self.origins.iter().flatten().find(|origin| !granted.contains(origin)) {
            Some(origin) => Err(format!("origins: {origin} is not among the plugin's origins")),
            None if granted.is_empty() => Err("origins: the plugin has none".to_owned()),
            None => Ok(()),
        }
    }
}

/// Checks all of a plugin's file.
pub(super) fn validate<S>(
    injects: &[Inject],
    granted: &[Origin],
    secrets: &BTreeMap<String, S>,
    config: &BTreeMap<String, String>,
) -> Result<(), String> {
    if injects.len() > INJECTS_MAX {
        return Err(format!("inject: {} headers are more than {INJECTS_MAX}", injects.len()));
    }
    for (number, inject) in injects.iter().enumerate() {
        let place = if injects.len() == 1 { "inject".to_owned() } else { format!("inject[{number}]") };
        inject.validate(granted, secrets, config).map_err(|why| format!("{place}.{why}"))?;
        let meets = |other: &Inject| {
            is_same_header(&other.header, &inject.header)
                && granted.iter().any(|origin| inject.covers(origin) && other.covers(origin))
        };
        if injects[..number].iter().any(meets) {
            return Err(format!("{place}.header: {} is added to the same requests twice", inject.header));
        }
    }
    Ok(())
}

/// One table, or several.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Inject>, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let several = match value {
        several @ toml::Value::Array(_) => several,
        one => toml::Value::Array(vec![one]),
    };
    several.try_into().map_err(serde::de::Error::custom)
}

fn pieces(value: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut chars = value.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '{' | '}' if chars.next_if_eq(&next).is_some() => text.push(next),
            '{' => {
                let (name, is_closed) = name(&mut chars);
                if name.is_empty() || name.contains('{') || !is_closed {
                    return Err("a name stands between two braces; a brace itself is written twice".to_owned());
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Named(name));
            }
            '}' => return Err("a closing brace without an opening one is written twice".to_owned()),
            plain => text.push(plain),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// What stands up to the closing brace, and whether there is one.
fn name(chars: &mut impl Iterator<Item = char>) -> (String, bool) {
    let mut name = String::new();
    for letter in chars {
        if letter == '}' {
            return (name, true);
        }
        name.push(letter);
    }
    (name, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_server_may_read_as_one_are_one() {
        for name in ["Content-Length", "content_length", "Transfer_Encoding", "proxy_authorization", "HOST", "te"] {
            assert!(is_host_owned(name), "{name}");
        }
        for name in ["content", "x-host", "proxy", "hosts", "contentlength"] {
            assert!(!is_host_owned(name), "{name}");
        }
        for (one, other, is_same) in [
            ("X-Api-Key", "x_api_key", true),
            ("X-Api-Key", "x.api-KEY", true),
            ("X-Api-Key", "xapikey", false),
            ("X-Api-Key", "x-api-key-", false),
        ] {
            assert_eq!(is_same_header(one, other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn values_have_names_in_braces() {
        let text = |text: &str| Piece::Text(text.into());
        let named = |name: &str| Piece::Named(name.into());
        for (value, read) in [
            ("Bearer {api_key}", Some(vec![text("Bearer "), named("api_key")])),
            ("{a}:{b}", Some(vec![named("a"), text(":"), named("b")])),
            ("{{literal}} {a}", Some(vec![text("{literal} "), named("a")])),
            ("plain", Some(vec![text("plain")])),
            ("{", None),
            ("{open", None),
            ("close}", None),
            ("{}", None),
            ("{a{b}", None),
        ] {
            assert_eq!(pieces(value).ok(), read, "{value}");
        }
    }
}
