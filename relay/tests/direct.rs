//! Direct egress with the real program and a real kernel on the other end, which checks every
//! checksum: in namespaces joined by virtual cables.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/stage.rs"]
mod stage;
mod support;
#[path = "support/traffic.rs"]
mod traffic;

use engine::Link;
use engine::direct::{Delivery, Egress, NextHops, NoHop, Ring, RingError};
use namespaces::{Hosts, ip, on_host};
use stage::{PUBLIC, PUBLIC_V6, Stage};
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Arrived, Caller};
use traffic::Traffic;

const REQUIRE: &str = "[direct]\negress = \"require\"\n";
const AUTO: &str = "[direct]\negress = \"auto\"\n";
const PACKETS: &str = "relay_direct_packets_total";
const BY_SOCKET: &str = "relay_direct_by_socket_total";

fn program(_: &Path) -> PathBuf {
    env!("CARGO_BIN_EXE_ringway-relay").into()
}

/// `None`, with a line, where there are no namespaces or no AF_XDP.
fn start(engine: &str) -> Option<Stage> {
    if matches!(Ring::open(1, 0), Err(RingError::Unknown | RingError::NotPermitted)) {
        println!("skipped: no AF_XDP here");
        return None;
    }
    Stage::start_with(engine, REQUIRE, program)
}

fn run(line: &str) {
    ip(line).unwrap();
}

fn by_socket(stage: &Stage, reason: &str) -> f64 {
    stage.metric(BY_SOCKET, &format!("reason=\"{reason}\""))
}

fn checksum_errors(host: &str) -> String {
    on_host(host, || {
        let v4 = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let udp: Vec<_> = v4.lines().filter(|line| line.starts_with("Udp:")).collect();
        let place = udp[0].split(' ').position(|name| name == "InCsumErrors").unwrap();
        let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
        let v6 = v6.lines().find(|line| line.starts_with("Udp6InCsumErrors")).unwrap();
        let v6 = v6.split_whitespace().last().unwrap();
        format!("{} {v6}", udp[1].split(' ').nth(place).unwrap())
    })
}

/// Talks until the relay knows the way: the first packets ask for it.
fn talk_until_direct(stage: &mut Stage, caller: &Caller, arrived: &Arrived) -> f64 {
    let before = stage.metric(PACKETS, "worker");
    let deadline = Instant::now() + Duration::from_secs(10);
    while stage.metric(PACKETS, "worker") == before {
        assert!(Instant::now() < deadline, "nothing is sent directly");
        stage.goes_on(caller, arrived);
        std::thread::sleep(Duration::from_millis(20));
    }
    settled(stage)
}

/// The packets that were sent directly, when all that were sent are counted.
fn settled(stage: &Stage) -> f64 {
    std::thread::sleep(Duration::from_millis(300));
    stage.metric(PACKETS, "worker")
}

