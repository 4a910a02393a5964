//! The flow cache in a Redis that outlives one of its servers: a master that Sentinel replaces, and
//! a Cluster of which a node goes and comes back. Real ones; and users with no more rights than
//! docs/operating.md names.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/stage.rs"]
mod stage;
mod support;

use namespaces::on_host;
use redis_server::{Redis, key, make_certificates, tls};
use stage::{PUBLIC, Stage};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const FIRST: u16 = 6379;
const SECOND: u16 = 6380;
const SENTINEL: u16 = 26_379;
const NODES: [u16; 3] = [7001, 7002, 7003];
/// Here is nobody.
const NOBODY: u16 = 7009;

/// Gives the relay's user no more than these rights.
fn let_in(redis: &Redis, rights: &str) {
    let user = format!("ACL SETUSER ringway on \">very secret\" ~ringway:flow:* {rights}");
    assert_eq!(redis.say(&user), "+OK");
}

/// What is the same everywhere. Neither a machine that is busy with other tests nor a failover that
/// takes its time is news.
fn settings(stage: &Stage) -> String {
    let password = stage.folder.path().join("redis-password");
    fs::write(&password, "very secret\n").unwrap();
    format!("password_file = {password:?}\ntimeout = \"1s\"\n[flows]\nidle_assured = \"5m\"")
}

fn wait_for(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server that may become a master or a replica of one; such a one writes down what it is sent.
fn server(stage: &Stage, port: u16, more: &[&str]) -> Option<Redis> {
    let (folder, file) = (stage.folder.path().to_str().unwrap(), format!("{port}.rdb"));
    let files = ["--dir", folder, "--dbfilename", &file, "--repl-diskless-sync-delay", "0"];
    let more: Vec<_> = files.iter().chain(more).map(|&word| word.to_owned()).collect();
    let redis = Redis::start_on(&stage.hosts.relay, port, &more)?;
    let_in(&redis, "+set +getrange +role");
    Some(redis)
}

/// A master, its replica, and a Sentinel with these lines more.
fn with_sentinel(stage: &Stage, more: &str) -> Option<[Redis; 3]> {
    let first = server(stage, FIRST, &[])?;
    let second = server(stage, SECOND, &["--replicaof", &format!("127.0.0.1 {FIRST}")])?;
    let config = stage.folder.path().join("sentinel.conf");
    let lines = format!(
        "port {SENTINEL}\nbind 127.0.0.1\ndir {}\n\
         sentinel monitor flows 127.0.0.1 {FIRST} 1\n\
         sentinel down-after-milliseconds flows 500\n\
         sentinel failover-timeout flows 1000\n{more}\n",
        stage.folder.path().display()
    );
    fs::write(&config, lines).unwrap();
    let mut command = Command::new("redis-server");
    let sentinel =
        Redis::run(&stage.hosts.relay, SENTINEL, command.arg(&config).arg("--sentinel"))?;
    Some([first, second, sentinel])
}

#[test]
fn behind_sentinels_flows_outlive_the_relay_and_the_master() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let Some([first, second, sentinel]) = with_sentinel(&stage, "") else { return };
    // The first one listed is not there.
    let url = format!("redis+sentinel://ringway@127.0.0.1:{NOBODY},127.0.0.1:{SENTINEL}/flows");
    stage.use_cache(&url, &settings(&stage));

    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.wait_for_cache("write", "done", 1.0);
    stage.kill_and_restart();
    assert!(stage.arrives(&caller, Duration::from_secs(10)));
    assert_eq!(stage.cache("read", "found"), 1.0);
    stage.still_answers(&caller, &arrived);
    let exists = format!("EXISTS {}", key(&caller));
    wait_for("it is not replicated", || second.count(&exists) == 1);

    // The master is replaced while it lives.
    wait_for("Sentinel finds no replica", || sentinel.say("SENTINEL FAILOVER flows") == "+OK");
    wait_for("the old master is none yet", || first.say("SET x 1").starts_with("-READONLY"));
    let (flows, done) = (second.count("DBSIZE"), stage.cache("write", "done"));
    stage.calls_until(100, |stage| stage.cache("write", "done") > done);
    wait_for("the new master has no more than the old one", || second.count("DBSIZE") > flows);
    let absent = stage.cache("read", "absent");
    stage.strangers_until(|stage| stage.cache("read", "absent") > absent);
    wait_for("the old master does not follow", || first.count("DBSIZE") == second.count("DBSIZE"));

    // And killed, which nobody tells the relay.
    drop(second);
    let failed = stage.cache("write", "failed");
    stage.calls_until(200, |stage| stage.cache("write", "failed") > failed);
    stage.still_answers(&caller, &arrived);
    wait_for("nobody takes over", || first.say("SET x 1") == "+OK");
    let done = stage.cache("write", "done");
    stage.calls_until(300, |stage| stage.cache("write", "done") > done);
    let absent = stage.cache("read", "absent");
    stage.strangers_until(|stage| stage.cache("read", "absent") > absent);
    assert_eq!(stage.metric("relay_cache_connections", ""), 2.0);

    stage.kill_and_restart();
    assert!(stage.arrives(&caller, Duration::from_secs(10)));
    assert_eq!(stage.cache("read", "found"), 1.0, "from before both masters went");
    stage.stop();
}

