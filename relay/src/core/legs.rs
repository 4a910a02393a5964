//! Legs: the sending side of the tunnels, one to each peer.
//!
//! A packet is appended to its leg's open bundle. A bundle leaves when it is full, at once, or when
//! the batch is done. Only legs with something in their bundle are visited then: a list says which.
//! All bundles are allocated at the start, as many as there can be peers: about 2 KB each.

use super::counters::Counters;
use super::drop_reason::DropReason;
use super::peers::PeerIndex;
use wire::address::Address;
use wire::frame::Client;
use wire::keyring::Keyring;
use wire::tunnel::{About, AppendError, Bundle, Direction, ECHO_BYTES, Sealer, SenderId};

/// Fills bytes from a secure random source.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

struct Leg {
    to: Address,
    /// `None` while no peer is here.
    sealer: Option<Sealer>,
    bundle: Bundle,
    /// Whether it is in the list of open legs.
    listed: bool,
}

/// The legs of all peers, by peer.
pub(super) struct Legs {
    legs: Box<[Leg]>,
    /// Legs that may have something in their bundle, each once.
    open: Vec<PeerIndex>,
    random: Random,
}

impl Legs {
    pub(super) fn new(
        peers_max: u16,
        datagram_bytes: usize,
        packet_bytes_max: usize,
        random: Random,
    ) -> Self {
        let nowhere = Address::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let leg = || Leg {
            to: nowhere,
            sealer: None,
            bundle: Bundle::new(datagram_bytes, packet_bytes_max),
            listed: false,
        };
        Self {
            legs: std::iter::repeat_with(leg).take(usize::from(peers_max)).collect(),
            open: Vec::with_capacity(usize::from(peers_max)),
            random,
        }
    }

    /// Gives a peer its leg: a sealer with a sender id of its own, drawn now.
    pub(super) fn connect(&mut self, peer: PeerIndex, to: Address, keyring: &Keyring) {
        let sealer = new_sealer(keyring, &mut self.random);
        let leg = &mut self.legs[peer.position()];
        leg.to = to;
        leg.sealer = Some(sealer);
    }

    /// Takes a peer's leg away, with whatever is in its bundle.
    pub(super) fn disconnect(&mut self, peer: PeerIndex) {
        let leg = &mut self.legs[peer.position()];
        leg.sealer = None;
        leg.bundle.clear();
        if std::mem::take(&mut leg.listed) {
            self.open.retain(|open| *open != peer);
        }
    }

    /// New sealers for all, because the key to seal with has changed.
    pub(super) fn reseal_all(&mut self, keyring: &Keyring) {
        for leg in &mut self.legs {
            if leg.sealer.is_some() {
                leg.sealer = Some(new_sealer(keyring, &mut self.random));
            }
        }
    }

    /// Whether nothing waits in a peer's bundle.
    pub(super) fn is_idle(&self, peer: PeerIndex) -> bool {
        self.legs[peer.position()].bundle.is_empty()
    }

    /// Appends one client packet to a peer's bundle, which leaves first if it is full.
    #[inline]
    pub(super) fn append(
        &mut self,
        peer: PeerIndex,
        client: &Client,
        packet: &[u8],
        departure: &mut Departure<'_, impl FnMut(Address, &[u8])>,
    ) -> Result<(), DropReason> {
        let leg = &mut self.legs[peer.position()];
        let appended = match leg.bundle.append(client, packet) {
            Err(AppendError::Full) => {
                leg.depart(&mut self.random, departure);
                leg.bundle.append(client, packet)
            }
            result => result,
        };
        if !std::mem::replace(&mut leg.listed, true) {
            self.open.push(peer);
        }
        appended.map_err(|_| DropReason::PacketTooLong)
    }

    /// Sends one open bundle. False if there is none.
    pub(super) fn close_one(
        &mut self,
        departure: &mut Departure<'_, impl FnMut(Address, &[u8])>,
    ) -> bool {
        while let Some(peer) = self.open.pop() {
            let leg = &mut self.legs[peer.position()];
            leg.listed = false;
            // It is empty if its last packet was too long even for a bundle of its own.
            if !leg.bundle.is_empty() {
                leg.depart(&mut self.random, departure);
                return true;
            }
        }
        false
    }

    /// A ping to a peer.
    pub(super) fn ping(
        &mut self,
        peer: PeerIndex,
        token: u64,
        about: About,
        keyring: &Keyring,
    ) -> Option<(Address, [u8; ECHO_BYTES])> {
        self.echo(peer, keyring, |sealer| sealer.seal_ping_about(token, about).ok())
    }

    /// The answer to a peer's ping.
    pub(super) fn pong(
        &mut self,
        peer: PeerIndex,
        token: u64,
        about: About,
        keyring: &Keyring,
    ) -> Option<(Address, [u8; ECHO_BYTES])> {
        self.echo(peer, keyring, |sealer| sealer.seal_pong_about(token, about).ok())
    }

    fn echo(
        &mut self,
        peer: PeerIndex,
        keyring: &Keyring,
        seal: impl Fn(&mut Sealer) -> Option<[u8; ECHO_BYTES]>,
    ) -> Option<(Address, [u8; ECHO_BYTES])> {
        let leg = &mut self.legs[peer.position()];
        let sealer = leg.sealer.as_mut()?;
        let datagram = seal(sealer).or_else(|| {
            *sealer = new_sealer(keyring, &mut self.random);
            seal(sealer)
        })?;
        Some((leg.to, datagram))
    }

    /// Panics unless the list of open legs is right. For tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn check(&self) {
        let mut list = self.open.clone();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), self.open.len(), "each once");
        assert_eq!(self.legs.iter().filter(|leg| leg.listed).count(), list.len());
        for leg in &self.legs {
            assert!(leg.bundle.is_empty() || leg.listed, "every open bundle is in the list");
            assert!(leg.bundle.is_empty() || leg.sealer.is_some(), "only where there is a peer");
        }
    }
}

/// How a datagram leaves: the keys, the counters, and the one who sends.
pub(super) struct Departure<'a, S> {
    pub(super) keyring: &'a Keyring,
    pub(super) counters: &'a mut Counters,
    pub(super) send: S,
}

impl Leg {
    /// Seals the bundle and hands it to the sender. The bundle is empty afterwards.
    fn depart(
        &mut self,
        random: &mut Random,
        departure: &mut Departure<'_, impl FnMut(Address, &[u8])>,
    ) {
        let Departure { keyring, counters, send } = departure;
        let frames = u64::from(self.bundle.frames());
        let oversize = self.bundle.exceeds_mtu();
        let Some(sealer) = &mut self.sealer else {
            debug_assert!(false, "a bundle without a peer");
            return self.bundle.clear();
        };
        match sealer.seal_data(&mut self.bundle) {
            Ok(datagram) => {
                counters.tunnel_sent_datagrams += 1;
                counters.tunnel_sent_frames += frames;
                counters.tunnel_sent_bytes += datagram.len() as u64;
                counters.tunnel_sent_oversize += u64::from(oversize);
                send(self.to, datagram);
            }
            Err(_) => {
                counters.drops[DropReason::TunnelCounterExhausted as usize] += frames;
                *sealer = new_sealer(keyring, random);
            }
        }
    }
}

fn new_sealer(keyring: &Keyring, random: &mut Random) -> Sealer {
    let mut id = [0; 8];
    random(&mut id);
    keyring.sealer(Direction::ToShard, SenderId(id))
}
