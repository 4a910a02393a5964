//! Who is compared: what each is, how it is started, and what it wants to hear from clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kit::plan::shard_of;

/// What a candidate is to the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ours.
    Ringway,
    /// Does nothing but forward: no product, a yardstick.
    Yardstick,
    /// What one would take instead.
    Peer,
}

/// How a candidate is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Nobody stands between: clients send to the backends.
    Direct,
    /// Takes any packet, and its backends hear exactly that.
    Plain,
    /// Takes any packet; between it and its backends, a header names the client.
    Header,
    /// Wants a STUN request with a ufrag first, then as plain.
    Ufrag,
    /// TURN: an allocation and a channel first, then ChannelData.
    Turn,
    /// Ringway: a hint with integrity first, and a sealed tunnel to the shards.
    Tunnel,
}

/// How a candidate is started.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Launch {
    /// This program, as a small forwarder.
    Forwarder(&'static str),
    /// The relay's program, with this engine and budget for coalescing.
    Relay {
        /// `uring` or `mmsg`.
        engine: &'static str,
        /// The budget for coalescing.
        coalesce_us_max: u32,
        /// `direct.egress`.
        direct: &'static str,
        /// Which backend a client's call is on.
        shard_of: fn(u32) -> u16,
    },
    /// Somebody else's program.
    Program {
        /// What it is called, where the search path finds it or install.sh put it.
        name: &'static str,
        /// Its configuration file: what it is to be called, and what is in it.
        config: Option<(&'static str, &'static str)>,
        /// Its arguments. `{folder}` is where the configuration is.
        arguments: &'static [&'static str],
        /// The argument that makes it say its version.
        version: Option<&'static str>,
    },
}

/// One of those compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// What the tables call it.
    pub(crate) name: &'static str,
    /// What it is, for the result's reader.
    pub(crate) about: &'static str,
    /// What it is to the comparison.
    pub(crate) role: Role,
    /// How it is spoken to.
    pub(crate) dialect: Dialect,
    /// How it is started.
    pub(crate) launch: Launch,
}

/// What the product's own row is called: with it everything is compared.
pub(crate) const OURS: &str = "ringway";
/// The same with direct egress, which one has to turn on.
pub(crate) const OURS_DIRECT: &str = "ringway-direct";
/// The same with twice the budget for coalescing.
pub(crate) const OURS_PATIENT: &str = "ringway-200";
/// Both.
pub(crate) const OURS_DIRECT_PATIENT: &str = "ringway-direct-200";
/// The row that a bar at the limit is about.
pub(crate) const BATCHING_GO: &str = "gorelay-batch";

const fn ringway(name: &'static str, about: &'static str, launch: Launch) -> Candidate {
    Candidate { name, about, role: Role::Ringway, dialect: Dialect::Tunnel, launch }
}

const fn relay(engine: &'static str, coalesce_us_max: u32) -> Launch {
    Launch::Relay { engine, coalesce_us_max, direct: "off", shard_of }
}

const fn direct(coalesce_us_max: u32) -> Launch {
    Launch::Relay { engine: "uring", coalesce_us_max, direct: "require", shard_of }
}

const ONE_BACKEND: Launch =
    Launch::Relay { engine: "uring", coalesce_us_max: 100, direct: "off", shard_of: |_| 0 };

const fn yardstick(name: &'static str, about: &'static str) -> Candidate {
    let (role, dialect) = (Role::Yardstick, Dialect::Header);
    Candidate { name, about, role, dialect, launch: Launch::Forwarder(name) }
}

const GO_ARGUMENTS: [&str; 4] = [
    "-listen",
    "10.76.1.1:3478",
    "-upstream",
    "10.76.2.2:3600,10.76.2.2:3601,10.76.2.2:3602,10.76.2.2:3603",
];

