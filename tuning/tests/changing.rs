//! Changing for real, with the real program: a tree that stands in for a host, with an `ethtool` of
//! its own; and a network namespace of this kernel.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tuning::host::{Archive, Host};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-tuning");

fn run(program: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = program.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), text)
}

/// A host as a folder: a capture's files, and programs that answer as the capture's did.
struct Tree(tempfile::TempDir);

/// Remembers what it is told in files, one for each setting; refuses what `refuse` names.
const ETHTOOL: &str = r#"#!/bin/sh
state="$(dirname "$0")/../../ethtool"
echo "$*" >> "$state/asked"
grep -qxF -e "$1" "$state/refuse" 2>/dev/null && { echo "netlink error: Operation not supported" >&2; exit 1; }
case "$1" in
  -l) echo "Pre-set maximums:"; echo "Combined: 32"; echo "Current hardware settings:"; echo "Combined: $(cat "$state/combined")" ;;
  -L) echo "$4" > "$state/combined" ;;
  -g) echo "Pre-set maximums:"; echo "RX: 8160"; echo "Current hardware settings:"; echo "RX: $(cat "$state/rx")" ;;
  -G) echo 1023 > "$state/rx" ;;
  -c) echo "Adaptive RX: $(cat "$state/adaptive-rx")  TX: off"; echo "rx-usecs: $(cat "$state/rx-usecs")" ;;
  -C) echo "$4" > "$state/$3" ;;
  -n) echo "UDP flows use:"; cat "$state/$4" ;;
  -N) printf 'IP SA\nIP DA\n' > "$state/$4"; test "$5" = sdfn && printf 'L4 bytes 0 & 1\nL4 bytes 2 & 3\n' >> "$state/$4"; true ;;
  -k) echo "rx-udp-gro-forwarding: $(cat "$state/rx-udp-gro-forwarding")" ;;
  -K) echo "$4" > "$state/$3" ;;
esac
"#;

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/metal-16-queues.txt");
        let archive = Archive::parse(&fs::read_to_string(capture).unwrap()).unwrap();
        for (what, reading) in archive.questions() {
            let Ok(text) = reading else { continue };
            match what.split_once(' ').unwrap() {
                ("file", path) => tree.put(path, text),
                ("list", path) => {
                    for name in text.lines().filter(|name| *name != "device") {
                        // A name in a folder may be a file that nobody read.
                        if !archive.questions().any(|(other, _)| {
                            other
                                .split(' ')
                                .nth(1)
                                .is_some_and(|p| p.starts_with(&format!("{path}/{name}")))
                        }) {
                            tree.put(&format!("{path}/{name}"), "");
                        }
                    }
                }
                ("link", path) => {
                    let link = tree.at(path);
                    fs::create_dir_all(link.parent().unwrap()).unwrap();
                    std::os::unix::fs::symlink(text, link).unwrap();
                }
                _ => {}
            }
        }
        tree.put("/proc/sys/kernel/random/boot_id", "first");
        for (name, value) in [
            ("combined", "16"),
            ("rx", "512"),
            ("adaptive-rx", "on"),
            ("rx-usecs", "50"),
            ("udp4", "IP SA\nIP DA"),
            ("udp6", "IP SA\nIP DA\nL4 bytes 0 & 1\nL4 bytes 2 & 3"),
            ("rx-udp-gro-forwarding", "on"),
            ("asked", ""),
            ("refuse", ""),
        ] {
            tree.put(&format!("/ethtool/{name}"), value);
        }
        tree.program("ethtool", ETHTOOL);
        tree.program("ip", "#!/bin/sh\necho '[{\"ifname\":\"ens1f0\",\"addr_info\":[{\"local\":\"198.51.100.7\"}]}]'\n");
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), format!("{text}\n")).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        let path = format!("/usr/sbin/{name}");
        self.put(&path, script);
        fs::set_permissions(self.at(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap().trim().to_owned()
    }

    fn tuning(&self, words: &str) -> (i32, String) {
        run(Command::new(PROGRAM)
            .args(words.split_whitespace())
            .arg("--root")
            .arg(self.0.path())
            .env_remove("RINGWAY_CONFIG"))
    }

    /// All files below /proc, /sys and the card's state.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        for folder in ["proc", "sys", "ethtool"] {
            walk(&self.at(folder), &mut files);
        }
        files.remove(&self.at("/ethtool/asked"));
        files
    }
}

fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.is_file() {
            files.insert(path.clone(), fs::read_to_string(&path).unwrap().trim().to_owned());
        }
    }
}

const RISKY: &str = "c-states,transparent-huge-pages,nic-queues";

