//! Durations as people write them: `"250ms"`, `"10s"`, `"1m 30s"`, `"12h"`, `"2d"`.
//!
//! For a field of type [`Duration`]: `#[serde(with = "service::config::duration")]`. A number
//! without a unit is refused: nobody should have to guess whether `10` means seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Units, largest first, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const EXPECTED: &str = "a time with its unit, such as \"250ms\", \"10s\", \"1m30s\" or \"12h\"";

/// Reads a duration: one or more of a whole number and a unit (d, h, m, s, ms, us, ns). `0` alone
/// needs no unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("must be {EXPECTED}, is \"{text}\"");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(refuse());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let (_, nanoseconds) =
            UNITS.into_iter().find(|&(name, _)| name == unit).ok_or_else(refuse)?;
        total = number
            .checked_mul(nanoseconds)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("\"{text}\" is longer than 584 years"))?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a duration so that [`parse`] reads the same one: `1m30s`, `250ms`, `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    // What parse can have read fits; anything longer is as good as for ever.
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, nanoseconds) in UNITS {
        let count = rest / nanoseconds;
        // 1500ms reads better than 1s500ms: below a minute, use the one unit that divides it.
        let divides = rest.is_multiple_of(nanoseconds);
        if count > 0 && (divides || nanoseconds >= 60_000_000_000) {
            text.push_str(&format!("{count}{name}"));
            rest %= nanoseconds;
        }
    }
    text
}

/// Serializes a duration as its text.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Deserializes a duration from its text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250_000_000),
            ("10s", 10_000_000_000),
            ("10 s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("12h", 43_200_000_000_000),
            ("2d", 172_800_000_000_000),
            ("100us", 100_000),
            ("7ns", 7),
            (" 1s ", 1_000_000_000),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_clear() {
        for text in
            ["", " ", "10", "s", "-1s", "1.5s", "10x", "10s5", "1 0s", "10S", "99999999999d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_the_shortest_clear_form() {
        let table = [
            ("0", "0s"),
            ("90s", "1m30s"),
            ("1500ms", "1500ms"),
            ("60s", "1m"),
            ("24h", "1d"),
            ("61500ms", "1m1500ms"),
            ("100us", "100us"),
        ];
        for (text, expected) in table {
            assert_eq!(format(parse(text).unwrap()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanoseconds: u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = parse(&text);
        }
    }
}
