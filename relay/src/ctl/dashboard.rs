//! `ctl status` and `ctl top`: the relay on one screen, what is wrong first visible.

use relay::control::admin::protocol::{Drops, Status, WorkerStatus};
use relay::control::parking::ParkingState;
use relay::control::peers::Peer;

use service::show::words::{percent, round_trip, short, span};
use service::show::{Side, Table};

/// Reasons for drops on the screen. The rest is in metrics, and in the JSON.
const DROPS_SHOWN: usize = 8;
/// Shards on the screen.
const PEERS_SHOWN: usize = 20;
/// A worker ticks ten times a second.
const TICK_AGE_MS_ODD: u64 = 2_000;

/// The whole screen.
pub(crate) fn render(status: &Status) -> String {
    let mut text = head(status);
    text.push_str(&workers(&status.workers));
    text.push_str(&warnings(&status.workers));
    text.push_str(&drops(&status.drops));
    text.push_str(&peers(&status.peers));
    text
}

fn head(status: &Status) -> String {
    let Status { version, kernel, engine, engine_reason, generation, .. } = status;
    // The reason often begins with the name.
    let engine = match engine_reason.strip_prefix(engine.as_str()) {
        Some(_) => engine_reason.clone(),
        None => format!("{engine}: {engine_reason}"),
    };
    let direct = match (&status.direct.state[..], &status.direct.reason) {
        ("off", _) => String::new(),
        (state, reason) => format!("direct egress {state}: {reason}\n"),
    };
    let state = if status.draining { "DRAINING: takes no new flows" } else { "taking new flows" };
    format!(
        "ringway-relay {version}, kernel {kernel}, up {}\n\
         {state}, configuration {generation}\n\
         engine {engine}\n\
         {direct}{}",
        span(status.uptime_seconds),
        parking(&status.parking),
    )
}

fn parking(parking: &ParkingState) -> String {
    let ParkingState { state, reason, sockets, flows, flows_age_ms, .. } = parking;
    let has = format!("{sockets} sockets, {flows} flows of {} ago", span(flows_age_ms / 1_000));
    match &state[..] {
        "off" => String::new(),
        "on" => format!("parked with the service manager: {has}\n"),
        _ => format!("! parking with the service manager fails: {reason}; it has {has}\n"),
    }
}

fn workers(workers: &[WorkerStatus]) -> String {
    use Side::Right;
    let mut table = Table::new([
        ("worker", Right),
        ("in pps", Right),
        ("in bps", Right),
        ("out pps", Right),
        ("out bps", Right),
        ("drops/s", Right),
        ("busy", Right),
        ("flows", Right),
        ("new", Right),
        ("coalesce", Right),
    ]);
    let row = |name: String, of: &dyn Fn(fn(&WorkerStatus) -> f64) -> f64, end: [String; 4]| {
        let [busy, flows, new, coalesce] = end;
        [
            name,
            short(of(|worker| worker.received_packets)),
            short(of(|worker| worker.received_bits)),
            short(of(|worker| worker.sent_packets)),
            short(of(|worker| worker.sent_bits)),
            short(of(|worker| worker.drops)),
            busy,
            flows,
            new,
            coalesce,
        ]
    };
    for worker in workers {
        let end = [
            percent(worker.busy),
            worker.flows_assured.to_string(),
            worker.flows_new.to_string(),
            format!("{} us", worker.coalesce_us),
        ];
        table.row(row(worker.worker.to_string(), &|of| of(worker), end));
    }
    if workers.len() > 1 {
        let count = |of: fn(&WorkerStatus) -> u64| workers.iter().map(of).sum::<u64>().to_string();
        let end = [
            percent(workers.iter().map(|worker| worker.busy).sum()),
            count(|worker| worker.flows_assured),
            count(|worker| worker.flows_new),
            String::new(),
        ];
        table.row(row("all".to_owned(), &|of| workers.iter().map(of).sum(), end));
    }
    format!("\n{}", table.text(""))
}

