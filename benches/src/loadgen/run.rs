//! The search: one run of the generator a step, each judged by the generator's own report.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use kit::cpu::{CpuTime, GENERATOR_CORE, Precedence, WORKER_CORE};
use kit::host::Host;
use kit::namespaces::Topology;
use kit::plan::{CLIENT_NETWORK, PUBLIC};
use kit::report::{progress, warn_if_unoptimised};
use kit::search::{Outcome, Search};
use kit::stop::Stop;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::Options;
use crate::report::Report;

/// Of each flow.
pub(crate) const PACKETS_A_SECOND: u32 = 50;
/// A rate counts if it loses no more than this share.
pub(crate) const LOSS_MAX: f64 = 0.001;

/// How packets leave, the generator's and the echo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Egress {
    /// By sockets.
    Socket,
    /// By frames of their own, past the kernel's UDP.
    Direct,
}

impl Egress {
    pub(crate) const ALL: [Self; 2] = [Self::Socket, Self::Direct];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Socket => "sockets",
            Self::Direct => "direct egress",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Socket => &[],
            Self::Direct => &["--direct-egress"],
        }
    }
}

/// A search and how packets left in it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Searched {
    pub(crate) egress: Egress,
    pub(crate) steps: Vec<Step>,
}

/// One step of a search.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// Packets a second, out and back.
    pub(crate) rate: f64,
    /// Why the generator calls itself the bottleneck.
    pub(crate) bottlenecks: Vec<String>,
    /// The share lost.
    pub(crate) loss: f64,
    /// The share of its packets that left by direct egress.
    pub(crate) frames: f64,
    /// The generator's CPU time for a packet out and back.
    pub(crate) generator_us: f64,
    /// The share of its core that the generator used while it sent.
    pub(crate) busy: f64,
    /// The echo's CPU time for a packet.
    pub(crate) echo_us: f64,
    /// Median round trip.
    pub(crate) p50_ms: f64,
    /// 99th percentile of the round trip.
    pub(crate) p99_ms: f64,
    /// 99th percentile of the generator's lateness.
    pub(crate) late_p99_ms: f64,
}

impl Step {
    fn outcome(&self) -> Outcome {
        if !self.bottlenecks.is_empty() {
            Outcome::NotOffered
        } else if self.loss > LOSS_MAX {
            Outcome::Lost
        } else {
            Outcome::Carried
        }
    }
}

/// What sends packets back. Dropping it ends it.
struct Echo {
    child: Child,
    address: String,
}

