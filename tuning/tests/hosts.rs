//! The rules on hosts of different kinds, from captures: what is found, and what would be done.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use relay::control::config::Config;
use service::config::Sources;
use tuning::change::apply::{Plan, Selection, plan};
use tuning::facts::Facts;
use tuning::finding::{Finding, Scene, State};
use tuning::host::{Archive, Host};
use tuning::items::{ITEMS, Item, Risk};
use tuning::needs::Needs;
use tuning::profile::Profile;
use tuning::report::{self, Report};
use tuning::rules;

struct Judged {
    facts: Facts,
    profile: Profile,
    findings: Vec<(&'static Item, Finding)>,
}

/// Judges a captured host for a relay with these settings.
fn judge(name: &str, settings: &str, profile: Option<Profile>) -> Judged {
    let path = format!("{}/tests/hosts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    judge_text(&std::fs::read_to_string(path).unwrap(), settings, profile)
}

fn judge_text(text: &str, settings: &str, profile: Option<Profile>) -> Judged {
    let host = Host::captured(Archive::parse(text).unwrap());
    let config: Config = Sources::default().parse(settings).unwrap().config;
    let facts = Facts::gather(&host);
    let profile = profile.unwrap_or_else(|| Profile::of(&facts.place));
    let needs = Needs::new(config, &facts, Vec::new());
    let findings = rules::judge(&Scene { facts: &facts, needs: &needs, profile });
    Judged { facts, profile, findings }
}

impl Judged {
    fn one(&self, item: &str) -> &Finding {
        let mut found = self.findings.iter().filter(|(each, _)| each.name == item);
        let (_, finding) = found.next().unwrap();
        assert!(found.next().is_none(), "{item} is said once");
        finding
    }

    fn in_state(&self, state: State) -> Vec<&str> {
        let of_state = self.findings.iter().filter(|(_, finding)| finding.state == state);
        of_state.map(|(item, _)| item.name).collect()
    }

    fn plan(&self, allow: &[&str]) -> Plan {
        let allow = allow.iter().map(|name| (*name).to_owned()).collect();
        plan(&self.findings, &Selection { allow, ..Selection::default() })
    }

    fn lines(&self, item: &str) -> Vec<String> {
        let all = self.plan(&ITEMS.iter().map(|item| item.name).collect::<Vec<_>>());
        assert!(all.withheld.is_empty());
        let steps = all.steps.iter().filter(|step| step.item == item);
        steps.map(|step| step.act().to_string()).collect()
    }

    fn report(&self) -> Report<'_> {
        let configuration = "a test's".to_owned();
        Report {
            profile: self.profile,
            configuration,
            facts: &self.facts,
            findings: &self.findings,
        }
    }
}

#[test]
fn a_machine_as_it_comes_has_much_to_gain() {
    let metal = judge("metal-16-queues", "", None);
    assert_eq!(metal.profile, Profile::Latency);
    assert_eq!(
        metal.in_state(State::Advice),
        [
            "cpu-siblings",
            "governor",
            "c-states",
            "numa",
            "numa-balancing",
            "transparent-huge-pages",
            "socket-buffers",
            "softirq-budget",
            "conntrack",
            "nic-queues",
            "nic-rings",
            "nic-coalescing",
            "rss-hash",
            "offloads",
            "irqbalance",
            "irq-affinity",
            "xps",
        ]
    );
    assert_eq!(metal.in_state(State::Unknown), [""; 0]);
    assert_eq!(metal.report().exit_code(), 1);
    let table: [(&str, &[&str]); 7] = [
        ("socket-buffers", &["echo 4194304 > /proc/sys/net/core/rmem_max"]),
        ("nic-queues", &["ethtool -L ens1f0 combined 32"]),
        ("nic-rings", &["ethtool -G ens1f0 rx 1024"]),
        ("nic-coalescing", &["ethtool -C ens1f0 adaptive-rx off", "ethtool -C ens1f0 rx-usecs 8"]),
        ("rss-hash", &["ethtool -N ens1f0 rx-flow-hash udp4 sdfn"]),
        ("offloads", &["ethtool -K ens1f0 rx-udp-gro-forwarding off"]),
        ("numa-balancing", &["echo 0 > /proc/sys/kernel/numa_balancing"]),
    ];
    for (item, lines) in table {
        assert_eq!(metal.lines(item), lines, "{item}");
    }
    assert_eq!(metal.lines("governor").len(), 32);
    assert!(metal.lines("conntrack")[0].starts_with("nft 'add table inet ringway_notrack;"));
}

#[test]
fn a_relay_that_names_its_cores_is_tuned_for_those_only() {
    let settings = "cpus = \"8-15\"\nsteer_by_cpu = true\n";
    let metal = judge("metal-16-queues", settings, Some(Profile::Throughput));
    for fine in ["cpu-siblings", "numa", "nic-queues", "cpuset", "steering"] {
        assert_eq!(metal.one(fine).state, State::Fine, "{fine}");
    }
    assert_eq!(metal.one("c-states").state, State::NotHere, "throughput does not mind");
    assert_eq!(
        metal.lines("nic-coalescing"),
        ["ethtool -C ens1f0 adaptive-rx off"],
        "50 is enough"
    );
    let governor = metal.lines("governor");
    assert_eq!(governor.len(), 8);
    assert!(governor[0].ends_with("/cpu8/cpufreq/scaling_governor"));
    // Queue n belongs to worker n, whose core takes its interrupt.
    let interrupts = metal.lines("irq-affinity");
    assert_eq!(interrupts[0], "echo 8 > /proc/irq/100/smp_affinity_list");
    assert_eq!(interrupts[8], "echo 8 > /proc/irq/108/smp_affinity_list");
    assert!(!interrupts.iter().any(|line| line.contains("/irq/99/")), "not a queue's");
}

#[test]
fn without_steering_interrupts_stay_near_the_card() {
    let metal = judge("metal-16-queues", "", None);
    let first = &metal.lines("irq-affinity")[0];
    assert_eq!(first, "echo 8 > /proc/irq/100/smp_affinity_list", "node 1 begins with core 8");
}

#[test]
fn a_cloud_machine_keeps_what_its_host_set() {
    let vm = judge("cloud-vm", "", None);
    assert_eq!(vm.profile, Profile::Vm);
    assert_eq!(
        vm.in_state(State::Advice),
        ["io-uring", "socket-buffers", "tunnel-mtu", "irqbalance"]
    );
    assert_eq!(vm.one("irq-affinity").state, State::Fine, "spread already");
    assert_eq!(vm.one("tunnel-mtu").wanted, "tunnel.mtu = 1432");
    assert_eq!(vm.lines("io-uring"), ["echo 0 > /proc/sys/kernel/io_uring_disabled"]);
    // Weakening the host is never done by the way.
    let plan = vm.plan(&[]);
    assert_eq!(plan.steps.iter().map(|step| step.item).collect::<Vec<_>>(), ["socket-buffers"]);
    assert_eq!(plan.withheld.iter().map(|step| step.item).collect::<Vec<_>>(), ["io-uring"]);
}

#[test]
fn an_engine_that_is_insisted_on_and_refused_breaks_the_relay() {
    let vm = judge("cloud-vm", "engine = \"uring\"", None);
    assert_eq!(vm.in_state(State::Breaks), ["io-uring"]);
    assert_eq!(vm.report().exit_code(), 2);
    let vm = judge("cloud-vm", "engine = \"mmsg\"", None);
    assert_eq!(vm.one("io-uring").state, State::Fine);
}

#[test]
fn in_a_container_nothing_of_the_host_is_changed_only_told() {
    let pod = judge("container", "", None);
    assert_eq!(pod.profile, Profile::Container);
    assert_eq!(pod.in_state(State::Breaks), ["memory"]);
    assert_eq!(pod.report().exit_code(), 2);
    for item in ["seccomp", "cpu-quota", "socket-buffers", "softnet-backlog", "tunnel-mtu"] {
        assert_eq!(pod.one(item).state, State::Advice, "{item}");
    }
    let told = &pod.one("socket-buffers").by_hand;
    assert_eq!(told, "on the host: echo 4194304 > /proc/sys/net/core/rmem_max");
    let all: Vec<&str> = ITEMS.iter().map(|item| item.name).collect();
    assert_eq!(pod.plan(&all), Plan::default());
    let roomy = judge("container", "workers = 1\n[flows]\nper_worker = 1024\nnew_max = 64", None);
    assert_eq!(roomy.one("memory").state, State::Fine);
}

/// One line of a capture changed, and what that does.
#[test]
fn each_rule_turns_with_what_it_looks_at() {
    let path = format!("{}/tests/hosts/cloud-vm.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    // What to look for and put in its place; the relay's settings; the item, its state.
    let table = [
        ("212992", "8388608", "", "socket-buffers", State::Fine),
        ("00000000:0044", "00000000:0D96", "", "ports", State::Breaks),
        ("32768\t60999", "1024\t60999", "", "local-ports", State::Advice),
        ("32768\t60999", "nonsense", "", "local-ports", State::Unknown),
        ("files            65536 ", "files            64 ", "", "open-files", State::Breaks),
        ("kvm-clock", "hpet", "", "clock", State::Advice),
        ("busy_poll\n0", "busy_poll\n50", "", "busy-poll", State::Advice),
        ("max 100000", "200000 100000", "", "cpu-quota", State::Advice),
        ("mtu\n1460", "mtu\n1500", "", "tunnel-mtu", State::Fine),
        (
            "Cpus_allowed_list:\t0-3",
            "Cpus_allowed_list:\t0-1",
            "cpus = [2]",
            "cpuset",
            State::Advice,
        ),
        ("MemAvailable", "MemAvailable", "workers = 9", "cpuset", State::Advice),
        ("9000000 40 0", "9000000 40000 0", "", "udp-losses", State::Advice),
        ("rx-0/rps_cpus\n00000000", "rx-0/rps_cpus\n0000000f", "", "rps", State::Advice),
        ("gro_flush_timeout\n0", "gro_flush_timeout\n2000000", "", "irq-deferral", State::Advice),
        ("isolated\n", "isolated\n3\n", "cpus = [1]", "cpu-isolation", State::Advice),
        ("isolated\n", "isolated\n3\n", "cpus = [3]", "cpu-isolation", State::Fine),
        ("383865\t511823\t767730", "1\t2\t3", "", "udp-memory", State::Advice),
        (
            "HugePages_Free:        0",
            "HugePages_Free:        9",
            "buffers = { huge_pages = true }",
            "huge-pages",
            State::Advice,
        ),
        (
            "HugePages_Free:        0",
            "HugePages_Free:      999",
            "buffers = { huge_pages = true }",
            "huge-pages",
            State::Fine,
        ),
        ("smp_affinity_list\n3", "smp_affinity_list\n0-3", "", "irq-affinity", State::Advice),
        ("smp_affinity_list\n3", "smp_affinity_list\n0", "", "irq-affinity", State::Advice),
        (
            "MemAvailable",
            "MemAvailable",
            "workers = 8\nsteer_by_cpu = true",
            "steering",
            State::Advice,
        ),
    ];
    for (old, new, settings, item, state) in table {
        assert!(text.contains(old), "{old}");
        let judged = judge_text(
            &text.replacen(old, new, if old == "212992" { 9 } else { 1 }),
            settings,
            None,
        );
        assert_eq!(judged.one(item).state, state, "{item} with {new}: {:?}", judged.one(item));
    }
}

#[test]
fn tracking_is_ended_only_where_nothing_depends_on_it() {
    let path = format!("{}/tests/hosts/metal-16-queues.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let nat = text.replace("udp dport 3478 accept", "udp dport 3478 dnat ip to 10.0.0.5");
    let judged = judge_text(&nat, "", None);
    let conntrack = judged.one("conntrack");
    assert_eq!((conntrack.state, conntrack.changes.len()), (State::Advice, 0));
    assert!(conntrack.remark.contains("dnat"), "{}", conntrack.remark);
    let own =
        "table inet ringway_notrack {\n\tchain a {\n\t\tudp dport { 3478, 3500 } notrack\n\t}\n}\n";
    let exempt = text.replace("table inet filter {", &format!("{own}table inet filter {{"));
    let judged = judge_text(&exempt, "workers = 1", None);
    assert_eq!(judged.one("conntrack").state, State::Fine);
}

/// An almost empty capture: everything is unknown or not here, and nothing panics or is changed.
#[test]
fn a_host_of_which_nothing_is_known_is_left_alone() {
    let judged = judge_text("--- file /proc/sys/kernel/osrelease\n6.12\n", "", None);
    let all: Vec<&str> = ITEMS.iter().map(|item| item.name).collect();
    assert_eq!(judged.plan(&all), Plan::default());
    assert!(judged.in_state(State::Unknown).len() > 5);
}

#[test]
fn items_without_a_risk_change_nothing() {
    for name in ["metal-16-queues", "cloud-vm", "container"] {
        for (item, finding) in judge(name, "", None).findings {
            assert!(item.risk != Risk::None || finding.changes.is_empty(), "{}", item.name);
            let is_bad = finding.state >= State::Advice;
            let remedy = !finding.changes.is_empty() || !finding.by_hand.is_empty();
            assert!(!is_bad || remedy, "{} on {name} leaves people alone", item.name);
        }
    }
}

#[test]
fn the_report_says_all_of_it() {
    let vm = judge("cloud-vm", "", None);
    let text = report::text(&vm.report(), false);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("profile vm, kernel 6.12.0-55.el10.x86_64"), "{}", lines[0]);
    let row = lines.iter().find(|line| line.starts_with("!   socket-buffers")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words, ["!", "socket-buffers", "208KiB", "4MiB", "low"]);
    assert!(text.contains("      echo 4194304 > /proc/sys/net/core/rmem_max\n"));
    assert!(!text.contains("governor"), "what is not here is shown with --all only");
    assert!(report::text(&vm.report(), true).contains("governor"));
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{text}");

    let json: serde_json::Value = serde_json::from_str(&vm.report().json().unwrap()).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["exit_code"], 1);
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), vm.findings.len());
    let buffers = items.iter().find(|row| row["item"] == "socket-buffers").unwrap();
    assert_eq!(buffers["state"], "advice");
    assert_eq!(buffers["by_hand"][0], "echo 4194304 > /proc/sys/net/core/rmem_max");
    for key in ["now", "wanted", "why", "risk", "remark", "subject"] {
        assert!(buffers.get(key).is_some(), "{key}");
    }
}
