//! One turn of the loop: every datagram that arrived to its verdict, and every verdict carried out.
//!
//! This is the only place where verdicts are acted on, by one exhaustive `match` each. A received
//! buffer cannot be kept or lost here: it is on loan until the next is taken.

use super::slot::Numbers;
use crate::core::{FrameVerdict, Now, Router, TunnelVerdict, Verdict};
use engine::direct::{Delivery, Egress};
use engine::histogram::Histogram;
use engine::{Arrival, Arrivals, Engine, Link, Outbox, clock};
use std::io;
use std::net::SocketAddr;
use wire::address::Address;
use wire::frame::{Client, Frame, Frames, ListenerId, Transport};

/// Bytes of the shortest frame with a payload: of a packet of one byte to an IPv4 client.
const FRAME_BYTES_MIN: usize = 11;

/// Frames of one size to one client, one behind the other, that leave by their socket although there
/// is a direct way: as one GSO send they cost less from here on.
const RUN_MIN: usize = 4;

/// What a turn counts.
pub(super) struct Turn {
    tunnel: Link,
    /// Room that whatever one arrival causes will fit into.
    room: Room,
    direct: Option<Egress>,
    batch: Histogram,
    turn_us: Histogram,
    latency_us: Histogram,
    outbox_full: u64,
}

/// Room in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For so many datagrams.
    pub datagrams: usize,
    /// And so many bytes in them.
    pub bytes: usize,
}

impl Room {
    /// What one arrival of up to so many bytes can cause at most: all frames of a tunnel datagram
    /// leave, or a bundle is filled and leaves.
    pub const fn for_arrival(bytes_max: usize) -> Self {
        Self { datagrams: bytes_max / FRAME_BYTES_MIN + 1, bytes: 2 * bytes_max + 1_500 }
    }
}

impl Turn {
    pub(super) const fn new(tunnel: Link, room: Room, direct: Option<Egress>) -> Self {
        Self {
            tunnel,
            room,
            direct,
            batch: Histogram::new(),
            turn_us: Histogram::new(),
            latency_us: Histogram::new(),
            outbox_full: 0,
        }
    }

    /// Sends to clients by other next hops from now on.
    pub(super) fn deliver_by(&mut self, delivery: Delivery) {
        if let Some(direct) = &mut self.direct {
            direct.take(delivery);
        }
    }

    /// Routes all that arrived, seals what is bundled, and flushes. Returns how many datagrams
    /// there were.
    pub(super) fn run(
        &mut self,
        engine: &mut dyn Engine,
        router: &mut Router,
        now: Now,
    ) -> io::Result<u64> {
        let mut packets = 0;
        let mut sampled_at_ns = None;
        loop {
            let (arrivals, outbox) = engine.halves();
            packets += self.route(arrivals, outbox, router, now, &mut sampled_at_ns);
            if arrivals.is_empty() {
                break;
            }
            // The outbox is nearly full: make room, then go on.
            engine.flush()?;
        }
        if packets == 0 {
            return Ok(0);
        }
        if let Some(direct) = &mut self.direct {
            direct.flush();
        }
        self.close_bundles(engine, router)?;
        self.batch.record(packets);
        self.turn_us.record((engine.now_ns() / 1_000).saturating_sub(now.monotonic_us));
        if let Some(received_at_ns) = sampled_at_ns {
            self.latency_us.record(clock::realtime_ns().saturating_sub(received_at_ns) / 1_000);
        }
        Ok(packets)
    }

