//! The process under test, and what must happen before it can be measured: flows of all clients.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wire::frame::Client;
use wire::stun::Message;

use crate::cases::{Candidate, Direction, Engine};
use crate::ethernet::{HEADERS_BYTES, wrap};
use crate::forwarder::{self, HEADER_BYTES};
use crate::injector::Batch;
use crate::namespaces::Arrival;
use crate::payload;
use crate::plan::{CLIENTS, PAYLOAD_BYTES, PUBLIC, SHARDS, TUNNEL, client};
use crate::process::Process;
use crate::relay::Files;
use crate::rig::{From, Rig, Side};
use crate::sessions::{LegCounters, Sessions, client_of};
use crate::traffic::{FromClients, Sealed, Single, Source, from_client};

/// How long a process may take to start and to carry its first packet for every client.
const ESTABLISH_MAX: Duration = Duration::from_secs(20);
/// How long the sockets of the one before may take to go away.
const PORTS_MAX: Duration = Duration::from_secs(10);
/// Below the relay's default limit of 5,000 new flows a second.
const NEW_FLOWS_A_MILLISECOND: usize = 4;
/// Header and tag around a tunnel datagram's content, and the header of a frame of an IPv4 client.
const TUNNEL_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 10;

/// What the process under test speaks on the shards' side.
#[derive(Debug)]
enum Speech {
    /// Bare datagrams with a short header.
    Bare,
    /// The tunnel.
    Tunnel(Box<Sessions>),
}

/// A running candidate.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its process.
    pub(crate) process: Process,
    speech: Speech,
}

impl Subject {
    /// Starts a candidate and establishes a flow for each client.
    pub(crate) fn start(
        rig: &mut Rig,
        candidate: Candidate,
        relay: &Path,
        folder: &Path,
    ) -> Result<Self> {
        wait_for_ports(rig)?;
        let log = folder.join("subject.log");
        let namespace = Some(&rig.topology.relay);
        let (process, speech) = if candidate.engine.is_relay() {
            let (sessions, keyring) = Sessions::generate()?;
            let budget = candidate.coalesce_us_max.unwrap_or(0);
            let files = Files::write(folder, candidate.engine, budget, &keyring)?;
            let arguments = ["run".as_ref(), "--config".as_ref(), files.config.as_os_str()];
            let process = Process::start(namespace, relay.as_os_str(), &arguments, log)?;
            (process, Speech::Tunnel(Box::new(sessions)))
        } else {
            let own = std::env::current_exe().context("Failed to find this program's own file")?;
            let style = if candidate.engine == Engine::Naive { "naive" } else { "mmsg" };
            let arguments = [OsStr::new("forwarder"), OsStr::new(style)];
            (Process::start(namespace, own.as_os_str(), &arguments, log)?, Speech::Bare)
        };
        let mut subject = Self { process, speech };
        subject.establish(rig).with_context(|| format!("Failed to set up {candidate}"))?;
        Ok(subject)
    }

    /// The sessions of a relay.
    pub(crate) fn sessions(&self) -> Result<&Sessions> {
        match &self.speech {
            Speech::Tunnel(sessions) => Ok(sessions),
            Speech::Bare => anyhow::bail!("a forwarder has no sessions"),
        }
    }

    /// Whether it bundles packets into sealed datagrams.
    pub(crate) const fn has_tunnel(&self) -> bool {
        matches!(self.speech, Speech::Tunnel(_))
    }

    fn establish(&mut self, rig: &mut Rig) -> Result<()> {
        rig.topology.arrivals(Arrival::Delivered)?;
        rig.clients.empty()?;
        rig.shards.empty()?;
        let deadline = Instant::now() + ESTABLISH_MAX;
        let mut known = vec![false; CLIENTS as usize];
        let mut batch = Batch::new();
        loop {
            let missing: Vec<u32> = (0..CLIENTS).filter(|&index| !known[index as usize]).collect();
            if missing.is_empty() {
                return Ok(());
            }
            rig.stop.check()?;
            self.process.check()?;
            ensure!(
                Instant::now() < deadline,
                "{} of {CLIENTS} clients got no answer within {} s; the process says: {}",
                missing.len(),
                ESTABLISH_MAX.as_secs(),
                self.process.last_words()
            );
            for group in missing.chunks(NEW_FLOWS_A_MILLISECOND) {
                batch.clear();
                for &index in group {
                    batch.push(|frame| self.first_packet(index, frame));
                }
                rig.clients.injector.inject(&batch)?;
                std::thread::sleep(Duration::from_millis(1));
                self.listen(rig, &mut known)?;
            }
            std::thread::sleep(Duration::from_millis(20));
            self.listen(rig, &mut known)?;
        }
    }

