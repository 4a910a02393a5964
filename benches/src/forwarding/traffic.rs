//! What is injected: frame by frame, made in place.

use kit::ethernet::{HEADERS_BYTES, Path, wrap};
use kit::forwarder::{self, HEADER_BYTES};
use kit::payload;
use kit::plan::{
    CLIENT_MAC, PUBLIC, PUBLIC_MAC, SHARD_MAC, SHARDS, TUNNEL, TUNNEL_MAC, client, shard,
};
use kit::sessions::Sessions;

/// Bytes of a client packet: voice at 20 ms with its SRTP tag.
pub(crate) const PAYLOAD_BYTES: usize = 120;
/// Client packets in one tunnel datagram: a shard that sends to hundreds of calls fills it so far.
pub(crate) const FRAMES_OF_A_DATAGRAM: u32 = 10;

/// An endless supply of frames for one device.
pub(crate) trait Source {
    /// Writes the next frame; returns its length.
    fn next(&mut self, frame: &mut [u8], now_ns: u64) -> usize;
}

/// Media of all clients in turn, towards the relay.
#[derive(Debug)]
pub(crate) struct FromClients {
    clients: u32,
    number: u64,
}

impl FromClients {
    /// Of so many clients.
    pub(crate) const fn new(clients: u32) -> Self {
        Self { clients, number: 0 }
    }
}

impl Source for FromClients {
    fn next(&mut self, frame: &mut [u8], now_ns: u64) -> usize {
        let (client, round) = in_turn(self.clients, &mut self.number);
        payload::write(media(frame), client, round, now_ns);
        wrap(frame, &from_client(client), PAYLOAD_BYTES)
    }
}

/// Media for all clients in turn, from their shards, one packet a datagram: for the forwarders.
#[derive(Debug)]
pub(crate) struct Single {
    clients: u32,
    number: u64,
}

impl Single {
    /// For so many clients.
    pub(crate) const fn new(clients: u32) -> Self {
        Self { clients, number: 0 }
    }
}

impl Source for Single {
    fn next(&mut self, frame: &mut [u8], now_ns: u64) -> usize {
        let (index, round) = in_turn(self.clients, &mut self.number);
        let header = forwarder::header(client(index), PAYLOAD_BYTES);
        let content = &mut frame[HEADERS_BYTES..];
        content[..HEADER_BYTES].copy_from_slice(&header);
        payload::write(&mut content[HEADER_BYTES..][..PAYLOAD_BYTES], index, round, now_ns);
        wrap(frame, &from_shard(kit::plan::shard_of(index)), HEADER_BYTES + PAYLOAD_BYTES)
    }
}

/// Media for all clients in turn, from their shards, bundled and sealed: for the relay.
///
/// Sealed at the moment of sending: about 40 ns a packet on the generator's own core, and neither
/// a gigabyte of datagrams sealed beforehand nor a replay is needed.
#[derive(Debug)]
pub(crate) struct Sealed<'s> {
    sessions: &'s mut Sessions,
    clients: u32,
    datagrams: u64,
}

impl<'s> Sealed<'s> {
    /// From the shards of these sessions, which are of so many clients: one, or some for each shard.
    pub(crate) fn new(sessions: &'s mut Sessions, clients: u32) -> Self {
        debug_assert!(clients == 1 || clients.is_multiple_of(u32::from(SHARDS)), "{clients}");
        Self { sessions, clients, datagrams: 0 }
    }
}

impl Source for Sealed<'_> {
    fn next(&mut self, frame: &mut [u8], now_ns: u64) -> usize {
        let shards = u64::from(SHARDS).min(u64::from(self.clients));
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of SHARDS")]
        let index = (self.datagrams % shards) as u16;
        // How many packets this shard has sent before this datagram.
        let first = self.datagrams / shards * u64::from(FRAMES_OF_A_DATAGRAM);
        self.datagrams += 1;
        let packets = (first..first + u64::from(FRAMES_OF_A_DATAGRAM)).map(|number| {
            let per_shard = u64::from(self.clients) / shards;
            #[expect(clippy::cast_possible_truncation, reason = "below the number of clients")]
            let client = (number % per_shard * shards) as u32 + u32::from(index);
            let mut packet = [0; PAYLOAD_BYTES];
            payload::write(&mut packet, client, number / per_shard, now_ns);
            (client, packet)
        });
        let length = self.sessions.shard(index).seal(packets, &mut frame[HEADERS_BYTES..]);
        wrap(frame, &from_shard(index), length)
    }
}

/// The next client in turn, and which round it is.
fn in_turn(clients: u32, number: &mut u64) -> (u32, u64) {
    let clients = u64::from(clients);
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32")]
    let turn = ((*number % clients) as u32, *number / clients);
    *number += 1;
    turn
}

/// Where a client's packet lies in its frame.
pub(crate) fn media(frame: &mut [u8]) -> &mut [u8] {
    &mut frame[HEADERS_BYTES..HEADERS_BYTES + PAYLOAD_BYTES]
}

/// From a client to the relay.
pub(crate) fn from_client(index: u32) -> Path {
    Path {
        source_mac: CLIENT_MAC,
        destination_mac: PUBLIC_MAC,
        source: client(index),
        destination: PUBLIC,
    }
}

fn from_shard(index: u16) -> Path {
    Path {
        source_mac: SHARD_MAC,
        destination_mac: TUNNEL_MAC,
        source: shard(index),
        destination: TUNNEL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::ethernet::FRAME_BYTES_MAX;
    use kit::plan::shard_of;
    use std::collections::BTreeMap;
    use wire::keyring::Keyring;
    use wire::tunnel::{Content, Direction, Opener};

    const CLIENTS: u32 = 2_000;

    #[test]
    fn every_client_has_its_turn() {
        let mut source = FromClients::new(CLIENTS);
        let mut frame = [0; FRAME_BYTES_MAX];
        let mut seen = BTreeMap::new();
        for _ in 0..3 * CLIENTS {
            let length = source.next(&mut frame, 42);
            assert_eq!(length, HEADERS_BYTES + PAYLOAD_BYTES);
            assert_eq!(payload::sent_ns(&frame[HEADERS_BYTES..length]), Some(42));
            *seen.entry(frame[26..30].to_vec()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), CLIENTS as usize);
        assert!(seen.values().all(|&count| count == 3));
    }

    #[test]
    fn sealed_datagrams_fit_and_serve_every_client_of_their_shard_in_turn() {
        let (mut sessions, text) = Sessions::generate(CLIENTS).unwrap();
        let keyring = Keyring::parse(&text).unwrap();
        let mut relay = Opener::new(Direction::ToRelay, &keyring, 64);
        let mut source = Sealed::new(&mut sessions, CLIENTS);
        let mut frame = [0; FRAME_BYTES_MAX];
        let mut seen = BTreeMap::new();
        for _ in 0..CLIENTS / FRAMES_OF_A_DATAGRAM {
            let length = source.next(&mut frame, 42);
            let port = u16::from_be_bytes([frame[34], frame[35]]);
            let opened = relay.open(&mut frame[HEADERS_BYTES..length]).unwrap();
            let Content::Data(frames) = opened.content else { panic!("not data") };
            for frame in frames {
                *seen.entry((frame.client.address, port)).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), CLIENTS as usize);
        assert!(seen.values().all(|&count| count == 1));
        for index in 0..CLIENTS {
            let address = std::net::SocketAddr::V4(client(index)).into();
            assert!(seen.contains_key(&(address, shard(shard_of(index)).port())));
        }
    }
}
