//! A small schema, loaded from every source, and every way to get it wrong.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    listen: Vec<SocketAddr>,
    workers: u16,
    gso: bool,
    engine: Engine,
    ratio: f64,
    group: Option<String>,
    flows: Flows,
    peers: Vec<Peer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    Auto,
    Uring,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Flows {
    #[serde(with = "duration")]
    idle_new: Duration,
    #[serde(with = "size")]
    buffer: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    id: u32,
    address: std::net::IpAddr,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 3478))],
            workers: 1,
            gso: true,
            engine: Engine::Auto,
            ratio: 0.5,
            group: None,
            flows: Flows::default(),
            peers: Vec::new(),
        }
    }
}

impl Default for Flows {
    fn default() -> Self {
        Self { idle_new: Duration::from_secs(10), buffer: 4 << 20 }
    }
}

impl Schema for Sample {
    const KEYS: &'static [Key] = &[
        Key::restart("listen"),
        Key::restart("workers"),
        Key::live("gso"),
        Key::restart("engine"),
        Key::live("ratio"),
        Key::restart("group"),
        Key::live("flows.idle_new"),
        Key::restart("flows.buffer"),
        Key::live("peers"),
    ];

    fn check(&self, problems: &mut Problems<'_>) {
        problems.range("workers", self.workers, 1, 64);
        if self.flows.idle_new < Duration::from_secs(1) {
            let is = duration::format(self.flows.idle_new);
            problems.add("flows.idle_new", format!("must be 1s or more, is {is}"));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            if peer.address.is_multicast() {
                problems.add(format!("peers[{index}].address"), "must not be multicast");
            }
        }
    }
}

fn sources(environment: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Sources {
    Sources {
        file: Some("relay.toml".into()),
        prefix: "RINGWAY_".into(),
        environment: environment.iter().map(|&(n, v)| (n.into(), v.into())).collect(),
        flags: flags.iter().map(|&(flag, key, value)| Flag::new(flag, key, value)).collect(),
    }
}

fn error(text: &str) -> String {
    sources(&[], &[]).parse::<Sample>(text).unwrap_err().to_string()
}

#[test]
fn nothing_gives_the_defaults() {
    let loaded = sources(&[], &[]).parse::<Sample>("").unwrap();
    assert_eq!(loaded.config, Sample::default());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn later_sources_win() {
    let file = "workers = 2\ngso = false\n[flows]\nidle_new = \"2s\"\nbuffer = 1024\n";
    let environment = [
        ("RINGWAY_WORKERS", "3"),
        ("RINGWAY_FLOWS_IDLE_NEW", "3s"),
        ("RINGWAY_GSO", ""),
        ("WORKERS", "9"),
    ];
    let flags = [("--workers", "workers", "4")];
    let config = sources(&environment, &flags).parse::<Sample>(file).unwrap().config;
    assert_eq!(config.workers, 4, "flag over environment over file");
    assert_eq!(config.flows.idle_new, Duration::from_secs(3), "environment over file");
    assert!(!config.gso, "an empty variable is not set");
    assert_eq!(config.flows.buffer, 1024);
}

#[test]
fn text_becomes_what_the_key_wants() {
    let environment = [
        ("RINGWAY_LISTEN", "0.0.0.0:1, [::]:2"),
        ("RINGWAY_GSO", "false"),
        ("RINGWAY_ENGINE", "uring"),
        ("RINGWAY_RATIO", "0.25"),
        ("RINGWAY_GROUP", "7"),
        ("RINGWAY_FLOWS_BUFFER", "64KiB"),
        ("RINGWAY_PEERS", "[{ id = 1, address = \"10.0.0.1\" }]"),
    ];
    let config = sources(&environment, &[]).parse::<Sample>("").unwrap().config;
    let expected = Sample {
        listen: vec!["0.0.0.0:1".parse().unwrap(), "[::]:2".parse().unwrap()],
        gso: false,
        engine: Engine::Uring,
        ratio: 0.25,
        group: Some("7".into()),
        flows: Flows { buffer: 65_536, ..Flows::default() },
        peers: vec![Peer { id: 1, address: "10.0.0.1".parse().unwrap() }],
        ..Sample::default()
    };
    assert_eq!(config, expected);
    let bracketed = [("--listen", "listen", "[\"127.0.0.1:1\"]")];
    let config = sources(&[], &bracketed).parse::<Sample>("").unwrap().config;
    assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap()]);
}

