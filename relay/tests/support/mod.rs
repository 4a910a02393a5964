//! A shard's stand-in and a client for tests over real sockets: both are what their names say as far
//! as the relay can see, and nothing more.
#![allow(dead_code)] // Each test file uses its part.

use engine::sockets::{self, SocketSettings};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use wire::frame::Client;
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind};
use wire::tunnel::{Bundle, Content, Direction, Opener, Sealer, SenderId};

/// How long a test waits for a packet that must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for one that must not.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// The shard of the test cluster.
pub(crate) const CLUSTER: ClusterId = ClusterId(1);
/// Its transceiver.
pub(crate) const TRANSCEIVER: TransceiverId = TransceiverId(1);

/// One shard: a tunnel socket, and the keys to speak by it.
pub(crate) struct Shard {
    pub(crate) socket: UdpSocket,
    keyring: Keyring,
    pub(crate) opener: Opener,
    pub(crate) sealer: Sealer,
    pub(crate) bundle: Bundle,
}

/// A packet that reached a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) relay: SocketAddr,
    pub(crate) client: Client,
    pub(crate) packet: Vec<u8>,
}

impl Shard {
    pub(crate) fn new(address: SocketAddr, keyring: &Keyring) -> Self {
        // Room for all that a test can have under way: what is lost is lost by the relay.
        let settings = SocketSettings {
            receive_buffer_bytes: Some(8 << 20),
            ..SocketSettings::tunnel(address)
        };
        let socket = UdpSocket::from(sockets::bind(&settings).unwrap().socket);
        socket.set_nonblocking(false).unwrap();
        Self::with(socket, keyring)
    }

    /// One that shares this one's socket, and speaks with a sender id of its own.
    pub(crate) fn twin(&self) -> Self {
        Self::with(self.socket.try_clone().unwrap(), &self.keyring)
    }

    fn with(socket: UdpSocket, keyring: &Keyring) -> Self {
        let mut sender = [0; 8];
        getrandom::fill(&mut sender).unwrap();
        Self {
            socket,
            opener: Opener::new(Direction::ToShard, keyring, 64),
            sealer: keyring.sealer(Direction::ToRelay, SenderId(sender)),
            keyring: keyring.clone(),
            bundle: Bundle::new(1472, 2048),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// A session here: its ufrag, and the check that its client sends first.
    pub(crate) fn session(&self, tag: u32) -> (String, Vec<u8>) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let hint = Hint {
            cluster: CLUSTER,
            transceiver: TRANSCEIVER,
            shard: ShardId(0),
            expires: HintTime::after(now, Duration::from_secs(3600)),
            session: SessionTag::new(tag),
        };
        let (ufrag, pwd) = self.keyring.mint(hint);
        (ufrag.to_string(), check(ufrag.as_bytes(), pwd.as_bytes()))
    }

    /// The next client packets, answering pings on the way. Nothing if none come in time.
    pub(crate) fn receive(&mut self, patience: Duration) -> Vec<Arrived> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut datagram = [0; 9000];
            let Ok((length, relay)) = self.socket.recv_from(&mut datagram) else { continue };
            match self.opener.open(&mut datagram[..length]).unwrap().content {
                Content::Data(frames) => {
                    return frames
                        .map(|frame| Arrived {
                            relay,
                            client: frame.client,
                            packet: frame.payload.to_vec(),
                        })
                        .collect();
                }
                Content::Ping(token) => {
                    let pong = self.sealer.seal_pong(token).unwrap();
                    self.socket.send_to(&pong, relay).unwrap();
                }
                Content::Pong(_) | Content::Gone(_) => {}
            }
        }
    }

    /// The one client packet that must come.
    pub(crate) fn receive_one(&mut self) -> Arrived {
        let arrived = self.receive(PATIENCE);
        assert_eq!(arrived.len(), 1, "{arrived:?}");
        arrived.into_iter().next().unwrap()
    }

    /// Sends a packet to a client through the relay.
    pub(crate) fn send(&mut self, relay: SocketAddr, client: &Client, packet: &[u8]) {
        self.bundle.append(client, packet).unwrap();
        let datagram = self.sealer.seal_data(&mut self.bundle).unwrap();
        self.socket.send_to(datagram, relay).unwrap();
    }

    /// Tells the relay that a client has no session here.
    pub(crate) fn gone(&mut self, relay: SocketAddr, client: &Client) {
        self.bundle.append(client, b"").unwrap();
        let datagram = self.sealer.seal_gone(&mut self.bundle).unwrap();
        self.socket.send_to(datagram, relay).unwrap();
    }
}

/// A connectivity check.
pub(crate) fn check(ufrag: &[u8], pwd: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).unwrap();
    Encoder::new(&mut buffer, Kind::BindingRequest, transaction)
        .and_then(|check| check.username(ufrag, b"abcd"))
        .and_then(|check| check.priority(1))
        .and_then(|check| check.integrity(pwd))
        .and_then(Encoder::fingerprint)
        .unwrap()
        .finish()
        .to_vec()
}

/// A client: a socket that knows where the relay is.
pub(crate) struct Caller(UdpSocket);

impl Caller {
    /// On this host.
    pub(crate) fn new(relay: SocketAddr) -> Self {
        Self::on(relay, SocketAddr::new(relay.ip(), 0))
    }

    /// At this address.
    pub(crate) fn on(relay: SocketAddr, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.connect(relay).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        self.0.send(packet).unwrap();
    }

    /// Sends, whether or not anybody is there.
    pub(crate) fn try_send(&self, packet: &[u8]) {
        // An error is that nobody was there for the one before.
        let _ = self.0.send(packet);
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        self.receive_within(PATIENCE).expect("a packet for the client")
    }

    pub(crate) fn receive_within(&self, patience: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut packet = [0; 9000];
        let length = self.0.recv(&mut packet).ok()?;
        Some(packet[..length].to_vec())
    }
}