    fn first_packet(&self, index: u32, frame: &mut [u8]) -> usize {
        let length = match &self.speech {
            Speech::Bare => {
                payload::write(&mut frame[HEADERS_BYTES..], index, 0, 0);
                PAYLOAD_BYTES
            }
            Speech::Tunnel(sessions) => sessions.check(index, &mut frame[HEADERS_BYTES..]),
        };
        wrap(frame, &from_client(index), length)
    }

    /// Answers checks, and marks the clients whose flows are known to stand.
    fn listen(&mut self, rig: &mut Rig, known: &mut [bool]) -> Result<()> {
        match &mut self.speech {
            Speech::Bare => {
                for inbox in &mut rig.shards.inboxes {
                    inbox.poll(|datagram, _| {
                        let from = forwarder::read(datagram).map(|(client, _)| client);
                        let index = (0..CLIENTS).find(|&index| Some(client(index)) == from);
                        if let Some(index) = index {
                            known[index as usize] = true;
                        }
                    })?;
                }
            }
            Speech::Tunnel(sessions) => {
                for (shard, inbox) in (0..SHARDS).zip(&mut rig.shards.inboxes) {
                    let mut checks: Vec<(Client, Vec<u8>)> = Vec::new();
                    inbox.poll(|datagram, _| {
                        sessions.open(datagram, |client, payload| {
                            checks.push((*client, payload.to_vec()));
                        });
                    })?;
                    for (client, check) in checks {
                        if let Some(answer) = sessions.answer(shard, &client, &check) {
                            // A lost answer is asked for again.
                            let _ = inbox.socket().send_to(&answer, TUNNEL);
                        }
                    }
                }
                for inbox in &mut rig.clients.inboxes {
                    inbox.poll(|answer, _| {
                        let index = Message::parse(answer).ok().and_then(|it| client_of(&it));
                        if let Some(known) = index.and_then(|it| known.get_mut(it as usize)) {
                            *known = true;
                        }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// What to inject, and how to read what comes out.
    pub(crate) fn ends(&mut self, direction: Direction) -> (Box<dyn Source + '_>, Reader<'_>) {
        match (direction, &mut self.speech) {
            (Direction::Forward, Speech::Bare) => {
                (Box::new(FromClients::default()), Reader::Header)
            }
            (Direction::Forward, Speech::Tunnel(sessions)) => {
                (Box::new(FromClients::default()), Reader::Tunnel(sessions))
            }
            (Direction::Reverse, Speech::Bare) => (Box::new(Single::default()), Reader::Payload),
            (Direction::Reverse, Speech::Tunnel(sessions)) => {
                (Box::new(Sealed::new(sessions)), Reader::Payload)
            }
        }
    }

    /// Reads how far the relay has counted on each leg, by sending a packet through each. `None`
    /// for a candidate without a tunnel.
    pub(crate) fn probe(&mut self, rig: &mut Rig) -> Result<Option<LegCounters>> {
        let Speech::Tunnel(sessions) = &mut self.speech else { return Ok(None) };
        rig.shards.empty()?;
        let mut legs = LegCounters::new();
        let mut batch = Batch::new();
        for _ in 0..3 {
            batch.clear();
            for index in 0..u32::from(SHARDS) {
                batch.push(|frame| {
                    payload::write(&mut frame[HEADERS_BYTES..], index, 0, 0);
                    wrap(frame, &from_client(index), PAYLOAD_BYTES)
                });
            }
            rig.clients.injector.inject(&batch)?;
            std::thread::sleep(Duration::from_millis(20));
            for inbox in &mut rig.shards.inboxes {
                while inbox.poll(|datagram, _| {
                    if let Some((leg, counter)) = sessions.open(datagram, |_, _| ()) {
                        let newest = legs.entry(leg).or_insert(0);
                        *newest = counter.max(*newest);
                    }
                })? > 0
                {}
            }
            if legs.len() == usize::from(SHARDS) {
                return Ok(Some(legs));
            }
        }
        anyhow::bail!("{} of {SHARDS} legs carried a packet", legs.len())
    }
}

/// The sockets of an io_uring process outlive it by a moment.
fn wait_for_ports(rig: &Rig) -> Result<()> {
    let deadline = Instant::now() + PORTS_MAX;
    loop {
        let bound = rig.topology.relay.within(|| {
            Ok([PUBLIC, TUNNEL].map(UdpSocket::bind).into_iter().collect::<Result<Vec<_>, _>>())
        })?;
        match bound {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error).context("The last candidate's ports stay in use"),
        }
    }
}

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

/// Where a direction's packets are injected.
pub(crate) const fn origin(direction: Direction) -> From {
    match direction {
        Direction::Forward => From::Clients,
        Direction::Reverse => From::Shards,
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