/// Packets of all lengths that are direct go there, of both families.
fn both_families(engine: &str) {
    let Some(mut stage) = start(engine) else { return };
    for (tag, relay) in [(1, PUBLIC), (2, PUBLIC_V6)] {
        let (caller, arrived) = stage.call(relay, tag);
        let before = talk_until_direct(&mut stage, &caller, &arrived);
        let lengths = [1, 2, 3, 13, 120, 160, 1_199, 1_200, 1_232, 1_252];
        let mut direct = 0.0;
        for length in lengths {
            let packet: Vec<u8> = [0x80, 111].into_iter().cycle().take(length).collect();
            stage.shard.send(arrived.relay, &arrived.client, &packet);
            assert_eq!(caller.receive(), packet);
            let header = if relay == PUBLIC { 28 } else { 48 };
            direct += f64::from(u8::from(length + header <= 1_280));
        }
        stage.wait_for_metric(PACKETS, "worker", |after| after == before + direct);
    }
    assert_eq!(by_socket(&stage, "size"), 1.0, "an IPv6 packet of 1,300 bytes");
    assert!(by_socket(&stage, "refresh") >= 2.0, "one for each next hop");
    assert_eq!(checksum_errors(&stage.hosts.client), "0 0");
    assert_eq!(stage.metric("relay_direct_kick_failures_total", "worker"), 0.0);
    assert_eq!(stage.metric("relay_worker_allocations_after_ready_total", "worker"), 0.0);
    let status = stage.ctl(&["status"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["direct"]["state"], "on", "{status}");
    let reason = status["direct"]["reason"].as_str().unwrap();
    assert!(reason.contains("public (queue 0, 1)"), "{reason}");
    stage.stop();
}

#[test]
fn packets_arrive_with_the_right_addresses_and_checksums_by_io_uring() {
    both_families("uring");
}

#[test]
fn packets_arrive_with_the_right_addresses_and_checksums_by_mmsg() {
    both_families("mmsg");
}

#[test]
fn packets_of_a_run_leave_by_the_socket_as_one() {
    let Some(mut stage) = start("mmsg") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    talk_until_direct(&mut stage, &caller, &arrived);
    for (frames, run) in [(3, 0.0), (6, 6.0)] {
        for number in 0..frames {
            stage.shard.bundle.append(&arrived.client, &[0x80, 111, number]).unwrap();
        }
        let datagram = stage.shard.sealer.seal_data(&mut stage.shard.bundle).unwrap();
        stage.shard.socket.send_to(datagram, arrived.relay).unwrap();
        for number in 0..frames {
            assert_eq!(caller.receive(), [0x80, 111, number]);
        }
        stage.wait_for_metric(BY_SOCKET, "reason=\"run\"", |count| count == run);
    }
    stage.stop();
}

/// A host behind the client's, which routes.
fn far_host(hosts: &Hosts) -> String {
    let far = format!("{}f", hosts.client);
    let client = &hosts.client;
    for line in [
        format!("netns add {far}"),
        format!("link add beyond netns {client} type veth peer name beyond netns {far}"),
        format!("-n {client} addr add 10.88.0.1/24 dev beyond"),
        format!("-n {far} addr add 10.88.0.2/24 dev beyond"),
        format!("-n {client} link set beyond up"),
        format!("-n {far} link set beyond up"),
        format!("-n {far} route add default via 10.88.0.1"),
        format!("-n {} route add 10.88.0.0/24 via 10.77.1.2", hosts.relay),
    ] {
        run(&line);
    }
    on_host(client, || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    });
    far
}

#[test]
fn a_client_behind_a_router_is_reached_by_it() {
    let Some(mut stage) = start("uring") else { return };
    let far = far_host(&stage.hosts);
    let caller = on_host(&far, || {
        Caller::on(PUBLIC.parse().unwrap(), "10.88.0.2:0".parse::<SocketAddr>().unwrap())
    });
    let (_, check) = stage.shard.session(7);
    caller.send(&check);
    let arrived = stage.shard.receive_one();
    talk_until_direct(&mut stage, &caller, &arrived);
    let before = settled(&stage);
    for _ in 0..20 {
        stage.goes_on(&caller, &arrived);
    }
    // One of them may have been due to ask again.
    stage.wait_for_metric(PACKETS, "worker", |after| after >= before + 19.0);
    assert_eq!(checksum_errors(&far), "0 0");
    run(&format!("netns del {far}"));
    stage.stop();
}

