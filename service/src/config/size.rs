//! Sizes in bytes as people write them: `"4MiB"`, `"64KiB"`, `"1500"`, `2048`.
//!
//! For a field of type `u64`: `#[serde(with = "service::config::size")]`. `kB` and `MB` are powers
//! of ten, `KiB` and `MiB` powers of two; a bare number is bytes.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Units; the first that divides a size evenly is the one it is written in.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const EXPECTED: &str = "a size such as \"4MiB\", \"64KiB\" or a number of bytes";

/// Reads a size: a whole number and, unless it is bytes, a unit.
pub fn parse(text: &str) -> Result<u64, String> {
    let refuse = || format!("must be {EXPECTED}, is \"{text}\"");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        unit => UNITS.into_iter().find(|&(name, _)| name == unit).ok_or_else(refuse)?.1,
    };
    number.checked_mul(factor).ok_or_else(|| format!("\"{text}\" is more than 16 EiB"))
}

/// Writes a size so that [`parse`] reads the same one: `4MiB`, `1500B`.
#[must_use]
pub fn format(bytes: u64) -> String {
    let unit = UNITS.into_iter().find(|&(_, factor)| bytes > 0 && bytes.is_multiple_of(factor));
    let (name, factor) = unit.unwrap_or(("B", 1));
    format!("{}{name}", bytes / factor)
}

/// Serializes a size as its text.
pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*bytes))
}

/// Deserializes a size from text or a number of bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom(format!("must be {EXPECTED}, is {bytes}")))
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }
    }
    deserializer.deserialize_any(Size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("0", 0),
            ("1500", 1500),
            ("1500B", 1500),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("4MiB", 4_194_304),
            ("1GB", 1_000_000_000),
            ("2kB", 2000),
        ];
        for (text, bytes) in table {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_clear() {
        for text in ["", "MiB", "-1", "1.5MiB", "4M", "4mib", "4MiBs", "99999999TiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: u64) {
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
