//! Flows that a worker does not know and somebody else does: another worker, or Redis, a real one,
//! which may also be gone, stuck, full, or full of nonsense.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/stage.rs"]
mod stage;
mod support;

use namespaces::on_host;
use nix::sys::signal::Signal;
use redis_server::{PORT, Redis, key, make_certificates, tls};
use stage::{PUBLIC, RTP, RTP_BACK, Stage};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::SILENCE;
use wire::frame::{Client, ListenerId, Transport};

/// A stage whose relay may use Redis on its own host, and knows so from the start.
fn stage_with_redis() -> Option<(Stage, Redis)> {
    stage_with_redis_as("", "")
}

/// The same with a user's name in front of the host, and further settings.
fn stage_with_redis_as(user: &str, settings: &str) -> Option<(Stage, Redis)> {
    let mut stage = Stage::start("auto")?;
    let redis = Redis::start(&stage.hosts.relay)?;
    let url = format!("redis://{user}127.0.0.1:{PORT}");
    stage.use_cache(&url, &format!("timeout = \"100ms\"\n{settings}"));
    Some((stage, redis))
}

#[test]
fn a_flow_that_another_worker_knows_goes_on() {
    let Some(mut stage) = Stage::start("auto") else { return };
    // A shard's media teaches the worker by whose tunnel it comes, wherever the client's packets
    // go: that is how it is after a restart that changed the kernel's choice.
    let worker: SocketAddr = "10.77.2.1:3500".parse().unwrap();
    let callers: Vec<_> = (0..20).map(|_| stage.caller(PUBLIC)).collect();
    for caller in &callers {
        let (address, listener) = (caller.address().into(), ListenerId(0));
        let client = Client { address, listener, transport: Transport::Udp };
        stage.shard.send(worker, &client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);
    }
    for caller in &callers {
        let start = Instant::now();
        assert!(stage.arrives(caller, Duration::from_secs(5)), "after {:?}", start.elapsed());
    }
    let found = stage.metric("relay_flow_misses_total", "directory");
    let recalled = stage.wait_for_metric("relay_flows_recalled_total", "worker", |it| it == found);
    println!(
        "{recalled} of 20 clients came to another worker than their shard's packets, and went on"
    );
    assert!(found > 0.0, "twenty clients are spread over both workers");
    assert_eq!(stage.metric("relay_flows_learned_total", "worker"), 20.0);
    assert_eq!(stage.metric("relay_directory_flows", ""), 20.0);
    stage.stop();
}

#[test]
fn after_a_restart_redis_knows_the_flows_of_silent_calls() {
    let Some((mut stage, redis)) = stage_with_redis() else { return };
    let (caller, _) = stage.call(PUBLIC, 7);
    stage.wait_for_cache("write", "done", 1.0);
    assert_eq!(redis.say(&format!("EXISTS {}", key(&caller))), ":1");
    let killed = stage.kill_and_restart();
    let ready = killed.elapsed();
    assert!(stage.arrives(&caller, Duration::from_secs(10)));
    println!(
        "kill -9, silent model, Redis: ready after {ready:?}, audio up {:?}",
        killed.elapsed()
    );
    assert_eq!(stage.cache("read", "found"), 1.0);
    stage.wait_for_metric("relay_flows_recalled_total", "worker", |recalled| recalled == 1.0);
    assert_eq!(stage.metric("relay_flows_created_total", "worker"), 0.0, "without a check");
    stage.stop();
}

/// All clients of a relay that has just restarted send their next packet at once, and then one every
/// 20 ms, as clients do.
#[test]
fn thousands_of_silent_calls_that_miss_their_flows_at_once_are_found_at_once() {
    const CLIENTS: u16 = 5_000;
    let Some((mut stage, redis)) = stage_with_redis() else { return };
    let ports = || (20_000..).take(CLIENTS.into());
    let mut records = redis.connect().unwrap();
    for port in ports() {
        write!(records, "SET ringway:flow:10.77.1.2:{port} \"1 1 1 0 -\"\r\n").unwrap();
    }
    let written = BufReader::new(records).lines().take(CLIENTS.into());
    assert!(written.map(Result::unwrap).all(|answer| answer == "+OK"));
    let sockets: Vec<_> = on_host(&stage.hosts.client, || {
        ports().map(|port| UdpSocket::bind(("10.77.1.2", port)).unwrap()).collect()
    });
    let began = Instant::now();
    let mut rounds = 0;
    while stage.metric("relay_flows_recalled_total", "worker") < CLIENTS.into() {
        assert!(began.elapsed() < Duration::from_secs(10), "not all are found");
        for socket in &sockets {
            socket.send_to(RTP, PUBLIC).unwrap();
        }
        rounds += 1;
        // Keeps the shard's socket from filling up, and answers pings.
        while !stage.shard.receive(Duration::from_millis(20)).is_empty() {}
    }
    let busy = stage.metric("relay_flow_misses_total", "busy");
    println!(
        "{CLIENTS} flows from Redis within {:?}, {rounds} packets of each; {busy} times busy",
        began.elapsed()
    );
    assert_eq!(stage.metric("relay_flows_not_recalled_total", "worker"), 0.0);
    assert_eq!(stage.cache("read", "found"), f64::from(CLIENTS), "each is asked for once");
    stage.stop();
}

