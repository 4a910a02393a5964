//! The process under test, and what must happen before it can be measured: flows of all clients.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wire::frame::Client;
use wire::stun::Message;

use crate::arrivals::Reader;
use crate::cases::{Candidate, Direction, Engine};
use crate::rig::{From, Rig};
use crate::traffic::{FromClients, PAYLOAD_BYTES, Sealed, Single, Source, from_client, media};
use kit::ethernet::{HEADERS_BYTES, wrap};
use kit::forwarder;
use kit::injector::Batch;
use kit::namespaces::Arrival;
use kit::payload;
use kit::plan::{SHARDS, TUNNEL};
use kit::process::Process;
use kit::relay::{Files, wait_for_ports};
use kit::sessions::{LegCounters, Sessions, client_of};

/// How long a process may take to start and to carry its first packet for every client.
const ESTABLISH_MAX: Duration = Duration::from_secs(60);
/// Below the relay's limit on new flows a second, as it is set for the benchmark.
const NEW_FLOWS_A_MILLISECOND: usize = 20;

/// What the process under test speaks on the shards' side.
#[derive(Debug)]
enum Speech {
    /// Bare datagrams with a short header.
    Bare,
    /// The tunnel.
    Tunnel(Box<Sessions>),
}

/// What a client sends to get a flow, and to see whether it has one.
#[derive(Debug, Clone, Copy)]
enum First {
    Check,
    Media,
}

/// Which clients have a flow.
#[derive(Debug)]
struct Flows {
    answered: Vec<bool>,
    carried: Vec<bool>,
}

impl Flows {
    /// None of so many; answers to checks count only where checks are answered.
    fn new(clients: u32, checks: bool) -> Self {
        Self { answered: vec![!checks; clients as usize], carried: vec![false; clients as usize] }
    }

    fn answered(&mut self, client: Option<u32>) {
        mark(&mut self.answered, client);
    }

    fn carried(&mut self, client: Option<u32>) {
        mark(&mut self.carried, client);
    }

    /// Those that have none yet.
    fn missing(&self) -> Vec<u32> {
        let both = self.answered.iter().zip(&self.carried).zip(0..);
        both.filter(|((answered, carried), _)| !(**answered && **carried)).map(|it| it.1).collect()
    }
}

fn mark(clients: &mut [bool], client: Option<u32>) {
    if let Some(mark) = client.and_then(|client| clients.get_mut(client as usize)) {
        *mark = true;
    }
}

/// A running candidate.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its process.
    pub(crate) process: Process,
    speech: Speech,
    clients: u32,
}