#[test]
fn what_is_applied_is_verified_and_reverted_exactly() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let (code, planned) = tree.tuning(&format!("plan --allow {RISKY}"));
    assert_eq!(code, 0, "{planned}");
    assert_eq!(tree.snapshot(), before, "a plan changes nothing");

    let (code, applied) = tree.tuning(&format!("apply --allow {RISKY}"));
    assert_eq!(code, 0, "{applied}");
    // Exactly what was planned, in that order.
    let lines = |text: &str| {
        let lines =
            text.lines().filter(|line| line.starts_with("echo ") || line.starts_with("ethtool "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&planned), lines(&applied));
    for (path, value) in [
        ("/proc/sys/net/core/rmem_max", "4194304"),
        ("/sys/devices/system/cpu/cpu31/cpufreq/scaling_governor", "performance"),
        ("/sys/devices/system/cpu/cpu0/cpuidle/state3/disable", "1"),
        ("/sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
        ("/proc/irq/100/smp_affinity_list", "8"),
        ("/proc/irq/99/smp_affinity_list", "0-31"),
        ("/ethtool/combined", "32"),
        ("/ethtool/adaptive-rx", "off"),
        ("/ethtool/rx-usecs", "8"),
        ("/ethtool/rx", "512"),
    ] {
        assert_eq!(tree.get(path), value, "{path}");
    }
    assert!(applied.contains("not done, because risky: nic-rings"), "{applied}");

    // Again: nothing is left to do, and what was before stays noted.
    let (code, again) = tree.tuning(&format!("apply --allow {RISKY}"));
    assert_eq!(code, 0, "{again}");
    assert!(again.contains("nothing to change"), "{again}");

    let (code, reverted) = tree.tuning("revert");
    assert_eq!(code, 0, "{reverted}");
    let mut after = tree.snapshot();
    // The kernel marks the choice that is taken; a file keeps what was written.
    let huge = tree.at("/sys/kernel/mm/transparent_hugepage/enabled");
    assert_eq!(after.insert(huge, "[always] madvise never".to_owned()).unwrap(), "always");
    assert_eq!(after, before);
    assert!(!tree.at("/var/lib/ringway/tuning.json").exists(), "nothing left to put back");
    let (code, nothing) = tree.tuning("revert");
    assert_eq!((code, nothing.trim()), (0, "nothing to put back"));
}

#[test]
fn what_a_change_brings_up_is_changed_as_well() {
    let tree = Tree::new();
    // With more queues the driver has one more interrupt, on all cores.
    let script = ETHTOOL.replace(
        "-L) ",
        "-L) echo 0-31 > \"$state/../proc/irq/99/smp_affinity_list\"; \
         sed -i s/misc/ens1f0-TxRx-16/ \"$state/../proc/interrupts\"; ",
    );
    tree.program("ethtool", &script);
    let (code, text) = tree.tuning("apply --only nic-queues,irq-affinity --allow nic-queues");
    assert_eq!(code, 0, "{text}");
    assert_ne!(tree.get("/proc/irq/99/smp_affinity_list"), "0-31", "{text}");
    assert_eq!(tree.tuning("revert").0, 0);
    assert_eq!(tree.get("/proc/irq/99/smp_affinity_list"), "0-31");
    assert_eq!(tree.get("/ethtool/combined"), "16");
}

#[test]
fn a_driver_that_refuses_is_reported_and_the_rest_goes_on() {
    let tree = Tree::new();
    tree.put("/ethtool/refuse", "-C\n-N");
    let (code, text) = tree.tuning("apply --allow nic-rings");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("ethtool -C ens1f0 adaptive-rx off\n    REFUSED: netlink error"),
        "{text}"
    );
    // This driver rounds: it is said, and put back all the same.
    assert!(
        text.contains("ethtool -G ens1f0 rx 1024\n    REFUSED: it became 1023 instead"),
        "{text}"
    );
    assert_eq!(tree.get("/proc/sys/net/core/rmem_max"), "4194304");
    let (_, dry) = tree.tuning("revert --dry-run");
    assert!(dry.starts_with("echo "), "{dry}");
    assert!(dry.contains("ethtool -G ens1f0 rx 512\n"), "{dry}");
    assert!(!dry.contains("ethtool -C"), "what was refused is not put back: {dry}");
}

#[test]
fn what_somebody_else_has_set_since_is_left_alone() {
    let tree = Tree::new();
    assert_eq!(tree.tuning("apply --only socket-buffers,numa-balancing").0, 0);
    tree.put("/proc/sys/net/core/rmem_max", "9999999");
    let (code, text) = tree.tuning("revert");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("LEFT ALONE: it is 9999999, not 4194304"), "{text}");
    assert_eq!(tree.get("/proc/sys/net/core/rmem_max"), "9999999");
    assert_eq!(tree.get("/proc/sys/kernel/numa_balancing"), "1");
    assert_eq!(tree.tuning("revert --force").0, 0);
    assert_eq!(tree.get("/proc/sys/net/core/rmem_max"), "212992");
}