#[test]
fn sentinels_that_want_a_password_are_given_that_of_the_servers() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let users = "user default off\nuser ringway on \">very secret\" +sentinel|masters +role";
    let Some(_redis) = with_sentinel(&stage, users) else { return };
    let url = format!("redis+sentinel://ringway@127.0.0.1:{SENTINEL}/flows");
    let settings = settings(&stage);
    stage.use_cache(&url, &settings);
    let (caller, _) = stage.call(PUBLIC, 1);
    stage.calls_until(2, |stage| stage.cache("write", "done") > 0.0);
    stage.kill_and_restart();
    assert!(stage.arrives(&caller, Duration::from_secs(10)));
    stage.stop();
}

/// A node, whose place in the Cluster is in a file of the stage.
fn node(stage: &Stage, port: u16, more: &[String]) -> Option<Redis> {
    let folder = stage.folder.path();
    let usual = [
        ["--cluster-enabled".to_owned(), "yes".to_owned()],
        ["--cluster-config-file".to_owned(), format!("nodes-{port}.conf")],
        ["--dir".to_owned(), folder.to_str().unwrap().to_owned()],
        ["--cluster-node-timeout", "1000"].map(str::to_owned),
        // The others go on when one is gone.
        ["--cluster-require-full-coverage", "no"].map(str::to_owned),
    ];
    let redis = Redis::start_on(&stage.hosts.relay, port, &[&usual.concat(), more].concat())?;
    let_in(&redis, "+set +getrange +ping +asking +cluster|slots");
    Some(redis)
}

/// What redis-cli says, on the relay's host. `None`, with a line that says why, without it.
fn redis_cli(stage: &Stage, words: &[String]) -> Option<String> {
    let output = on_host(&stage.hosts.relay, || Command::new("redis-cli").args(words).output());
    match output {
        Ok(output) => {
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            Some(text)
        }
        Err(error) => {
            println!("skipped: redis-cli (package redis-tools): {error}");
            None
        }
    }
}

fn with_cluster(stage: &Stage) -> Option<Vec<Redis>> {
    let nodes = NODES.iter().map(|&port| node(stage, port, &[])).collect::<Option<Vec<_>>>()?;
    let mut words = ["--cluster", "create"].map(str::to_owned).to_vec();
    words.extend(NODES.map(|port| format!("127.0.0.1:{port}")));
    words.push("--cluster-yes".to_owned());
    redis_cli(stage, &words)?;
    for port in NODES {
        let words = ["-p", &port.to_string(), "cluster", "info"].map(str::to_owned);
        wait_for("the Cluster does not come about", || {
            redis_cli(stage, &words).is_some_and(|info| info.contains("cluster_state:ok"))
        });
    }
    Some(nodes)
}

#[test]
fn in_a_cluster_flows_are_spread_over_nodes_and_one_that_is_gone_harms_its_own_only() {
    const CALLS: u16 = 40;
    let Some(mut stage) = Stage::start("auto") else { return };
    let Some(mut nodes) = with_cluster(&stage) else { return };
    // Of two that are listed, one is not there, and the other one knows the rest.
    let [any, _, last] = NODES;
    let url = format!("redis+cluster://ringway@127.0.0.1:{NOBODY},127.0.0.1:{any}");
    stage.use_cache(&url, &settings(&stage));

    let callers: Vec<_> = (1..=CALLS).map(|tag| stage.call(PUBLIC, tag.into())).collect();
    stage.wait_for_cache("write", "done", CALLS.into());
    assert_eq!(stage.cache("write", "failed"), 0.0);
    let spread: Vec<_> = nodes.iter().map(|node| node.count("DBSIZE")).collect();
    println!("{CALLS} flows are on three nodes: {spread:?}");
    assert!(spread.iter().all(|flows| *flows > 0), "{spread:?}");
    assert_eq!(spread.iter().sum::<u32>(), u32::from(CALLS));

    stage.kill_and_restart();
    for (caller, _) in &callers {
        assert!(stage.arrives(caller, Duration::from_secs(10)));
    }
    assert_eq!(stage.cache("read", "found"), f64::from(CALLS));
    assert_eq!(stage.metric("relay_flows_created_total", "worker"), 0.0, "without a check");
    let (caller, arrived) = &callers[0];
    stage.still_answers(caller, arrived);

    // One is killed: what is its own fails, and is counted; the rest goes on.
    drop(nodes.pop());
    let before: Vec<_> = nodes.iter().map(|node| node.count("DBSIZE")).collect();
    let failed = stage.cache("write", "failed");
    let more = |stage: &Stage| {
        stage.cache("write", "failed") > failed
            && nodes.iter().zip(&before).all(|(node, before)| node.count("DBSIZE") > *before)
    };
    stage.calls_until(100, more);
    let (failed, absent) = (stage.cache("read", "failed"), stage.cache("read", "absent"));
    stage.strangers_until(|stage| {
        stage.cache("read", "failed") > failed && stage.cache("read", "absent") > absent
    });
    assert_eq!(stage.cache("read", "garbage"), 0.0);
    stage.still_answers(caller, arrived);

    // It is back, and empty.
    let back = node(&stage, last, &[]).unwrap();
    stage.calls_until(300, |_| back.count("DBSIZE") > 0);
    assert_eq!(stage.metric("relay_cache_connections", ""), 2.0);
    stage.stop();
}