impl Subject {
    /// Starts a candidate and establishes a flow for each of so many clients.
    pub(crate) fn start(
        rig: &mut Rig,
        candidate: Candidate,
        clients: u32,
        relay: &Path,
        folder: &Path,
    ) -> Result<Self> {
        wait_for_ports(&rig.topology.relay)?;
        let log = folder.join("subject.log");
        let namespace = Some(&rig.topology.relay);
        let (process, speech) = if candidate.engine.is_relay() {
            let (sessions, keyring) = Sessions::generate(clients)?;
            let budget = candidate.coalesce_us_max.unwrap_or(0);
            let engine = candidate.engine.relays_name();
            let files = Files::write(folder, engine, budget, "off", &keyring)?;
            let arguments = ["run".as_ref(), "--config".as_ref(), files.config.as_os_str()];
            let process = Process::start(namespace, relay.as_os_str(), &arguments, log)?;
            (process, Speech::Tunnel(Box::new(sessions)))
        } else {
            let own = std::env::current_exe().context("Failed to find this program's own file")?;
            let style = if candidate.engine == Engine::Naive { "naive" } else { "mmsg" };
            let arguments = [OsStr::new("forwarder"), OsStr::new(style)];
            (Process::start(namespace, own.as_os_str(), &arguments, log)?, Speech::Bare)
        };
        let mut subject = Self { process, speech, clients };
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

    /// How many clients have a flow.
    pub(crate) const fn clients(&self) -> u32 {
        self.clients
    }

    fn establish(&mut self, rig: &mut Rig) -> Result<()> {
        rig.topology.arrivals(Arrival::Delivered)?;
        rig.clients.empty()?;
        rig.shards.empty()?;
        let deadline = Instant::now() + ESTABLISH_MAX;
        let mut flows = Flows::new(self.clients, self.has_tunnel());
        loop {
            let missing = flows.missing();
            if missing.is_empty() {
                return Ok(());
            }
            rig.stop.check()?;
            self.process.check()?;
            ensure!(
                Instant::now() < deadline,
                "{} of {} clients have no flow after {} s; the process says: {}",
                missing.len(),
                self.clients,
                ESTABLISH_MAX.as_secs(),
                self.process.last_words()
            );
            if self.has_tunnel() {
                self.send(rig, &missing, First::Check, &mut flows)?;
            }
            // Checks are answered also while no flows are made: only media shows that there is one.
            self.send(rig, &missing, First::Media, &mut flows)?;
        }
    }

    /// Sends a packet of each of these clients, at a pace that no limit of the relay minds.
    fn send(
        &mut self,
        rig: &mut Rig,
        clients: &[u32],
        first: First,
        flows: &mut Flows,
    ) -> Result<()> {
        let mut batch = Batch::new();
        for group in clients.chunks(NEW_FLOWS_A_MILLISECOND) {
            batch.clear();
            for &index in group {
                batch.push(|frame| self.first_packet(index, first, frame));
            }
            rig.clients.injector.inject(&batch)?;
            std::thread::sleep(Duration::from_millis(1));
            self.listen(rig, flows)?;
        }
        std::thread::sleep(Duration::from_millis(20));
        self.listen(rig, flows)
    }

    fn first_packet(&self, index: u32, first: First, frame: &mut [u8]) -> usize {
        let length = match (first, &self.speech) {
            (First::Check, Speech::Tunnel(sessions)) => {
                sessions.check(index, &mut frame[HEADERS_BYTES..])
            }
            (First::Check | First::Media, _) => {
                payload::write(media(frame), index, 0, 0);
                PAYLOAD_BYTES
            }
        };
        wrap(frame, &from_client(index), length)
    }

    /// Answers checks, and notes whose packets came through.
    fn listen(&mut self, rig: &mut Rig, flows: &mut Flows) -> Result<()> {
        match &mut self.speech {
            Speech::Bare => {
                for inbox in &mut rig.shards.inboxes {
                    inbox.poll(|datagram, _| {
                        let packet = forwarder::read(datagram);
                        flows.carried(packet.and_then(|(_, payload)| payload::client(payload)));
                    })?;
                }
            }
            Speech::Tunnel(sessions) => {
                for (shard, inbox) in (0..SHARDS).zip(&mut rig.shards.inboxes) {
                    let mut checks: Vec<(Client, Vec<u8>)> = Vec::new();
                    inbox.poll(|datagram, _| {
                        sessions.open(datagram, |client, payload| match payload::client(payload) {
                            Some(index) => flows.carried(Some(index)),
                            None => checks.push((*client, payload.to_vec())),
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
                        let answer = Message::parse(answer).ok();
                        flows.answered(answer.and_then(|answer| client_of(&answer)));
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
                (Box::new(FromClients::new(self.clients)), Reader::Header)
            }
            (Direction::Forward, Speech::Tunnel(sessions)) => {
                (Box::new(FromClients::new(self.clients)), Reader::Tunnel(sessions))
            }
            (Direction::Reverse, Speech::Bare) => {
                (Box::new(Single::new(self.clients)), Reader::Payload)
            }
            (Direction::Reverse, Speech::Tunnel(sessions)) => {
                (Box::new(Sealed::new(sessions, self.clients)), Reader::Payload)
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
        let shards = u32::from(SHARDS).min(self.clients);
        for _ in 0..3 {
            batch.clear();
            for index in 0..shards {
                batch.push(|frame| {
                    payload::write(media(frame), index, 0, 0);
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
            if legs.len() == shards as usize {
                return Ok(Some(legs));
            }
        }
        anyhow::bail!("{} of {shards} legs carried a packet", legs.len())
    }
}

/// Where a direction's packets are injected.
pub(crate) const fn origin(direction: Direction) -> From {
    match direction {
        Direction::Forward => From::Clients,
        Direction::Reverse => From::Shards,
    }
}