/// The user that docs/operating.md names, with a password from a file.
#[test]
fn a_user_of_redis_with_no_more_than_is_needed_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("redis-password");
    fs::write(&password, "very secret\n").unwrap();
    let settings = format!("password_file = {password:?}");
    let Some((mut stage, redis)) = stage_with_redis_as("ringway@", &settings) else { return };
    let rights = "~ringway:flow:* +set +getrange";
    let made = redis.say(&format!("ACL SETUSER ringway on \">very secret\" {rights}"));
    assert_eq!(made, "+OK");
    assert_eq!(redis.say("ACL SETUSER default off"), "+OK");
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.calls_until(100, |stage| stage.cache("write", "done") > 0.0);
    stage.caller(PUBLIC).send(RTP);
    stage.wait_for_cache("read", "absent", 1.0);
    stage.still_answers(&caller, &arrived);
    stage.stop();
}

#[test]
fn over_tls_a_user_of_redis_is_served_if_its_authority_is_known() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(folder.path().join("password"), "very secret\n").unwrap();
    let Some(mut stage) = Stage::start("auto") else { return };
    let more = tls(folder.path(), 6380);
    let Some(redis) = Redis::start_on(&stage.hosts.relay, PORT, &more) else { return };
    let rights = "~ringway:flow:* +set +getrange";
    let made = redis.say(&format!("ACL SETUSER ringway on \">very secret\" {rights}"));
    assert_eq!(made, "+OK");
    let good = fs::read_to_string(&stage.config).unwrap();
    for (authority, outcome) in [("other.pem", "failed"), ("ca.pem", "done")] {
        let section = format!(
            "[redis]\nurl = \"rediss://ringway@127.0.0.1:6380\"\nca_file = \"{}\"\n\
             password_file = \"{}\"\n[admin]",
            path(authority),
            path("password")
        );
        fs::write(&stage.config, good.replace("[admin]", &section)).unwrap();
        stage.kill_and_restart();
        stage.calls_until(100, |stage| stage.cache("write", outcome) > 0.0);
        let done = stage.cache("write", "done");
        assert_eq!(done > 0.0, outcome == "done", "{authority}");
    }
    stage.stop();
}

#[test]
fn redis_full_of_nonsense_misleads_nobody() {
    let Some((mut stage, redis)) = stage_with_redis() else { return };
    let caller = stage.caller(PUBLIC);
    let poison = [
        format!("SET {} \"somewhere else\"", key(&caller)),
        format!("SETRANGE {} 3000000 x", key(&caller)),
        format!("RPUSH {} 1 1 1 0 -", key(&caller)),
    ];
    for (round, command) in (1u8..).zip(&poison) {
        redis.say(&format!("DEL {}", key(&caller)));
        let answer = redis.say(command);
        assert!(!answer.starts_with('-'), "{answer}");
        // A client is looked for once a second.
        std::thread::sleep(Duration::from_millis(1_050));
        caller.send(RTP);
        stage.wait_for_cache("read", "garbage", round.into());
    }
    // It names a transceiver that there is none.
    redis.say(&format!("DEL {}", key(&caller)));
    redis.say(&format!("SET {} \"1 1 77 0 -\"", key(&caller)));
    std::thread::sleep(Duration::from_millis(1_050));
    caller.send(RTP);
    stage.wait_for_cache("read", "found", 1.0);
    stage.wait_for_metric("relay_flows_not_recalled_total", "worker", |count| count == 1.0);
    assert_eq!(stage.shard.receive(SILENCE), []);
    // And the client's own check still makes its flow.
    let (_, check) = stage.shard.session(3);
    caller.send(&check);
    assert_eq!(stage.shard.receive_one().packet, check);
    stage.stop();
}

#[test]
fn redis_stuck_full_or_gone_changes_nothing_but_its_own_numbers() {
    let Some((mut stage, redis)) = stage_with_redis() else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.wait_for_cache("write", "done", 1.0);

    // Stuck: answers nothing, and holds nobody up.
    redis.signal(Signal::SIGSTOP);
    let _second = stage.call(PUBLIC, 2);
    stage.wait_for_cache("write", "failed", 1.0);
    let unknown = stage.caller(PUBLIC);
    unknown.send(RTP);
    stage.wait_for_cache("read", "failed", 1.0);
    stage.still_answers(&caller, &arrived);
    redis.signal(Signal::SIGCONT);
    let done = stage.cache("write", "done");
    stage.calls_until(100, |stage| stage.cache("write", "done") > done);

    // Full: refuses writes, and reads go on.
    assert_eq!(redis.say("CONFIG SET maxmemory 1"), "+OK");
    let failed = stage.cache("write", "failed");
    stage.calls_until(200, |stage| stage.cache("write", "failed") > failed);
    let known = stage.caller(PUBLIC);
    known.send(RTP);
    stage.wait_for_cache("read", "absent", 1.0);
    stage.still_answers(&caller, &arrived);
    assert_eq!(redis.say("CONFIG SET maxmemory 0"), "+OK");
    let done = stage.cache("write", "done");
    stage.calls_until(300, |stage| stage.cache("write", "done") > done);

    // Gone, and back.
    drop(redis);
    let failed = stage.cache("write", "failed");
    stage.calls_until(400, |stage| stage.cache("write", "failed") > failed);
    stage.still_answers(&caller, &arrived);
    let redis = Redis::start(&stage.hosts.relay).unwrap();
    let done = stage.cache("write", "done");
    stage.calls_until(500, |stage| stage.cache("write", "done") > done);
    let absent = stage.cache("read", "absent");
    stage.strangers_until(|stage| stage.cache("read", "absent") > absent);
    assert_eq!(stage.metric("relay_cache_connections", ""), 2.0);
    drop(redis);
    assert_eq!(stage.metric("relay_worker_allocations_after_ready_total", "worker"), 0.0);
    stage.still_answers(&caller, &arrived);
    stage.stop();
}