#[test]
fn interrupts_of_an_earlier_start_are_not_touched() {
    let tree = Tree::new();
    assert_eq!(tree.tuning("apply --only irq-affinity,socket-buffers").0, 0);
    tree.put("/proc/sys/kernel/random/boot_id", "second");
    // The number is another device's now.
    tree.put("/proc/irq/100/smp_affinity_list", "8");
    let (code, text) = tree.tuning("revert");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("gone with the last restart"), "{text}");
    assert_eq!(tree.get("/proc/irq/100/smp_affinity_list"), "8");
    assert_eq!(tree.get("/proc/sys/net/core/rmem_max"), "212992");
}

#[test]
fn changes_are_kept_over_a_restart_until_they_are_not() {
    let tree = Tree::new();
    let (code, text) = tree.tuning("persist");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("`ringway-tuning apply` first"), "{text}");
    assert_eq!(tree.tuning("apply --only socket-buffers,nic-coalescing,irq-affinity").0, 0);
    let (code, text) = tree.tuning("persist --interface ens1f0 --profile latency");
    assert_eq!(code, 0, "{text}");
    let sysctl = tree.get("/etc/sysctl.d/60-ringway.conf");
    assert!(sysctl.ends_with("net.core.rmem_max = 4194304"), "{sysctl}");
    let udev = tree.get("/etc/udev/rules.d/60-ringway.rules");
    assert!(udev.contains("RUN+=\"/usr/sbin/ethtool -C ens1f0 rx-usecs 8\""), "{udev}");
    let unit = tree.get("/etc/systemd/system/ringway-tuning.service");
    let call =
        "apply --profile latency --interface ens1f0 --only irq-affinity --allow irq-affinity";
    assert!(unit.contains(call), "{unit}");
    let path = tree.at("/etc/systemd/system/ringway-tuning.service");
    match Command::new("systemd-analyze").arg("verify").arg(&path).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let ours: Vec<&str> =
                text.lines().filter(|line| line.contains("ringway-tuning.service")).collect();
            assert!(ours.is_empty(), "{text}");
        }
        Err(error) => println!("skipped: systemd-analyze: {error}"),
    }
    let (code, text) = tree.tuning("unpersist");
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    for path in ["/etc/sysctl.d/60-ringway.conf", "/etc/udev/rules.d/60-ringway.rules"] {
        assert!(!tree.at(path).exists());
    }
}

