//! The default file against the defaults, and every way to get a configuration wrong.

use std::collections::BTreeSet;

use service::config::change::flattened;
use service::config::{Loaded, Sources};

use super::*;

const INGRESS: &str = "ingress = [\"192.0.2.1:3478\"]\n";

fn parse(text: &str) -> Result<Config, String> {
    let sources = Sources { file: Some("transceiver.toml".into()), ..Sources::default() };
    let loaded: Result<Loaded<Config>, _> = sources.parse(text);
    loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
}

fn sample() -> Config {
    Config { ingress: vec!["192.0.2.1:3478".parse().unwrap()], ..Config::default() }
}

/// The default file with its examples switched on. A sentence begins with `# `, an example with `#`
/// and no space.
fn examples() -> String {
    let switched_on = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    };
    DEFAULT_FILE.lines().map(switched_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_file_is_the_defaults_and_lacks_only_the_relays() {
    assert_eq!(parse(&format!("{INGRESS}{DEFAULT_FILE}")).unwrap(), sample());
    assert_eq!(parse(INGRESS).unwrap(), sample());
    let refused = parse(DEFAULT_FILE).unwrap_err();
    assert!(refused.starts_with("transceiver.toml: ingress: must name the relays"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

#[test]
fn every_key_is_in_the_file_and_in_the_table_of_keys() {
    let table: BTreeSet<&str> = Config::KEYS.iter().map(|key| key.path).collect();
    assert_eq!(table.len(), Config::KEYS.len(), "a key is listed twice");
    let config = parse(&examples()).unwrap();
    let leaves = flattened(&config);
    let used: BTreeSet<&str> =
        leaves.keys().map(|leaf| leaf.split('[').next().unwrap_or(leaf)).collect();
    assert_eq!(used, table);
    assert_eq!((config.ingress.len(), config.admin.group.as_deref()), (2, Some("ringway")));
}

#[test]
fn what_the_file_says_of_live_keys_is_so() {
    // A key is live if its comment, the lines above it, ends with "Live." or explains it.
    let mut section = String::new();
    let mut comment = String::new();
    let mut said = BTreeSet::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push_str(text);
            comment.push(' ');
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            if comment.contains(" Live.") || comment.contains(" Live:") {
                said.insert(format!("{section}{key}"));
            }
            comment.clear();
        } else if line.is_empty() || line == "#" {
            comment.clear();
        }
    }
    let live = |key: &&Key| key.reload == service::config::Reload::Live;
    let table: BTreeSet<String> =
        Config::KEYS.iter().filter(live).map(|key| key.path.to_owned()).collect();
    assert_eq!(said, table);
}

#[test]
fn a_configuration_survives_being_printed() {
    for config in [
        sample(),
        parse(&examples()).unwrap(),
        Config { transceiver: Identity::Number(7), shards: Shards::Count(2), ..sample() },
        Config { transceiver: Identity::Address([10, 0, 0, 7].into()), ..sample() },
    ] {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let table = [
        ("ingress = []", "ingress: must name the relays that clients are told"),
        ("ingress = [\"0.0.0.0:3478\"]", "ingress[0]: 0.0.0.0:3478 is where a relay listens"),
        ("ingress = [\"[::]:3478\"]", "ingress[0]: [::]:3478 is where a relay listens"),
        ("ingress = [\"192.0.2.1:0\"]", "ingress[0]: 192.0.2.1:0 has no port"),
        ("ingress = [\"192.0.2.1\"]", "ingress[0]: invalid socket address syntax"),
        ("ingress = [\"224.0.0.1:1\"]", "ingress[0]: 224.0.0.1:1 is multicast"),
        ("ingress = [\"[::ffff:10.0.0.1]:1\"]", "is IPv4 in IPv6 form: write 10.0.0.1"),
        ("ingress = [\"192.0.2.1:1\", \"192.0.2.1:1\"]", "ingress[1]: 192.0.2.1:1 is listed twice"),
        ("cluster = 65536", "cluster: must be a whole number from 0 to 65535"),
        ("transceiver = \"me\"", "transceiver: must be \"auto\", a number, or an IPv4 address"),
        ("transceiver = -1", "transceiver: must be \"auto\", a number"),
        ("transceiver = 4294967296", "transceiver: must be \"auto\", a number"),
        ("transceiver = \"0.0.0.0\"", "transceiver: 0.0.0.0 is where a relay listens"),
        ("tunnel.address = \"::1\"", "transceiver: \"auto\" is an IPv4 address, and the tunnel"),
        ("engine = \"xdp\"", "engine: must be one of auto, uring, mmsg, is \"xdp\""),
        ("shards = 0", "shards: must be \"auto\" or 1..=256, is 0"),
        ("shards = 257", "shards: must be \"auto\" or 1..=256, is 257"),
        ("shards = 3\ncpus = [0, 1]", "3 shards need as many cores, and cpus lists 2"),
        ("cpus = \"0-256\"", "lists 257 cores, one shard each, and there are at most 256"),
        ("backend = \"gpt\"", "backend: must be one of echo, parrot, is \"gpt\""),
        ("keys = \"\"", "keys: must be the path of the keyring file"),
        ("tunnel.mtu = 1231", "tunnel.mtu: must be 1232..=8972, is 1231"),
        ("tunnel.port_base = 1023", "tunnel.port_base: must be 1024..=65280, is 1023"),
        ("tunnel.port_base = 65281", "tunnel.port_base: must be 1024..=65280, is 65281"),
        ("tunnel.receive_socket_bytes = \"1KiB\"", "must be from 64KiB to 1GiB, is 1KiB"),
        ("signaling.listen = \"127.0.0.1:0\"", "signaling.listen: 127.0.0.1:0 has no port"),
        ("signaling.api_keys = \"\"", "signaling.api_keys: must be the path of the file"),
        (
            "signaling.origins = [\"app.example.com\"]",
            "signaling.origins: `app.example.com` is no origin",
        ),
        ("signaling.proxies = [\"10.0.0.300\"]", "signaling.proxies[0]"),
        (
            "signaling.connections_per_address_max = 0",
            "signaling.connections_per_address_max: must be 1..=65536, is 0",
        ),
        ("signaling.connections_max = 0", "signaling.connections_max: must be 1..=65536, is 0"),
        ("rates.address_per_second = 0", "rates.address_per_second: must be 1..=100000, is 0"),
        ("rates.secret_burst = 100001", "rates.secret_burst: must be 1..=100000"),
        ("calls.per_shard_max = 0", "calls.per_shard_max: must be 1..=65536, is 0"),
        ("calls.time_max = \"59s\"", "calls.time_max: must be from 1m to 1d, is 59s"),
        ("calls.lost_after = \"4s\"", "calls.lost_after: must be from 5s to 10m, is 4s"),
        ("admin.socket = \"t.sock\"", "admin.socket: must be an absolute path"),
        ("admin.group = \"\"", "admin.group: must be the name of a group"),
        ("http.listen = \"127.0.0.1:8080\"", "http.listen: must not be signaling.listen"),
        ("drain.deadline = \"25h\"", "drain.deadline: must be at most 1d, is 1d1h"),
        ("colour = 1", "colour: no such key"),
    ];
    for (line, expected) in table {
        let ingress = if line.starts_with("ingress") { "" } else { INGRESS };
        let refused = parse(&format!("{ingress}{line}\n")).unwrap_err();
        assert!(refused.contains(expected), "{line}: {refused}");
    }
}

#[test]
fn a_file_without_keys_is_good_when_everybody_may_call() {
    let text = format!("{INGRESS}signaling.open = true\nsignaling.api_keys = \"\"\n");
    assert!(parse(&text).unwrap().signaling.open);
}

#[test]
fn a_reload_says_what_it_can_and_what_it_cannot() {
    let old = sample();
    let mut new = old.clone();
    new.ingress.push("192.0.2.2:3478".parse().unwrap());
    new.keys = "/other/keys.toml".into();
    new.signaling.api_keys = "/other/api-keys".into();
    new.rates.key_burst = 7;
    new.signaling.open = true;
    new.signaling.page = false;
    new.signaling.proxies = vec!["10.0.0.0/8".parse().unwrap()];
    new.calls.per_shard_max = 1;
    new.calls.lost_after = std::time::Duration::from_secs(7);
    new.log.level = "debug".to_owned().try_into().unwrap();
    new.drain.deadline = std::time::Duration::from_secs(7);
    new.shards = Shards::Count(4);
    new.transceiver = Identity::Number(9);
    let changes = diff(&old, &new);
    let keys = |changes: &[service::config::Change]| -> Vec<String> {
        changes.iter().map(|change| change.key.clone()).collect()
    };
    assert_eq!(
        keys(&changes.live),
        [
            "calls.lost_after",
            "calls.per_shard_max",
            "drain.deadline",
            "ingress",
            "keys",
            "log.level",
            "rates.key_burst",
            "signaling.api_keys",
            "signaling.page",
        ]
    );
    assert_eq!(
        keys(&changes.needs_restart),
        ["shards", "signaling.open", "signaling.proxies", "transceiver"]
    );
    let effect = old.with_live_of(&new);
    assert_eq!(diff(&old, &effect).live, changes.live, "what is live is in effect");
    assert!(diff(&old, &effect).needs_restart.is_empty(), "and nothing else is");
    assert!(diff(&effect, &new).live.is_empty());
}

#[test]
fn variables_and_flags_reach_every_kind_of_key() {
    let sources = Sources {
        prefix: service::config::ENVIRONMENT_PREFIX.into(),
        environment: [
            ("RINGWAY_INGRESS", "127.0.0.1:1,[::1]:1"),
            ("RINGWAY_TRANSCEIVER", "10.1.0.7"),
            ("RINGWAY_SHARDS", "2"),
            ("RINGWAY_CALLS_TIME_MAX", "1h"),
            ("RINGWAY_SIGNALING_OPEN", "true"),
            ("RINGWAY_SIGNALING_ORIGINS", "https://a.example,https://b.example:8443"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        flags: vec![service::config::Flag::new("--shards", "shards", "auto")],
        ..Sources::default()
    };
    let config = sources.parse::<Config>("").unwrap().config;
    assert_eq!(config.ingress, ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()]);
    assert_eq!(config.transceiver, Identity::Address([10, 1, 0, 7].into()));
    assert_eq!(config.shards, Shards::Auto);
    assert_eq!(config.calls.time_max, std::time::Duration::from_hours(1));
    assert!(config.signaling.open);
    assert_eq!(config.signaling.origins, ["https://a.example", "https://b.example:8443"]);
}
