//! Against a network whose delay and loss are known: the report must say the same.

use std::net::SocketAddr;

use engine::sim::{Conditions, Network, NetworkSettings, Sim};
use engine::{Engine, Link, LinkSettings, Wait};
use wire::hint::{ClusterId, TransceiverId};
use wire::keyring::Keyring;

use super::*;
use crate::flows::{PACKET_BYTES_MAX, Place};
use crate::sink::Echo;

const CLIENT: &str = "192.0.2.1:4000";
const SERVER: &str = "192.0.2.9:3478";

/// A generator, the far end, and the network between them.
struct Lab {
    network: Network,
    client: Sim,
    server: Sim,
    generator: Generator,
    echo: Echo,
    total: Measurement,
    /// While set, the far end answers nothing, and then everything.
    stalled: bool,
}

fn keyring() -> Keyring {
    let text = wire::keyring::generate(|bytes| -> Result<(), ()> {
        bytes.fill(7);
        Ok(())
    });
    Keyring::parse(&text.unwrap()).unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Lab {
    fn new(conditions: Conditions, profile: &str) -> Lab {
        let settings = NetworkSettings {
            seed: 5,
            conditions,
            datagrams_max: 1 << 15,
            queue_datagrams_max: 1 << 14,
            ..NetworkSettings::default()
        };
        let network = Network::new(settings);
        let link = LinkSettings { buffers: 8192, ..LinkSettings::default() };
        let engine = |address: &str| {
            network.engine(&[(address.parse().unwrap(), link)], &engine::Settings::default())
        };
        let place = Place { cluster: ClusterId(1), transceiver: TransceiverId(1), shards: 1 };
        let sessions = Sessions::new(keyring(), place, 0);
        Lab {
            client: engine(CLIENT).unwrap(),
            server: engine(SERVER).unwrap(),
            network: network.clone(),
            generator: Generator::new(Settings::new(profile.parse().unwrap()), sessions, 77),
            echo: Echo::new(keyring(), crate::host::clock_id()),
            total: Measurement::default(),
            stalled: false,
        }
    }

    fn load(&mut self, flows: u32, spread: Duration) {
        let from = self.network.now_ns();
        let spread = nanoseconds(spread);
        self.generator.set_load(Load { flows, from, spread, churn_interval: 0 });
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.network.now_ns() + nanoseconds(time);
        let server: SocketAddr = SERVER.parse().unwrap();
        let mut packet = [0; PACKET_BYTES_MAX];
        while self.network.now_ns() < end {
            let now = self.network.now_ns();
            while let Some(outgoing) = self.generator.poll(now, &mut packet) {
                let bytes = &packet[..outgoing.length];
                self.client.halves().1.push(Link(0), server, bytes).unwrap();
                self.client.flush().unwrap();
            }
            if !self.stalled {
                self.server.wait(Wait::default()).unwrap();
                let (arrivals, outbox) = self.server.halves();
                while let Some(arrival) = arrivals.pop() {
                    let client = arrival.source.into();
                    if let Some(length) = self.echo.answer(client, arrival.bytes, now, &mut packet)
                    {
                        outbox.push(arrival.link, arrival.source, &packet[..length]).unwrap();
                    }
                }
                self.server.flush().unwrap();
            }
            let due = self.generator.next_due().unwrap_or(end).min(end).max(now);
            // While the far end stalls, what waits for it must not stop the clock.
            let timeout = Duration::from_nanos(due - now).min(ms(1));
            self.client.wait(Wait { timeout, ..Wait::default() }).unwrap();
            let now = self.network.now_ns();
            while let Some(arrival) = self.client.halves().0.pop() {
                self.generator.on_packet(arrival.bytes, now);
            }
        }
        self.total.merge(&self.generator.take_window());
    }

    /// Lets everything come to its end.
    fn finish(&mut self) -> &Measurement {
        self.load(0, Duration::ZERO);
        self.run_for(ms(3_000));
        assert!(self.generator.is_idle());
        &self.total
    }
}

fn near(is: u64, want: u64, tolerance: f64) -> bool {
    let (is, want) = (is as f64, want as f64);
    (is - want).abs() <= want * tolerance
}

#[test]
fn a_perfect_network_is_reported_as_one() {
    let mut lab = Lab::new(Conditions { latency: ms(7), ..Conditions::default() }, "voice");
    lab.load(20, ms(100));
    lab.run_for(ms(10_000));
    assert_eq!(lab.generator.active(), 20);
    let total = lab.finish();
    let counts = &total.counts;
    assert_eq!((counts.started, counts.connected, counts.ended), (20, 20, 20));
    assert_eq!(counts.sent, counts.back);
    assert!(near(counts.sent, 20 * 50 * 10, 0.01), "{counts:?}");
    assert_eq!(
        (counts.lost, counts.duplicates, counts.reordered, counts.foreign, total.failed()),
        (0, 0, 0, 0, 0)
    );
    for (name, histogram, want) in [
        ("round trip", &total.latency.corrected, ms(14)),
        ("closed loop", &total.latency.uncorrected, ms(14)),
        ("there", &total.up, ms(7)),
        ("back", &total.down, ms(7)),
        ("checks", &total.checks, ms(14)),
        ("set-up", &total.phases[SETUP_PHASE], ms(14)),
    ] {
        for quantile in [0.01, 0.5, 0.999] {
            let is = histogram.value_at_quantile(quantile);
            assert!(near(is, nanoseconds(want), 0.002), "{name}: {is}");
        }
    }
    assert!(
        total.gaps.max() <= 21 * MILLISECOND && total.jitter.max() == 0,
        "{:?}",
        total.gaps.max()
    );
}

#[test]
fn injected_loss_is_reported_and_on_which_way() {
    let mut lab = Lab::new(Conditions { latency: ms(3), ..Conditions::default() }, "voice");
    lab.load(10, ms(100));
    lab.run_for(ms(1_000));
    lab.network.set_conditions(Conditions { latency: ms(3), loss: 0.05, ..Conditions::default() });
    lab.run_for(ms(20_000));
    lab.network.set_conditions(Conditions { latency: ms(3), ..Conditions::default() });
    let injected = lab.network.statistics().lost;
    let total = lab.finish().counts;
    // Checks and their answers were lost too: a known share of all.
    assert!(injected > 500);
    assert!(total.lost <= injected && total.lost + 60 > injected, "{total:?}, {injected}");
    assert_eq!(total.sent, total.back + total.lost);
    assert!(near(total.lost_up * 2, total.lost, 0.15), "half of it each way: {total:?}");
}

#[test]
fn doubles_and_reordering_are_reported() {
    let conditions = Conditions {
        latency: ms(5),
        duplication: 0.02,
        reordering: 0.03,
        reorder_delay: ms(30),
        ..Conditions::default()
    };
    let mut lab = Lab::new(conditions, "voice");
    lab.load(10, ms(100));
    lab.run_for(ms(20_000));
    let network = lab.network.statistics();
    let total = lab.finish().counts;
    assert_eq!((total.lost, total.sent), (0, total.back));
    // A double made on the way there is echoed twice, and one made on the way back comes twice.
    assert!(near(total.duplicates, network.duplicated, 0.15), "{total:?} {network:?}");
    assert!(near(total.duplicates_up * 2, network.duplicated, 0.25), "{total:?} {network:?}");
    // Each delay makes that one packet late against the one after it.
    assert!(near(total.reordered, network.reordered, 0.15), "{total:?} {network:?}");
    assert!(near(total.reordered_up * 2, network.reordered, 0.25), "{total:?} {network:?}");
}

#[test]
fn a_stall_shows_in_the_corrected_percentiles_and_not_in_the_uncorrected() {
    let mut lab = Lab::new(Conditions { latency: ms(2), ..Conditions::default() }, "voice");
    lab.load(10, ms(100));
    lab.run_for(ms(20_000));
    lab.stalled = true;
    lab.run_for(ms(1_000));
    lab.stalled = false;
    lab.run_for(ms(9_000));
    let total = lab.finish();
    assert_eq!(total.counts.lost, 0, "late, but not too late");
    let at =
        |histogram: &hdrhistogram::Histogram<u64>, q| histogram.value_at_quantile(q) / MILLISECOND;
    let (corrected, uncorrected) = (&total.latency.corrected, &total.latency.uncorrected);
    // One second of thirty: one packet in thirty waited, evenly up to a second.
    assert!((590..=760).contains(&at(corrected, 0.99)), "{}", at(corrected, 0.99));
    assert_eq!(at(uncorrected, 0.99), 4, "one question per flow in 30 s was answered late");
    assert!(corrected.max() > 950 * MILLISECOND && uncorrected.max() > 950 * MILLISECOND);
    assert!(total.gaps.min() > 950 * MILLISECOND, "each flow was silent for as long");
}

#[test]
fn a_generator_that_comes_late_says_so_and_blames_itself_in_the_latency() {
    let mut lab = Lab::new(Conditions { latency: ms(2), ..Conditions::default() }, "voice");
    lab.load(10, ms(100));
    lab.run_for(ms(10_000));
    assert!(lab.total.lateness.max() < 2 * MILLISECOND);
    // Nobody calls for half a second.
    lab.network.advance(ms(500));
    lab.run_for(ms(1_000));
    let total = lab.finish();
    assert!(total.lateness.max() > 450 * MILLISECOND);
    assert!(total.latency.corrected.max() > 450 * MILLISECOND);
    assert!(total.latency.uncorrected.value_at_quantile(0.97) < 10 * MILLISECOND);
}

#[test]
fn without_an_answer_nothing_but_a_few_checks_is_sent() {
    let mut lab = Lab::new(Conditions { loss: 1.0, ..Conditions::default() }, "voice");
    lab.load(5, Duration::ZERO);
    lab.run_for(ms(9_000));
    let counts = lab.total.counts;
    assert_eq!((counts.sent, counts.connected), (0, 0));
    assert!((5 * 4..=5 * 8).contains(&counts.checks), "{counts:?}");
    lab.run_for(ms(2_000));
    assert_eq!(lab.total.failures.get("no answer to any check"), Some(&5));
    lab.finish();
}

#[test]
fn a_flow_whose_consent_expires_stops_and_is_begun_anew() {
    let mut lab = Lab::new(Conditions { latency: ms(1), ..Conditions::default() }, "voice");
    lab.load(3, Duration::ZERO);
    lab.run_for(ms(5_000));
    lab.network.set_conditions(Conditions { loss: 1.0, ..Conditions::default() });
    lab.run_for(ms(31_000));
    let expired: u64 = lab.total.failures.values().sum();
    assert_eq!(expired, 3, "{:?}", lab.total.failures);
    let sent = lab.total.counts.sent;
    lab.run_for(ms(1_000));
    assert_eq!(lab.total.counts.sent, sent, "nothing is sent any more");
    lab.network.set_conditions(Conditions { latency: ms(1), ..Conditions::default() });
    lab.run_for(ms(5_000));
    assert_eq!(lab.total.counts.connected, 6);
    lab.finish();
}

#[test]
fn flows_come_and_go() {
    let mut lab = Lab::new(Conditions { latency: ms(1), ..Conditions::default() }, "voice");
    let from = lab.network.now_ns();
    let churn_interval = 100 * MILLISECOND;
    lab.generator.set_load(Load { flows: 20, from, spread: SECOND, churn_interval });
    lab.run_for(ms(11_000));
    let counts = lab.total.counts;
    assert_eq!(lab.generator.active(), 20);
    assert!((98..=101).contains(&counts.ended), "{counts:?}");
    assert_eq!(counts.started, counts.ended + 20);
    let total = lab.finish().counts;
    assert_eq!((total.lost, total.sent), (0, total.back));
    assert_eq!((total.connected, total.ended), (total.started, total.started));
}

#[test]
fn a_refused_packet_is_not_lost() {
    let mut lab = Lab::new(Conditions { latency: ms(1), ..Conditions::default() }, "voice");
    lab.load(1, Duration::ZERO);
    lab.run_for(ms(1_000));
    let mut packet = [0; PACKET_BYTES_MAX];
    let due = lab.generator.next_due().unwrap();
    let outgoing = lab.generator.poll(due, &mut packet).unwrap();
    lab.generator.refused(outgoing);
    let total = lab.finish();
    assert_eq!((total.generator.refused, total.counts.lost), (1, 0));
    assert_eq!(total.counts.sent, total.counts.back);
}

#[test]
fn packets_of_strangers_are_counted_and_do_nothing() {
    let mut lab = Lab::new(Conditions::default(), "voice");
    lab.load(1, Duration::ZERO);
    lab.run_for(ms(1_000));
    let before = lab.total.counts;
    let mut media = [0; 160];
    for (run, flow) in [(78, 0), (77, 5)] {
        let of = Media { run, flow, generation: 1, ..Media::default() };
        of.write(&mut media);
        lab.generator.on_packet(&media, 0);
    }
    let never_sent = Media { run: 77, flow: 0, generation: 1, slot: 1 << 40, ..Media::default() };
    never_sent.write(&mut media);
    for packet in [&media[..], b"", b"\0\x01\0\0", &[22; 40]] {
        lab.generator.on_packet(packet, 0);
    }
    let after = lab.finish().counts;
    assert_eq!(after.foreign - before.foreign, 6);
    assert_eq!(after.back, after.sent);
}

#[test]
fn silence_is_no_loss() {
    let mut lab = Lab::new(Conditions { latency: ms(1), ..Conditions::default() }, "voice-dtx");
    lab.load(10, Duration::ZERO);
    lab.run_for(ms(20_000));
    let counts = lab.finish().counts;
    assert_eq!((counts.lost, counts.back), (0, counts.sent));
    assert!(near(counts.sent, 10 * 50 * 20 * 43 / 100, 0.05), "{counts:?}");
}