/// All, in the order of the tables.
pub(crate) const ALL: [Candidate; 15] = [
    ringway(OURS, "the relay as it ships: io_uring, coalescing up to 100 µs", relay("uring", 100)),
    ringway(
        OURS_DIRECT,
        "as it ships, and direct egress turned on: packets to clients leave past the kernel's UDP",
        direct(100),
    ),
    ringway(OURS_PATIENT, "as it ships, but coalescing up to 200 µs", relay("uring", 200)),
    ringway(OURS_DIRECT_PATIENT, "direct egress, and coalescing up to 200 µs", direct(200)),
    ringway("ringway-mmsg", "as it ships, on recvmmsg and sendmmsg", relay("mmsg", 100)),
    ringway(
        "ringway-eager",
        "io_uring without coalescing: wakes up for every packet",
        relay("uring", 0),
    ),
    ringway(
        "ringway-one",
        "as it ships, with all calls on one backend instead of four",
        ONE_BACKEND,
    ),
    yardstick("naive", "recvfrom and sendto, a table of flows, nothing else"),
    yardstick("mmsg", "recvmmsg and sendmmsg, 64 a call, a table of flows, nothing else"),
    Candidate {
        name: "gorelay",
        about: "the Go relay, recvfrom and sendto behind epoll",
        role: Role::Peer,
        dialect: Dialect::Ufrag,
        launch: Launch::Program {
            name: "gorelay",
            config: None,
            arguments: &GO_ARGUMENTS,
            version: None,
        },
    },
    Candidate {
        name: BATCHING_GO,
        about: "the Go relay with recvmmsg and sendmmsg, 32 a call",
        role: Role::Peer,
        dialect: Dialect::Ufrag,
        launch: Launch::Program {
            name: "gorelay",
            config: None,
            arguments: &[
                GO_ARGUMENTS[0],
                GO_ARGUMENTS[1],
                GO_ARGUMENTS[2],
                GO_ARGUMENTS[3],
                "-batch",
                "32",
            ],
            version: None,
        },
    },
    Candidate {
        name: "nginx",
        about: "nginx's stream module, UDP",
        role: Role::Peer,
        dialect: Dialect::Plain,
        launch: Launch::Program {
            name: "nginx",
            config: Some(("nginx.conf", include_str!("../../peers/nginx/nginx.conf"))),
            // Nothing of the system's own configuration.
            arguments: &["-p", "{folder}", "-c", "{folder}/nginx.conf", "-e", "stderr"],
            version: Some("-v"),
        },
    },
    Candidate {
        name: "coturn",
        about: "coturn, TURN ChannelData",
        role: Role::Peer,
        dialect: Dialect::Turn,
        launch: Launch::Program {
            name: "turnserver",
            config: Some(("turnserver.conf", include_str!("../../peers/coturn/turnserver.conf"))),
            arguments: &["-c", "{folder}/turnserver.conf", "--pidfile", "{folder}/turnserver.pid"],
            version: Some("--version"),
        },
    },
    Candidate {
        name: "envoy",
        about: "Envoy's udp_proxy",
        role: Role::Peer,
        dialect: Dialect::Plain,
        launch: Launch::Program {
            name: "envoy",
            config: Some(("envoy.yaml", include_str!("../../peers/envoy/envoy.yaml"))),
            arguments: &[
                "-c",
                "{folder}/envoy.yaml",
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ],
            version: Some("--version"),
        },
    },
    Candidate {
        name: "quilkin",
        about: "Quilkin on its io_uring backend",
        role: Role::Peer,
        dialect: Dialect::Plain,
        launch: Launch::Program {
            name: "quilkin",
            config: Some(("quilkin.yaml", include_str!("../../peers/quilkin/quilkin.yaml"))),
            arguments: &QUILKIN_ARGUMENTS,
            version: Some("--version"),
        },
    },
];

const QUILKIN_ARGUMENTS: [&str; 9] = [
    "--service.udp",
    "--service.udp.port",
    "3478",
    "--service.udp.workers",
    "1",
    "--admin.enabled=false",
    "--provider.fs",
    "--provider.fs.path",
    "{folder}/quilkin.yaml",
];

