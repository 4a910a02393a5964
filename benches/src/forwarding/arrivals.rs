//! What arrived: how many client packets, told by a device's bytes, and how long each was under way.

use anyhow::Result;

use crate::cases::Direction;
use crate::rig::Side;
use crate::traffic::PAYLOAD_BYTES;
use kit::forwarder::{self, HEADER_BYTES};
use kit::payload;
use kit::sessions::{LegCounters, Sessions};

/// Header and tag around a tunnel datagram's content, and the header of a frame of an IPv4 client.
const TUNNEL_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 10;

/// How many datagrams the relay sealed between two probes.
pub(crate) fn datagrams_between(before: &LegCounters, after: &LegCounters) -> u64 {
    after
        .iter()
        .map(|(leg, after)| match before.get(leg) {
            // The second probe's own datagram is none of them.
            Some(before) => (after - before).saturating_sub(1),
            None => *after,
        })
        .sum()
}

/// How many client packets UDP payload bytes at the sink's device stand for.
pub(crate) fn packets_in(direction: Direction, bytes: u64, sealed: Option<u64>) -> u64 {
    let payload = PAYLOAD_BYTES as u64;
    match (direction, sealed) {
        (Direction::Reverse, _) => bytes / payload,
        (Direction::Forward, None) => bytes / (payload + HEADER_BYTES as u64),
        (Direction::Forward, Some(datagrams)) => {
            bytes.saturating_sub(datagrams * TUNNEL_BYTES) / (payload + FRAME_HEADER_BYTES)
        }
    }
}

/// How the sink reads what arrives.
#[derive(Debug)]
pub(crate) enum Reader<'s> {
    /// The client packet itself.
    Payload,
    /// A client packet behind a forwarder's header.
    Header,
    /// A tunnel datagram.
    Tunnel(&'s mut Sessions),
}

impl Reader<'_> {
    /// Takes what has come to a side's sockets: nanoseconds under way, packet by packet.
    pub(crate) fn read(&mut self, sink: &mut Side, under_way_ns: &mut Vec<u32>) -> Result<usize> {
        let mut count = 0;
        for inbox in &mut sink.inboxes {
            count += inbox.poll(|datagram, at_ns| {
                let mut take = |payload: &[u8]| {
                    if let Some(sent_ns) = payload::sent_ns(payload) {
                        let under_way = at_ns.saturating_sub(sent_ns);
                        under_way_ns.push(u32::try_from(under_way).unwrap_or(u32::MAX));
                    }
                };
                match self {
                    Self::Payload => take(datagram),
                    Self::Header => {
                        if let Some((_, payload)) = forwarder::read(datagram) {
                            take(payload);
                        }
                    }
                    Self::Tunnel(sessions) => {
                        sessions.open(datagram, |_, payload| take(payload));
                    }
                }
            })?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_at_the_device_tell_the_packets() {
        assert_eq!(packets_in(Direction::Reverse, 7 * 120, None), 7);
        assert_eq!(packets_in(Direction::Forward, 7 * 128, None), 7);
        // Three datagrams of 11, 11 and 1 packets, however they were sent.
        assert_eq!(packets_in(Direction::Forward, 3 * 32 + 23 * 130, Some(3)), 23);
    }

    #[test]
    fn the_second_probe_is_not_counted() {
        let legs =
            |counters: [u64; 2]| LegCounters::from([([1; 8], counters[0]), ([2; 8], counters[1])]);
        assert_eq!(datagrams_between(&legs([4, 9]), &legs([5, 10])), 0);
        assert_eq!(datagrams_between(&legs([4, 9]), &legs([105, 12])), 102);
    }
}