#[test]
fn a_journal_that_is_none_stops_everything() {
    let tree = Tree::new();
    let before = tree.snapshot();
    tree.put("/var/lib/ringway/tuning.json", "{ \"version\": 1 }");
    for words in ["apply", "revert", "persist"] {
        let (code, text) = tree.tuning(words);
        assert_eq!(code, 2, "{words}: {text}");
        assert!(text.contains("is no journal of this program"), "{words}: {text}");
    }
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn answers_for_programs() {
    let tree = Tree::new();
    let json = |words: &str| -> serde_json::Value {
        let (_, text) = tree.tuning(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let plan = json("plan --json --only socket-buffers,nic-rings");
    assert_eq!(plan["steps"][0]["command"], "echo 4194304 > /proc/sys/net/core/rmem_max");
    assert_eq!(plan["withheld"][0]["item"], "nic-rings");
    let applied = json("apply --json --only socket-buffers");
    assert_eq!(applied["steps"][0]["outcome"], "done");
    let reverted = json("revert --json");
    assert_eq!(reverted["steps"][0]["outcome"], "done");
}

#[test]
fn a_capture_is_judged_as_its_host() {
    let tree = Tree::new();
    let (code, capture) = tree.tuning("capture");
    assert_eq!(code, 0);
    let file = tree.at("/capture.txt");
    fs::write(&file, &capture).unwrap();
    let (live, here) = tree.tuning("check --json");
    let (captured, there) = run(Command::new(PROGRAM)
        .args(["check", "--json", "--host"])
        .arg(&file)
        .env_remove("RINGWAY_CONFIG"));
    assert_eq!((live, here), (captured, there));
    assert!(!capture.contains(&*tree.0.path().to_string_lossy()), "no paths of the tree");
}

#[test]
fn usage_and_configuration_errors_say_what_to_change() {
    let tree = Tree::new();
    let config = tree.at("/relay.toml");
    fs::write(&config, "wrokers = 2\n").unwrap();
    let (code, text) = tree.tuning(&format!("check --config {}", config.display()));
    assert_eq!(code, 2);
    assert!(text.contains("did you mean `workers`?"), "{text}");
    let (code, text) = tree.tuning("check --interface eth7");
    assert_eq!(code, 2);
    assert!(text.contains("no interface eth7 is up; there are ens1f0"), "{text}");
    let (code, text) = run(Command::new(PROGRAM).args(["check", "--host", "/nonexistent"]));
    assert_eq!(code, 3, "{text}");
    let (code, text) = run(Command::new(PROGRAM).args(["explain", "irq-affinity"]));
    assert_eq!(code, 0);
    assert!(text.contains("See it:"), "{text}");
    let (code, text) = run(Command::new(PROGRAM).arg("explain"));
    assert_eq!(code, 0);
    assert_eq!(text.lines().count(), tuning::items::ITEMS.len());
}

/// A network namespace with a veth pair; gone when this is dropped.
struct Namespace(String);

impl Namespace {
    fn make() -> Option<Self> {
        let name = format!("rwt{}", std::process::id());
        let add = Command::new("ip").args(["netns", "add", &name]).output();
        match add {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                println!("skipped: network namespaces need root: {why}");
                return None;
            }
            Err(error) => {
                println!("skipped: network namespaces need iproute2: {error}");
                return None;
            }
        }
        let namespace = Self(name);
        let links = "ip link add inside numrxqueues 4 numtxqueues 4 type veth peer name outside && \
                     ip link set inside up && ip link set outside up && ip addr add 10.79.1.1/24 dev inside";
        assert_eq!(namespace.run(&["sh", "-c", links]), (0, String::new()));
        Some(namespace)
    }

    /// In the namespace, with a `/sys` of its own.
    fn run(&self, words: &[&str]) -> (i32, String) {
        run(Command::new("ip")
            .args(["netns", "exec", &self.0])
            .args(words)
            .env_remove("RINGWAY_CONFIG"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It goes with the machine otherwise.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

#[test]
fn a_namespace_of_this_kernel_is_changed_and_put_back() {
    let Some(namespace) = Namespace::make() else { return };
    let host = Host::live(None);
    if host.ask(&["ethtool", "--version"]).is_err() || host.ask(&["nft", "--version"]).is_err() {
        println!("skipped: this needs ethtool and nft");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("relay.toml");
    let text = "listen = [\"10.79.1.1:3478\"]\nworkers = 2\n[tunnel]\naddress = \"10.79.1.1\"\nport_base = 33000\n";
    fs::write(&config, text).unwrap();
    let journal = folder.path().join("journal.json");
    let (config, journal) = (config.to_str().unwrap(), journal.to_str().unwrap());
    let sh = |line: &str| namespace.run(&["sh", "-c", line]);
    let spoil = "ethtool -K inside rx-udp-gro-forwarding on && \
                 echo 3 > /sys/class/net/inside/queues/rx-0/rps_cpus && \
                 echo 5000000 > /sys/class/net/inside/gro_flush_timeout && \
                 nft add table inet filter && \
                 nft 'add chain inet filter input { type filter hook input priority filter; }' && \
                 nft add rule inet filter input ct state established accept && \
                 ethtool -L inside rx 1 tx 1";
    assert_eq!(sh(spoil), (0, String::new()));
    let state = || {
        sh("cat /sys/class/net/inside/queues/rx-0/rps_cpus /sys/class/net/inside/gro_flush_timeout \
            /proc/sys/net/ipv4/ip_local_reserved_ports; ethtool -k inside; ethtool -l inside; \
            nft list ruleset")
            .1
    };
    let before = state();

    let all = "local-ports,rps,irq-deferral,offloads,conntrack,nic-queues";
    let tuning = |words: &[&str]| {
        let mut line = vec![PROGRAM];
        line.extend(words);
        namespace.run(&line)
    };
    let common = ["--config", config, "--profile", "latency", "--only", all, "--allow", all];
    let (code, text) = tuning(&[&["apply", "--journal", journal], &common[..]].concat());
    assert_eq!(code, 0, "{text}");
    let after = state();
    assert!(after.contains("33000-33001"), "the ports are reserved: {after}");
    assert!(after.contains("rx-udp-gro-forwarding: off"), "{after}");
    assert!(after.contains("udp dport { 3478, 33000-33001 } notrack"), "{after}");
    assert!(after.contains("udp sport { 3478, 33000-33001 } notrack"), "{after}");
    assert!(after.contains("\n100000\n"), "{after}");
    assert_eq!(
        sh("ls -d /sys/class/net/inside/queues/rx-*").1.lines().count(),
        2,
        "a queue for each worker"
    );
    let check = ["check", "--config", config, "--profile", "latency", "--only", all];
    assert_eq!(tuning(&check).0, 0, "{}", tuning(&check).1);

    let (code, text) = tuning(&["revert", "--journal", journal]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(state(), before);
    assert!(!Path::new(journal).exists());
}
