//! A real Prometheus scrapes a real relay and a real transceiver behind it, with our rules loaded: every
//! query of the dashboards and of the rules is one that it takes, those that must have a value have one,
//! and every value of a label that a query asks for is there. On a host of its own, a network namespace.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{built, read, top};

/// A relay, a transceiver and a Prometheus on one host; gone when this is dropped.
struct Stage {
    name: String,
    processes: Vec<(&'static str, Child)>,
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

const TRANSCEIVER: &str = r#"
ingress = ["127.0.0.1:3478"]
transceiver = 1
shards = 1
keys = "FOLDER/keys.toml"
[tunnel]
address = "127.0.0.1"
[signaling]
open = true
[admin]
socket = "FOLDER/transceiver.sock"
"#;

const PROMETHEUS: &str = r#"
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [RULES/relay-rules.yml, RULES/transceiver-rules.yml]
scrape_configs:
  - job_name: ringway-relay
    static_configs: [{ targets: ["127.0.0.1:9478"] }]
  - job_name: ringway-transceiver
    static_configs: [{ targets: ["127.0.0.1:9479"] }]
"#;

impl Stage {
    fn start() -> Option<Self> {
        let (relay, transceiver) = (built("ringway-relay")?, built("ringway-transceiver")?);
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
        for (name, program, text) in
            [("relay", relay, RELAY), ("transceiver", transceiver, TRANSCEIVER)]
        {
            let file = path.join(format!("{name}.toml"));
            fs::write(&file, text.replace("FOLDER", path.to_str().unwrap())).unwrap();
            let process = stage
                .command(program.to_str().unwrap())
                .args(["run", "--config"])
                .arg(file)
                .env_remove("RINGWAY_CONFIG")
                .stderr(Stdio::null())
                .spawn();
            stage.processes.push((name, process.unwrap()));
        }
        let rules = top().join("deploy/prometheus");
        let text = PROMETHEUS.replace("RULES", rules.to_str().unwrap());
        fs::write(path.join("prometheus.yml"), text).unwrap();
        let prometheus = stage
            .command("prometheus")
            .arg(format!("--config.file={}", path.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        stage.processes.push(("prometheus", prometheus.unwrap()));
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

impl Stage {
    /// Waits until a query gives something.
    fn wait_for(&mut self, query: &str, deadline: Instant) {
        while self.ask(query).is_none_or(|values| values.is_empty()) {
            for (name, process) in &mut self.processes {
                assert_eq!(process.try_wait().unwrap(), None, "{name} has ended");
            }
            assert!(Instant::now() < deadline, "nothing for {query}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Asks all queries of a dashboard. How many there are, and those without a value.
    fn ask_dashboard(&self, file: &str) -> (usize, Vec<String>) {
        let dashboard: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let (mut asked, mut empty) = (0, Vec::new());
        for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$instance", ".*").replace("$__rate_interval", "20s");
            asked += 1;
            if self.ask(&query).unwrap().is_empty() {
                empty.push(query);
            }
        }
        (asked, empty)
    }

    /// Ends a process, as a crash would.
    fn kill(&mut self, name: &str) {
        let index = self.processes.iter().position(|(each, _)| *each == name).unwrap();
        let (_, mut process) = self.processes.remove(index);
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (_, process) in &mut self.processes {
            // They may have ended by themselves.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Series that a text asks for by the value of a label: `name{label="value"}`, one for each value.
fn asked_for(text: &str) -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    let pieces: Vec<&str> = text.split('{').collect();
    for pair in pieces.windows(2) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let name = &pair[0][pair[0].trim_end_matches(is_name).len()..];
        if !["relay_", "transceiver_"].iter().any(|prefix| name.contains(prefix)) {
            continue;
        }
        for matcher in pair[1].split('}').next().unwrap_or_default().split("\",") {
            let Some((label, values)) = matcher.trim_end_matches('"').split_once('"') else {
                continue;
            };
            let label = label.trim_end_matches(['=', '~', '!']).trim();
            if !values.contains('$') && !name.ends_with("_info") {
                series.extend(
                    values.split('|').map(|value| format!("{name}{{{label}=\"{value}\"}}")),
                );
            }
        }
    }
    series
}

#[test]
fn a_real_prometheus_takes_every_query_and_finds_values() {
    let Some(mut stage) = Stage::start() else { return };
    let deadline = Instant::now() + Duration::from_secs(120);
    // Several scrapes, so that rates have something to go by.
    for job in ["ringway-relay", "ringway-transceiver"] {
        let up = format!("up{{job=\"{job}\"}}[20s]");
        let query = format!("min_over_time({up}) == 1 and count_over_time({up}) > 5");
        stage.wait_for(&query, deadline);
    }
    for query in [
        "relay_build_info",
        "relay_engine_info",
        "sum(relay_flows_assured) == 0",
        "relay_tunnel_peers == 1",
        "relay_tunnel_peers_up == 1",
        "rate(relay_tunnel_pings_sent_total[20s]) > 0",
        "relay_drops_total{reason=\"flow_unknown\"}",
        "relay_latency_seconds_bucket",
        "instance:relay_client_received_packets:rate1m",
        "instance_reason:relay_drops:rate5m{reason=\"hint_forged\"}",
        "instance:relay_worker_busy_ratio:max",
        "transceiver_build_info",
        "transceiver_relays == 2",
        "rate(transceiver_tunnel_pings_total[20s]) > 1",
        "instance:transceiver_calls:sum == 0",
        "instance:transceiver_calls:ratio == 0",
        "instance:transceiver_shard_busy_ratio:max",
        "instance_step:transceiver_setup_seconds:p95_5m",
    ] {
        stage.wait_for(query, deadline);
    }

    let mut series = BTreeSet::new();
    for file in [
        "deploy/prometheus/relay-rules.yml",
        "deploy/prometheus/transceiver-rules.yml",
        "deploy/grafana/ringway-relay.json",
        "deploy/grafana/ringway-transceiver.json",
    ] {
        series.extend(asked_for(&read(file).replace("\\\"", "\"")));
    }
    assert!(series.len() > 25, "{series:?}");
    for series in &series {
        assert!(!stage.ask(series).unwrap().is_empty(), "nobody exports {series}");
    }

    for file in ["deploy/grafana/ringway-relay.json", "deploy/grafana/ringway-transceiver.json"] {
        let (asked, empty) = stage.ask_dashboard(file);
        assert!(asked > 45, "{asked}");
        // Without calls these have nothing to show: ratios of nothing, and what was never dropped.
        for query in &empty {
            assert!(query.contains("> 0") || query.contains(" == 0"), "an empty panel: {query}");
        }
        println!(
            "{file}: {asked} queries, {} without a value while there are no calls",
            empty.len()
        );
    }

    // The alerts are on their way when there is cause.
    stage.kill("transceiver");
    for alert in ["TransceiverDown", "RelayNoShardAnswers", "RelayShardDown"] {
        stage.wait_for(&format!("ALERTS{{alertname=\"{alert}\"}}"), deadline);
    }
}
