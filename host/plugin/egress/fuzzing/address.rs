//! A slow classifier of addresses, made from IANA's registries as a table of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// One range a line: its prefix, then what it is for.
const TABLE: &str = include_str!("../../../../tests/fuzz/special-addresses.txt");

/// Which range of the table holds the address, or one that it carries.
pub(super) fn special(address: IpAddr) -> Option<String> {
    let (judged, behind) = taken_apart(address);
    listed(judged).or_else(|| behind.into_iter().find_map(|inside| listed(inside.into())))
}

/// Whether the operator's ranges hold what the address is; where it may lead on to others, all of it that is special.
pub(super) fn is_allowed(address: IpAddr, ranges: &[IpNet]) -> bool {
    let (judged, behind) = taken_apart(address);
    let held = |address: IpAddr| ranges.iter().any(|range| holds(&plain(range), address));
    if behind.is_empty() {
        return held(judged);
    }
    [judged].into_iter().chain(behind.into_iter().map(IpAddr::V4)).all(|each| listed(each).is_none() || held(each))
}

fn listed(address: IpAddr) -> Option<String> {
    let found = lines().find(|(range, _)| holds(range, address)).map(|(range, what)| format!("{range} {what}"));
    let is_given_out = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => (0x2000..=0x3fff).contains(&address.segments()[0]),
    };
    found.or_else(|| (!is_given_out).then(|| "not given out".to_owned()))
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or((line, "")))
}

/// Bit by bit, as text.
fn holds(range: &str, address: IpAddr) -> bool {
    let (base, length) = range.split_once('/').expect("a prefix has a length");
    let base: IpAddr = base.parse().expect("a prefix has an address");
    let length: usize = length.parse().expect("a length is a number");
    let (base, address) = (bits(base), bits(address));
    base.len() == address.len() && base[..length] == address[..length]
}

fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
        IpAddr::V6(address) => address.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
    }
}

/// A range within ::ffff:0:0/96 is one of IPv4.
fn plain(range: &IpNet) -> String {
    match (range.addr(), range.prefix_len()) {
        (IpAddr::V6(address), length @ 96..) if bits(address.into()).starts_with(&bits(MAPPED.into())[..96]) => {
            format!("{}/{}", v4(&digits(address), 24), length - 96)
        }
        _ => range.to_string(),
    }
}

const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);

fn digits(address: Ipv6Addr) -> String {
    address.octets().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The address of IPv4 that begins at that hexadecimal digit.
fn v4(digits: &str, start: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_str_radix(&digits[start..start + 8], 16).expect("eight hexadecimal digits"))
}

/// What an address is, and what it may lead on to, by its hexadecimal digits.
fn taken_apart(address: IpAddr) -> (IpAddr, Vec<Ipv4Addr>) {
    let IpAddr::V6(v6) = address else { return (address, Vec::new()) };
    let digits = digits(v6);
    let at = |start: usize| v4(&digits, start);
    // ::a.b.c.d (RFC 4291), ::ffff:a.b.c.d (RFC 4291), ::ffff:0:a.b.c.d (RFC 2765), 64:ff9b::a.b.c.d (RFC 6052).
    let zeros = "0".repeat(16);
    let other_spellings = ["00000000", "0000ffff", "ffff0000"].map(|middle| format!("{zeros}{middle}"));
    let is_own = v6 == Ipv6Addr::UNSPECIFIED || v6 == Ipv6Addr::LOCALHOST;
    if !is_own && other_spellings.iter().chain([&format!("0064ff9b{zeros}")]).any(|start| digits.starts_with(start)) {
        return (at(24).into(), Vec::new());
    }
    let behind = match &digits[..8] {
        // 64:ff9b:1::/48 (RFC 8215): a.b, an octet of zeros, c.d behind 48 bits, or all of it at the end.
        "0064ff9b" if digits[8..].starts_with("0001") => {
            vec![v4(&format!("{}{}", &digits[12..16], &digits[18..22]), 0), at(24)]
        }
        // 2001::/32 (RFC 4380): the server, and the client with every bit turned over.
        "20010000" => vec![at(8), Ipv4Addr::from_bits(!at(24).to_bits())],
        // 2002:a.b.c.d:: (RFC 3056).
        start if start.starts_with("2002") => vec![at(4)],
        // …:[02]00:5efe:a.b.c.d (RFC 5214).
        _ if matches!(&digits[16..24], "00005efe" | "02005efe") => vec![at(24)],
        _ => Vec::new(),
    };
    (address, behind)
}