/// Only what should not be. Silence is good news.
fn warnings(workers: &[WorkerStatus]) -> String {
    let mut text = String::new();
    for worker in workers {
        let number = worker.worker;
        if worker.tick_age_ms >= TICK_AGE_MS_ODD {
            let age = short_seconds(worker.tick_age_ms);
            text.push_str(&format!("! worker {number} has not ticked for {age}: it is stuck\n"));
        }
        let kernel =
            [("public", worker.kernel_drops_public), ("tunnel", worker.kernel_drops_tunnel)];
        for (socket, count) in kernel.into_iter().filter(|(_, count)| *count > 0) {
            text.push_str(&format!(
                "! worker {number}: the kernel dropped {count} datagrams at a full {socket} socket \
                 since the start\n"
            ));
        }
        if worker.allocations > 0 {
            let count = worker.allocations;
            text.push_str(&format!(
                "! worker {number}: {count} heap allocations after it was ready, please report\n"
            ));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn short_seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

fn drops(drops: &[Drops]) -> String {
    if drops.is_empty() {
        return "\nno drops since the start\n".to_owned();
    }
    let columns = [
        ("drops/s", Side::Right),
        ("in all", Side::Right),
        ("reason", Side::Left),
        ("", Side::Left),
    ];
    let mut table = Table::new(columns);
    for drop in drops.iter().take(DROPS_SHOWN) {
        let total = drop.total.to_string();
        table.row([short(drop.rate), total, drop.reason.clone(), drop.meaning.clone()]);
    }
    let more = drops.len().saturating_sub(DROPS_SHOWN);
    let rest = if more > 0 { format!("and {more} more reasons\n") } else { String::new() };
    format!("\n{}{rest}", table.text(""))
}

/// Those that are down first: the rest needs no eye.
fn peers(peers: &[Peer]) -> String {
    if peers.is_empty() {
        return "\nno shards yet\n".to_owned();
    }
    let mut sorted: Vec<_> = peers.iter().collect();
    sorted.sort_by_key(|peer| peer.up.map_or(1, |up| if up { 2 } else { 0 }));
    let up = peers.iter().filter(|peer| peer.up == Some(true)).count();
    let table = peers_table(sorted.into_iter().take(PEERS_SHOWN));
    let more = peers.len().saturating_sub(PEERS_SHOWN);
    let rest = if more > 0 {
        format!("and {more} more: ringway-relay ctl peers\n")
    } else {
        String::new()
    };
    format!("\nshards: {up} of {} up\n{table}{rest}", peers.len())
}

/// A line for each shard.
pub(super) fn peers_table<'a>(peers: impl Iterator<Item = &'a Peer>) -> String {
    let mut table = Table::new([
        ("shard", Side::Left),
        ("tunnel", Side::Left),
        ("state", Side::Left),
        ("round trip", Side::Right),
        ("legs up", Side::Right),
        ("flows", Side::Right),
    ]);
    for peer in peers {
        let state = match peer.up {
            Some(true) if peer.draining => "draining",
            Some(true) => "up",
            Some(false) => "DOWN",
            None => "?",
        };
        table.row([
            peer.route.to_string(),
            peer.tunnel.to_string(),
            state.to_owned(),
            round_trip(peer.round_trip_us),
            format!("{}/{}", peer.legs_up, peer.legs),
            peer.flows.to_string(),
        ]);
    }
    table.text("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::control::direct::DirectState;
    use relay::control::names::NamedRoute;

    fn worker(worker: usize) -> WorkerStatus {
        WorkerStatus {
            worker,
            received_packets: 48_312.0,
            received_bits: 61_000_000.0,
            sent_packets: 950.0,
            sent_bits: 1_200_000.0,
            drops: 0.0,
            busy: 0.314,
            flows_new: 3,
            flows_assured: 2_000,
            coalesce_us: 100,
            kernel_drops_public: 0,
            kernel_drops_tunnel: 0,
            allocations: 0,
            tick_age_ms: 40,
        }
    }

    fn peer(shard: u8, up: Option<bool>) -> Peer {
        let route = NamedRoute { cluster: "voice".into(), transceiver: "10.0.0.2".into(), shard };
        Peer {
            route,
            tunnel: ([10, 0, 0, 2], 3_600 + u16::from(shard)).into(),
            listed: true,
            up,
            legs: 2,
            draining: false,
            legs_up: if up == Some(true) { 2 } else { 0 },
            round_trip_us: (up == Some(true)).then_some(245),
            flows: 10,
        }
    }

    fn parking_state(state: &str, reason: &str) -> ParkingState {
        ParkingState {
            state: state.into(),
            reason: reason.into(),
            sockets: 6,
            flows: 200,
            flows_age_ms: 2_900,
            failures: 0,
        }
    }

    fn status() -> Status {
        Status {
            version: "0.1.0 (abc)".into(),
            kernel: "6.12.9".into(),
            uptime_seconds: 11_520,
            engine: "uring".into(),
            engine_reason: "uring, as configured".into(),
            direct: DirectState { state: "off".into(), reason: "as configured".into() },
            parking: parking_state("off", ""),
            generation: 2,
            draining: false,
            workers: vec![worker(0), worker(1)],
            drops: Vec::new(),
            peers: Vec::new(),
        }
    }

    #[test]
    fn a_healthy_relay() {
        let mut status = status();
        status.peers = vec![peer(0, Some(true))];
        status.engine_reason = "uring: io_uring works; Linux 6.12.9".into();
        status.parking = parking_state("on", "");
        let expected = "\
ringway-relay 0.1.0 (abc), kernel 6.12.9, up 3h 12m
taking new flows, configuration 2
engine uring: io_uring works; Linux 6.12.9
parked with the service manager: 6 sockets, 200 flows of 2s ago

worker  in pps  in bps  out pps  out bps  drops/s  busy  flows  new  coalesce
     0     48k     61M      950     1.2M        0   31%   2000    3    100 us
     1     48k     61M      950     1.2M        0   31%   2000    3    100 us
   all     97k    122M     1.9k     2.4M        0   63%   4000    6

no drops since the start

shards: 1 of 1 up
shard             tunnel         state  round trip  legs up  flows
voice/10.0.0.2/0  10.0.0.2:3600  up        0.24 ms      2/2     10
";
        assert_eq!(render(&status), expected);
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let mut status = status();
        status.draining = true;
        status.workers = vec![WorkerStatus {
            kernel_drops_tunnel: 12,
            allocations: 1,
            tick_age_ms: 7_040,
            ..worker(0)
        }];
        status.drops = vec![Drops {
            reason: "hint_forged".into(),
            meaning: "The ufrag was not minted with the key that it names.".into(),
            rate: 12.5,
            total: 90_000,
        }];
        status.peers = vec![peer(0, Some(true)), peer(1, None), peer(2, Some(false))];
        status.direct = DirectState { state: "unavailable".into(), reason: "no CAP".into() };
        status.parking = parking_state("failing", "full");
        let text = render(&status);
        assert!(text.contains("\ndirect egress unavailable: no CAP\n"), "{text}");
        let fails = "\n! parking with the service manager fails: full; it has 6 sockets, 200 flows of \
                     2s ago\n";
        assert!(text.contains(fails), "{text}");
        let expected = "
! worker 0 has not ticked for 7.0 s: it is stuck
! worker 0: the kernel dropped 12 datagrams at a full tunnel socket since the start
! worker 0: 1 heap allocations after it was ready, please report

drops/s  in all  reason
     12   90000  hint_forged  The ufrag was not minted with the key that it names.

shards: 1 of 3 up
shard             tunnel         state  round trip  legs up  flows
voice/10.0.0.2/2  10.0.0.2:3602  DOWN            -      0/2     10
voice/10.0.0.2/1  10.0.0.2:3601  ?               -      0/2     10
voice/10.0.0.2/0  10.0.0.2:3600  up        0.24 ms      2/2     10
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("\nengine uring, as configured\n"), "{text}");
        assert!(text.contains("\nDRAINING: takes no new flows, configuration 2\n"), "{text}");
        assert!(!text.contains("\n   all "), "one worker needs no sum: {text}");
    }

    #[test]
    fn long_lists_end() {
        let mut status = status();
        let drop = |number: u64| Drops {
            reason: format!("reason_{number}"),
            meaning: "It is so.".into(),
            rate: 0.0,
            total: number,
        };
        status.drops = (0..10).map(drop).collect();
        status.peers = (0..25).map(|shard| peer(shard, Some(true))).collect();
        let text = render(&status);
        assert!(text.contains("\nand 2 more reasons\n"), "{text}");
        assert!(text.ends_with("\nand 5 more: ringway-relay ctl peers\n"), "{text}");
        assert!(!text.contains("reason_8"), "{text}");
    }
}
