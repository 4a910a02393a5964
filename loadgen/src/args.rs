//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use engine::EngineKind;
use loadgen::flows::Profile;
use loadgen::plan::{Mode, Settings};
use loadgen::slo::Slo;
use service::exit::Usage;
use service::network::Cidr;

/// Without `--beyond-caps`, not more than this.
const LOAD_CAP: u32 = 20_000;
const PACKETS_CAP: f64 = 1_000_000.0;
const DURATION_CAP: Duration = Duration::from_secs(600);

/// Measures a Ringway deployment from the outside: latency from the time each packet was due, loss,
/// jitter, set-up times, and capacity.
#[derive(Debug, Parser)]
#[command(name = "ringway-loadgen", version = service::build::VERSION, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringway-loadgen calls --url http://127.0.0.1:8080 --calls 20 --duration 30s
  ringway-loadgen calls --url https://staging.example.com --target-authorized staging.example.com \\
      --token-file token --calls 500 --slo p99=40ms,loss=0.1% --json calls.json --html calls.html
  ringway-loadgen sink --keys keys.toml --listen 127.0.0.1:3600       The far end for flows
  ringway-loadgen flows --relay 127.0.0.1:3478 --keys keys.toml --flows 1000
  ringway-loadgen ping --url https://staging.example.com --target-authorized staging.example.com
  ringway-loadgen compare before.json after.json

Exit codes: 0 objectives met, 1 error or nothing connected, 2 objectives missed (or wrong usage),
3 the generator itself was the bottleneck, so that its figures say little about the target.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Real WebRTC calls through signaling, relay and transceiver, with audio echoed back.
    #[command(after_help = CALLS_EXAMPLES)]
    Calls(Calls),
    /// Synthetic calls at the packet level through a relay, with `sink` as the far end.
    #[command(after_help = FLOWS_EXAMPLES)]
    Flows(Flows),
    /// The far end for `flows`: a shard that sends everything back.
    #[command(after_help = SINK_EXAMPLES)]
    Sink(Sink),
    /// Round trips of authenticated connectivity checks to many relays, as a table.
    #[command(after_help = PING_EXAMPLES)]
    Ping(Ping),
    /// Two JSON reports side by side, with ratios.
    Compare(Compare),
    #[command(flatten)]
    Extra(service::cli::Extra),
}

/// How a test goes; exactly one of the modes, steady if none.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Load over time")]
pub(crate) struct Timing {
    /// How long; with --sweep and --search, how long each step. [default: 30s; soak 1h; steps 10s]
    #[arg(long, value_name = "TIME", value_parser = service::config::duration::parse)]
    duration: Option<Duration>,
    /// Over how long the calls or flows arrive, evenly.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = service::config::duration::parse)]
    ramp: Duration,
    /// Raise the load step by step up to the whole, or to the knee: latency against load.
    #[arg(long, group = "mode")]
    sweep: bool,
    /// Search the highest load that meets --slo (default p99=20ms,loss=0.1%).
    #[arg(long, group = "mode")]
    search: bool,
    /// Keep the load up for long, minute by minute.
    #[arg(long, group = "mode")]
    soak: bool,
    /// So many calls or flows per second leave, and as many new ones arrive.
    #[arg(long, value_name = "PER_SECOND", group = "mode")]
    churn: Option<f64>,
    /// Steps of a sweep.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    steps: u32,
    /// Time to settle before each step of --sweep and --search is measured.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = service::config::duration::parse)]
    settle: Duration,
}

/// What comes out.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Results")]
pub(crate) struct Output {
    /// Objectives, all to be met: p50, p99, p99.9, max, setup_p95, gap_max, loss, reordered,
    /// duplicates, failures.
    #[arg(long, value_name = "METRIC=LIMIT,…")]
    pub(crate) slo: Option<Slo>,
    /// Write the report as JSON ("-" for stdout instead of the table).
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as one HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the percentile distribution for HdrHistogram's plotter.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write one histogram a second as an HdrHistogram interval log.
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Serve /metrics here while the test runs.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) prometheus: Option<SocketAddr>,
    /// No progress line.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Whom it may load, and how much.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Safety {
    /// I may load this host, which is not this one: the name as in the target, repeated.
    #[arg(long, value_name = "HOST")]
    pub(crate) target_authorized: Option<String>,
    /// Go beyond 20,000 calls or flows, 1,000,000 packets/s, or 10 minutes (soak: 24 hours).
    #[arg(long)]
    pub(crate) beyond_caps: bool,
}

const CALLS_EXAMPLES: &str = "\
Examples:
  ringway-loadgen calls --url http://127.0.0.1:8080
  ringway-loadgen calls --url http://127.0.0.1:8080 --calls 200 --churn 10 --duration 5m
  ringway-loadgen calls --url http://127.0.0.1:8080 --calls 2000 --search --slo p99=40ms,loss=0.1%
  RINGWAY_TOKEN=… ringway-loadgen calls --url https://HOST --target-authorized HOST --calls 500

