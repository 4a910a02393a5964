//! A network: an address and how many of its leading bits count, such as `10.0.0.0/8`.
//!
//! IPv4 addresses in IPv6 clothing (`::ffff:10.0.0.1`) are IPv4 everywhere here. Comparing the two
//! forms as different things has let strangers into networks before (CVE-2026-27624).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network. The bits beyond its length are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    length: u8,
}

impl Cidr {
    /// The network of an address and a length. Refuses a length beyond the address's and bits
    /// beyond the length: `10.0.0.5/8` is either `10.0.0.5` or `10.0.0.0/8`, and only the author
    /// knows which.
    pub fn new(network: IpAddr, length: u8) -> Result<Self, String> {
        let bits = bits(network);
        if length > bits {
            return Err(format!("{network}/{length}: the length may be at most {bits}"));
        }
        let (network, length) = match (network, network.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(inner)) => {
                // Shorter than the prefix that marks IPv4, it would be a bit of both.
                let length = length.checked_sub(96).ok_or_else(|| {
                    format!("{network}/{length}: write IPv4 networks as IPv4, such as {inner}/24")
                })?;
                (IpAddr::V4(inner), length)
            }
            (network, _) => (network, length),
        };
        let masked = masked(network, length);
        if masked != network {
            return Err(format!(
                "{network}/{length} has bits beyond its length: write {masked}/{length}, or \
                 {network} for the one address"
            ));
        }
        Ok(Self { network, length })
    }

    /// Its first address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits count.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is a single address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.length == bits(self.network)
    }

    /// Whether an address is in it, in whichever form the address comes.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.length) == self.network
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with only its leading `length` bits.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    // Shifting by the whole width is an overflow, and means that no bit is left.
    let zeros = u32::from(bits(address) - length);
    match address {
        IpAddr::V4(address) => {
            IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(zeros).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(zeros).unwrap_or(0)).into())
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or an address alone, which is a network of one.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("must be a network such as \"10.0.0.0/8\" or an address, is \"{text}\"");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let length = match length {
            None => bits(address),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| refuse())?
            }
            Some(_) => return Err(refuse()),
        };
        Self::new(address, length)
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IpAddr> for Cidr {
    /// The network of one address.
    fn from(address: IpAddr) -> Self {
        let network = address.to_canonical();
        Self { network, length: bits(network) }
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_networks_and_writes_them_canonically() {
        let table = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("2001:DB8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ];
        for (text, canonical) in table {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_clear() {
        let table = [
            ("", "must be a network"),
            ("10.0.0.0/", "must be a network"),
            ("10.0.0.0/+8", "must be a network"),
            ("10.0.0.0/999", "must be a network"),
            ("10.0.0/8", "must be a network"),
            ("010.0.0.0/8", "must be a network"),
            ("ten/8", "must be a network"),
            ("10.0.0.0/33", "at most 32"),
            ("fd00::/129", "at most 128"),
            ("10.0.0.5/8", "write 10.0.0.0/8, or 10.0.0.5 for the one address"),
            ("fd00::1/8", "write fd00::/8"),
            ("::ffff:10.0.0.0/90", "write IPv4 networks as IPv4"),
        ];
        for (text, reason) in table {
            let refused = text.parse::<Cidr>().unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn contains() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "::ffff:1.2.3.4", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
        ];
        for (cidr, address, expected) in table {
            let network: Cidr = cidr.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{cidr} {address}");
        }
    }

    proptest! {
        #[test]
        fn a_network_contains_exactly_the_addresses_that_share_its_bits(
            address: u32, other: u32, length in 0_u8..=32,
        ) {
            let network = masked(IpAddr::V4(address.into()), length);
            let cidr = Cidr::new(network, length).unwrap();
            let share = length == 0 || (address ^ other) >> (32 - length) == 0;
            prop_assert_eq!(cidr.contains(IpAddr::V4(other.into())), share);
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f.:/]{0,40}") {
            if let Ok(cidr) = text.parse::<Cidr>() {
                prop_assert!(cidr.contains(cidr.network()));
            }
        }
    }
}
