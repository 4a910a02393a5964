//! Those who mean no good: floods from addresses that are not theirs, and checks made by hand.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind};

use crate::namespaces::Host;

/// Source ports of a flood.
const SOCKETS: usize = 16;
/// How often a flood catches up with its rate.
const BEAT: Duration = Duration::from_millis(1);
const CHECK_BYTES_MAX: usize = 256;

/// A check with Chromium's attributes; the transaction names its number.
pub(crate) fn check(ufrag: &str, password: &str, number: u64) -> Result<Vec<u8>> {
    let mut buffer = [0; CHECK_BYTES_MAX];
    let mut transaction = *b"ring--------";
    transaction[4..].copy_from_slice(&number.to_be_bytes());
    let made = Encoder::new(&mut buffer, Kind::BindingRequest, transaction)
        .and_then(|check| check.username(ufrag.as_bytes(), b"abcd"))
        .and_then(|check| check.ice_controlling(1))
        .and_then(Encoder::use_candidate)
        .and_then(|check| check.priority(0x6e7f_1eff))
        .and_then(|check| check.integrity(password.as_bytes()))
        .and_then(Encoder::fingerprint)
        .ok()
        .context("a check has room")?;
    Ok(made.finish().to_vec())
}

/// A hint to the first shard of transceiver 1, good for so long from a moment.
pub(crate) fn hint(session: u32, from: SystemTime, lifetime: Duration) -> Hint {
    let from = from.duration_since(UNIX_EPOCH).unwrap_or_default();
    Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(1),
        shard: ShardId(0),
        expires: HintTime::after(from, lifetime),
        session: SessionTag::new(session),
    }
}

/// Checks with true hints and true integrity, of sessions that need not exist.
pub(crate) fn minted(
    keyring: &Keyring,
    count: u32,
    hint: impl Fn(u32) -> Hint,
) -> Result<Vec<Vec<u8>>> {
    let make = |session| {
        let (ufrag, password) = keyring.mint(hint(session));
        check(ufrag.as_str(), password.as_str(), u64::from(session))
    };
    (0..count).map(make).collect()
}

/// Random numbers for addresses (xorshift64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new() -> Self {
        // Any start but zero will do.
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of a million addresses that nobody has.
    fn address(&mut self) -> Ipv4Addr {
        let [_, _, _, _, _, a, b, c] = self.next().to_be_bytes();
        Ipv4Addr::new(10, 96 | (a & 15), b, c)
    }
}

/// Packets at a rate from ever new addresses, until it is dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// Sends these packets in turn; `None` makes random bytes that look like STUN.
    pub(crate) fn start(
        host: &Host,
        target: SocketAddr,
        packets: Option<Vec<Vec<u8>>>,
        per_second: f64,
    ) -> Result<Self> {
        let sockets = host.run(|| {
            let open = |_| UdpSocket::bind("0.0.0.0:0").context("Failed to open a socket");
            (0..SOCKETS).map(open).collect::<Result<Vec<_>>>()
        })?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new().name("flood".to_owned()).spawn(move || {
            let mut source = Source { sockets, target, packets, random: Random::new() };
            let began = Instant::now();
            let mut count = 0u64;
            let mut forgiven = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                let due = crate::count(began.elapsed().as_secs_f64() * per_second);
                // A host that cannot keep up sends what it can, and owes nothing.
                let beat = crate::count(per_second * BEAT.as_secs_f64() * 20.0).max(1);
                forgiven = forgiven.max(due.saturating_sub(beat).saturating_sub(count));
                while count + forgiven < due {
                    source.send(count);
                    count += 1;
                }
                counted.store(count, Ordering::Relaxed);
                std::thread::sleep(BEAT);
            }
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

struct Source {
    sockets: Vec<UdpSocket>,
    target: SocketAddr,
    packets: Option<Vec<Vec<u8>>>,
    random: Random,
}

impl Source {
    fn send(&mut self, number: u64) {
        let mut noise = [0; 96];
        let index = |count: usize| usize::try_from(number % count.max(1) as u64).unwrap_or(0);
        let packet = match &self.packets {
            Some(packets) => packets[index(packets.len())].as_slice(),
            None => {
                for chunk in noise.chunks_mut(8) {
                    chunk.copy_from_slice(&self.random.next().to_be_bytes());
                }
                // The head of a Binding request of this length.
                noise[..8].copy_from_slice(&[0, 1, 0, 76, 0x21, 0x12, 0xa4, 0x42]);
                &noise
            }
        };
        let source = u32::from(self.random.address()).to_be();
        let from = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: source },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let SocketAddr::V4(target) = self.target else { return };
        // A packet that does not leave is not missed.
        let _ = sendmsg(
            self.sockets[index(self.sockets.len())].as_raw_fd(),
            &[std::io::IoSlice::new(packet)],
            &[ControlMessage::Ipv4PacketInfo(&from)],
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrIn::from(target)),
        );
    }
}