The backend must send audio back: the model \"echo\" does (see --model).";

/// `calls`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Calls {
    /// Where signaling is: http:// or https:// and the host; the API's paths are added.
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// Bearer token. Others on this host can read it here: --token-file or the variable are better.
    #[arg(long, value_name = "TOKEN", env = "RINGWAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// The backend that is asked for; "" asks for none.
    #[arg(long, value_name = "MODEL", default_value = "echo")]
    pub(crate) model: String,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Calls at a time; with --sweep and --search the most.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) calls: u32,
    /// Threads.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) safety: Safety,
}

const FLOWS_EXAMPLES: &str = "\
Examples:
  ringway-loadgen flows --relay 127.0.0.1:3478 --keys keys.toml --flows 1000 --duration 20s
  ringway-loadgen flows --relay 127.0.0.1:3478 --keys keys.toml --flows 20000 --sweep
  ringway-loadgen flows --relay 127.0.0.1:3600 --keys keys.toml     Straight to `sink --direct`:
                                                                    what the relay is compared with
The far end must be running: see ringway-loadgen sink --help.";

/// `flows`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Flows {
    /// The relay's public address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) relay: String,
    /// The deployment's keyring: flows begin with true hints and integrity.
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGWAY_KEYS",
        default_value = "/etc/ringway/keys.toml"
    )]
    pub(crate) keys: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Flows at a time; with --sweep and --search the most.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) flows: u32,
    /// What each sends.
    #[arg(long, default_value = "voice", help = format!("What each sends: {}", Profile::HELP))]
    pub(crate) profile: Profile,
    /// Client addresses to send from: an IPv4 network that is all this host's [on loopback:
    /// 127.64.0.0/10].
    #[arg(long, value_name = "NETWORK")]
    pub(crate) sources: Option<Cidr>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) timing: Timing,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) safety: Safety,
}

/// Which sessions.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Place {
    /// Cluster of the sessions.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    pub(crate) cluster: u16,
    /// Transceiver of the sessions.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    pub(crate) transceiver: u32,
    /// How many shards it has.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) shards: u8,
}

/// How datagrams are moved.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Threads {
    /// How datagrams are moved: auto, uring or mmsg.
    #[arg(long, default_value = "auto")]
    pub(crate) engine: EngineKind,
    /// Threads (of a sink: one per shard).
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Send past the kernel's UDP, as frames by AF_XDP: more packets from a core. For other hosts
    /// only, not loopback; needs CAP_NET_RAW, and a queue of the device for each thread. Firewall
    /// rules and tcpdump do not see what leaves so.
    #[arg(long)]
    pub(crate) direct_egress: bool,
    /// CPUs to pin the threads to, one each, such as 2,3.
    #[arg(long, value_name = "CPUS", value_delimiter = ',')]
    pub(crate) cpus: Vec<usize>,
}

const SINK_EXAMPLES: &str = "\
Examples:
  ringway-relay keygen keys.toml
  ringway-loadgen sink --keys keys.toml --listen 127.0.0.1:3600 --print-relay-config >> relay.toml
  ringway-loadgen sink --keys keys.toml --listen 127.0.0.1:3600
  ringway-loadgen sink --keys keys.toml --listen 127.0.0.1:3478 --direct    Without a relay";

/// `sink`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Sink {
    /// The keyring, the same as the relay's.
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGWAY_KEYS",
        default_value = "/etc/ringway/keys.toml"
    )]
    pub(crate) keys: PathBuf,
    /// The tunnel address of the first shard; each further one has the next port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3600")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Take clients' packets themselves instead of a relay's tunnel.
    #[arg(long)]
    pub(crate) direct: bool,
    /// The longest tunnel datagram.
    #[arg(long, value_name = "BYTES", default_value_t = 1472, value_parser = clap::value_parser!(u16).range(1232..=8972))]
    pub(crate) tunnel_datagram_bytes: u16,
    /// Print the [[clusters]] entry that a relay needs for this sink, and end.
    #[arg(long)]
    pub(crate) print_relay_config: bool,
    /// Stop after this long instead of at Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = service::config::duration::parse)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

const PING_EXAMPLES: &str = "\
Examples:
  ringway-loadgen ping --url https://HOST --target-authorized HOST     Every relay its answer names
  ringway-loadgen ping --keys keys.toml 127.0.0.1:3478 [::1]:3478      Relays with a sink behind

With --url one call is made, for its credentials; its candidates, and the ADDRESSES, are pinged.";

/// `ping`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Ping {
    /// Relays to ping (beside those of the answer, with --url).
    #[arg(value_name = "ADDRESSES")]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where signaling is: a call is made for its credentials.
    #[arg(long, value_name = "URL", required_unless_present = "keys")]
    pub(crate) url: Option<String>,
    /// Bearer token; see `calls`.
    #[arg(long, value_name = "TOKEN", env = "RINGWAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The keyring, for relays with a sink behind.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Checks to each relay.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) count: u32,
    /// Time between two checks to one relay.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = service::config::duration::parse)]
    pub(crate) interval: Duration,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// I may ping this host, which is not this one: the name as in the target, repeated.
    #[arg(long, value_name = "HOST")]
    pub(crate) target_authorized: Option<String>,
}

