//! What passed a device, from `/proc/net/dev`: exact, and free for those who are measured.

use std::fs::File;
use std::io::{Read, Seek};

use anyhow::{Context, Result};

use crate::ethernet::HEADERS_BYTES;

/// What a device has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received, Ethernet's header included.
    pub received_bytes: u64,
    /// Packets received; a UDP GSO send that stays whole on the way counts as one.
    pub received: u64,
}

impl Traffic {
    /// What happened between an earlier reading and this one.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            received_bytes: self.received_bytes - earlier.received_bytes,
            received: self.received - earlier.received,
        }
    }

    /// UDP payload bytes received. A GSO send has one header, so this holds for it too.
    pub const fn received_payload_bytes(self) -> u64 {
        self.received_bytes.saturating_sub(self.received * HEADERS_BYTES as u64)
    }
}

/// The counters of one device.
#[derive(Debug)]
pub struct Counters {
    device: &'static str,
    /// Stays with the namespace it was opened in, whoever reads it.
    file: File,
}

impl Counters {
    /// Of a device of the namespace this thread is in.
    pub fn open(device: &'static str) -> Result<Self> {
        let path = "/proc/thread-self/net/dev";
        let file = File::open(path).with_context(|| format!("Failed to open {path}"))?;
        Ok(Self { device, file })
    }

    /// Reads them.
    pub fn read(&mut self) -> Result<Traffic> {
        let mut text = String::new();
        self.file.rewind().context("Failed to rewind the device counters")?;
        self.file.read_to_string(&mut text).context("Failed to read the device counters")?;
        parse(&text, self.device)
            .with_context(|| format!("There are no counters of device {}", self.device))
    }
}

/// `name: bytes packets errs drop fifo frame compressed multicast | bytes packets …`
fn parse(text: &str, device: &str) -> Option<Traffic> {
    let (_, numbers) = text
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.trim() == device))?;
    let mut numbers = numbers.split_whitespace().map(str::parse::<u64>);
    let mut at = |skip: usize| numbers.nth(skip)?.ok();
    Some(Traffic { received_bytes: at(0)?, received: at(0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:       0       0    0    0    0     0          0         0        0       0    0    0
    s0: 1620      10    1    2    0     0          0         0     3333      21    0    7
";

    #[test]
    fn the_columns_are_found() {
        let traffic = parse(TEXT, "s0").unwrap();
        assert_eq!(traffic, Traffic { received_bytes: 1620, received: 10 });
        assert_eq!(traffic.received_payload_bytes(), 1200);
        assert_eq!(parse(TEXT, "s"), None);
    }
}
