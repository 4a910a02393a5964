//! What the kernel says over rtnetlink, as far as next hops depend on it.
//!
//! Reading is pure: bytes in, facts out. Whatever is not understood is told as such (a route with an
//! attribute that is not known here is not *plain*), never guessed at. The shell around it is in
//! `source`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{IP_BYTES_MAX, Mac};
use super::next_hop::{Leads, Link, Neighbour, Route, Table};

const HEADER_BYTES: usize = 16;
/// Of `rtmsg`, `ndmsg` and `fib_rule_hdr`.
const BODY_BYTES: usize = 12;
const LINK_BODY_BYTES: usize = 16;
/// An attribute's flags, beside its type.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

const ARPHRD_ETHER: u16 = 1;
/// NUD_REACHABLE, STALE, DELAY, PROBE and PERMANENT: states in which the kernel itself sends to the
/// hardware address that it has.
const NEIGHBOUR_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;
/// The other attributes of `RTAX_*` inside RTA_METRICS change how connections behave, not where a
/// datagram goes.
const RTAX_MTU: u16 = 2;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) body: &'a [u8],
}

/// The messages in what one receive brought, up to the first that is cut off.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = bytes.get(..length)?;
        let found = Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            body: message.get(HEADER_BYTES..)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// A request for everything of a kind, in a family.
pub(crate) fn dump_request(kind: u16, family: u8) -> Vec<u8> {
    let body = if kind == libc::RTM_GETLINK { LINK_BODY_BYTES } else { BODY_BYTES };
    let length = HEADER_BYTES + body;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0x301.
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = vec![0; length];
    request[..4].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    request[HEADER_BYTES] = family;
    request
}

/// The attributes behind a body's fixed part, up to the first that is cut off.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A device, of the body of RTM_NEWLINK.
pub(crate) fn link(body: &[u8]) -> Option<Link> {
    #[allow(clippy::cast_sign_loss)] // Flags.
    const WANTED: u32 = (libc::IFF_UP | libc::IFF_LOWER_UP) as u32;
    #[allow(clippy::cast_sign_loss)]
    const UNWANTED: u32 = (libc::IFF_LOOPBACK | libc::IFF_POINTOPOINT | libc::IFF_NOARP) as u32;
    let hardware = u16_at(body, 2)?;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        mac: Mac::default(),
        ethernet: hardware == ARPHRD_ETHER && flags & WANTED == WANTED && flags & UNWANTED == 0,
    };
    let mut has_mac = false;
    for (kind, value) in attributes(body.get(LINK_BODY_BYTES..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => {
                has_mac = value.len() == link.mac.len();
                if has_mac {
                    link.mac.copy_from_slice(value);
                }
            }
            libc::IFLA_MTU => link.ethernet &= u32_at(value, 0).is_some_and(is_enough),
            // A member of a bridge, bond or VRF: what becomes of its packets is the master's affair.
            libc::IFLA_MASTER => link.ethernet = false,
            libc::IFLA_LINKINFO => link.ethernet &= is_plain_kind(value),
            _ => {}
        }
    }
    link.ethernet &= has_mac;
    Some(link)
}

/// A network card has no kind. A virtual cable behaves like one; tunnels, which look like Ethernet
/// too, do not.
fn is_plain_kind(link_info: &[u8]) -> bool {
    const IFLA_INFO_KIND: u16 = 1;
    let mut kinds = attributes(link_info).filter(|(kind, _)| *kind == IFLA_INFO_KIND);
    kinds.all(|(_, name)| text(name) == "veth")
}

/// A neighbour whose hardware address the kernel would send to, of the body of RTM_NEWNEIGH.
pub(crate) fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let (family, index, state) = (*body.first()?, u32_at(body, 4)?, u16_at(body, 8)?);
    let flags = *body.get(10)?;
    if state & NEIGHBOUR_VALID == 0 || flags & libc::NTF_PROXY != 0 {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(BODY_BYTES..)?) {
        match kind {
            libc::NDA_DST => address = ip(family, value),
            libc::NDA_LLADDR => mac = Mac::try_from(value).ok(),
            _ => {}
        }
    }
    Some(Neighbour { link: index, address: address?, mac: mac? })
}