/// The same cache by TLS: settings with an authority that has not signed, and with the one that has.
fn by_tls(stage: &mut Stage, url: &str) {
    let usual = fs::read_to_string(&stage.config).unwrap();
    for (authority, known) in [("other.pem", false), ("ca.pem", true)] {
        fs::write(&stage.config, &usual).unwrap();
        let authority = stage.folder.path().join(authority);
        let settings = format!("ca_file = {authority:?}\n{}", settings(stage));
        stage.use_cache(url, &settings);
        let outcome = if known { "done" } else { "failed" };
        stage.calls_until(1, |stage| stage.cache("write", outcome) > 0.0);
        assert_eq!(stage.cache("write", "done") > 0.0, known, "{authority:?}");
    }
    let (caller, arrived) = stage.call(PUBLIC, 1_000);
    let done = stage.cache("write", "done");
    stage.calls_until(1_001, |stage| stage.cache("write", "done") > done);
    stage.kill_and_restart();
    assert!(stage.arrives(&caller, Duration::from_secs(10)));
    stage.still_answers(&caller, &arrived);
}

#[test]
fn sentinels_and_their_servers_are_reached_by_tls_if_their_authority_is_known() {
    let Some(mut stage) = Stage::start("auto") else { return };
    if !make_certificates(stage.folder.path()) {
        return;
    }
    let (server_port, sentinel_port) = (FIRST + 10, SENTINEL + 10);
    let options = tls(stage.folder.path(), server_port);
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let Some(_server) = server(&stage, FIRST, &options) else { return };
    // The same options in a file; a Sentinel that is to reach servers by TLS says so as a replica.
    let lines = tls(stage.folder.path(), sentinel_port);
    let lines = lines.chunks(2).map(|line| format!("{}\n", line.join(" ").replacen("--", "", 1)));
    let config = stage.folder.path().join("sentinel.conf");
    let text = format!(
        "port {SENTINEL}\nbind 127.0.0.1\ndir {}\n{}tls-replication yes\n\
         sentinel monitor flows 127.0.0.1 {server_port} 1\n",
        stage.folder.path().display(),
        lines.collect::<String>()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("redis-server");
    let command = command.arg(&config).arg("--sentinel");
    let Some(_sentinel) = Redis::run(&stage.hosts.relay, SENTINEL, command) else { return };
    by_tls(&mut stage, &format!("rediss+sentinel://ringway@127.0.0.1:{sentinel_port}/flows"));
    stage.stop();
}

#[test]
fn the_nodes_of_a_cluster_are_reached_by_tls_if_their_authority_is_known() {
    let Some(mut stage) = Stage::start("auto") else { return };
    if !make_certificates(stage.folder.path()) {
        return;
    }
    let nodes: Option<Vec<_>> = NODES
        .iter()
        .map(|&port| {
            let secure = tls(stage.folder.path(), port + 100);
            let more = ["--tls-cluster", "yes"].map(str::to_owned);
            node(&stage, port, &[&secure[..], &more].concat())
        })
        .collect();
    let Some(nodes) = nodes else { return };
    let authority = stage.folder.path().join("ca.pem");
    let words = ["--tls", "--cacert", authority.to_str().unwrap(), "--cluster", "create"];
    let mut words = words.map(str::to_owned).to_vec();
    words.extend(NODES.map(|port| format!("127.0.0.1:{}", port + 100)));
    words.push("--cluster-yes".to_owned());
    if redis_cli(&stage, &words).is_none() {
        return;
    }
    for port in NODES {
        let words = ["-p", &port.to_string(), "cluster", "info"].map(str::to_owned);
        wait_for("the Cluster does not come about", || {
            redis_cli(&stage, &words).is_some_and(|info| info.contains("cluster_state:ok"))
        });
    }
    by_tls(&mut stage, &format!("rediss+cluster://ringway@127.0.0.1:{}", NODES[0] + 100));
    // Whatever node the others' flows are on: they were found by what the first one says.
    stage.calls_until(2_000, |_| nodes.iter().all(|node| node.count("DBSIZE") > 0));
    stage.stop();
}
