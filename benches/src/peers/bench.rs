//! The network, and the loop that plays all parts but the relay's: clients that send on time, backends
//! that echo, clients that listen. One thread on a core of its own, which never sleeps.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::cpu::{GENERATOR_CORE, Precedence, pin};
use kit::ethernet::{HEADERS_BYTES, Path, wrap};
use kit::inbox::{Inbox, now_ns};
use kit::injector::{BATCH, Batch, Injector};
use kit::namespaces::{Arrival, Topology};
use kit::plan::{
    CLIENT_MAC, CLIENT_PORT, PUBLIC_MAC, SHARD_MAC, SHARDS, TUNNEL_MAC, client, shard,
};
use kit::schedule::{Pace, Schedule};
use kit::stop::Stop;
use nix::unistd::Pid;

use crate::speech::{Heard, Speech};

/// A drained path shows no packet for this long.
const QUIET: Duration = Duration::from_millis(15);
/// The longest that a path may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// A packet that leaves later than this after its time was late.
const LATE: Duration = Duration::from_micros(500);

/// What the loop did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Driven {
    /// Packets that clients sent.
    pub(crate) sent: u64,
    /// Packets that backends got.
    pub(crate) up: u64,
    /// From the first to the last that was sent.
    pub(crate) elapsed: Duration,
    /// Packets that left late, through no fault of the relay.
    pub(crate) late: u64,
}

/// All of it. Dropping it takes everything down.
#[derive(Debug)]
pub(crate) struct Bench {
    clients: Injector,
    hearing: Inbox,
    backends: Injector,
    inboxes: Vec<Inbox>,
    sending: Batch,
    returning: Batch,
    /// The network. After the sockets, so that these are closed first.
    pub(crate) topology: Topology,
    /// Precedence over other sessions of the machine.
    pub(crate) precedence: Precedence,
    /// Whether the user wants to stop.
    pub(crate) stop: Stop,
}

impl Bench {
    /// Builds everything, and pins this process to the generator's core.
    pub(crate) fn build(stop: Stop) -> Result<Self> {
        let topology = Topology::build()?;
        topology.arrivals(Arrival::Delivered)?;
        let precedence = Precedence::take();
        pin(Pid::from_raw(0), GENERATOR_CORE).context("the benchmark needs two cores, 0 and 1")?;
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let (clients, hearing) =
            topology.client.within(|| anyhow::Ok((Injector::new("c0")?, Inbox::bind(any)?)))??;
        let (backends, inboxes) = topology.shard.within(|| {
            let inboxes = (0..SHARDS).map(|index| Inbox::bind(shard(index)));
            anyhow::Ok((Injector::new("s0")?, inboxes.collect::<Result<_>>()?))
        })??;
        let (sending, returning) = (Batch::new(), Batch::new());
        Ok(Self {
            clients,
            hearing,
            backends,
            inboxes,
            sending,
            returning,
            topology,
            precedence,
            stop,
        })
    }

    /// Sends packets of so many clients in turn, evenly spaced, for a while. Hears what comes back
    /// in the meantime: how long each was under way from the time it was due.
    pub(crate) fn drive(
        &mut self,
        speech: &mut Speech,
        flows: u32,
        rate: f64,
        duration: Duration,
        under_way_ns: &mut Vec<u32>,
    ) -> Result<Driven> {
        let mut schedule = Schedule::new(Pace::Even(rate));
        let mut driven = Driven::default();
        let (start, start_ns) = (Instant::now(), now_ns());
        loop {
            let elapsed = start.elapsed();
            if elapsed >= duration || self.stop.is_asked() {
                self.stop.check()?;
                return Ok(Driven { sent: schedule.total(), elapsed, ..driven });
            }
            let due = schedule.due(elapsed, BATCH);
            if due > 0 {
                self.sending.clear();
                for number in (schedule.total()..).take(due) {
                    let due = Duration::from_secs_f64(number as f64 / rate);
                    driven.late += u64::from(elapsed.saturating_sub(due) > LATE);
                    let due_ns = start_ns + u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
                    let (index, round) = turn_of(number, flows);
                    self.sending.push(|frame| {
                        let length =
                            speech.media(index, round, due_ns, &mut frame[HEADERS_BYTES..]);
                        wrap(frame, &from_client(index, speech.destination(index)), length)
                    });
                }
                self.clients.inject(&self.sending)?;
                schedule.sent(due);
            }
            driven.up += self.echo(speech)?;
            self.hear(speech, |heard, at_ns| {
                if let Heard::Media { due_ns, .. } = heard {
                    let under_way = at_ns.saturating_sub(due_ns);
                    under_way_ns.push(u32::try_from(under_way).unwrap_or(u32::MAX));
                }
            })?;
        }
    }