/// A route of the tables that the default rules name, of the body of RTM_NEWROUTE; `None` for those
/// of other tables and families.
pub(crate) fn route(body: &[u8]) -> Option<Route> {
    let [family, prefix, source_bits, tos, table, _, _, kind] = *body.first_chunk()?;
    let flags = u32_at(body, 8)?;
    // A copy made for one destination, not a route.
    if flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let unspecified = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route {
        table: Table::Other,
        destination: unspecified,
        prefix,
        metric: 0,
        leads: Leads::Elsewhere,
    };
    let alive = flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) == 0;
    let mut plain = kind == libc::RTN_UNICAST && source_bits == 0 && tos == 0 && alive;
    let (mut number, mut link, mut gateway) = (u32::from(table), None, None);
    for (kind, value) in attributes(body.get(BODY_BYTES..)?) {
        match kind {
            libc::RTA_TABLE => number = u32_at(value, 0)?,
            libc::RTA_DST => route.destination = ip(family, value)?,
            libc::RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            libc::RTA_OIF => link = u32_at(value, 0),
            libc::RTA_GATEWAY => {
                gateway = ip(family, value);
                plain &= gateway.is_some();
            }
            libc::RTA_METRICS => {
                let mut mtus = attributes(value).filter(|(kind, _)| *kind == RTAX_MTU);
                plain &= mtus.all(|(_, mtu)| u32_at(mtu, 0).is_some_and(is_enough));
            }
            // Not about where a packet with a given source address goes.
            libc::RTA_PREFSRC | libc::RTA_CACHEINFO | RTA_PREF => {}
            // Several next hops, a tunnel, a next hop object, or something new.
            _ => plain = false,
        }
    }
    route.table = match number {
        TABLE_LOCAL => Table::Local,
        TABLE_MAIN => Table::Main,
        TABLE_DEFAULT => Table::Default,
        _ => Table::Other,
    };
    if let (true, Some(link)) = (plain, link) {
        route.leads = match gateway {
            Some(gateway) => Leads::ToGateway { link, gateway },
            None => Leads::ToLink { link },
        };
    }
    Some(route)
}

const RTNH_F_DEAD: u32 = 1;
const RTNH_F_LINKDOWN: u32 = 16;
const RTA_PREF: u16 = 20;
const TABLE_DEFAULT: u32 = 253;
const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// Whether a rule is one of the three that every host has, of the body of RTM_NEWRULE: every packet
/// to the tables local, main and default, at their places.
pub(crate) fn is_usual_rule(body: &[u8]) -> bool {
    const FRA_PRIORITY: u16 = 6;
    const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
    const FRA_TABLE: u16 = 15;
    const FRA_PROTOCOL: u16 = 21;
    const FR_ACT_TO_TBL: u8 = 1;
    let Some([_, to_bits, from_bits, tos, table, _, _, action]) = body.first_chunk().copied()
    else {
        return false;
    };
    let (mut priority, mut table) = (0, u32::from(table));
    let mut usual = to_bits == 0 && from_bits == 0 && tos == 0 && action == FR_ACT_TO_TBL;
    for (kind, value) in attributes(body.get(BODY_BYTES..).unwrap_or_default()) {
        match (kind, u32_at(value, 0)) {
            (FRA_PRIORITY, Some(value)) => priority = value,
            (FRA_TABLE, Some(value)) => table = value,
            (FRA_SUPPRESS_PREFIXLEN, Some(u32::MAX)) | (FRA_PROTOCOL, _) => {}
            _ => usual = false,
        }
    }
    let places = [(0, TABLE_LOCAL), (32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)];
    usual && places.contains(&(priority, table))
}