impl Candidate {
    /// Where its program is, or `None` if it is not installed.
    pub(crate) fn program(&self, tools: &Path, relay: &Path) -> Result<Option<PathBuf>> {
        let own = || std::env::current_exe().context("Failed to find this program's own file");
        let found = match self.launch {
            Launch::Forwarder(_) => Some(own()?),
            Launch::Relay { .. } => Some(relay.to_owned()),
            Launch::Program { name, .. } => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
                let folders = std::iter::once(tools.to_owned());
                let mut folders = folders.chain(std::env::split_paths(&path)).chain(system);
                folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
            }
        };
        let found = found.filter(|path| path.is_file());
        // It starts elsewhere.
        found
            .map(|path| {
                std::path::absolute(&path)
                    .with_context(|| format!("Failed to resolve {}", path.display()))
            })
            .transpose()
    }

    /// Writes its configuration into a folder; says its arguments.
    pub(crate) fn prepare(&self, folder: &Path) -> Result<Vec<String>> {
        match self.launch {
            Launch::Forwarder(style) => Ok(vec!["forwarder".to_owned(), style.to_owned()]),
            Launch::Relay { .. } => Ok(Vec::new()),
            Launch::Program { config, arguments, .. } => {
                if let Some((name, text)) = config {
                    let path = folder.join(name);
                    fs::write(&path, text)
                        .with_context(|| format!("Failed to write {}", path.display()))?;
                }
                let folder = folder.display().to_string();
                let argument = |argument: &&str| argument.replace("{folder}", &folder);
                Ok(arguments.iter().map(argument).collect())
            }
        }
    }

    /// What its program says of its version.
    pub(crate) fn version(&self, program: &Path) -> Option<String> {
        let Launch::Program { version: Some(argument), .. } = self.launch else { return None };
        let output = Command::new(program).arg(argument).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        // Some say where they are, too, which is nobody's business.
        let said = String::from_utf8_lossy(&said).replace(&program.display().to_string(), "");
        said.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_rows_that_bars_are_about_exist() {
        let mut names: Vec<_> = ALL.iter().map(|candidate| candidate.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let role = |name| ALL.iter().find(|it| it.name == name).map(|it| it.role);
        assert_eq!((role(OURS), role(BATCHING_GO)), (Some(Role::Ringway), Some(Role::Peer)));
        assert_eq!(role(OURS_DIRECT), Some(Role::Ringway));
    }

    #[test]
    fn every_address_in_the_files_and_arguments_is_the_networks_own() {
        let plan = [kit::plan::PUBLIC.ip(), kit::plan::TUNNEL.ip(), &kit::plan::SHARD_IP];
        let plan = plan.map(ToString::to_string);
        for candidate in ALL {
            let Launch::Program { config, arguments, .. } = candidate.launch else { continue };
            let text = format!("{} {}", config.map_or("", |it| it.1), arguments.join(" "));
            let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
            for address in words.filter(|word| word.starts_with("10.") && word.len() > 6) {
                assert!(plan.contains(&address.to_owned()), "{}: {address}", candidate.name);
            }
        }
    }

    #[test]
    fn the_configuration_is_written_and_its_place_is_in_the_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let nginx = ALL.iter().find(|candidate| candidate.name == "nginx").unwrap();
        let arguments = nginx.prepare(folder.path()).unwrap();
        let path = folder.path().join("nginx.conf");
        assert!(arguments.contains(&path.display().to_string()), "{arguments:?}");
        assert!(fs::read_to_string(path).unwrap().contains("reuseport"));
        let nowhere = Path::new("/nonexistent");
        let quilkin = Candidate {
            launch: Launch::Program {
                name: "no such program",
                config: None,
                arguments: &[],
                version: None,
            },
            ..*nginx
        };
        assert_eq!(quilkin.program(nowhere, nowhere).unwrap(), None);
    }
}