#[test]
fn errors_say_where_which_why_and_what_would_be_right() {
    let table = [
        ("\nworkers = 0\n", "relay.toml:2: workers: must be 1..=64, is 0"),
        (
            "workers = 70000\n",
            "relay.toml:1: workers: must be a whole number from 0 to 65535, is 70000",
        ),
        (
            "workers = \"two\"\n",
            "relay.toml:1: workers: must be a whole number from 0 to 65535, is \"two\"",
        ),
        ("gso = \"on\"\n", "relay.toml:1: gso: must be true or false, is \"on\""),
        ("listen = \"x\"\n", "relay.toml:1: listen: must be a list in brackets, is \"x\""),
        ("listen = [\n  \"x\"\n]\n", "relay.toml:2: listen[0]: invalid socket address syntax"),
        (
            "engine = \"urign\"\n",
            "relay.toml:1: engine: must be one of auto, uring, is \"urign\"; did you mean \"uring\"?",
        ),
        ("wrokers = 1\n", "relay.toml:1: wrokers: no such key; did you mean `workers`?"),
        (
            "[flows]\nidel_new = \"1s\"\n",
            "relay.toml:2: flows.idel_new: no such key; did you mean `idle_new`?",
        ),
        (
            "[flows]\nwhatever = 1\n",
            "relay.toml:2: flows.whatever: no such key; there are idle_new, buffer",
        ),
        (
            "[flows]\nidle_new = 10\n",
            "relay.toml:2: flows.idle_new: must be a time with its unit, such as \"250ms\", \"10s\", \
             \"1m30s\" or \"12h\", is 10",
        ),
        ("flows = 1\n", "relay.toml:1: flows: must be a table of keys and values, is 1"),
        ("[[peers]]\nid = 1\n", "relay.toml:1: peers[0]: `address` is missing, and has no default"),
        (
            "[[peers]]\nid = 1\naddress = \"239.0.0.1\"\n",
            "relay.toml:3: peers[0].address: must not be multicast",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_toml_says_so_with_its_line() {
    for text in ["a = 1\nworkers\n", "a = 1\nworkers = \"\n", "a = 1\na = 1\n"] {
        let error = error(text);
        assert!(error.starts_with("relay.toml:2: not valid TOML: "), "{error}");
    }
}

#[test]
fn all_semantic_problems_are_reported_at_once() {
    let error = error("workers = 0\n[flows]\nidle_new = \"1ms\"\n");
    assert_eq!(
        error,
        "relay.toml:1: workers: must be 1..=64, is 0\n\
         relay.toml:3: flows.idle_new: must be 1s or more, is 1ms"
    );
}

#[test]
fn a_variable_and_a_flag_are_named_as_the_origin() {
    let refused = |environment: &[_], flags: &[_]| {
        sources(environment, flags).parse::<Sample>("workers = 1\n").unwrap_err().to_string()
    };
    assert_eq!(
        refused(&[("RINGWAY_WORKERS", "0")], &[]),
        "environment RINGWAY_WORKERS: workers: must be 1..=64, is 0"
    );
    assert_eq!(
        refused(&[("RINGWAY_LISTEN", "0.0.0.0:1,x")], &[]),
        "environment RINGWAY_LISTEN: listen[1]: invalid socket address syntax"
    );
    assert_eq!(
        refused(&[], &[("--workers", "workers", "many")]),
        "flag --workers: workers: must be a whole number from 0 to 65535, is \"many\""
    );
    assert_eq!(
        refused(&[], &[("--set", "flow.idle_new", "1s")]),
        "flag --set: flow.idle_new: no such key; did you mean `flows.idle_new`?"
    );
}

#[test]
fn a_misspelt_variable_is_warned_of_and_a_foreign_one_is_not() {
    let environment = [
        ("RINGWAY_WORKER", "3"),
        ("RINGWAY_RELAY_SERVICE_HOST", "10.0.0.1"),
        ("RINGWAY_PORT", "udp://10.0.0.1:3478"),
    ];
    let loaded = sources(&environment, &[]).parse::<Sample>("").unwrap();
    assert_eq!(
        loaded.warnings,
        ["environment variable RINGWAY_WORKER sets nothing; did you mean RINGWAY_WORKERS?"]
    );
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    let load = |path: &Path| {
        let sources = Sources { file: Some(path.into()), ..Sources::default() };
        sources.load::<Sample>()
    };
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("there is no such file; `print-config` writes one"), "{error}");
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is a directory"), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("is not text"), "{error}");
    std::fs::write(&path, "workers = 5").unwrap();
    assert_eq!(load(&path).unwrap().config.workers, 5);
}

#[test]
fn changes_are_sorted_by_when_they_take_effect() {
    let peer = |id, address: &str| Peer { id, address: address.parse().unwrap() };
    let old = Sample {
        peers: vec![peer(1, "10.0.0.1"), peer(2, "10.0.0.2"), peer(3, "10.0.0.3")],
        ..Sample::default()
    };
    let new = Sample {
        workers: 2,
        gso: false,
        group: Some("media".into()),
        flows: Flows { idle_new: Duration::from_secs(5), buffer: 1024 },
        peers: vec![peer(3, "10.0.0.3"), peer(2, "10.0.0.22"), peer(4, "10.0.0.4")],
        ..old.clone()
    };
    let changes = Changes::between(&old, &new);
    let shown = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        shown(&changes.live),
        [
            "flows.idle_new: \"10s\" -> \"5s\"",
            "gso: true -> false",
            "peers[1].address: \"10.0.0.1\" -> nothing",
            "peers[1].id: 1 -> nothing",
            "peers[2].address: \"10.0.0.2\" -> \"10.0.0.22\"",
            "peers[4].address: nothing -> \"10.0.0.4\"",
            "peers[4].id: nothing -> 4",
        ]
    );
    assert_eq!(
        shown(&changes.needs_restart),
        ["flows.buffer: \"4MiB\" -> \"1KiB\"", "group: nothing -> \"media\"", "workers: 1 -> 2",]
    );
    assert!(Changes::between(&old, &old).is_empty());
}