/// Every packet that is built here fits this MTU.
fn is_enough(mtu: u32) -> bool {
    usize::try_from(mtu).is_ok_and(|mtu| mtu >= IP_BYTES_MAX)
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        libc::AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IPV4: u8 = 2;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_ne_bytes())
    }

    /// The fixed part of an IPv4 route in the main table, and attributes.
    fn route_body(prefix: u8, kind: u8, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let fixed = [IPV4, prefix, 0, 0, 254, 4, 0, kind];
        [&fixed[..], &flags.to_ne_bytes(), &attributes.concat()].concat()
    }

    fn link_body(flags: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let fixed = [&[0, 0][..], &1u16.to_ne_bytes(), &7u32.to_ne_bytes(), &flags.to_ne_bytes()];
        [&fixed.concat()[..], &[0; 4], &attributes.concat()].concat()
    }

    #[test]
    fn which_routes_are_plain() {
        let gateway = attribute(libc::RTA_GATEWAY, &[192, 0, 2, 1]);
        let oif = number(libc::RTA_OIF, 7);
        let to_gateway = Leads::ToGateway { link: 7, gateway: [192, 0, 2, 1].into() };
        let unicast = libc::RTN_UNICAST;
        let table = [
            ("on link", unicast, 0, vec![oif.clone()], Leads::ToLink { link: 7 }),
            ("by a gateway", unicast, 0, vec![oif.clone(), gateway.clone()], to_gateway.clone()),
            (
                "with what does not matter",
                unicast,
                0,
                vec![oif.clone(), gateway.clone(), attribute(libc::RTA_PREFSRC, &[192, 0, 2, 9])],
                to_gateway,
            ),
            ("blackhole", libc::RTN_BLACKHOLE, 0, vec![oif.clone()], Leads::Elsewhere),
            ("local", libc::RTN_LOCAL, 0, vec![oif.clone()], Leads::Elsewhere),
            ("dead", unicast, RTNH_F_DEAD, vec![oif.clone()], Leads::Elsewhere),
            ("no device", unicast, 0, vec![gateway.clone()], Leads::Elsewhere),
            (
                "several next hops",
                unicast,
                0,
                vec![attribute(libc::RTA_MULTIPATH, &[0; 16])],
                Leads::Elsewhere,
            ),
            (
                "a next hop object",
                unicast,
                0,
                vec![oif.clone(), gateway, number(30, 1)],
                Leads::Elsewhere,
            ),
            (
                "IPv4 by an IPv6 gateway",
                unicast,
                0,
                vec![oif.clone(), attribute(libc::RTA_VIA, &[10, 0, 0, 0])],
                Leads::Elsewhere,
            ),
        ];
        for (name, kind, flags, attributes, leads) in table {
            let route = route(&route_body(0, kind, flags, &attributes)).unwrap();
            assert_eq!((route.table, route.leads), (Table::Main, leads), "{name}");
        }
        let copied = route_body(32, unicast, libc::RTM_F_CLONED, &[oif]);
        assert_eq!(route(&copied), None);
    }

    #[test]
    fn a_route_with_everything() {
        let metrics = |mtu| attribute(libc::RTA_METRICS, &number(RTAX_MTU, mtu));
        let attributes = [
            number(libc::RTA_TABLE, TABLE_LOCAL),
            attribute(libc::RTA_DST, &[198, 51, 100, 0]),
            number(libc::RTA_PRIORITY, 100),
            metrics(1_400),
            number(libc::RTA_OIF, 3),
        ];
        let expected = Route {
            table: Table::Local,
            destination: [198, 51, 100, 0].into(),
            prefix: 24,
            metric: 100,
            leads: Leads::ToLink { link: 3 },
        };
        assert_eq!(route(&route_body(24, libc::RTN_UNICAST, 0, &attributes)), Some(expected));
        let narrow = [metrics(1_000), number(libc::RTA_OIF, 3)];
        let narrow = route(&route_body(24, libc::RTN_UNICAST, 0, &narrow)).unwrap();
        assert_eq!(narrow.leads, Leads::Elsewhere);
    }

    #[test]
    fn which_devices_are_ethernet() {
        let up = libc::IFF_UP | libc::IFF_LOWER_UP;
        let mac = attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]);
        let kind = |name: &[u8]| attribute(libc::IFLA_LINKINFO, &attribute(1, name));
        let table = [
            ("a card", up, vec![mac.clone()], true),
            ("a virtual cable", up, vec![mac.clone(), kind(b"veth\0")], true),
            ("a tunnel", up, vec![mac.clone(), kind(b"vxlan\0")], false),
            ("a bridge's port", up, vec![mac.clone(), number(libc::IFLA_MASTER, 9)], false),
            ("narrow", up, vec![mac.clone(), number(libc::IFLA_MTU, 1_200)], false),
            ("down", libc::IFF_UP, vec![mac.clone()], false),
            ("without ARP", up | libc::IFF_NOARP, vec![mac], false),
            ("without an address", up, vec![], false),
            ("Infiniband's", up, vec![attribute(libc::IFLA_ADDRESS, &[0; 20])], false),
        ];
        for (name, flags, attributes, ethernet) in table {
            let link = link(&link_body(flags, &attributes)).unwrap();
            assert_eq!((link.index, link.ethernet), (7, ethernet), "{name}");
        }
    }

    #[test]
    fn which_neighbours_are_valid() {
        let address = attribute(libc::NDA_DST, &[192, 0, 2, 1]);
        let mac = attribute(libc::NDA_LLADDR, &[2, 0, 0, 0, 0, 1]);
        let body = |state: u16, attributes: &[Vec<u8>]| {
            let index = 7u32.to_ne_bytes();
            let fixed = [&[IPV4, 0, 0, 0][..], &index, &state.to_ne_bytes(), &[0, 0]];
            [&fixed.concat()[..], &attributes.concat()].concat()
        };
        let both = [address.clone(), mac];
        let (incomplete, reachable, stale, failed, permanent) = (0x01, 0x02, 0x04, 0x20, 0x80);
        for state in [reachable, stale, permanent] {
            let found = neighbour(&body(state, &both)).unwrap();
            let expected =
                Neighbour { link: 7, address: [192, 0, 2, 1].into(), mac: [2, 0, 0, 0, 0, 1] };
            assert_eq!(found, expected);
        }
        for state in [incomplete, failed, 0, 0x40] {
            assert_eq!(neighbour(&body(state, &both)), None);
        }
        assert_eq!(neighbour(&body(reachable, &[address])), None);
    }

    #[test]
    fn which_rules_are_usual() {
        let rule = |table: u8, from_bits: u8, attributes: &[Vec<u8>]| {
            let fixed = [IPV4, 0, from_bits, 0, table, 0, 0, 1, 0, 0, 0, 0];
            is_usual_rule(&[&fixed[..], &attributes.concat()].concat())
        };
        let priority = |value| number(6, value);
        assert!(rule(255, 0, &[number(15, 255), number(14, u32::MAX)]));
        assert!(rule(254, 0, &[priority(32_766)]));
        assert!(rule(253, 0, &[priority(32_767)]));
        assert!(!rule(254, 0, &[priority(100)]), "main in another place");
        assert!(!rule(10, 0, &[priority(32_766)]), "another table");
        assert!(!rule(254, 24, &[priority(32_766)]), "only from somewhere");
        assert!(!rule(254, 0, &[priority(32_766), number(10, 1)]), "by a mark");
        assert!(!is_usual_rule(&[]));
    }

    #[test]
    fn messages_are_read_one_behind_the_other() {
        let request = dump_request(libc::RTM_GETROUTE, 2);
        let twice = [&request[..], &request].concat();
        let found: Vec<_> = messages(&twice).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].kind, found[1].flags), (libc::RTM_GETROUTE, 0x301));
        assert_eq!(found[1].body.len(), BODY_BYTES);
        assert_eq!(messages(&twice[..twice.len() - 1]).count(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_beyond_their_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), short in 0u8..60,
        ) {
            // Lengths that are nearly right get further than random ones.
            let mut likely = bytes.clone();
            for at in (0..likely.len().saturating_sub(3)).step_by(usize::from(short) + 4) {
                likely[at] = short;
                likely[at + 1] = 0;
            }
            for bytes in [&bytes, &likely] {
                for message in messages(bytes) {
                    prop_assert!(message.body.len() < bytes.len());
                }
                let total: usize = attributes(bytes).map(|(_, value)| value.len() + 4).sum();
                prop_assert!(total <= bytes.len());
                let _ = (link(bytes), route(bytes), neighbour(bytes), is_usual_rule(bytes));
            }
        }
    }
}
