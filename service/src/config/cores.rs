//! How many threads, and on which cores: values with more than one way to write them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Problems;

/// The highest core number: the kernel's `CPU_SETSIZE` less one.
pub const CPU_MAX: u16 = 1023;

/// How many threads do the work: `"auto"` or a number from 1 to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads<const MAX: u16> {
    /// One for each core that may be used.
    Auto,
    /// So many.
    Count(u16),
}

impl<const MAX: u16> Threads<MAX> {
    /// The most threads that this can mean.
    #[must_use]
    pub fn count_max(self) -> u16 {
        match self {
            Self::Auto => MAX,
            Self::Count(count) => count,
        }
    }

    /// The number of threads where so many cores may be used.
    #[must_use]
    pub fn on(self, cpus: usize) -> usize {
        match self {
            Self::Auto => cpus.min(usize::from(MAX)),
            Self::Count(count) => usize::from(count),
        }
    }

    /// Checks `workers` or `shards` against the table of cores: `thread` is the one of `key`.
    pub fn check(self, key: &str, thread: &str, cpus: &Cpus, problems: &mut Problems<'_>) {
        let cpus = cpus.as_slice().len();
        if cpus == 0 {
            return;
        }
        match self {
            Self::Count(count) if usize::from(count) > cpus => problems.add(
                key,
                format!(
                    "{count} {key} need as many cores, and cpus lists {cpus}: lower {key}, or \
                     leave it at \"auto\""
                ),
            ),
            Self::Auto if cpus > usize::from(MAX) => problems.add(
                "cpus",
                format!("lists {cpus} cores, one {thread} each, and there are at most {MAX} {key}"),
            ),
            Self::Auto | Self::Count(_) => {}
        }
    }
}

impl<const MAX: u16> Serialize for Threads<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de, const MAX: u16> Deserialize<'de> for Threads<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Auto<const MAX: u16>;
        impl<const MAX: u16> Visitor<'_> for Auto<MAX> {
            type Value = Threads<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"auto\" or 1..={MAX}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Threads<MAX>, E> {
                if text == "auto" {
                    return Ok(Threads::Auto);
                }
                Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Threads<MAX>, E> {
                match u16::try_from(count) {
                    Ok(count) if (1..=MAX).contains(&count) => Ok(Threads::Count(count)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(count), &self)),
                }
            }
        }
        deserializer.deserialize_any(Auto::<MAX>)
    }
}

/// Core numbers, each once, in the order of the threads: `[2, 3]`, or as the kernel writes them,
/// `"2-3,8"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpus(Vec<u16>);

impl Cpus {
    /// The core numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        &self.0
    }

    fn new(list: Vec<u16>) -> Result<Self, String> {
        for (index, cpu) in list.iter().enumerate() {
            if *cpu > CPU_MAX {
                return Err(format!("core {cpu} cannot be: the highest is {CPU_MAX}"));
            }
            if list[..index].contains(cpu) {
                return Err(format!("core {cpu} is listed twice"));
            }
        }
        Ok(Self(list))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "must be core numbers such as [2, 3] or \"2-3,8\", with 0..={CPU_MAX}, is \"{text}\""
            )
        };
        let number = |text: &str| {
            let number = text.trim().parse().map_err(|_| refuse())?;
            // Before a range is written out: "0-65535" must not become 65,536 numbers.
            if number <= CPU_MAX { Ok(number) } else { Err(refuse()) }
        };
        let mut list = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            match part.split_once('-') {
                None => list.push(number(part)?),
                Some((first, last)) => {
                    let (first, last): (u16, u16) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(refuse());
                    }
                    list.extend(first..=last);
                }
            }
            // Each core may be there once, so nobody needs more; a mistake ends here.
            if list.len() > usize::from(CPU_MAX) + 1 {
                return Err(refuse());
            }
        }
        Self::new(list)
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Cpus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("core numbers such as [2, 3] or \"2-3,8\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Cpus, E> {
                Cpus::parse(text).map_err(E::custom)
            }

            /// One core without quotes, from a flag or the environment.
            fn visit_i64<E: Error>(self, cpu: i64) -> Result<Cpus, E> {
                Cpus::parse(&cpu.to_string()).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Cpus, A::Error> {
                let mut list = Vec::new();
                while let Some(cpu) = elements.next_element()? {
                    list.push(cpu);
                }
                Cpus::new(list).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        let table: [(&str, &[u16]); 6] = [
            ("", &[]),
            ("3", &[3]),
            ("2-3,8", &[2, 3, 8]),
            ("8, 2 - 3", &[8, 2, 3]),
            ("0-0", &[0]),
            ("1023", &[1023]),
        ];
        for (text, cpus) in table {
            assert_eq!(Cpus::parse(text).unwrap().as_slice(), cpus, "{text}");
        }
        for text in [",", "1,", "a", "-1", "3-2", "1024", "0-65535", "1-", "1-2-3", "1,1", "0-3,2"]
        {
            assert!(Cpus::parse(text).is_err(), "{text}");
        }
    }
}
