//! The relay workers that speak to this shard, and what waits to be sent to each.
//!
//! A worker becomes known when something authentic comes from it; strangers cost nothing here. Its
//! frames gather in a bundle until the turn is done, so that one wake-up sends one datagram to each
//! worker, however many calls it carries.

use super::counters::Counters;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::frame::Client;
use wire::keyring::Keyring;
use wire::tunnel::{About, AppendError, Bundle, Direction, ECHO_BYTES, Sealer, SenderId};

/// Relay workers that one shard speaks to at most: a large fleet's, twice over.
pub(super) const RELAYS_MAX: usize = 512;
/// A worker that was silent for so long may lose its place to a new one. Relays ping every second.
const SILENCE: Duration = Duration::from_secs(10);

/// Fills bytes from a secure random source.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;
/// Hands a datagram to the network.
pub(super) type Network<'a> = &'a mut dyn FnMut(SocketAddr, &[u8]);

struct Relay {
    address: SocketAddr,
    sealer: Sealer,
    bundle: Bundle,
    /// Clients that have no session (any more): frames without payload.
    gone: Bundle,
    /// In the list of those with something to send.
    listed: bool,
    heard_at: Instant,
}

pub(super) struct Relays {
    relays: Vec<Relay>,
    by_address: HashMap<SocketAddr, usize>,
    open: Vec<usize>,
    mtu_bytes: usize,
    packet_bytes_max: usize,
    random: Random,
}

impl Relays {
    pub(super) fn new(mtu_bytes: usize, packet_bytes_max: usize, random: Random) -> Self {
        Self {
            relays: Vec::new(),
            by_address: HashMap::new(),
            open: Vec::new(),
            mtu_bytes,
            packet_bytes_max,
            random,
        }
    }

    /// Takes down that something authentic came from there. False if there is no room for another.
    pub(super) fn heard(&mut self, address: SocketAddr, keyring: &Keyring, now: Instant) -> bool {
        if let Some(index) = self.by_address.get(&address) {
            self.relays[*index].heard_at = now;
            return true;
        }
        let relay = Relay {
            address,
            sealer: new_sealer(keyring, &mut self.random),
            bundle: Bundle::new(self.mtu_bytes, self.packet_bytes_max),
            gone: Bundle::new(self.mtu_bytes, 0),
            listed: false,
            heard_at: now,
        };
        if self.relays.len() < RELAYS_MAX {
            self.by_address.insert(address, self.relays.len());
            self.relays.push(relay);
            return true;
        }
        let longest_silent =
            (0..self.relays.len()).min_by_key(|index| self.relays[*index].heard_at);
        let Some(index) = longest_silent else { return false };
        let old = &self.relays[index];
        if now.saturating_duration_since(old.heard_at) < SILENCE || old.listed {
            return false;
        }
        self.by_address.remove(&old.address);
        self.by_address.insert(address, index);
        self.relays[index] = relay;
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.relays.len()
    }

    /// New sealers for all, because the key to seal with has changed.
    pub(super) fn reseal_all(&mut self, keyring: &Keyring) {
        for relay in &mut self.relays {
            relay.sealer = new_sealer(keyring, &mut self.random);
        }
    }

    /// Appends a packet for a client to its relay's bundle, which leaves first if it is full.
    pub(super) fn append(
        &mut self,
        relay: SocketAddr,
        client: &Client,
        packet: &[u8],
        departure: &mut Departure<'_>,
    ) {
        let Some(index) = self.by_address.get(&relay).copied() else {
            // It lost its place: it has not been heard for long.
            departure.counters.dropped_relay_unknown += 1;
            return;
        };
        let appended = match self.relays[index].bundle.append(client, packet) {
            Err(AppendError::Full) => {
                self.depart(index, departure);
                self.relays[index].bundle.append(client, packet)
            }
            result => result,
        };
        if appended.is_err() {
            departure.counters.dropped_packet_too_long += 1;
            return;
        }
        self.list(index);
    }

    /// Tells a relay that one of its clients has no session here.
    pub(super) fn append_gone(
        &mut self,
        relay: SocketAddr,
        client: &Client,
        departure: &mut Departure<'_>,
    ) {
        let Some(index) = self.by_address.get(&relay).copied() else { return };
        if self.relays[index].gone.append(client, &[]) == Err(AppendError::Full) {
            self.depart_gone(index, departure);
            // It is empty now, and has room for one.
            let _ = self.relays[index].gone.append(client, &[]);
        }
        departure.counters.gone_sent += 1;
        self.list(index);
    }

    fn list(&mut self, index: usize) {
        if !std::mem::replace(&mut self.relays[index].listed, true) {
            self.open.push(index);
        }
    }

    /// Seals and sends what waits for one relay. False if nothing waits for any.
    pub(super) fn close_one(&mut self, departure: &mut Departure<'_>) -> bool {
        let Some(index) = self.open.pop() else { return false };
        self.relays[index].listed = false;
        if !self.relays[index].bundle.is_empty() {
            self.depart(index, departure);
        }
        // Behind the packets: with them a session says goodbye, with this its flow is freed.
        if !self.relays[index].gone.is_empty() {
            self.depart_gone(index, departure);
        }
        true
    }

    /// The answer to a ping.
    pub(super) fn pong(
        &mut self,
        relay: SocketAddr,
        token: u64,
        about: About,
        keyring: &Keyring,
    ) -> Option<[u8; ECHO_BYTES]> {
        let relay = &mut self.relays[*self.by_address.get(&relay)?];
        relay.sealer.seal_pong_about(token, about).ok().or_else(|| {
            relay.sealer = new_sealer(keyring, &mut self.random);
            relay.sealer.seal_pong_about(token, about).ok()
        })
    }

    fn depart(&mut self, index: usize, departure: &mut Departure<'_>) {
        let Relay { address, sealer, bundle, .. } = &mut self.relays[index];
        let frames = bundle.frames();
        let oversize = bundle.exceeds_mtu();
        let counters = &mut *departure.counters;
        match sealer.seal_data(bundle) {
            Ok(datagram) => {
                counters.tunnel_sent_datagrams += 1;
                counters.tunnel_sent_frames += u64::from(frames);
                counters.tunnel_sent_bytes += datagram.len() as u64;
                counters.tunnel_sent_oversize += u64::from(oversize);
                counters.bundle_frames.record(u64::from(frames));
                (departure.send)(*address, datagram);
            }
            Err(_) => {
                // After 2^48 datagrams. The next one goes by a new sealer.
                counters.dropped_counter_exhausted += u64::from(frames);
                *sealer = new_sealer(departure.keyring, &mut self.random);
            }
        }
    }

    fn depart_gone(&mut self, index: usize, departure: &mut Departure<'_>) {
        let Relay { address, sealer, gone, .. } = &mut self.relays[index];
        if let Ok(datagram) = sealer.seal_gone(gone) {
            departure.counters.tunnel_sent_datagrams += 1;
            departure.counters.tunnel_sent_bytes += datagram.len() as u64;
            (departure.send)(*address, datagram);
        } else {
            *sealer = new_sealer(departure.keyring, &mut self.random);
        }
    }
}

/// How datagrams leave: keys, counters, and the one who sends.
pub(super) struct Departure<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) counters: &'a mut Counters,
    pub(super) send: Network<'a>,
}

fn new_sealer(keyring: &Keyring, random: &mut Random) -> Sealer {
    let mut id = [0; 8];
    random(&mut id);
    keyring.sealer(Direction::ToRelay, SenderId(id))
}