impl Echo {
    fn start(topology: &Topology, egress: Egress, loadgen: &Path, keys: &Path) -> Result<Self> {
        let mut command = Command::new(loadgen);
        command
            .args(["sink", "--direct", "--duration", "30m", "--keys"])
            .arg(keys)
            .args(["--listen", &format!("{}:0", PUBLIC.ip()), "--cpus", &WORKER_CORE.to_string()])
            .args(egress.arguments())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = topology.relay.run(|| command.spawn());
        let mut child = child.with_context(|| format!("Failed to start {}", loadgen.display()))?;
        let mut line = String::new();
        if let Some(said) = child.stderr.take() {
            BufReader::new(said).read_line(&mut line).context("Failed to hear the echo")?;
        }
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let echo = Self { child, address };
        ensure!(
            echo.address.starts_with(&PUBLIC.ip().to_string()),
            "the echo says: {}",
            line.trim()
        );
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It ends by itself in half an hour at the latest.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// Searches, prints, and writes the report.
#[expect(clippy::print_stdout, reason = "the table is this program's output")]
pub(crate) fn run(options: &Options) -> Result<()> {
    warn_if_unoptimised();
    let loadgen = program(options)?;
    let stop = Stop::listen()?;
    let load_before = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load_before = load_before.split(' ').next().unwrap_or_default().to_owned();
    let precedence = Precedence::take();
    let folder = tempfile::tempdir().context("Failed to make a folder for the run's files")?;
    let keys = folder.path().join("keys.toml");
    write_keys(&keys)?;
    let reps = options.reps();
    // The generator is where the clients are, and the echo where the relay would be.
    let topology = Topology::build()?;
    let mut searches = Vec::new();
    for (rep, egress) in (1..=reps).flat_map(|rep| Egress::ALL.map(|egress| (rep, egress))) {
        let echo = Echo::start(&topology, egress, &loadgen, &keys)?;
        let run = Run { options, loadgen: &loadgen, keys: &keys, topology: &topology, egress };
        let mut search = Search::from(f64::from(options.start));
        let mut steps = Vec::new();
        while let Some(rate) = search.next() {
            stop.check()?;
            let step = run.step(&echo, rate, folder.path())?;
            let outcome = step.outcome();
            progress(&format!(
                "search {rep} of {reps}, {}: {:.0} packets/s: {}; {:.2} µs a packet, lost {:.3} %",
                egress.name(),
                step.rate,
                match outcome {
                    Outcome::Carried => "driven".to_owned(),
                    Outcome::Lost => "too much was lost".to_owned(),
                    Outcome::NotOffered => step.bottlenecks.join("; "),
                },
                step.generator_us,
                step.loss * 100.0,
            ));
            steps.push(step);
            search.tell(outcome);
        }
        searches.push(Searched { egress, steps });
    }
    let has_precedence = precedence.is_taken();
    drop(precedence);
    let window = options.window();
    let (bytes, engine) = (options.bytes, options.engine.clone());
    let host = Host::observe();
    let report = Report { host, window, bytes, engine, load_before, has_precedence, searches };
    println!("{}", report.to_terminal());
    report.write(&options.results)
}

/// The highest rate of a search that was driven, and what it cost there.
pub(crate) fn best(steps: &[Step]) -> Option<&Step> {
    let driven = steps.iter().filter(|step| step.outcome() == Outcome::Carried);
    driven.max_by(|one, other| one.rate.total_cmp(&other.rate))
}

/// What all steps of a search have in common.
struct Run<'a> {
    options: &'a Options,
    loadgen: &'a Path,
    keys: &'a Path,
    topology: &'a Topology,
    egress: Egress,
}

impl Run<'_> {
    fn step(&self, echo: &Echo, rate: f64, folder: &Path) -> Result<Step> {
        let options = self.options;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some thousands"
        )]
        let flows = ((rate / f64::from(PACKETS_A_SECOND)).round() as u32).max(1);
        let path = folder.join("flows.json");
        let before = CpuTime::of(echo.child.id())?;
        let mut command = Command::new(self.loadgen);
        command
            .args(["flows", "--relay", &echo.address, "--flows", &flows.to_string(), "--keys"])
            .arg(self.keys)
            .args(["--profile", &format!("{PACKETS_A_SECOND}x{}", options.bytes)])
            .args(["--duration", &format!("{}s", options.window().as_secs()), "--ramp", "1s"])
            .args(["--cpus", &GENERATOR_CORE.to_string(), "--engine", &options.engine])
            .args(["--sources", CLIENT_NETWORK])
            .args(["--target-authorized", &PUBLIC.ip().to_string()])
            .args(self.egress.arguments())
            .args(["--beyond-caps", "--quiet", "--json"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let ran = self.topology.client.run(|| command.output());
        let ran = ran.with_context(|| format!("Failed to start {}", self.loadgen.display()))?;
        let spent = CpuTime::of(echo.child.id())?.since(before);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("flows left no report: {}", String::from_utf8_lossy(&ran.stderr).trim())
        })?;
        // None of the next step may be taken for this one's.
        fs::remove_file(&path).context("Failed to remove a report")?;
        let report = serde_json::from_str(&text).context("Failed to read the report of flows")?;
        let step = read(&report, f64::from(flows * PACKETS_A_SECOND), spent.run_ns, options)?;
        ensure!(
            self.egress == Egress::Socket || step.frames > 0.9,
            "only {:.0} % of the packets left as frames",
            step.frames * 100.0
        );
        Ok(step)
    }
}