#[test]
fn nothing_is_lost_when_neighbours_routes_and_rules_change_under_traffic() {
    let Some(mut stage) = start("uring") else { return };
    let relay = stage.hosts.relay.clone();
    let traffic = Traffic::start(&mut stage, 40);
    let on = |line: &str| run(&format!("-n {relay} {line}"));
    let direct_goes_on = || {
        let before = stage.metric(PACKETS, "worker");
        stage.wait_for_metric(PACKETS, "worker", |now| now > before + 2_000.0);
    };
    direct_goes_on();

    // Somebody deletes the neighbour: the next packet goes by the socket, which asks for it again.
    let before = by_socket(&stage, "neighbour") + by_socket(&stage, "refresh");
    on("neigh del 10.77.1.2 dev public");
    let right = |count| count > before;
    let asked = || by_socket(&stage, "neighbour") + by_socket(&stage, "refresh");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !right(asked()) {
        assert!(Instant::now() < deadline, "nobody asks again");
        std::thread::sleep(Duration::from_millis(20));
    }
    direct_goes_on();

    // A route that is not plain, and gone again.
    let before = by_socket(&stage, "route");
    on("route add 10.77.1.2/32 nexthop dev public weight 1 nexthop dev public weight 2");
    stage.wait_for_metric(BY_SOCKET, "reason=\"route\"", |now| now > before + 1_000.0);
    on("route del 10.77.1.2/32");
    direct_goes_on();

    // A routing rule of the host's own.
    let before = by_socket(&stage, "route");
    on("rule add from 192.0.2.0/24 lookup 100");
    stage.wait_for_metric(BY_SOCKET, "reason=\"route\"", |now| now > before + 1_000.0);
    let status = stage.ctl(&["status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("IPv4 goes by the socket"), "{status}");
    on("rule del from 192.0.2.0/24 lookup 100");
    direct_goes_on();

    let report = traffic.stop();
    println!("changes under traffic: {report}");
    assert_eq!((report.lost_up, report.lost_down), (0, 0), "{report}");
    assert_eq!(checksum_errors(&stage.hosts.client), "0 0");
    stage.stop();
}

#[test]
fn a_neighbour_with_another_hardware_address_is_found_again() {
    let Some(mut stage) = start("mmsg") else { return };
    let (relay, client) = (stage.hosts.relay.clone(), stage.hosts.client.clone());
    let traffic = Traffic::start(&mut stage, 10);
    traffic.passes(1_000);
    let before = stage.metric(PACKETS, "worker");
    // The client's new card says whose the address is now, as cards do that take one over.
    run(&format!("-n {client} link set public address 02:00:00:00:00:77"));
    run(&format!("-n {relay} neigh replace 10.77.1.2 dev public lladdr 02:00:00:00:00:77"));
    traffic.passes(5_000);
    stage.wait_for_metric(PACKETS, "worker", |now| now > before + 4_000.0);
    let report = traffic.stop();
    println!("another hardware address: {report}");
    assert_eq!(report.lost_up, 0, "{report}");
    // The kernel's own packets were lost as well until its entry was replaced.
    assert!(report.lost_down < report.sent / 2, "{report}");
    stage.stop();
}

#[test]
fn the_process_after_an_upgrade_has_rings_of_its_own() {
    let Some(mut stage) = start("uring") else { return };
    let traffic = Traffic::start(&mut stage, 40);
    let output = stage.ctl(&["upgrade"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    // Its counters begin with zero.
    stage.wait_for_metric(PACKETS, "worker", |packets| packets > 2_000.0);
    let report = traffic.stop();
    println!("an upgrade: {report}");
    assert_eq!((report.lost_up, report.lost_down), (0, 0), "{report}");
}

#[test]
fn a_relay_that_was_killed_starts_again_although_its_queues_are_not_free_at_once() {
    let Some(mut stage) = start("mmsg") else { return };
    for tag in 0..3 {
        let (caller, arrived) = stage.call(PUBLIC, tag);
        talk_until_direct(&mut stage, &caller, &arrived);
        stage.signal(nix::sys::signal::Signal::SIGKILL);
        stage.wait_for_end(Duration::from_secs(10));
        stage.restart();
    }
    stage.stop();
}

/// A program that starts the relay without CAP_NET_RAW.
fn without_capability(folder: &Path) -> PathBuf {
    let path = folder.join("without-net-raw");
    let relay = env!("CARGO_BIN_EXE_ringway-relay");
    fs::write(&path, format!("#!/bin/sh\nexec setpriv --bounding-set=-net_raw {relay} \"$@\"\n"))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn without_the_capability_auto_goes_on_and_says_why_and_require_does_not_start() {
    if Command::new("setpriv").arg("--version").output().is_err() {
        return println!("skipped: there is no setpriv");
    }
    let Some(mut stage) = Stage::start_with("mmsg", AUTO, without_capability) else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.goes_on(&caller, &arrived);
    assert_eq!(stage.metric(PACKETS, "worker"), 0.0);
    assert_eq!(stage.metric("relay_direct_rings", "worker"), 0.0);
    let output = stage.ctl(&["status"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["direct"]["state"], "unavailable");
    let reason = status["direct"]["reason"].as_str().unwrap();
    assert!(reason.contains("grant CAP_NET_RAW"), "{reason}");
    assert_eq!(stage.metric("relay_direct_info", "state=\"unavailable\""), 1.0);

    let config = fs::read_to_string(&stage.config).unwrap().replace(AUTO, REQUIRE);
    let config = config.replace("10.77.2.1", "127.0.0.1").replace("3478", "3479");
    let path = stage.folder.path().join("require.toml");
    fs::write(&path, config).unwrap();
    let program = stage.folder.path().join("without-net-raw");
    let output = on_host(&stage.hosts.relay, || {
        let http = "http.listen=127.0.0.1:9479";
        Command::new(&program).args(["run", "--set", http, "--config"]).arg(&path).output().unwrap()
    });
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("grant CAP_NET_RAW"), "{message}");
    stage.stop();
}

#[test]
fn a_ring_whose_device_takes_nothing_fills_up_and_empties_again() {
    let Some(hosts) = Hosts::make() else { return };
    let client = on_host(&hosts.client, || UdpSocket::bind("10.77.1.2:5000").unwrap());
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    run(&format!("-n {} neigh replace 10.77.1.2 dev public lladdr 02:00:00:00:00:99", hosts.relay));
    run(&format!("-n {} link set public address 02:00:00:00:00:99", hosts.client));
    on_host(&hosts.relay, || {
        let hops = Arc::new(NextHops::of_this_host().unwrap());
        let device = hops.devices().iter().find(|device| device.name == "public").unwrap().index;
        let ring = match Ring::open(device, 0) {
            Ok(ring) => ring,
            Err(error @ (RingError::Unknown | RingError::NotPermitted)) => {
                return println!("skipped: {error}");
            }
            Err(error) => panic!("{error}"),
        };
        // The same queue is nobody else's, and there is one more; then there is none.
        let second = Ring::open(device, 0).unwrap();
        assert_eq!((ring.queue(), second.queue()), (0, 1));
        assert_eq!(Ring::open(device, 1).unwrap_err(), RingError::NoQueue { queues: 2 });

        let mut egress = Egress::new(&["10.77.1.1:3478".parse().unwrap()], true);
        egress.take(Delivery { hops, rings: vec![ring] });
        assert_eq!(egress.rings(), 1);
        let to: SocketAddr = "10.77.1.2:5000".parse().unwrap();
        assert!(!egress.send(Link(0), to, b"first", 1), "by the socket, to keep the neighbour");
        run(&format!("-n {} link set public down", hosts.relay));
        let sent = (0..1_500).filter(|_| egress.send(Link(0), to, b"waits", 2)).count();
        assert_eq!(sent, 1_024);
        egress.flush();
        let counters = *egress.counters();
        assert_eq!((counters.packets, counters.refresh, counters.ring_full), (1_024, 1, 476));
        assert!(counters.kick_failures > 0);
        run(&format!("-n {} link set public up", hosts.relay));
        std::thread::sleep(Duration::from_millis(50));
        egress.flush();
        assert!(egress.send(Link(0), to, b"passes", 3));
        egress.flush();
        assert_eq!(egress.counters().kick_failures, counters.kick_failures);
        // Ten seconds later it is time to ask again.
        assert!(!egress.send(Link(0), to, b"asks", 10_000_001));
        assert!(egress.send(Link(0), to, b"passes", 10_000_002));
        // Another device's hops, another's address, no address.
        let unknown = [("10.77.1.9:1", NoHop::Neighbour), ("127.0.0.1:1", NoHop::Route)];
        for (to, _) in unknown {
            assert!(!egress.send(Link(0), to.parse().unwrap(), b"no", 4));
        }
        assert_eq!((egress.counters().neighbour, egress.counters().route), (1, 1));
    });
}

/// What the kernel itself says: its gateway or nobody, and the device.
fn kernel_route(host: &str, to: IpAddr) -> Option<(Option<IpAddr>, String)> {
    let words = ["-n", host, "route", "get", &to.to_string()].map(str::to_owned);
    let output = Command::new("ip").args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().next()?;
    let after = |name: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).map(str::to_owned)
    };
    if ["local", "broadcast", "multicast", "blackhole", "unreachable"]
        .contains(&line.split_whitespace().next()?)
    {
        return None;
    }
    Some((after("via").map(|via| via.parse().unwrap()), after("dev")?))
}

#[test]
fn next_hops_are_those_that_the_kernel_would_take() {
    let Some(hosts) = Hosts::make() else { return };
    let relay = &hosts.relay;
    let gateways = ["10.77.1.2", "10.77.1.3", "10.77.2.2", "fd77:1::2", "fd77:1::3"];
    for (number, gateway) in gateways.iter().enumerate() {
        let device = if gateway.starts_with("10.77.2") { "private" } else { "public" };
        run(&format!(
            "-n {relay} neigh add {gateway} dev {device} lladdr 02:00:00:00:01:0{number}"
        ));
    }
    for route in [
        "default via 10.77.1.2 metric 50",
        "default via 10.77.2.2 metric 60",
        "198.51.100.0/24 via 10.77.1.3",
        "198.51.100.64/26 via 10.77.2.2",
        "198.51.100.96/27 via 10.77.1.2 metric 9",
        "198.51.100.96/27 via 10.77.1.3 metric 7",
        "198.51.100.100/32 via 10.77.2.2",
        "blackhole 198.51.100.128/28",
        "203.0.113.0/25 nexthop via 10.77.1.2 nexthop via 10.77.1.3",
        "local 203.0.113.192/26 dev lo table local",
        "203.0.113.200/32 via 10.77.1.2",
    ] {
        run(&format!("-n {relay} route add {route}"));
    }
    for route in
        ["default via fd77:1::2", "2001:db8::/33 via fd77:1::3", "blackhole 2001:db8:1::/48"]
    {
        run(&format!("-n {relay} -6 route add {route}"));
    }
    let hops = on_host(relay, || NextHops::of_this_host().unwrap());
    let mut addresses: Vec<IpAddr> = Vec::new();
    addresses.extend((0..=255).step_by(3).map(|last| IpAddr::from([198, 51, 100, last])));
    addresses.extend((0..=255).step_by(10).map(|last| IpAddr::from([203, 0, 113, last])));
    for text in [
        "8.8.8.8",
        "10.77.1.1",
        "10.77.1.2",
        "10.77.1.255",
        "10.77.1.9",
        "10.77.2.2",
        "127.0.0.1",
        "224.0.0.1",
        "198.51.100.100",
        "203.0.113.200",
        "2001:db8::1",
        "2001:db8:8000::1",
        "2001:db8:1::1",
        "2001:4860::1",
        "fd77:1::2",
        "fd77:1::1",
        "fd77:1::9",
        "fe80::1",
        "ff02::1",
        "::1",
    ] {
        addresses.push(text.parse().unwrap());
    }
    let mut found = 0;
    for to in &addresses {
        let kernel = kernel_route(relay, *to);
        match hops.lookup(*to) {
            Ok(number) => {
                let hop = &hops.hops()[number];
                let device = hops.devices()[hop.device].name.clone();
                let (via, through) = kernel.unwrap_or_else(|| panic!("{to}: not by the kernel"));
                assert_eq!((hop.address, device), (via.unwrap_or(*to), through), "{to}");
                found += 1;
            }
            // A route is there, but nobody behind it.
            Err(NoHop::Neighbour) => assert_eq!(kernel.unwrap().0, None, "{to}"),
            Err(NoHop::Route) => {
                let spread = to.to_string().starts_with("203.0.113.");
                let ours =
                    ["224.0.0.1", "fe80::1", "ff02::1", "::1"].contains(&&to.to_string()[..]);
                assert!(kernel.is_none() || spread || ours, "{to}: {kernel:?}");
            }
        }
    }
    assert!(found > 85, "only {found} of {} were compared", addresses.len());
}
