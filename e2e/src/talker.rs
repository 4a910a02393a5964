//! A client that the test holds in its hands: the load generator's call on a socket of its own. It
//! counts every frame it sends, and can send what no client would.

use crate::stage::Stage;
use loadgen::call::{Call, Event, FRAME_INTERVAL, Identity};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For the last frames to come back.
const TAIL: Duration = Duration::from_millis(500);
const PACKET_BYTES_MAX: usize = 2048;

/// One call that speaks fifty times a second while it is let.
#[derive(Debug)]
pub struct Talker {
    id: String,
    call: Call,
    socket: UdpSocket,
    relay: SocketAddr,
    next_frame: u64,
    missing: BTreeSet<u64>,
    events: Vec<Event>,
}

/// Somebody else on a call's socket.
#[derive(Debug)]
pub struct Stray {
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Stray {
    /// Sends a packet to the relay.
    pub fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.relay).unwrap();
    }
}

/// How long a call took to come about, from the moment its offer was posted.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The answer was here.
    pub answered: Duration,
    /// ICE and DTLS were done.
    pub connected: Duration,
    /// The first frame had come back.
    pub first_audio: Duration,
}

impl Talker {
    /// Calls the echo, and returns when frames can be sent.
    pub fn call(stage: &Stage) -> Self {
        let (call, offer) = Call::new(Instant::now()).unwrap();
        Self::connect(stage, call, &offer).0
    }

    /// Calls the echo and speaks until it is heard; returns how long that took.
    pub fn set_up(stage: &Stage, identity: &Identity) -> (Self, Setup) {
        let (call, offer) = Call::with_identity(identity, Instant::now()).unwrap();
        let posted = Instant::now();
        let (mut talker, answered) = Self::connect(stage, call, &offer);
        let connected = posted.elapsed();
        while talker.missing.len() as u64 == talker.next_frame {
            assert!(posted.elapsed() < CONNECT_PATIENCE, "nothing comes back");
            talker.speak();
            let next = Instant::now() + FRAME_INTERVAL;
            let sent = talker.missing.len();
            talker.run_until(next, |talker| talker.missing.len() < sent);
        }
        let first_audio = posted.elapsed();
        (talker, Setup { answered: answered - posted, connected, first_audio })
    }

    fn connect(stage: &Stage, call: Call, offer: &str) -> (Self, Instant) {
        let kind = [("Content-Type", "application/sdp")];
        let answer = stage.signal("POST", "/v1/realtime/calls", &kind, offer.as_bytes());
        let answered = Instant::now();
        assert_eq!(answer.status, 201, "{}", answer.body);
        let id = answer.header("Location").unwrap().rsplit('/').next().unwrap().to_owned();
        let socket = stage.hosts.client.run(|| UdpSocket::bind("10.78.1.2:0").unwrap());
        let relay = crate::stage::PUBLIC[0].parse().unwrap();
        let (missing, events) = (BTreeSet::new(), Vec::new());
        let mut talker = Self { id, call, socket, relay, next_frame: 0, missing, events };
        talker.call.accept_answer(&answer.body, Instant::now()).unwrap();
        talker.run_until(Instant::now() + CONNECT_PATIENCE, |talker| {
            talker.events.contains(&Event::Connected)
        });
        assert!(talker.events.contains(&Event::Connected), "no connection: {:?}", talker.events);
        (talker, answered)
    }

    /// The call's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Speaks for a while, then waits for what has not come back yet.
    pub fn talk(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut due = Instant::now();
        while due < end {
            self.run_until(due, |_| false);
            self.speak();
            due += FRAME_INTERVAL;
        }
        self.run_until(Instant::now() + TAIL, |_| false);
    }

    fn speak(&mut self) {
        let sent = self.call.send_frame(self.next_frame, Instant::now()).unwrap();
        assert!(sent, "the call cannot send");
        self.missing.insert(self.next_frame);
        self.next_frame += 1;
    }

    /// Frames sent.
    pub fn sent(&self) -> u64 {
        self.next_frame
    }

    /// Frames that never came back.
    pub fn lost(&self) -> usize {
        self.missing.len()
    }

    /// Sends anything to the relay from the very address that the call comes from, also while it
    /// talks.
    pub fn stray(&self) -> Stray {
        Stray { socket: self.socket.try_clone().unwrap(), relay: self.relay }
    }

    /// Has the transceiver end the call, and waits until DTLS says so.
    pub fn hang_up(&mut self, stage: &Stage) {
        let path = format!("/v1/realtime/calls/{}/hangup", self.id);
        assert_eq!(stage.signal("POST", &path, &[], b"").status, 200);
        self.run_until(Instant::now() + CONNECT_PATIENCE, |talker| {
            talker.events.contains(&Event::Closed)
        });
        assert!(self.events.contains(&Event::Closed), "not told of the end: {:?}", self.events);
    }

    /// Sends and receives until a time, or until enough has happened.
    fn run_until(&mut self, end: Instant, enough: impl Fn(&Self) -> bool) {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            let now = Instant::now();
            if now >= self.call.deadline() {
                self.call.handle_timeout(now).unwrap();
            }
            while let Some(transmit) = self.call.poll_transmit() {
                // The answer has more addresses than this socket's family can reach.
                let _ = self.socket.send_to(&transmit.bytes, transmit.destination);
            }
            while let Some(event) = self.call.poll_event() {
                match event {
                    Event::Frame(frame) => {
                        self.missing.remove(&frame.number);
                    }
                    event => self.events.push(event),
                }
            }
            if now >= end || enough(self) {
                return;
            }
            let wake = self.call.deadline().min(end);
            let patience = wake.saturating_duration_since(now).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(patience)).unwrap();
            match self.socket.recv_from(&mut packet) {
                Ok((length, source)) => {
                    self.call.handle_packet(source, &packet[..length], Instant::now()).unwrap();
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
