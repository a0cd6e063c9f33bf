//! Which addresses are special: not those of a host out on the internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The special ranges of IPv4 (IANA's registry, and what clouds use for themselves). The first that fits counts.
const SPECIAL_V4: [([u8; 4], u32, &str); 23] = [
    ([169, 254, 169, 254], 32, "a metadata address"),
    ([168, 63, 129, 16], 32, "a metadata address"),
    ([100, 100, 100, 200], 32, "a metadata address"),
    ([192, 0, 0, 192], 32, "a metadata address"),
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a shared carrier address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a protocol address"),
    ([192, 0, 2, 0], 24, "a documentation address"),
    ([192, 31, 196, 0], 24, "a protocol address"),
    ([192, 52, 193, 0], 24, "a protocol address"),
    ([192, 88, 99, 0], 24, "a relay address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([192, 175, 48, 0], 24, "a protocol address"),
    ([198, 18, 0, 0], 15, "a benchmarking address"),
    ([198, 51, 100, 0], 24, "a documentation address"),
    ([203, 0, 113, 0], 24, "a documentation address"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];

/// The special ranges of IPv6 that carry no address of IPv4.
const SPECIAL_V6: [([u16; 8], u32, &str); 18] = [
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, "a metadata address"),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, "a metadata address"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "an unspecified address"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a private translation address"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discard address"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "a dummy address"),
    // Whoever runs the relay reaches what the address carries, which is not known here.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "a Teredo address"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "a protocol address"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "a documentation address"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "a protocol address"),
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, "a reserved address"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "a documentation address"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "a segment routing address"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a site-local address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
];

/// What is special about that address; none where nothing is. An address of IPv6 that carries some of IPv4 is judged by
/// these too.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => match carried(address) {
            Carried::Instead(inside) => special_v4(inside),
            Carried::Beside(inside) => special_v6(address).or_else(|| inside.into_iter().find_map(special_v4)),
            Carried::Nothing => special_v6(address),
        },
    }
}

/// Whether an operator's ranges hold that address: it, or the one of IPv4 that it stands for. One that leads on to
/// another by some relay is held only where they hold all that is special about it; where nothing is, no range is needed.
pub(super) fn is_allowed(address: IpAddr, allow_cidrs: &[IpNet]) -> bool {
    let holds = |address: IpAddr| is_held(address, allow_cidrs);
    let bears = |inside: Ipv4Addr| special_v4(inside).is_none() || holds(inside.into());
    match address {
        IpAddr::V4(_) => holds(address),
        IpAddr::V6(outside) => match carried(outside) {
            Carried::Instead(inside) => holds(inside.into()),
            Carried::Beside(inside) => {
                (special_v6(outside).is_none() || holds(address)) && inside.into_iter().all(bears)
            }
            Carried::Nothing => holds(address),
        },
    }
}

/// Whether what goes to that address stays where the operator says that it may: on this machine, or in these ranges. Of
/// one that may lead on to another they hold the very address that is dialled, since packets go there first, and all that
/// is special about the other.
pub(super) fn is_inside(address: IpAddr, allow_cidrs: &[IpNet]) -> bool {
    let leads_on = |address: Ipv6Addr| matches!(carried(address), Carried::Beside(_));
    let is_dialled_inside = match address {
        IpAddr::V6(outside) if leads_on(outside) => is_held(address, allow_cidrs),
        _ => true,
    };
    address.to_canonical().is_loopback() || (is_dialled_inside && is_allowed(address, allow_cidrs))
}

fn is_held(address: IpAddr, ranges: &[IpNet]) -> bool {
    ranges.iter().any(|range| plain(range).contains(&address))
}