    /// Sends one packet for each of these clients, at a pace that no limit on new flows minds, and
    /// hears what comes back.
    pub(crate) fn set_up(
        &mut self,
        speech: &mut Speech,
        steps: &[(u32, u8)],
        mut heard: impl FnMut(Heard),
    ) -> Result<()> {
        // In a millisecond.
        const TOGETHER: usize = 4;
        for group in steps.chunks(TOGETHER) {
            self.sending.clear();
            for &(index, step) in group {
                self.sending.push(|frame| {
                    let length = speech.set_up(index, step, &mut frame[HEADERS_BYTES..]);
                    wrap(frame, &from_client(index, speech.destination(index)), length)
                });
            }
            self.clients.inject(&self.sending)?;
            self.attend(speech, Duration::from_millis(1), |it, _| heard(it))?;
        }
        self.attend(speech, Duration::from_millis(30), |it, _| heard(it))?;
        Ok(())
    }

    /// Lets what is under way arrive: until nothing has for a while. Says how many packets reached a
    /// backend.
    pub(crate) fn drain(
        &mut self,
        speech: &mut Speech,
        under_way_ns: &mut Vec<u32>,
    ) -> Result<u64> {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut up = 0;
        loop {
            let before = under_way_ns.len();
            let arrived = self.attend(speech, QUIET, |heard, at_ns| {
                if let Heard::Media { due_ns, .. } = heard {
                    let under_way = at_ns.saturating_sub(due_ns);
                    under_way_ns.push(u32::try_from(under_way).unwrap_or(u32::MAX));
                }
            })?;
            up += arrived;
            if arrived == 0 && under_way_ns.len() == before || Instant::now() > deadline {
                return Ok(up);
            }
        }
    }

    /// Echoes and hears for a while, sending nothing.
    fn attend(
        &mut self,
        speech: &mut Speech,
        duration: Duration,
        mut heard: impl FnMut(Heard, u64),
    ) -> Result<u64> {
        let start = Instant::now();
        let mut up = 0;
        while start.elapsed() < duration {
            up += self.echo(speech)?;
            self.hear(speech, &mut heard)?;
        }
        Ok(up)
    }

    /// The backends' turn: everything that has come goes back.
    fn echo(&mut self, speech: &mut Speech) -> Result<u64> {
        let Self { backends, inboxes, returning, .. } = self;
        let mut up = 0;
        for (index, inbox) in (0..SHARDS).zip(inboxes) {
            let mut injected = Ok(());
            returning.clear();
            let mut send = |to: SocketAddrV4, datagram: &[u8]| {
                if returning.len() == BATCH {
                    if injected.is_ok() {
                        injected = backends.inject(returning);
                    }
                    returning.clear();
                }
                returning.push(|frame| {
                    frame[HEADERS_BYTES..HEADERS_BYTES + datagram.len()].copy_from_slice(datagram);
                    wrap(frame, &from_backend(index, to), datagram.len())
                });
            };
            let mut echoed = Ok(());
            inbox.poll_from(|datagram, from, _| {
                match speech.echo(index, datagram, from, &mut send) {
                    Ok(packets) => up += packets,
                    Err(error) => echoed = Err(error),
                }
            })?;
            speech.flush(index, &mut send);
            echoed?;
            injected?;
            if !returning.is_empty() {
                backends.inject(returning)?;
            }
        }
        Ok(up)
    }

    /// The clients' turn to listen.
    fn hear(&mut self, speech: &Speech, mut heard: impl FnMut(Heard, u64)) -> Result<()> {
        self.hearing.poll(|datagram, at_ns| heard(speech.hear(datagram), at_ns))?;
        Ok(())
    }
}

/// Whose turn the `number`th packet is, and the how many of that client's it is.
fn turn_of(number: u64, flows: u32) -> (u32, u64) {
    let flows = u64::from(flows);
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32")]
    let index = (number % flows) as u32;
    (index, number / flows)
}

fn from_client(index: u32, destination: SocketAddrV4) -> Path {
    Path { source_mac: CLIENT_MAC, destination_mac: PUBLIC_MAC, source: client(index), destination }
}

fn from_backend(index: u16, to: SocketAddrV4) -> Path {
    Path {
        source_mac: SHARD_MAC,
        destination_mac: TUNNEL_MAC,
        source: shard(index),
        destination: to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns() {
        let turns: Vec<_> = (0..7).map(|number| turn_of(number, 3)).collect();
        assert_eq!(turns, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]);
    }
}
