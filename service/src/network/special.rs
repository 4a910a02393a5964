//! Addresses that a process must not be talked into sending to. Whoever can choose where a relay
//! forwards can make it knock at doors that only it can reach: its own loopback services, its
//! neighbours, the cloud's metadata service with the machine's credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Cidr;

/// What is special about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `0.0.0.0/8` and `::`: no address at all; Linux takes `0.0.0.0` for this host.
    Unspecified,
    /// `127.0.0.0/8` and `::1`: this host.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`: this link.
    LinkLocal,
    /// `224.0.0.0/4` and `ff00::/8`: many hosts.
    Multicast,
    /// `240.0.0.0/4`, with `255.255.255.255`: every host, and addresses nobody has.
    Broadcast,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// IPv6 that a translator turns into an IPv4 address: `64:ff9b::/96`, `2002::/16`, `::/96`. It
    /// would pass by every rule for the address inside.
    Translated,
}

/// Metadata services of the larger clouds that lie outside of the link-local networks, or in them:
/// most share the first; then AWS (containers, IPv6), Alibaba, Azure's host agent, Oracle.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

impl Special {
    /// What is special about an address, if anything is.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        if METADATA.contains(&address) {
            return Some(Self::Metadata);
        }
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        match address.octets() {
            [0, ..] => Some(Self::Unspecified),
            [127, ..] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::LinkLocal),
            [224..=239, ..] => Some(Self::Multicast),
            [240..=255, ..] => Some(Self::Broadcast),
            _ => None,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some(Self::Unspecified),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some(Self::Loopback),
            [0xfe80..=0xfebf, ..] => Some(Self::LinkLocal),
            [0xff00..=0xffff, ..] => Some(Self::Multicast),
            // RFC 6052 (also the local 64:ff9b:1::/48 of RFC 8215), RFC 3056, RFC 4291 2.5.5.1.
            [0x64, 0xff9b, ..] | [0x2002, ..] | [0, 0, 0, 0, 0, 0, ..] => Some(Self::Translated),
            _ => None,
        }
    }

    /// Whether listing it explicitly may allow it. Where no single host answers, nothing can be
    /// meant by sending there.
    #[must_use]
    pub fn can_be_allowed(self) -> bool {
        match self {
            Self::Loopback | Self::LinkLocal | Self::Metadata | Self::Translated => true,
            Self::Unspecified | Self::Multicast | Self::Broadcast => false,
        }
    }

    /// Its name in sentences.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast or reserved",
            Self::Metadata => "cloud metadata service",
            Self::Translated => "translated IPv4",
        }
    }
}

/// Why an address must not be sent to, given what was listed explicitly; none if it may. A
/// metadata service is allowed only by its very address: who lists all of `169.254.0.0/16` means
/// neighbours, not credentials.
#[must_use]
pub fn refused(address: IpAddr, allowed: &[Cidr]) -> Option<Special> {
    let special = Special::of(address)?;
    let listed = allowed
        .iter()
        .any(|cidr| cidr.contains(address) && (special != Special::Metadata || cidr.is_single()));
    (!listed || !special.can_be_allowed()).then_some(special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special() {
        let table = [
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("100.64.0.1", None),
            ("8.8.8.8", None),
            ("fd00::1", None),
            ("2001:db8::1", None),
            ("0.0.0.0", Some(Special::Unspecified)),
            ("0.1.2.3", Some(Special::Unspecified)),
            ("::", Some(Special::Unspecified)),
            ("127.0.0.1", Some(Special::Loopback)),
            ("127.255.255.255", Some(Special::Loopback)),
            ("::1", Some(Special::Loopback)),
            ("::ffff:127.0.0.1", Some(Special::Loopback)),
            ("169.254.0.1", Some(Special::LinkLocal)),
            ("fe80::1", Some(Special::LinkLocal)),
            ("febf::1", Some(Special::LinkLocal)),
            ("224.0.0.1", Some(Special::Multicast)),
            ("239.255.255.255", Some(Special::Multicast)),
            ("ff02::1", Some(Special::Multicast)),
            ("240.0.0.1", Some(Special::Broadcast)),
            ("255.255.255.255", Some(Special::Broadcast)),
            ("169.254.169.254", Some(Special::Metadata)),
            ("::ffff:169.254.169.254", Some(Special::Metadata)),
            ("fd00:ec2::254", Some(Special::Metadata)),
            ("64:ff9b::7f00:1", Some(Special::Translated)),
            ("2002:7f00:1::", Some(Special::Translated)),
            ("::127.0.0.1", Some(Special::Translated)),
        ];
        for (address, special) in table {
            assert_eq!(Special::of(address.parse().unwrap()), special, "{address}");
        }
    }

    #[test]
    fn listing_allows_what_can_be_allowed() {
        let table = [
            ("10.0.0.1", &[][..], None),
            ("127.0.0.1", &[], Some(Special::Loopback)),
            ("127.0.0.1", &["127.0.0.0/8"], None),
            ("::ffff:127.0.0.1", &["127.0.0.0/8"], None),
            ("127.0.0.1", &["10.0.0.0/8"], Some(Special::Loopback)),
            ("169.254.7.7", &["169.254.0.0/16"], None),
            ("169.254.169.254", &["169.254.0.0/16"], Some(Special::Metadata)),
            ("169.254.169.254", &["169.254.169.254"], None),
            ("0.0.0.0", &["0.0.0.0/0"], Some(Special::Unspecified)),
            ("224.0.0.1", &["224.0.0.0/4"], Some(Special::Multicast)),
            ("255.255.255.255", &["255.255.255.255"], Some(Special::Broadcast)),
        ];
        for (address, allowed, expected) in table {
            let networks: Vec<Cidr> = allowed.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(refused(address.parse().unwrap(), &networks), expected, "{address}");
        }
    }
}