fn read(report: &Value, rate: f64, echo_ns: u64, options: &Options) -> Result<Step> {
    let result = &report["result"];
    let number = |value: &Value, what: &str| {
        value.as_f64().with_context(|| format!("the report of flows has no {what}"))
    };
    let sent = number(&result["counts"]["sent"], "count of packets")?;
    ensure!(sent > 0.0, "flows sent nothing: {}", result["failures"]);
    let frames = number(&result["generator"]["frames"], "count of frames")? / sent;
    let cpu_ns = number(&result["generator"]["cpu_ns"], "CPU time")?;
    let words = |value: &Value| value.as_str().map(str::to_owned);
    let bottlenecks = report["bottlenecks"].as_array().context("no bottlenecks in the report")?;
    Ok(Step {
        rate,
        bottlenecks: bottlenecks.iter().filter_map(words).collect(),
        loss: number(&result["loss"], "loss")?,
        frames,
        generator_us: cpu_ns / sent / 1000.0,
        busy: cpu_ns / options.window().as_nanos() as f64,
        echo_us: echo_ns as f64 / sent / 1000.0,
        p50_ms: number(&result["latency"]["p50_ms"], "median")?,
        p99_ms: number(&result["latency"]["p99_ms"], "99th percentile")?,
        late_p99_ms: number(&result["lateness"]["p99_ms"], "lateness")?,
    })
}

fn write_keys(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let text = wire::keyring::generate(getrandom::fill).context("Failed to make keys")?;
    fs::write(path, text).context("Failed to write keys")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("Failed to guard keys")
}

fn program(options: &Options) -> Result<PathBuf> {
    let path = match &options.loadgen {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .context("Failed to find this program's own file")?
            .with_file_name("ringway-loadgen"),
    };
    if !path.is_file() {
        bail!("{} is not built: cargo build --release -p ringway-loadgen", path.display());
    }
    Ok(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn of(rate: f64, bottlenecks: &[&str], loss: f64) -> Step {
        Step {
            rate,
            bottlenecks: bottlenecks.iter().map(ToString::to_string).collect(),
            loss,
            frames: 0.0,
            generator_us: 3.0,
            busy: 0.9,
            echo_us: 2.5,
            p50_ms: 0.4,
            p99_ms: 2.0,
            late_p99_ms: 1.0,
        }
    }

    #[test]
    fn what_the_generator_says_of_itself_decides() {
        let steps = [
            of(200e3, &[], 0.0),
            of(400e3, &["it sent late"], 0.0),
            of(300e3, &[], 0.0005),
            of(350e3, &[], 0.002),
        ];
        assert_eq!(best(&steps).unwrap().rate, 300e3);
        assert!(best(&steps[1..2]).is_none());
    }

    #[test]
    fn a_report_of_flows_is_read_and_one_that_lacks_something_is_refused() {
        use clap::Parser as _;
        let options = Options::parse_from(["bench-loadgen", "--seconds", "4"]);
        let mut report = json!({
            "bottlenecks": ["it sent late"],
            "result": {
                "counts": { "sent": 1_000_000 }, "loss": 0.01, "lateness": { "p99_ms": 9.0 },
                "latency": { "p50_ms": 0.5, "p99_ms": 7.0 },
                "generator": { "cpu_ns": 3_600_000_000u64, "frames": 999_000 },
            },
        });
        let step = read(&report, 250e3, 2_500_000_000, &options).unwrap();
        assert_eq!((step.generator_us, step.echo_us, step.busy), (3.6, 2.5, 0.9));
        assert_eq!(step.outcome(), Outcome::NotOffered);
        report["result"]["lateness"] = Value::Null;
        let error = read(&report, 250e3, 0, &options).unwrap_err().to_string();
        assert!(error.contains("lateness"), "{error}");
    }
}
