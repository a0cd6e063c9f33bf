//! The doors of the way out for the fuzzer: origins, addresses, `Retry-After`; each beside a slow judge of its own.

mod address;
mod date;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::Grants;
use super::connect::Connector;
use super::resolve::{Names, Resolver};
use crate::config::PluginFile;

/// What can be granted, each with its scheme, host and port as a person reads them.
const GRANTABLE: [(&str, &str, &str, u16); 8] = [
    ("https://api.example.com", "https", "api.example.com", 443),
    ("http://api.example.com", "http", "api.example.com", 80),
    ("https://api.example.com:8443", "https", "api.example.com", 8443),
    ("http://127.0.0.1:8080", "http", "127.0.0.1", 8080),
    ("http://[::1]:81", "http", "[::1]", 81),
    ("http://localhost:9000", "http", "localhost", 9000),
    ("https://xn--bcher-kva.example", "https", "xn--bcher-kva.example", 443),
    ("http://under_score.example:1", "http", "under_score.example", 1),
];

/// Which of [`GRANTABLE`] are granted, a bit each, then a URL.
///
/// # Panics
/// Where a URL is let through to what is not granted, or refused though it is written as its grant is.
pub(in crate::plugin) fn origin(input: &[u8]) {
    let Some((granted, url)) = input.split_first() else { return };
    let url = String::from_utf8_lossy(url);
    let granted: Vec<_> =
        GRANTABLE.iter().enumerate().filter(|(place, _)| granted >> place & 1 == 1).map(|(_, grant)| grant).collect();
    let origins = granted.iter().map(|(text, ..)| text.parse().expect("the table holds origins")).collect();
    let file = PluginFile { origins, ..PluginFile::default() };
    let grants = Grants::new("p.toml".to_owned(), &file, Arc::default()).expect("nothing is injected");

    let (shown, target) = grants.admit(&url);
    assert!(!shown.contains('\n'), "recorded as {shown:?}");
    let is_plain = |rest: &str| {
        let is_path = rest.is_empty() || rest.starts_with('/');
        is_path && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/')
    };
    let written_so = granted.iter().any(|(text, ..)| url.strip_prefix(text).is_some_and(is_plain));
    match target {
        Ok(target) => is_granted(&target.uri, &granted, &url),
        Err(refusal) => assert!(!written_so, "{url:?} is granted, and gave {refusal:?}"),
    }
}

/// What would be dialled, taken apart by hand, is granted; and every other reader of the URI reads the same.
fn is_granted(uri: &http::Uri, granted: &[&(&str, &str, &str, u16)], asked: &str) {
    let text = uri.to_string();
    let (scheme, rest) = text.split_once("://").expect("an absolute URI");
    let authority = rest.split(['/', '?', '#']).next().expect("a first part");
    assert!(!authority.contains('@'), "{asked:?} became {text:?}, which carries user information");
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().expect("a port")),
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let is_granted = granted
        .iter()
        .any(|(_, its_scheme, its_host, its_port)| (scheme, host, port) == (*its_scheme, *its_host, *its_port));
    assert!(is_granted, "{asked:?} became {text:?}, of which none is granted: {granted:?}");

    assert_eq!((uri.scheme_str(), uri.host()), (Some(scheme), Some(host)), "{asked:?} became {text:?}");
    let again = Url::parse(&text).expect("what is dialled is a URL");
    assert_eq!((again.scheme(), again.host_str()), (scheme, Some(host)), "{asked:?} became {text:?}");
    assert_eq!(again.port_or_known_default(), Some(port), "{asked:?} became {text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{asked:?} became {text:?}");
}

/// An address: 4 bytes or 16, then ranges that the operator allows (a length, then an address of the same kind each).
///
/// # Panics
/// Where the classifier lets through what the registries call special, or refuses what they do not; or where a name with
/// that address would be dialled against that.
pub(in crate::plugin) fn address(input: &[u8]) {
    let (address, rest) = match input.len() {
        0..4 => return,
        4..16 => (IpAddr::V4(Ipv4Addr::from(first(input))), &input[4..]),
        _ => (IpAddr::V6(Ipv6Addr::from(first(input))), &input[16..]),
    };
    let width = if address.is_ipv4() { 4 } else { 16 };
    let ranges: Vec<IpNet> = rest.chunks_exact(width + 1).filter_map(range).collect();

    let (told, slow) = (super::address::special(address), address::special(address));
    assert_eq!(told.is_some(), slow.is_some(), "{address} is {told:?}, and by the registries {slow:?}");
    let (allowed, slow_allowed) = (super::address::is_allowed(address, &ranges), address::is_allowed(address, &ranges));
    assert_eq!(allowed, slow_allowed, "{address} among {ranges:?}");
    let connector = Connector {
        allow_cidrs: ranges.into(),
        resolver: Resolver::new(Names::System, Arc::new(tokio::sync::Semaphore::new(1))),
        proxy: None,
        inside_only: Arc::new([]),
        file: "p.toml".into(),
        plugin: "p".into(),
        sockets: super::sockets::Sockets::new(1),
    };
    let kept = connector.judge("name.example", vec![SocketAddr::new(address, 80)]);
    assert_eq!(kept.is_ok(), slow.is_none() || slow_allowed, "{address} gave {kept:?}");
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("the caller looked at the length")
}

fn range(bytes: &[u8]) -> Option<IpNet> {
    let (length, address) = bytes.split_first()?;
    let address = match address.len() {
        4 => IpAddr::V4(Ipv4Addr::from(first(address))),
        _ => IpAddr::V6(Ipv6Addr::from(first(address))),
    };
    IpNet::new(address, *length).ok()
}

/// The moment at which the answer comes, where it says none itself: 2026-11-25T00:00:00.500Z.
const CLOCK_MS: u64 = 1_795_564_800_500;

/// Lines: the answer's `Date`, then each `Retry-After`.
///
/// # Panics
/// Where another delay is read than the slow reader finds.
pub(in crate::plugin) fn retry_after(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let said_date = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let mut values = Vec::new();
    if let Ok(value) = HeaderValue::from_bytes(said_date) {
        headers.insert(DATE, value);
    }
    for line in lines.take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(RETRY_AFTER, value);
            values.push(line);
        }
    }
    let now_ms = headers.get(DATE).and_then(|date| date::unix_secs(date.as_bytes())).map_or(CLOCK_MS, |s| s * 1_000);
    let slow = values.into_iter().filter_map(|value| date::delay_ms(value, now_ms)).max();
    let told = super::retry_after::delay_ms(&headers, SystemTime::UNIX_EPOCH + Duration::from_millis(CLOCK_MS));
    assert_eq!(told, slow, "{headers:?}");
}
