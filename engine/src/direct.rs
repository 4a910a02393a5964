//! Direct egress: UDP datagrams leave as Ethernet frames made here, past the kernel's UDP and IP.
//!
//! Most of the cost of a small datagram is the kernel's way from a socket to the device. [`Egress`]
//! goes around it: headers are written here, and an AF_XDP [`Ring`] takes them to the device. Where
//! to is said by [`NextHops`], a copy of the kernel's own tables. Whatever is not plain (no route, no
//! neighbour known, too long, …) is left to the caller's socket, which always works.
//!
//! AF_XDP never asks who a neighbour is, and the kernel forgets neighbours that nobody sends to. So
//! every few seconds one datagram to each next hop is left to the socket as well, which keeps the
//! kernel's entry, and with it the copy here, up to date.

mod frame;
mod netlink;
mod next_hop;
mod ring;
mod source;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use next_hop::{DEVICES_MAX, Device, Hop, NextHops, NoHop};
pub use ring::{Ring, RingError};
pub use source::Changes;

use crate::link::Link;

/// How often a datagram to each next hop goes by the socket. The kernel forgets a neighbour after
/// a minute without use, and asks again for one that is used after half a minute.
const REFRESH_US: u64 = 10_000_000;

/// Declares the counters once, as `statistics` does.
macro_rules! counters {
    ($($(#[doc = $meaning:literal])+ $name:ident,)+) => {
        /// What became of datagrams.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[doc = $meaning])+ pub $name: u64,)+
        }

        impl Counters {
            /// Name and meaning of each, in the order of [`Counters::values`].
            pub const ROWS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($meaning),+).trim_ascii()),)+];

            /// The values, in the order of [`Counters::ROWS`].
            pub fn values(&self) -> [u64; Self::ROWS.len()] {
                [$(self.$name,)+]
            }
        }
    };
}

counters! {
    /// Datagrams that left as frames.
    packets,
    /// To the socket: its listener has no address of its own (0.0.0.0 or ::).
    wildcard,
    /// To the socket: no route there, or one that is not one next hop on an Ethernet device.
    route,
    /// To the socket: nobody has answered for the next hop yet.
    neighbour,
    /// To the socket: one every ten seconds for each next hop, so that the kernel goes on asking.
    refresh,
    /// To the socket: an IP packet of more than 1,280 bytes.
    size,
    /// To the socket: several of one size to one client, which UDP GSO sends at once.
    run,
    /// To the socket: this worker has no ring to that device.
    no_ring,
    /// To the socket: every frame of the ring was still on its way.
    ring_full,
    /// Times the device did not take what was queued; it stays queued.
    kick_failures,
}

impl Counters {
    /// Where the reasons for the socket are in [`Counters::ROWS`].
    pub const BY_SOCKET: std::ops::Range<usize> = 1..9;
}

/// What control sends a worker: where packets go from now on, and rings to devices that it has none
/// to yet.
#[derive(Debug)]
pub struct Delivery {
    /// The next hops.
    pub hops: Arc<NextHops>,
    /// More rings.
    pub rings: Vec<Ring>,
}

/// One worker's way around the kernel.
#[derive(Debug)]
pub struct Egress {
    /// The address of each link that has one to send from.
    sources: Box<[Option<SocketAddr>]>,
    hops: Arc<NextHops>,
    /// Of each next hop, when a datagram last went by the socket.
    refreshed_us: Vec<u64>,
    /// Of each device of `hops`.
    rings: Vec<Option<Ring>>,
    /// Whether sockets have GSO for runs.
    gso: bool,
    counters: Counters,
}

impl Egress {
    /// With nowhere to go yet. `sources` are the links' bound addresses, in their order; `gso` says
    /// whether their sockets may send several datagrams at once.
    pub fn new(sources: &[SocketAddr], gso: bool) -> Egress {
        let source = |address: &SocketAddr| (!address.ip().is_unspecified()).then_some(*address);
        Egress {
            sources: sources.iter().map(source).collect(),
            hops: Arc::default(),
            refreshed_us: Vec::new(),
            rings: Vec::new(),
            gso,
            counters: Counters::default(),
        }
    }

