//! A link: one place where datagrams enter and leave.

use std::fmt;

/// A place where datagrams enter and leave: a UDP socket today, an AF_XDP queue tomorrow. The
/// number is the index into the list of links an engine was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u8);

/// More links than this make no sense for one thread, and the index must fit [`Link`].
pub const LINKS_MAX: usize = 64;

/// UDP's own limit over IPv4: 65,535 less the IP and UDP headers.
pub const DATAGRAM_BYTES_MAX: u32 = 65_507;

impl Link {
    /// The index into the list of links the engine was made from.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "link {}", self.0)
    }
}

/// How one link is served. The defaults suit a public socket that carries WebRTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// Receive buffers, a power of two up to 32,768. io_uring needs 1,024 or more under load: one
    /// call can fill a thousand. recvmmsg never has more in use than one batch.
    pub buffers: u16,
    /// The longest datagram received. A longer one is counted as truncated and never delivered.
    pub datagram_bytes_max: u32,
    /// Sends runs of equal-sized datagrams to one destination as one UDP GSO send, where the
    /// kernel can.
    pub gso: bool,
    /// GSO is tried for segments up to this size. A segment which does not fit the path's MTU is
    /// refused by the kernel, and then costs a second send.
    pub gso_segment_bytes_max: u32,
    /// Lets the kernel deliver runs of datagrams from one source as one (UDP GRO). They arrive
    /// split again. Costs receive buffers of 64 KiB; pays only where senders send bursts.
    pub gro: bool,
    /// Puts the receive buffers on huge pages; falls back to ordinary ones if none are reserved.
    pub huge_pages: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        LinkSettings {
            buffers: 2048,
            datagram_bytes_max: 2048,
            gso: true,
            gso_segment_bytes_max: 1452,
            gro: false,
            huge_pages: false,
        }
    }
}

impl LinkSettings {
    /// Names the first setting that is out of range, and the range.
    pub fn check(&self) -> Result<(), &'static str> {
        if !self.buffers.is_power_of_two() || self.buffers > 32_768 {
            return Err("buffers must be a power of two from 1 to 32,768");
        }
        if self.datagram_bytes_max == 0 || self.datagram_bytes_max > DATAGRAM_BYTES_MAX {
            return Err("datagram_bytes_max must be from 1 to 65,507");
        }
        Ok(())
    }

    /// What one receive buffer must hold besides an engine's own header.
    pub(crate) fn payload_bytes_max(&self) -> u32 {
        // A run that the kernel has glued together is as long as the longest datagram there can
        // be (65,535 less headers), however short its segments.
        if self.gro { 65_535 } else { self.datagram_bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let good = LinkSettings::default();
        assert_eq!(good.check(), Ok(()));
        for buffers in [0, 3, 1000, 40_000] {
            let bad = LinkSettings { buffers, ..good };
            assert!(bad.check().unwrap_err().starts_with("buffers"));
        }
        for datagram_bytes_max in [0, 65_508] {
            let bad = LinkSettings { datagram_bytes_max, ..good };
            assert!(bad.check().unwrap_err().starts_with("datagram_bytes_max"));
        }
    }
}