/// A range of mapped addresses is one of IPv4.
fn plain(range: &IpNet) -> IpNet {
    let mapped = |range: &Ipv6Net| {
        let address = range.addr().to_ipv4_mapped()?;
        Ipv4Net::new(address, range.prefix_len().checked_sub(96)?).ok()
    };
    match range {
        IpNet::V6(v6) => mapped(v6).map_or(*range, IpNet::V4),
        IpNet::V4(_) => *range,
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let fits = |base: [u8; 4], prefix: u32| (bits ^ u32::from_be_bytes(base)).checked_shr(32 - prefix) == Some(0);
    SPECIAL_V4.into_iter().find(|(base, prefix, _)| fits(*base, *prefix)).map(|(_, _, what)| what)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let fits = |base: [u16; 8], prefix: u32| (bits ^ Ipv6Addr::from(base).to_bits()) >> (128 - prefix) == 0;
    let known = SPECIAL_V6.into_iter().find(|(base, prefix, _)| fits(*base, *prefix)).map(|(_, _, what)| what);
    // Only 2000::/3 is given out to hosts.
    known.or_else(|| (bits >> 125 != 0b001).then_some("a reserved address"))
}

/// What an address of IPv6 carries of IPv4.
enum Carried {
    /// It is nothing but another spelling of this one.
    Instead(Ipv4Addr),
    /// It may lead on to one of these.
    Beside([Ipv4Addr; 2]),
    /// Nothing.
    Nothing,
}

/// Mapped, translated, compatible and NAT64; 6to4, ISATAP, Teredo, and NAT64 under a prefix of somebody's own, where the
/// address lies around the octet in the middle or at the end (RFC 6052).
fn carried(address: Ipv6Addr) -> Carried {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    let last = v4(g, h);
    match (a, b, c, d, e, f) {
        // :: and ::1 are addresses of their own.
        (0, 0, 0, 0, 0, 0) if last.to_bits() > 1 => Carried::Instead(last),
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => Carried::Instead(last),
        (0x64, 0xff9b, 1, ..) => Carried::Beside([v4(d, (e << 8) | (f >> 8)), last]),
        (0x2001, 0, ..) => Carried::Beside([v4(c, d), v4(!g, !h)]),
        (0x2002, ..) => Carried::Beside([v4(b, c), v4(b, c)]),
        (_, _, _, _, 0 | 0x200, 0x5efe) => Carried::Beside([last, last]),
        _ => Carried::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<&'static str> {
        special(text.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_known() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:192.168.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b:1:a00:0:100::",
            "64:ff9b:1::8.8.8.8",
            "100:0:0:1::1",
            "2001:0:808:808::1",
            "2001:0:0808:0808:0:0:f5ff:fffe",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2620:4f:8000::1",
            "3ffe::1",
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1",
            "100.100.100.200",
        ] {
            assert!(kind(text).is_some(), "{text} counts as public");
        }
    }

    #[test]
    fn public_addresses_are_not_special() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::8a",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_of_the_operator_hold_carried_addresses() {
        let ranges = ["10.0.0.0/8", "fd00::/8", "64:ff9b:1::/48", "::ffff:192.168.7.0/120", "2001::/32"];
        let ranges = ranges.map(|range| range.parse().unwrap());
        for (text, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("64:ff9b::10.1.2.3", true),
            ("64:ff9b::192.168.0.1", false),
            ("2002:a01:203::1", true),
            ("2002:c0a8:1::1", false),
            ("192.168.7.9", true),
            ("192.168.8.9", false),
            ("fd12::1", true),
            ("192.168.0.1", false),
            ("::1", false),
            // The operator's own translator, and what lies behind it.
            ("64:ff9b:1:808:8:800:808:808", true),
            ("64:ff9b:1:a00:0:100:808:808", true),
            ("64:ff9b:1:808:8:800:a9fe:a9fe", false),
            ("2001:0:808:808::f7f7:f7f7", true),
            ("2001:0:808:808::5601:5601", false),
        ] {
            assert_eq!(is_allowed(text.parse().unwrap(), &ranges), allowed, "{text}");
        }
    }

    #[test]
    fn loopback_is_inside_in_every_spelling() {
        for (text, inside) in [("127.0.0.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false)] {
            assert_eq!(is_inside(text.parse().unwrap(), &[]), inside, "{text}");
        }
    }

    #[test]
    fn nothing_is_inside_that_no_range_holds_by_the_address_that_is_dialled() {
        let ranges = ["10.0.0.0/8", "fd00::/8", "64:ff9b:1::/48", "2002::/16"].map(|range| range.parse().unwrap());
        for (text, count, inside) in [
            ("2002:808:808::1", 0, false),
            ("2a00:1450::5efe:808:808", 0, false),
            ("2a00:1450::200:5efe:808:808", 0, false),
            ("2606:4700::1111", 0, false),
            ("2002:808:808::1", 3, false),
            ("2002:808:808::1", 4, true),
            ("2002:a9fe:a9fe::1", 4, false),
            ("2a00:1450::5efe:808:808", 4, false),
            // Anybody who has a network may give out such an address, and packets go to whom it belongs.
            ("2a00:1450::5efe:a01:203", 4, false),
            ("fd12::5efe:a01:203", 4, true),
            ("fd12::5efe:808:808", 4, true),
            ("fd12::5efe:a9fe:a9fe", 4, false),
            ("64:ff9b:1:a00:0:100:808:808", 4, true),
            ("64:ff9b::10.1.2.3", 4, true),
            ("64:ff9b::8.8.8.8", 4, false),
            ("10.1.2.3", 4, true),
            ("::ffff:10.1.2.3", 4, true),
        ] {
            assert_eq!(is_inside(text.parse().unwrap(), &ranges[..count]), inside, "{text} among {count}");
        }
    }
}