    /// Seals and sends every open bundle, with as many flushes as the outbox needs for that.
    fn close_bundles(&mut self, engine: &mut dyn Engine, router: &mut Router) -> io::Result<()> {
        loop {
            let outbox = engine.halves().1;
            let mut more = true;
            while more && self.has_room(outbox) {
                more = router.close_one(&mut |to, datagram: &[u8]| {
                    send(outbox, self.tunnel, to, datagram, &mut self.outbox_full);
                });
            }
            engine.flush()?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Routes arrivals as long as there is room for what they may cause.
    fn route(
        &mut self,
        arrivals: &mut Arrivals,
        outbox: &mut Outbox,
        router: &mut Router,
        now: Now,
        sampled_at_ns: &mut Option<u64>,
    ) -> u64 {
        let mut packets = 0;
        while self.has_room(outbox)
            && let Some(mut arrival) = arrivals.pop()
        {
            packets += 1;
            // The first of a batch has waited longest.
            *sampled_at_ns = sampled_at_ns.or(arrival.received_at_ns);
            if arrival.link == self.tunnel {
                self.take_from_shard(&mut arrival, outbox, router, now);
            } else {
                self.take_from_client(&arrival, outbox, router, now);
            }
        }
        packets
    }

    /// Whether whatever the next arrival causes will fit.
    #[inline]
    pub(super) fn has_room(&self, outbox: &Outbox) -> bool {
        outbox.room_datagrams() >= self.room.datagrams && outbox.room_bytes() >= self.room.bytes
    }

    #[inline]
    fn take_from_client(
        &mut self,
        arrival: &Arrival<'_>,
        outbox: &mut Outbox,
        router: &mut Router,
        now: Now,
    ) {
        let listener = ListenerId(arrival.link.0);
        let address = Address::from(arrival.source);
        match router.on_client(listener, address, arrival.bytes, now) {
            Verdict::Forward(peer) => {
                let client = Client { address, listener, transport: Transport::Udp };
                router.append(peer, &client, arrival.bytes, &mut |to, datagram: &[u8]| {
                    send(outbox, self.tunnel, to, datagram, &mut self.outbox_full);
                });
            }
            // The router has counted it.
            Verdict::Drop(_) => {}
        }
    }

    #[inline]
    fn take_from_shard(
        &mut self,
        arrival: &mut Arrival<'_>,
        outbox: &mut Outbox,
        router: &mut Router,
        now: Now,
    ) {
        match router.on_tunnel(arrival.source.into(), arrival.bytes, now) {
            TunnelVerdict::Frames(peer, mut frames) => {
                let mut run_left = 0;
                while let Some(frame) = frames.next() {
                    match router.on_frame(peer, &frame, now) {
                        FrameVerdict::Deliver(listener, to) => {
                            let link = Link(listener.0);
                            if !self.send_direct(link, to, &frame, &frames, &mut run_left, now) {
                                send(outbox, link, to, frame.payload, &mut self.outbox_full);
                            }
                        }
                        FrameVerdict::Drop(_) => {}
                    }
                }
            }
            TunnelVerdict::Pong(to, datagram) => {
                send(outbox, self.tunnel, to, &datagram, &mut self.outbox_full);
            }
            TunnelVerdict::Taken | TunnelVerdict::Drop(_) => {}
        }
    }

    /// Sends a frame past its socket, if that is possible and the cheaper way. `behind` are the frames
    /// that follow, `run_left` how many of them are known to be of the same run.
    #[inline]
    fn send_direct(
        &mut self,
        link: Link,
        to: Address,
        frame: &Frame<'_>,
        behind: &Frames<'_>,
        run_left: &mut usize,
        now: Now,
    ) -> bool {
        let Some(direct) = &mut self.direct else { return false };
        if direct.spares_runs() {
            if *run_left == 0 {
                let alike = |next: &Frame<'_>| {
                    next.client == frame.client && next.payload.len() == frame.payload.len()
                };
                let run = 1 + behind.clone().take_while(alike).count();
                *run_left = if run >= RUN_MIN { run } else { 0 };
            }
            if *run_left > 0 {
                *run_left -= 1;
                direct.count_run();
                return false;
            }
        }
        direct.send(link, SocketAddr::from(to), frame.payload, now.monotonic_us)
    }

    /// Lets the router do what time brings about.
    pub(super) fn tick(
        &mut self,
        engine: &mut dyn Engine,
        router: &mut Router,
        now: Now,
    ) -> io::Result<()> {
        let outbox = engine.halves().1;
        router.on_tick(now, &mut |to, datagram: &[u8]| {
            send(outbox, self.tunnel, to, datagram, &mut self.outbox_full);
        });
        // What a device did not take goes before the next packet comes.
        if let Some(direct) = &mut self.direct {
            direct.flush();
        }
        engine.flush()
    }

    pub(super) fn write(&self, numbers: &mut Numbers) {
        self.batch.write(&mut numbers.batch);
        self.turn_us.write(&mut numbers.turn_us);
        self.latency_us.write(&mut numbers.latency_us);
        numbers.own.outbox_full = self.outbox_full;
        if let Some(direct) = &self.direct {
            numbers.direct = direct.counters().values();
            numbers.own.direct_rings = direct.rings() as u64;
        }
    }
}

#[inline]
fn send(outbox: &mut Outbox, link: Link, to: Address, datagram: &[u8], full: &mut u64) {
    if outbox.push(link, SocketAddr::from(to), datagram).is_err() {
        *full += 1;
    }
}
