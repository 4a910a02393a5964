//! A real Prometheus scrapes a real relay, with our rules loaded: every query of the dashboard and of
//! the rules is one that it takes, and those that must have a value have one. On a host of its own, a
//! network namespace.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A relay and a Prometheus on one host; gone when this is dropped.
struct Stage {
    name: String,
    processes: Vec<Child>,
    _folder: tempfile::TempDir,
}

const RELAY: &str = r#"
listen = ["127.0.0.1:3478"]
workers = 2
keys = "FOLDER/keys.toml"
[tunnel]
address = "127.0.0.1"
[flows]
per_worker = 16384
[admin]
socket = "FOLDER/relay.sock"
[[clusters]]
id = 1
name = "test"
resolve = "table"
transceivers = [{ id = 1, address = "127.0.0.1", shards = 1 }]
allow_special = ["127.0.0.0/8"]
"#;

const PROMETHEUS: &str = r#"
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [RULES]
scrape_configs:
  - job_name: ringway-relay
    static_configs: [{ targets: ["127.0.0.1:9478"] }]
"#;

impl Stage {
    fn start() -> Option<Self> {
        let relay = Path::new(env!("CARGO_BIN_EXE_ringway-tuning")).with_file_name("ringway-relay");
        if !relay.exists() {
            println!("skipped: {} is not built", relay.display());
            return None;
        }
        for program in ["prometheus", "promtool"] {
            if let Err(error) = Command::new(program).arg("--version").output() {
                println!("skipped: {program}: {error}");
                return None;
            }
        }
        let name = format!("rwp{}", std::process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).output();
        if !added.is_ok_and(|output| output.status.success()) {
            println!("skipped: network namespaces need root and iproute2");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut stage = Self { name, processes: Vec::new(), _folder: folder };
        assert!(stage.command("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        service::keyfile::create(&path.join("keys.toml")).unwrap();
        let text = RELAY.replace("FOLDER", path.to_str().unwrap());
        fs::write(path.join("relay.toml"), text).unwrap();
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/relay-rules.yml");
        fs::write(path.join("prometheus.yml"), PROMETHEUS.replace("RULES", rules)).unwrap();
        let relay = stage
            .command(relay.to_str().unwrap())
            .args(["run", "--config"])
            .arg(path.join("relay.toml"))
            .env_remove("RINGWAY_CONFIG")
            .stderr(Stdio::null())
            .spawn();
        stage.processes.push(relay.unwrap());
        let prometheus = stage
            .command("prometheus")
            .arg(format!("--config.file={}", path.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        stage.processes.push(prometheus.unwrap());
        Some(stage)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// What a query gives: none if Prometheus is not there yet; fails if it does not take the query.
    fn ask(&self, query: &str) -> Option<Vec<serde_json::Value>> {
        let words = ["query", "instant", "-o", "json", "http://127.0.0.1:9090", query];
        let output = self.command("promtool").args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let early = said.contains("connection refused") || said.contains("Service Unavailable");
            assert!(early, "{query}: {said}");
            return None;
        }
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // They may have ended by themselves.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

#[test]
fn a_real_prometheus_takes_every_query_and_finds_values() {
    let Some(mut stage) = Stage::start() else { return };
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut wait_for = |query: &str| loop {
        match stage.ask(query) {
            Some(values) if !values.is_empty() => break values,
            _ => {}
        }
        for process in &mut stage.processes {
            assert_eq!(process.try_wait().unwrap(), None, "it has ended");
        }
        assert!(Instant::now() < deadline, "nothing for {query}");
        std::thread::sleep(Duration::from_millis(500));
    };
    // Several scrapes, so that rates have something to go by.
    wait_for("min_over_time(up{job=\"ringway-relay\"}[20s]) == 1 and count_over_time(up[20s]) > 5");
    for query in [
        "relay_build_info",
        "relay_engine_info",
        "sum(relay_flows_assured) == 0",
        "relay_tunnel_peers == 1",
        "rate(relay_tunnel_pings_sent_total[20s])",
        "relay_drops_total{reason=\"flow_unknown\"}",
        "relay_latency_seconds_bucket",
        "instance:relay_client_received_packets:rate1m",
        "instance_reason:relay_drops:rate5m{reason=\"hint_forged\"}",
        "instance:relay_worker_busy_ratio:max",
        // Nobody is there to answer: the alert for it is on its way.
        "ALERTS{alertname=\"RelayNoShardAnswers\"}",
    ] {
        wait_for(query);
    }

    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/ringway-relay.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dashboard).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut asked, mut empty) = (0, Vec::new());
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$instance", ".*").replace("$__rate_interval", "20s");
        asked += 1;
        if stage.ask(&query).unwrap().is_empty() {
            empty.push(query);
        }
    }
    assert!(asked > 45, "{asked}");
    // Without calls these have nothing to show: ratios of nothing, and what was never dropped.
    for query in &empty {
        let may = query.contains("> 0") || query.contains("relay_peer_round_trip_seconds");
        assert!(may, "an empty panel: {query}");
    }
    println!("{asked} queries, {} of them without a value while there are no calls", empty.len());
}