    /// Goes by other next hops from now on. Rings to devices that are not among them are closed.
    pub fn take(&mut self, delivery: Delivery) {
        let Delivery { hops, rings } = delivery;
        let mut have: Vec<Ring> =
            std::mem::take(&mut self.rings).into_iter().flatten().chain(rings).collect();
        self.rings = hops
            .devices()
            .iter()
            .map(|device| {
                let place = have.iter().position(|ring| ring.device() == device.index)?;
                Some(have.swap_remove(place))
            })
            .collect();
        // A next hop that stays keeps its time.
        let times: HashMap<_, _> = self.hops.identities().zip(&self.refreshed_us).collect();
        let time = |hop| times.get(&hop).map_or(0, |at_us| **at_us);
        self.refreshed_us = hops.identities().map(time).collect();
        self.hops = hops;
    }

    /// Queues a datagram from a link's address, or counts why not and returns false: then it is the
    /// socket's.
    #[inline]
    pub fn send(&mut self, link: Link, to: SocketAddr, payload: &[u8], now_us: u64) -> bool {
        let from = self.sources.get(link.index()).copied().flatten();
        self.send_from(from, to, payload, now_us)
    }

    /// The same from any address of this host; `None` leaves it to the socket.
    #[inline]
    pub fn send_from(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
        payload: &[u8],
        now_us: u64,
    ) -> bool {
        let refusal = match self.try_send(from, to, payload, now_us) {
            Ok(()) => {
                self.counters.packets += 1;
                return true;
            }
            Err(refusal) => refusal,
        };
        let counters = &mut self.counters;
        *match refusal {
            Refusal::Wildcard => &mut counters.wildcard,
            Refusal::No(NoHop::Route) => &mut counters.route,
            Refusal::No(NoHop::Neighbour) => &mut counters.neighbour,
            Refusal::Refresh => &mut counters.refresh,
            Refusal::Size => &mut counters.size,
            Refusal::NoRing => &mut counters.no_ring,
            Refusal::RingFull => &mut counters.ring_full,
        } += 1;
        false
    }

    fn try_send(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
        payload: &[u8],
        now_us: u64,
    ) -> Result<(), Refusal> {
        let from = from.ok_or(Refusal::Wildcard)?;
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Refusal::No(NoHop::Route));
        }
        let number = self.hops.lookup(to.ip()).map_err(Refusal::No)?;
        if frame::ip_bytes(to.ip(), payload.len()) > frame::IP_BYTES_MAX {
            return Err(Refusal::Size);
        }
        let hop = &self.hops.hops()[number];
        let ring = self.rings[hop.device].as_mut().ok_or(Refusal::NoRing)?;
        let refreshed_us = &mut self.refreshed_us[number];
        if now_us.saturating_sub(*refreshed_us) >= REFRESH_US || *refreshed_us == 0 {
            *refreshed_us = now_us.max(1);
            return Err(Refusal::Refresh);
        }
        let macs = (self.hops.devices()[hop.device].mac, hop.mac);
        let write = |buffer: &mut [u8]| frame::write(buffer, macs, from, to, payload);
        if ring.push(write) {
            return Ok(());
        }
        // So much in one turn: hand over what there is, and go on.
        if ring.kick().is_err() {
            self.counters.kick_failures += 1;
        }
        if ring.push(write) { Ok(()) } else { Err(Refusal::RingFull) }
    }

    /// Whether several datagrams of one size to one client are better left to the socket.
    pub fn spares_runs(&self) -> bool {
        self.gso
    }

    /// Counts a datagram that was left to the socket as one of those.
    pub fn count_run(&mut self) {
        self.counters.run += 1;
    }

    /// Hands all that was queued to the devices. Never blocks.
    pub fn flush(&mut self) {
        for ring in self.rings.iter_mut().flatten() {
            if ring.kick().is_err() {
                self.counters.kick_failures += 1;
            }
        }
    }

    /// How many devices it has a ring to.
    pub fn rings(&self) -> usize {
        self.rings.iter().flatten().count()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

enum Refusal {
    Wildcard,
    No(NoHop),
    Refresh,
    Size,
    NoRing,
    RingFull,
}
