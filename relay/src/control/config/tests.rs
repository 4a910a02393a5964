//! The default file against the defaults, and every way to get a configuration wrong.

use std::collections::BTreeSet;

use service::config::change::flattened;
use service::config::{Loaded, Sources};

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    let sources = Sources { file: Some("relay.toml".into()), ..Sources::default() };
    let loaded: Result<Loaded<Config>, _> = sources.parse(text);
    loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
}

/// The default file with its examples switched on. A sentence begins with `# `, an example with `#`
/// and no space, or with the four of an indented line.
fn examples() -> String {
    let switched_on = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("    ") => rest,
        _ => line,
    };
    DEFAULT_FILE.lines().map(switched_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_file_is_the_defaults() {
    assert_eq!(parse(DEFAULT_FILE).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn the_examples_in_the_default_file_hold() {
    let config = parse(&examples()).unwrap();
    let names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["rack-a", "pods", "this-host"]);
    assert_eq!(config.admin.group.as_deref(), Some("ringway"));
    let Resolution::Table(transceivers) = config.clusters[0].resolution() else { panic!() };
    let bases: Vec<u16> =
        transceivers.iter().map(|entry| config.clusters[0].port_base_of(entry)).collect();
    assert_eq!(bases, [3600, 3600, 3610]);
    let Resolution::Ipv4 { cidrs, shards } = config.clusters[1].resolution() else { panic!() };
    assert_eq!(shards, 64);
    assert!(cidrs[0].contains("10.1.2.3".parse().unwrap()));
}

#[test]
fn every_key_is_in_the_file_and_in_the_table_of_keys() {
    let table: BTreeSet<&str> = Config::KEYS.iter().map(|key| key.path).collect();
    assert_eq!(table.len(), Config::KEYS.len(), "a key is listed twice");
    let leaves = flattened(&parse(&examples()).unwrap());
    let used: BTreeSet<&str> =
        leaves.keys().map(|leaf| leaf.split('[').next().unwrap_or(leaf)).collect();
    assert_eq!(used, table);
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
    // The file's examples of clusters are tables, not a key.
    said.insert("clusters".to_owned());
    assert_eq!(said, table);
}

#[test]
fn a_configuration_survives_being_printed() {
    for config in [Config::default(), parse(&examples()).unwrap()] {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let table = [
        ("listen = []", "listen: must name 1..=16 addresses, names 0"),
        ("listen = [\"0.0.0.0:0\"]", "listen[0]: 0.0.0.0:0 has no port"),
        ("listen = [\"0.0.0.0\"]", "listen[0]: invalid socket address syntax"),
        ("listen = [\"224.0.0.1:1\"]", "listen[0]: 224.0.0.1:1 is multicast"),
        ("listen = [\"[::ffff:10.0.0.1]:1\"]", "is IPv4 in IPv6 form: write 10.0.0.1"),
        ("listen = [\"0.0.0.0:1\", \"0.0.0.0:1\"]", "listen[1]: 0.0.0.0:1 is listed twice"),
        ("engine = \"xdp\"", "engine: must be one of auto, uring, mmsg, is \"xdp\""),
        ("workers = 0", "workers: must be \"auto\" or 1..=64, is 0"),
        ("workers = 65", "workers: must be \"auto\" or 1..=64, is 65"),
        ("workers = \"all\"", "workers: must be \"auto\" or 1..=64, is \"all\""),
        ("workers = 3\ncpus = [0, 1]", "3 workers need as many cores, and cpus lists 2"),
        ("cpus = \"0-64\"", "lists 65 cores, one worker each, and there are at most 64"),
        ("cpus = [1, 1]", "cpus: core 1 is listed twice"),
        ("cpus = [2000]", "cpus: core 2000 cannot be: the highest is 1023"),
        ("redis.url = \"host:6379\"", "redis.url: must begin with redis:// (one"),
        ("redis.url = \"redis+sentinel://h:1\"", "redis.url: must be redis+sentinel://[USER@]"),
        ("redis.url = \"redis://u:secret@h\"", "redis.url: must not hold a password"),
        ("redis.timeout = \"9ms\"", "redis.timeout: must be"),
        ("keys = \"\"", "keys: must be the path of the keyring file"),
        ("coalesce_us_max = 2001", "coalesce_us_max: must be 0..=2000, is 2001"),
        ("tunnel.mtu = 1231", "tunnel.mtu: must be 1232..=8972, is 1231"),
        ("tunnel.mtu = 8973", "tunnel.mtu: must be 1232..=8972, is 8973"),
        ("tunnel.port_base = 1023", "tunnel.port_base: must be 1024..=65472, is 1023"),
        ("tunnel.port_base = 65473", "tunnel.port_base: must be 1024..=65472, is 65473"),
        (
            "tunnel.port_base = 3470",
            "ports 3470..=3533 are the workers' (at most 64), and listen has 0.0.0.0:3478",
        ),
        ("tunnel.address = \"ff02::1\"", "tunnel.address: ff02::1 is multicast"),
        ("flows.per_worker = 1000", "flows.per_worker: must be 1024..=16777216, is 1000"),
        ("flows.new_max = 63", "flows.new_max: must be 64..=1048576, is 63"),
        (
            "flows.per_worker = 1024",
            "flows.new_max: must be at most flows.per_worker (1024), is 16384",
        ),
        ("flows.idle_new = \"10ms\"", "flows.idle_new: must be from 1s to 5m, is 10ms"),
        ("flows.idle_assured = \"14s\"", "flows.idle_assured: must be from 15s to 1h, is 14s"),
        (
            "flows.idle_new = \"2m\"",
            "flows.idle_assured: must be at least flows.idle_new (2m), is 1m",
        ),
        ("flows.new_flow_rate = 0", "flows.new_flow_rate: must be 1..=1000000, is 0"),
        ("flows.addresses_per_session_max = 0", "must be 1..=64, is 0"),
        ("buffers.receive_socket_bytes = \"1KiB\"", "must be from 64KiB to 256MiB, is 1KiB"),
        ("buffers.ring_buffers = 1000", "must be a power of two, such as 1024, is 1000"),
        ("buffers.ring_buffers = 32", "buffers.ring_buffers: must be 64..=32768, is 32"),
        ("buffers.ring_buffers = 4294967295", "buffers.ring_buffers: must be 64..=32768"),
        ("tunnel.mtu = 8972", "buffers.buffer_bytes: must be from 9228B (tunnel.mtu and 256)"),
        ("buffers.buffer_bytes = 2000", "must be a multiple of 64, a cache line, such as 2048"),
        ("admin.socket = \"relay.sock\"", "admin.socket: must be an absolute path"),
        ("admin.group = \"\"", "admin.group: must be the name of a group"),
        ("http.listen = \"127.0.0.1:0\"", "http.listen: 127.0.0.1:0 has no port"),
        ("log.level = \"loud\"", "log.level: must be one of off, error"),
        ("log.format = \"xml\"", "log.format: must be one of text, json, is \"xml\""),
        ("drain.deadline = \"25h\"", "drain.deadline: must be at most 1d, is 1d1h"),
        ("flow.idle_new = \"1s\"", "flow: no such key; did you mean `flows`?"),
    ];
    for (text, expected) in table {
        let refused = parse(text).unwrap_err();
        assert!(refused.contains(expected), "{text}\n  expected {expected}\n  got      {refused}");
        assert!(refused.starts_with("relay.toml"), "{refused}");
    }
}

#[test]
fn values_at_the_edge_are_taken() {
    for text in [
        "workers = 64",
        "workers = 1\ntunnel.port_base = 65535",
        "workers = 2\ncpus = \"0-3\"",
        "coalesce_us_max = 0",
        "tunnel.mtu = 1232",
        "tunnel.mtu = 8972\nbuffers.buffer_bytes = 9280",
        "tunnel.mtu = 1728\nbuffers.buffer_bytes = 1984",
        "flows.per_worker = 1024\nflows.new_max = 1024",
        "flows.idle_assured = \"15s\"",
        "drain.deadline = \"0s\"",
        "listen = [\"127.0.0.1:1\"]",
    ] {
        assert_eq!(parse(text).err(), None, "{text}");
    }
}

/// A cluster with the given lines; their first is line 4.
fn cluster(lines: &str) -> Result<Config, String> {
    parse(&format!("[[clusters]]\nid = 1\nname = \"a\"\n{lines}\n"))
}

#[test]
fn clusters_that_lead_where_nothing_should_go_are_refused() {
    let table = [
        ("resolve = \"dns\"", "relay.toml:4: clusters[0].resolve: must be one of table, ipv4"),
        ("", "relay.toml:1: clusters[0]: `resolve` is missing, and has no default"),
        (
            "resolve = \"table\"\ncidrs = [\"10.0.0.0/8\"]",
            "relay.toml:5: clusters[0].cidrs: belongs to resolve = \"ipv4\"",
        ),
        (
            "resolve = \"ipv4\"\ntransceivers = [{ id = 1, address = \"10.0.0.1\", shards = 1 }]",
            "relay.toml:5: clusters[0].transceivers: belongs to resolve = \"table\"",
        ),
        ("resolve = \"ipv4\"", "clusters[0].cidrs: resolve = \"ipv4\" needs the networks"),
        ("resolve = \"ipv4\"\ncidrs = [\"0.0.0.0/0\"]", "0.0.0.0/0 is wider than /8"),
        ("resolve = \"ipv4\"\ncidrs = [\"fd00::/16\"]", "fd00::/16 is not IPv4"),
        (
            "resolve = \"ipv4\"\ncidrs = [\"10.0.0.1/8\"]",
            "clusters[0].cidrs[0]: 10.0.0.1/8 has bits",
        ),
        (
            "resolve = \"ipv4\"\ncidrs = [\"127.0.0.0/8\"]",
            "127.0.0.0/8 is loopback; if that is meant, add allow_special = [\"127.0.0.0/8\"]",
        ),
        (
            "resolve = \"ipv4\"\ncidrs = [\"224.0.0.0/8\"]",
            "is multicast: no transceiver can be there",
        ),
        ("resolve = \"table\"\nshards = 4", "clusters[0].shards: belongs to resolve = \"ipv4\""),
        (
            "resolve = \"ipv4\"\ncidrs = [\"10.0.0.0/8\"]\nshards = 257",
            "clusters[0].shards: must be 1..=256, is 257",
        ),
        (
            "resolve = \"ipv4\"\ncidrs = [\"10.0.0.0/8\"]\nport_base = 65281",
            "clusters[0].port_base: must be 1024..=65280 to leave room for 256 shards, is 65281",
        ),
        (
            "resolve = \"table\"\nallow_special = [\"10.0.0.0/8\"]",
            "clusters[0].allow_special[0]: 10.0.0.0/8 is not special, and needs no exception",
        ),
        (
            "resolve = \"table\"\nallow_special = [\"224.0.0.0/4\"]",
            "224.0.0.0/4 is multicast: nothing can be meant by sending there",
        ),
    ];
    for (lines, expected) in table {
        let refused = cluster(lines).unwrap_err();
        assert!(refused.contains(expected), "{lines}\n  expected {expected}\n  got      {refused}");
    }
}

#[test]
fn transceivers_that_cannot_be_are_refused() {
    let table = [
        ("{ id = 1, address = \"10.0.0.1\" }", "transceivers[0]: `shards` is missing"),
        ("{ id = 1, address = \"10.0.0.1\", shards = 0 }", "shards: must be 1..=256, is 0"),
        ("{ id = 1, address = \"10.0.0.1\", shards = 257 }", "shards: must be 1..=256, is 257"),
        (
            "{ id = 1, address = \"10.0.0.1\", shards = 2, port_base = 65535 }",
            "transceivers[0].port_base: must be 1024..=65534 to leave room for 2 shards, is 65535",
        ),
        (
            "{ id = 1, address = \"127.0.0.1\", shards = 1 }",
            "127.0.0.1 is loopback; if that is meant, add allow_special = [\"127.0.0.1/32\"]",
        ),
        (
            "{ id = 1, address = \"169.254.169.254\", shards = 1 }",
            "169.254.169.254 is cloud metadata service",
        ),
        (
            "{ id = 1, address = \"0.0.0.0\", shards = 1 }",
            "0.0.0.0 is unspecified: no transceiver can be there",
        ),
        ("{ id = 1, address = \"255.255.255.255\", shards = 1 }", "no transceiver can be there"),
        (
            "{ id = 1, address = \"fd00::1\", shards = 1 }",
            "fd00::1 is of another family than tunnel.address (0.0.0.0)",
        ),
        ("{ id = 1, address = \"::ffff:127.0.0.1\", shards = 1 }", "is IPv4 in IPv6 form"),
        ("{ id = 1, address = \"host\", shards = 1 }", "address: invalid IP address syntax"),
        (
            "{ id = 1, address = \"10.0.0.1\", shards = 1 }, { id = 1, address = \"10.0.0.2\", shards = 1 }",
            "transceivers[1].id: 1 is that of transceivers[0] too",
        ),
        (
            "{ id = 1, address = \"10.0.0.1\", shards = 4 }, { id = 2, address = \"10.0.0.1\", shards = 4, port_base = 3603 }",
            "10.0.0.1 ports 3603..=3606 overlap with those of transceiver 1",
        ),
        (
            "{ id = 1, address = \"10.0.0.1\", shards = 4, port_base = 3603 }, { id = 2, address = \"10.0.0.1\", shards = 4 }",
            "10.0.0.1 ports 3600..=3603 overlap with those of transceiver 1",
        ),
    ];
    for (entries, expected) in table {
        let refused =
            cluster(&format!("resolve = \"table\"\ntransceivers = [{entries}]")).unwrap_err();
        assert!(
            refused.contains(expected),
            "{entries}\n  expected {expected}\n  got      {refused}"
        );
        assert!(refused.starts_with("relay.toml:5: clusters[0].transceivers["), "{refused}");
    }
}

#[test]
fn clusters_share_neither_id_nor_name_and_names_are_labels() {
    let two = "[[clusters]]\nid = 1\nname = \"a\"\nresolve = \"table\"\n\
               [[clusters]]\nid = 1\nname = \"a\"\nresolve = \"table\"\n";
    assert_eq!(
        parse(two).unwrap_err(),
        "relay.toml:6: clusters[1].id: 1 is that of clusters[0] too\n\
         relay.toml:7: clusters[1].name: \"a\" is that of clusters[0] too"
    );
    for name in ["", "A", "a b", "ä", "a\\nb"] {
        let text = format!("[[clusters]]\nid = 1\nname = \"{name}\"\nresolve = \"table\"\n");
        assert!(parse(&text).unwrap_err().contains("becomes a metric label"), "{name}");
    }
}

#[test]
fn two_clusters_may_share_a_host_but_not_its_ports() {
    let two = |base: u16| {
        let cluster = |id: u16, base: u16| {
            format!(
                "[[clusters]]\nid = {id}\nname = \"c{id}\"\nresolve = \"table\"\ntransceivers = \
                 [{{ id = 1, address = \"10.0.0.1\", shards = 4, port_base = {base} }}]\n"
            )
        };
        parse(&(cluster(1, 3600) + &cluster(2, base)))
    };
    assert_eq!(two(3604).err(), None);
    let refused = two(3603).unwrap_err();
    assert!(
        refused.ends_with("overlap with those of transceiver 1 of cluster \"c1\""),
        "{refused}"
    );
}

#[test]
fn addresses_learned_later_obey_the_same_rule() {
    let config = cluster(
        "resolve = \"ipv4\"\ncidrs = [\"10.0.0.0/8\", \"169.254.0.0/16\"]\nallow_special = [\"169.254.0.0/16\"]",
    )
    .unwrap();
    let refuses = |address: &str| config.clusters[0].refuses(address.parse().unwrap()).is_some();
    assert!(!refuses("10.0.0.1"));
    assert!(!refuses("169.254.7.7"));
    assert!(refuses("169.254.169.254"), "credentials are not neighbours");
    assert!(refuses("::ffff:127.0.0.1"));
}

#[test]
fn a_reload_says_what_it_can_and_what_it_cannot() {
    let old = parse(&examples()).unwrap();
    let mut new = old.clone();
    new.clusters.swap(0, 2);
    assert!(diff(&old, &new).is_empty(), "the order of clusters means nothing");
    new.clusters[2].transceivers[0].address = "10.0.0.99".parse().unwrap();
    new.clusters.remove(0);
    new.flows.idle_new = std::time::Duration::from_secs(5);
    new.coalesce_us_max = 7;
    new.log.level = "debug".to_owned().try_into().unwrap();
    new.drain.deadline = std::time::Duration::from_secs(7);
    new.keys = "/other/keys.toml".into();
    new.workers = Workers::Count(4);
    new.listen.pop();
    let changes = diff(&old, &new);
    let keys = |changes: &[service::config::Change]| -> Vec<String> {
        changes.iter().map(|change| change.key.clone()).collect()
    };
    assert_eq!(
        keys(&changes.live),
        [
            "clusters[1].transceivers[1].address",
            "clusters[3].allow_special",
            "clusters[3].id",
            "clusters[3].name",
            "clusters[3].port_base",
            "clusters[3].resolve",
            "clusters[3].transceivers[1].address",
            "clusters[3].transceivers[1].id",
            "clusters[3].transceivers[1].shards",
            "coalesce_us_max",
            "drain.deadline",
            "keys",
            "log.level",
        ]
    );
    assert_eq!(keys(&changes.needs_restart), ["flows.idle_new", "listen", "workers"]);
    assert_eq!(changes.needs_restart[2].to_string(), "workers: \"auto\" -> 4");
    let effect = old.with_live_of(&new);
    assert_eq!(diff(&old, &effect).live, changes.live, "what is live is in effect");
    assert!(diff(&old, &effect).needs_restart.is_empty(), "and nothing else is");
    assert_eq!(diff(&effect, &new).needs_restart, changes.needs_restart);
    assert!(diff(&effect, &new).live.is_empty());
}

#[test]
fn variables_and_flags_reach_every_kind_of_key() {
    let sources = Sources {
        prefix: service::config::ENVIRONMENT_PREFIX.into(),
        environment: [
            ("RINGWAY_LISTEN", "127.0.0.1:1,[::1]:1"),
            ("RINGWAY_WORKERS", "auto"),
            ("RINGWAY_CPUS", "2-3"),
            ("RINGWAY_BUFFERS_RECEIVE_SOCKET_BYTES", "8MiB"),
            ("RINGWAY_LOG_LEVEL", "info,relay=debug"),
            ("RINGWAY_STEER_BY_CPU", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        flags: vec![service::config::Flag::new("--workers", "workers", "2")],
        ..Sources::default()
    };
    let config = sources.parse::<Config>("").unwrap().config;
    assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()]);
    assert_eq!(config.workers, Workers::Count(2));
    assert_eq!(config.cpus.as_slice(), [2, 3]);
    assert_eq!(config.buffers.receive_socket_bytes, 8 << 20);
    assert_eq!(config.log.level.to_string(), "info,relay=debug");
    assert!(config.steer_by_cpu);
}
