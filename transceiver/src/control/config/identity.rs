//! What the relays know this transceiver by: a value with more than one way to write it.

use std::fmt;
use std::net::Ipv4Addr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// A transceiver's id, as in the relays' tables, or an address that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The IPv4 address that relays send to, found out at start.
    Auto,
    /// The place in a table.
    Number(u32),
    /// The IPv4 address that relays send to.
    Address(Ipv4Addr),
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::Address(address) => serializer.collect_str(address),
        }
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyOf;
        impl Visitor<'_> for AnyOf {
            type Value = Identity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", a number, or an IPv4 address such as \"10.1.0.7\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Identity, E> {
                if text == "auto" {
                    return Ok(Identity::Auto);
                }
                let address = text.parse().map(Identity::Address);
                address.map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Identity, E> {
                let id = u32::try_from(number).map(Identity::Number);
                id.map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(AnyOf)
    }
}
