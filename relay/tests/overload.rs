//! A worker that gets more than it can take: what established calls lose.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/stage.rs"]
mod stage;
mod support;

use namespaces::on_host;
use nix::sys::socket::{setsockopt, sockopt};
use stage::{PUBLIC, Stage};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::{Caller, Shard};

const CALLS: u32 = 20;
/// Between two packets of a call.
const FRAME: Duration = Duration::from_millis(20);
const PHASES: usize = 5;
/// Datagrams of a flood that leave in one system call.
const BURST: usize = 60;

/// Counts, by phase, what reaches the shard of what the calls send.
struct Listener {
    stop: Arc<AtomicBool>,
    arrived: Arc<[AtomicU64; PHASES]>,
    thread: JoinHandle<()>,
}

impl Listener {
    fn start(mut shard: Shard) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let arrived: Arc<[AtomicU64; PHASES]> = Arc::default();
        let (stopped, counts) = (Arc::clone(&stop), Arc::clone(&arrived));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for packet in shard.receive(Duration::from_millis(100)) {
                    // Checks of the flood do not come through: they are nobody's.
                    counts[usize::from(packet.packet[12])].fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, arrived, thread }
    }
}

/// As many packets like this as one thread can send, many in one system call.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    fn start(stage: &Stage, packet: &[u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let socket = on_host(&stage.hosts.client, || UdpSocket::bind("10.77.1.2:0").unwrap());
        socket.connect(PUBLIC).unwrap();
        setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(packet.len()).unwrap()).unwrap();
        let burst = packet.repeat(BURST);
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                // What the kernel has no room for is not missed.
                sent += socket.send(&burst).map_or(0, |_| BURST as u64);
            }
            sent
        });
        Self { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Lets all calls talk; gives what was sent.
fn talk(calls: &[Caller], phase: usize, time: Duration) -> u64 {
    let mut packet = [0; 100];
    packet[..2].copy_from_slice(&[0x80, 111]);
    packet[12] = u8::try_from(phase).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < time {
        for call in calls {
            call.send(&packet);
            sent += 1;
        }
        std::thread::sleep(FRAME);
    }
    std::thread::sleep(Duration::from_millis(300));
    sent
}

/// The loss is printed: it is what one wants to know. It is compared only where this machine can send
/// a worker more than it takes, which a flood of what looks like DTLS shows: nothing is shed of that.
#[test]
fn under_a_flood_of_checks_established_calls_keep_their_packets() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let config = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, config.replace("workers = 2", "workers = 1")).unwrap();
    stage.relay.kill().unwrap();
    stage.relay.wait().unwrap();
    stage.restart();
    let calls: Vec<_> = (1..=CALLS).map(|tag| stage.call(PUBLIC, tag).0).collect();
    let listener = Listener::start(stage.shard.twin());
    let (_, check) = stage.shard.session(1_000);
    let mut dtls = vec![0; check.len()];
    dtls[..3].copy_from_slice(&[22, 0xfe, 0xfd]);
    // A true name, and a false password: what costs the worker most.
    let mut forged = check;
    let last = forged.len() - 20;
    forged[last] ^= 1;
    let dropped = |stage: &Stage| stage.metric("relay_kernel_drops_total", "public");

    let seconds = Duration::from_secs;
    let mut sent = [0; PHASES];
    sent[0] = talk(&calls, 0, seconds(2));
    let flood = Flood::start(&stage, &dtls);
    sent[1] = talk(&calls, 1, seconds(4));
    let dtls_rate = flood.stop() / 4;
    let blind = dropped(&stage);
    let flood = Flood::start(&stage, &forged);
    sent[2] = talk(&calls, 2, seconds(2));
    sent[3] = talk(&calls, 3, seconds(6));
    let halvings = stage.metric("relay_shed_halvings", "");
    let rate = flood.stop() / 8;
    sent[4] = talk(&calls, 4, seconds(2));
    listener.stop.store(true, Ordering::Relaxed);
    let arrived: [u64; PHASES] =
        std::array::from_fn(|at| listener.arrived[at].load(Ordering::Relaxed));
    listener.thread.join().unwrap();
    let lost: [u64; PHASES] = std::array::from_fn(|at| (sent[at] - arrived[at]) * 1_000 / sent[at]);
    println!(
        "lost of {CALLS} calls' packets, in thousandths: {} before, {} under {} datagrams/s that look \
         like DTLS ({blind} dropped by the kernel), {} in the first two seconds of {rate} checks/s, {} \
         in the next six (one check in 2^{halvings} admitted, {} shed), {} afterwards",
        lost[0],
        lost[1],
        dtls_rate,
        lost[2],
        lost[3],
        stage.metric("relay_drops_total", "\"shed\""),
        lost[4],
    );
    if lost[1] < 100 || lost[2] + lost[3] == 0 {
        println!("nothing to compare: this machine cannot send a worker more than it takes");
    } else {
        assert!(halvings >= 1.0 || lost[3] * 4 < lost[1], "{lost:?}");
        assert!(lost[3] < lost[1], "{lost:?}");
    }
    assert!(lost[0] < 100 && lost[4] < 100, "{lost:?}");
    // It ends with the flood, some time later.
    stage.stop();
}
