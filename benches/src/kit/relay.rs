//! The real relay: its configuration for the benchmark's network, and what its metrics say.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::Host;

use crate::cpu::WORKER_CORE;
use crate::plan::{PUBLIC, SHARD_IP, SHARD_PORT, SHARDS, TUNNEL};
use crate::sessions::{CLUSTER, TRANSCEIVER, TUNNEL_MTU};

const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_478);
const METRICS_BYTES_MAX: u64 = 4 << 20;

/// The files of one relay, in a folder of the run's.
#[derive(Debug)]
pub struct Files {
    /// Its configuration.
    pub config: PathBuf,
}

impl Files {
    /// Writes them, for the engine `uring` or `mmsg`, and `direct.egress`. Everything not named keeps
    /// its default, the size of the flow table included.
    pub fn write(
        folder: &Path,
        engine: &str,
        coalesce_us_max: u32,
        direct: &str,
        keyring: &str,
    ) -> Result<Self> {
        let keys = folder.join("keys.toml");
        let config = folder.join("relay.toml");
        write_private(&keys, keyring)?;
        let socket = folder.join("relay.sock");
        write_private(&config, &text(engine, coalesce_us_max, direct, &keys, &socket))?;
        Ok(Self { config })
    }
}

fn text(engine: &str, coalesce_us_max: u32, direct: &str, keys: &Path, socket: &Path) -> String {
    let [keys, socket] = [keys, socket].map(|path| path.display().to_string());
    let (tunnel_ip, tunnel_port) = (TUNNEL.ip(), TUNNEL.port());
    // Flows that outlive a run in one direction only, and are made in a reasonable time.
    format!(
        "listen = [\"{PUBLIC}\"]\n\
         engine = \"{engine}\"\n\
         workers = 1\n\
         cpus = [{WORKER_CORE}]\n\
         keys = {keys:?}\n\
         coalesce_us_max = {coalesce_us_max}\n\
         [direct]\n\
         egress = \"{direct}\"\n\
         [tunnel]\n\
         address = \"{tunnel_ip}\"\n\
         port_base = {tunnel_port}\n\
         mtu = {TUNNEL_MTU}\n\
         [flows]\n\
         idle_assured = \"10m\"\n\
         new_flow_rate = 100000\n\
         [[clusters]]\n\
         id = {CLUSTER}\n\
         name = \"bench\"\n\
         resolve = \"table\"\n\
         port_base = {SHARD_PORT}\n\
         transceivers = [{{ id = {TRANSCEIVER}, address = \"{SHARD_IP}\", shards = {SHARDS} }}]\n\
         [admin]\n\
         socket = {socket:?}\n\
         [http]\n\
         listen = \"{METRICS}\"\n"
    )
}

/// The keyring is refused by the relay unless it is for its owner's eyes only.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("Failed to write {}", path.display()))
}

/// The relay's metrics, as it shows them to a scraper.
pub fn metrics(relay: &Host) -> Result<String> {
    let mut stream = relay.run(|| {
        TcpStream::connect_timeout(&METRICS, Duration::from_secs(1))
            .context("Failed to reach the relay's metrics")
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).context("Failed to set a time-out")?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("Failed to ask for the metrics")?;
    let mut answer = Vec::new();
    stream
        .take(METRICS_BYTES_MAX)
        .read_to_end(&mut answer)
        .context("Failed to read the metrics")?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 200"), "the metrics endpoint refused");
    Ok(answer.into_owned())
}

/// The sum of all series of a metric whose labels contain `label`.
pub fn metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// How long the sockets of a process that has ended may take to go away.
const PORTS_MAX: Duration = Duration::from_secs(10);

/// Waits until a relay can start in this namespace: the sockets of an io_uring process outlive it by a
/// moment.
pub fn wait_for_ports(namespace: &Host) -> Result<()> {
    let deadline = Instant::now() + PORTS_MAX;
    loop {
        let bind = || [PUBLIC, TUNNEL].map(UdpSocket::bind).into_iter().collect();
        let bound: io::Result<Vec<_>> = namespace.run(bind);
        match bound {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error).context("The last candidate's ports stay in use"),
        }
    }
}

/// The relay's program: the one given, or the one beside this program.
pub fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let own = std::env::current_exe().context("Failed to find this program's own file")?;
    Ok(own.with_file_name("ringway-relay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_series() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP flows Flows\n\
                    flows{state=\"new\",worker=\"0\"} 3\nflows{state=\"new\",worker=\"1\"} 4\n\
                    flows{state=\"assured\",worker=\"0\"} 2000\nflows_other 9\n";
        assert_eq!(metric(text, "flows", "state=\"new\""), Some(7.0));
        assert_eq!(metric(text, "flows", "state=\"assured\""), Some(2000.0));
        assert_eq!(metric(text, "flow", ""), None);
    }
}
