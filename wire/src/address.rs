//! A client's address: an IP and a port in one compact, canonical form.
//!
//! IPv4 is kept as IPv4-mapped IPv6. So `1.2.3.4` and `::ffff:1.2.3.4` are one address here, and no
//! check on the one can be passed by writing the other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IP address and a port, canonical, 18 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    ip: [u8; 16],
    port: u16,
}

/// Where an address can be, as far as its bits tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// An ordinary unicast address, public or private.
    Unicast,
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16 (cloud metadata services live there), fe80::/10.
    LinkLocal,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 0.0.0.0/8, ::.
    Unspecified,
    /// 240.0.0.0/4, and IPv6 that embeds IPv4 by an obsolete or translated form, so that no IPv4
    /// address can be smuggled past a check.
    Reserved,
}

impl Address {
    /// How many bytes the longest form takes: an IPv6 address and a port.
    pub const BYTES_MAX: usize = 18;

    /// The canonical form of an IP and a port.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port }
    }

    /// The canonical IP: never an IPv4-mapped IPv6 address.
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether this is an IPv4 address.
    #[inline]
    pub fn is_ipv4(&self) -> bool {
        self.ip[..12] == MAPPED_PREFIX
    }

    /// The IP's bytes as they go on the wire: 4 or 16.
    #[inline]
    pub fn ip_bytes(&self) -> &[u8] {
        if self.is_ipv4() { &self.ip[12..] } else { &self.ip }
    }

    /// Reads an IPv4 address from the wire.
    #[inline]
    pub(crate) fn from_v4(ip: [u8; 4], port: u16) -> Self {
        let mut mapped = [0; 16];
        mapped[..12].copy_from_slice(&MAPPED_PREFIX);
        mapped[12..].copy_from_slice(&ip);
        Self { ip: mapped, port }
    }

    /// Reads an IPv6 address from the wire. An IPv4-mapped one becomes the IPv4 address it is.
    #[inline]
    pub(crate) const fn from_v6(ip: [u8; 16], port: u16) -> Self {
        Self { ip, port }
    }

    /// Where this address can be.
    pub fn scope(&self) -> Scope {
        match self.ip() {
            IpAddr::V4(ip) => scope_v4(ip),
            IpAddr::V6(ip) => scope_v6(ip),
        }
    }
}

fn scope_v4(ip: Ipv4Addr) -> Scope {
    match ip.octets() {
        [0, ..] => Scope::Unspecified,
        [127, ..] => Scope::Loopback,
        [169, 254, ..] => Scope::LinkLocal,
        [224..=239, ..] => Scope::Multicast,
        [255, 255, 255, 255] => Scope::Broadcast,
        [240..=255, ..] => Scope::Reserved,
        _ => Scope::Unicast,
    }
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    let segments = ip.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Scope::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        // IPv4-compatible (RFC 4291 section 2.5.5.1, deprecated) and 64:ff9b::/96, ::ffff:0:0/96.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            Scope::Reserved
        }
        // 6to4 and Teredo carry an IPv4 address too.
        [0x2002, ..] | [0x2001, 0, ..] => Scope::Reserved,
        [0xfe80..=0xfebf, ..] => Scope::LinkLocal,
        [0xff00..=0xffff, ..] => Scope::Multicast,
        _ => Scope::Unicast,
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(address.ip(), address.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn ipv4_mapped_ipv6_is_the_ipv4_address() {
        assert_eq!(address("[::ffff:192.0.2.1]:5000"), address("192.0.2.1:5000"));
        assert_eq!(address("[::ffff:192.0.2.1]:5000").to_string(), "192.0.2.1:5000");
        let on_the_wire = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        assert_eq!(Address::from_v6(on_the_wire, 5000), address("192.0.2.1:5000"));
        assert_eq!(address("192.0.2.1:5000").ip_bytes(), [192, 0, 2, 1]);
    }

    #[test]
    fn scopes() {
        for (text, want) in [
            ("192.0.2.1:1", Scope::Unicast),
            ("10.0.0.1:1", Scope::Unicast),
            ("[2001:db8::1]:1", Scope::Unicast),
            ("[fd00::1]:1", Scope::Unicast),
            ("127.0.0.1:1", Scope::Loopback),
            ("127.255.255.254:1", Scope::Loopback),
            ("[::1]:1", Scope::Loopback),
            ("[::ffff:127.0.0.1]:1", Scope::Loopback),
            ("169.254.169.254:1", Scope::LinkLocal),
            ("[::ffff:169.254.169.254]:1", Scope::LinkLocal),
            ("[fe80::1]:1", Scope::LinkLocal),
            ("224.0.0.1:1", Scope::Multicast),
            ("239.255.255.255:1", Scope::Multicast),
            ("[ff02::1]:1", Scope::Multicast),
            ("255.255.255.255:1", Scope::Broadcast),
            ("240.0.0.1:1", Scope::Reserved),
            ("0.0.0.0:1", Scope::Unspecified),
            ("0.1.2.3:1", Scope::Unspecified),
            ("[::]:1", Scope::Unspecified),
            ("[::127.0.0.1]:1", Scope::Reserved),
            ("[64:ff9b::7f00:1]:1", Scope::Reserved),
            ("[2002:7f00:1::]:1", Scope::Reserved),
            ("[2001::1]:1", Scope::Reserved),
        ] {
            assert_eq!(address(text).scope(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(ip: IpAddr, port: u16) {
            let address = Address::new(ip, port);
            prop_assert_eq!(address.ip(), ip.to_canonical());
            prop_assert_eq!(Address::from(SocketAddr::from(address)), address);
            prop_assert_eq!(address.ip_bytes().len(), if address.is_ipv4() { 4 } else { 16 });
        }
    }
}