/// `compare`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Compare {
    /// The report to compare with.
    pub(crate) before: PathBuf,
    /// The report to compare.
    pub(crate) after: PathBuf,
}

impl Timing {
    fn mode(&self) -> Mode {
        match self {
            Self { sweep: true, .. } => Mode::Sweep,
            Self { search: true, .. } => Mode::Search,
            Self { soak: true, .. } => Mode::Soak,
            Self { churn: Some(_), .. } => Mode::Churn,
            _ => Mode::Steady,
        }
    }

    /// The plan's settings for so much load, within the caps.
    pub(crate) fn settings(
        &self,
        load: u32,
        packets_per_second_each: f64,
        safety: &Safety,
    ) -> Result<Settings, Usage> {
        let mode = self.mode();
        let usual = match mode {
            Mode::Steady | Mode::Churn => Duration::from_secs(30),
            Mode::Soak => Duration::from_secs(3_600),
            Mode::Sweep | Mode::Search => Duration::from_secs(10),
        };
        let duration = self.duration.unwrap_or(usual);
        let churn_per_second = self.churn.unwrap_or(0.0);
        if self.churn.is_some_and(|rate| !(rate > 0.0 && rate <= 100_000.0)) {
            return Err(Usage("--churn must be a rate above 0, such as 5 or 0.5".into()));
        }
        if duration < Duration::from_secs(1) {
            return Err(Usage("--duration must be 1s at least".into()));
        }
        let settings = Settings {
            mode,
            load,
            duration,
            ramp: self.ramp,
            churn_per_second,
            sweep_steps: self.steps,
            settle: self.settle,
        };
        if !safety.beyond_caps {
            cap(&settings, packets_per_second_each)?;
        }
        Ok(settings)
    }
}

fn cap(settings: &Settings, packets_per_second_each: f64) -> Result<(), Usage> {
    let refuse = |what: String, cap: String| {
        Err(Usage(format!("{what} is more than {cap}: if that is meant, add --beyond-caps")))
    };
    if settings.load > LOAD_CAP {
        return refuse(format!("a load of {}", settings.load), LOAD_CAP.to_string());
    }
    let packets = f64::from(settings.load) * packets_per_second_each;
    if packets > PACKETS_CAP {
        return refuse(format!("{packets:.0} packets/s"), format!("{PACKETS_CAP:.0}"));
    }
    let longest = match settings.mode {
        Mode::Soak => Duration::from_hours(24),
        // Each step is bounded; how many there are is bounded by the load.
        Mode::Sweep | Mode::Search => Duration::from_secs(3_600),
        Mode::Steady | Mode::Churn => DURATION_CAP,
    };
    let duration = loadgen::plan::Plan::new(settings.clone()).duration_max();
    if duration > longest {
        let format = service::config::duration::format;
        return refuse(format!("a test of {}", format(duration)), format(longest));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &str) -> Result<Settings, Usage> {
        let words = format!("ringway-loadgen flows --relay 127.0.0.1:3478 {words}");
        let args = Args::try_parse_from(words.split_whitespace()).unwrap();
        let Command::Flows(flows) = args.command else { panic!("flows") };
        flows.timing.settings(flows.flows, flows.profile.rate(), &flows.safety)
    }

    #[test]
    fn the_help_holds_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn modes_have_their_durations() {
        for (words, mode, seconds) in [
            ("", Mode::Steady, 30),
            ("--duration 5s", Mode::Steady, 5),
            ("--sweep", Mode::Sweep, 10),
            ("--search --duration 3s", Mode::Search, 3),
            ("--soak", Mode::Soak, 3_600),
            ("--churn 0.5", Mode::Churn, 30),
        ] {
            let settings = settings(words).unwrap();
            assert_eq!((settings.mode, settings.duration.as_secs()), (mode, seconds), "{words}");
        }
        let two = "ringway-loadgen flows --relay 127.0.0.1:1 --sweep --soak";
        assert!(Args::try_parse_from(two.split_whitespace()).is_err());
    }

    #[test]
    fn nobody_goes_beyond_the_caps_by_accident() {
        for (words, part) in [
            ("--flows 20001", "a load of 20001"),
            ("--flows 20000 --profile video", "packets/s"),
            ("--duration 11m", "11m"),
            ("--soak --duration 25h", "1d1h"),
            ("--sweep --duration 10m", "--beyond-caps"),
            ("--churn 0", "--churn"),
            ("--churn -1", "--churn"),
            ("--duration 1ms", "--duration"),
        ] {
            let words = words.replace("--churn -1", "--churn=-1");
            let error = settings(&words).unwrap_err().0;
            assert!(error.contains(part), "{words}: {error}");
        }
        settings("--flows 20001 --beyond-caps").unwrap();
        settings("--soak --duration 24h").unwrap();
    }
}
