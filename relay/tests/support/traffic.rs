//! Steady traffic of many calls through a relay, every packet of which is accounted for.
//!
//! Each packet is numbered, the shard returns it, and the caller checks it off. At most so many are
//! under way at once, so that a machine that is busy with something else makes it slower, and not
//! lossy: what is lost is lost by the relay.

use crate::namespaces::on_host;
use crate::stage::{PUBLIC, Stage};
use crate::support::Shard;
use engine::sockets::{self, SocketSettings};
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::tunnel::Content;

/// Packets a second, all calls together, each way.
const RATE: u64 = 20_000;
const UNDER_WAY_MAX: u64 = 2_000;
const SOCKET_BYTES: u32 = 8 << 20;

/// What became of all packets.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) lost_up: u64,
    pub(crate) lost_down: u64,
    pub(crate) rate: u64,
    /// The longest time in which nothing came back.
    pub(crate) gap: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets at {} a second each way, {} lost upstream, {} downstream, longest gap {:?}",
            self.sent, self.rate, self.lost_up, self.lost_down, self.gap
        )
    }
}

/// Traffic that goes on until it is stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    returned: Arc<AtomicU64>,
    callers: JoinHandle<Report>,
    shard: JoinHandle<()>,
}

fn packet(number: u64) -> [u8; 60] {
    let mut packet = [0; 60];
    packet[..2].copy_from_slice(&[0x80, 111]);
    packet[12..20].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(packet.get(12..20)?.try_into().ok()?))
}

fn roomy(address: &str) -> UdpSocket {
    let settings = SocketSettings {
        receive_buffer_bytes: Some(SOCKET_BYTES),
        ..SocketSettings::tunnel(address.parse().unwrap())
    };
    UdpSocket::from(sockets::bind(&settings).unwrap().socket)
}

impl Traffic {
    /// Sets calls up, and lets them talk. The stage's shard gets nothing until this is stopped.
    pub(crate) fn start(stage: &mut Stage, calls: u32) -> Self {
        let relay: SocketAddr = PUBLIC.parse().unwrap();
        let callers: Vec<UdpSocket> = on_host(&stage.hosts.client, || {
            (0..calls)
                .map(|_| {
                    let socket = roomy("10.77.1.2:0");
                    socket.connect(relay).unwrap();
                    socket
                })
                .collect()
        });
        for (tag, caller) in (1_000..).zip(&callers) {
            caller.set_nonblocking(false).unwrap();
            let check = stage.shard.session(tag).1;
            caller.send(&check).unwrap();
            let arrived = stage.shard.receive_one();
            stage.shard.send(arrived.relay, &arrived.client, &packet(u64::MAX));
            caller.recv(&mut [0; 100]).unwrap();
            caller.set_nonblocking(true).unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let returned = Arc::new(AtomicU64::new(0));
        let up = Arc::new(AtomicU64::new(0));
        let shard = stage.shard.twin();
        let shard = std::thread::spawn({
            let (stop, up) = (Arc::clone(&stop), Arc::clone(&up));
            move || echo(shard, &stop, &up)
        });
        let callers = std::thread::spawn({
            let (stop, returned) = (Arc::clone(&stop), Arc::clone(&returned));
            move || talk(&callers, &stop, &returned, &up)
        });
        Self { stop, returned, callers, shard }
    }

    /// Waits until so many more packets have come back.
    pub(crate) fn passes(&self, packets: u64) {
        let wanted = self.returned.load(Ordering::Relaxed) + packets;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.returned.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "the traffic has stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.callers.join().unwrap();
        self.shard.join().unwrap();
        report
    }
}

/// Returns every packet until the callers have all theirs, or a second has passed in silence.
fn echo(mut shard: Shard, stop: &AtomicBool, up: &AtomicU64) {
    let mut datagram = [0; 9_000];
    shard.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut silent = 0;
    while silent < 10 || !stop.load(Ordering::Relaxed) {
        let Ok((length, relay)) = shard.socket.recv_from(&mut datagram) else {
            silent += 1;
            continue;
        };
        match shard.opener.open(&mut datagram[..length]).unwrap().content {
            Content::Data(frames) => {
                silent = 0;
                for frame in frames {
                    up.fetch_add(1, Ordering::Relaxed);
                    if shard.bundle.append(&frame.client, frame.payload).is_err() {
                        let full = shard.sealer.seal_data(&mut shard.bundle).unwrap();
                        shard.socket.send_to(full, relay).unwrap();
                        shard.bundle.append(&frame.client, frame.payload).unwrap();
                    }
                }
                let last = shard.sealer.seal_data(&mut shard.bundle).unwrap();
                shard.socket.send_to(last, relay).unwrap();
            }
            Content::Ping(token) => {
                let pong = shard.sealer.seal_pong(token).unwrap();
                shard.socket.send_to(&pong, relay).unwrap();
            }
            Content::Pong(_) | Content::Gone(_) => {}
        }
    }
}

fn talk(callers: &[UdpSocket], stop: &AtomicBool, returned: &AtomicU64, up: &AtomicU64) -> Report {
    let start = Instant::now();
    let (mut sent, mut came) = (0u64, 0u64);
    let mut seen: Vec<bool> = Vec::new();
    let (mut last, mut gap) = (start, Duration::ZERO);
    let mut silent_since: Option<Instant> = None;
    let mut talked = Duration::ZERO;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if !stopping {
            talked = start.elapsed();
            let due = u64::try_from(talked.as_micros()).unwrap() * RATE / 1_000_000;
            // What could not be sent in time is not made up for by a burst.
            let burst = due.saturating_sub(sent).min(100);
            for _ in 0..burst.min(UNDER_WAY_MAX.saturating_sub(sent - came)) {
                let caller = &callers[usize::try_from(sent).unwrap() % callers.len()];
                caller.send(&packet(sent)).unwrap();
                sent += 1;
            }
            seen.resize(usize::try_from(sent).unwrap(), false);
        }
        let before = came;
        let mut bytes = [0; 100];
        for caller in callers {
            while let Ok(length) = caller.recv(&mut bytes) {
                let Some(number) = number(&bytes[..length]) else { continue };
                let seen = &mut seen[usize::try_from(number).unwrap()];
                assert!(!std::mem::replace(seen, true), "packet {number} came twice");
                came += 1;
            }
        }
        returned.store(came, Ordering::Relaxed);
        if came > before {
            gap = gap.max(last.elapsed());
            last = Instant::now();
            silent_since = None;
        } else if stopping {
            let since = *silent_since.get_or_insert_with(Instant::now);
            if came == sent || since.elapsed() > Duration::from_secs(2) {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let arrived = up.load(Ordering::Relaxed);
    let rate = sent * 1_000 / u64::try_from(talked.as_millis()).unwrap().max(1);
    Report { sent, lost_up: sent - arrived, lost_down: arrived - came, rate, gap }
}
