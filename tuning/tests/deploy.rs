//! What is in `deploy/`: nothing in it may name what is not there. Checks that need a program
//! (systemd-analyze, helm, python3-seccomp) are skipped with a line where it is missing; those of names
//! need none. `make setup-chart` brings Helm; RINGWAY_CHART=require makes it an error to be without.
//! Rules and dashboards are in `monitoring.rs`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{built, read, run, top};

#[test]
fn units_are_sound_and_well_confined() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ringway-relay", "ringway-transceiver"] {
        let unit = read(&format!("deploy/systemd/{name}.service"));
        // Verified as if installed on a host with an older systemd, where this one may be.
        let unit = unit.replace(&format!("/usr/bin/{name}"), "/bin/true");
        let path = folder.path().join(format!("{name}.service"));
        fs::write(&path, unit).unwrap();
        let extra = folder.path().join(format!("{name}.service.d"));
        fs::create_dir(&extra).unwrap();
        let drop_in = read("deploy/systemd/before-253.conf");
        fs::write(extra.join("before-253.conf"), drop_in).unwrap();
        let path = path.to_str().unwrap();
        let Some((good, text)) = run("systemd-analyze", &["verify", path]) else { return };
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(name) && !line.contains("ignoring: notify-reload"))
            .collect();
        assert!(good && complaints.is_empty(), "{text}");
        // In tenths: 10.0 is anything goes.
        let (good, text) =
            run("systemd-analyze", &["security", "--offline=yes", "--threshold=20", path]).unwrap();
        assert!(good, "{text}");
    }
}

/// `make install`, or another target that takes a place, with programs that print what they are asked
/// for and nothing else.
fn make(target: &str, prefix: &str, folder: &Path, programs: &[&str]) -> String {
    let build = folder.join("build");
    fs::create_dir_all(&build).unwrap();
    for name in programs {
        fs::copy("/bin/echo", build.join(name)).unwrap();
    }
    let output = Command::new("make")
        .args(["-s", target])
        .arg(format!("PREFIX={prefix}"))
        .arg(format!("DESTDIR={}", folder.join("root").display()))
        .env("BUILD", build)
        // Of the make that runs the tests, if one does.
        .env_remove("MAKEFLAGS")
        .current_dir(top())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn what_is_installed_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let programs = ["ringway-relay", "ringway-tuning"];
    let said = make("install", "/opt/ringway", folder.path(), &programs);
    assert!(said.contains("ringway-transceiver is not there"), "{said}");
    let unit = root.join("etc/systemd/system/ringway-relay.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nExecStart=/opt/ringway/bin/ringway-relay run"), "{unit}");
    for path in [
        "opt/ringway/bin/ringway-tuning",
        "opt/ringway/share/ringway/seccomp/ringway.json",
        "opt/ringway/share/ringway/prometheus/relay-rules.yml",
        "opt/ringway/share/ringway/prometheus/transceiver-rules.yml",
        "opt/ringway/share/ringway/relay.toml",
        "usr/lib/sysctl.d/50-ringway.conf",
        "usr/lib/sysusers.d/ringway.conf",
    ] {
        assert!(root.join(path).is_file(), "{path}");
    }
    for (path, asked) in [
        ("man/man8/ringway-relay.8", "man\n"),
        ("bash-completion/completions/ringway-relay", "completions bash\n"),
        ("zsh/site-functions/_ringway-tuning", "completions zsh\n"),
        ("fish/vendor_completions.d/ringway-tuning.fish", "completions fish\n"),
    ] {
        let path = root.join("opt/ringway/share").join(path);
        assert_eq!(fs::read_to_string(&path).unwrap(), asked, "{}", path.display());
    }
    make("uninstall", "/opt/ringway", folder.path(), &programs);
    assert_eq!(files_below(&root), BTreeSet::new());
}

#[test]
fn a_package_has_what_is_installed_and_scripts_that_a_shell_can_read() {
    if run("dpkg-deb", &["--version"]).is_none() || run("objdump", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let programs = ["ringway-relay", "ringway-transceiver", "ringway-loadgen", "ringway-tuning"];
    make("install", "/usr", folder.path(), &programs);
    let output = Command::new(top().join("scripts/deb.sh"))
        .arg(folder.path())
        .env("BUILD", folder.path().join("build"))
        .env("COMPRESSION", "none")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"", "nothing is left out");
    let package = String::from_utf8(output.stdout).unwrap();
    let package = package.trim_end();
    assert!(package.contains(concat!("ringway_", env!("CARGO_PKG_VERSION"), "-1_")), "{package}");

    let unpacked = folder.path().join("unpacked");
    let (good, text) = run("dpkg-deb", &["-R", package, unpacked.to_str().unwrap()]).unwrap();
    assert!(good, "{text}");
    let control = unpacked.join("DEBIAN");
    let text = fs::read_to_string(control.join("control")).unwrap();
    assert!(text.contains("\nDepends: libc6 (>= 2."), "{text}");
    for script in ["postinst", "prerm", "postrm"] {
        let (good, text) = run("sh", &["-n", control.join(script).to_str().unwrap()]).unwrap();
        assert!(good, "{text}");
    }
    fs::remove_dir_all(control).unwrap();
    for path in ["man/man1/ringway-loadgen.1.gz", "zsh/vendor-completions/_ringway-transceiver"] {
        assert!(unpacked.join("usr/share").join(path).is_file(), "{path}");
    }
    let packed = |path: PathBuf| match path.starts_with("usr/share/man") {
        true => PathBuf::from(format!("{}.gz", path.display())),
        false => path,
    };
    let installed = files_below(&folder.path().join("root"));
    let mut expected: BTreeSet<_> = installed.into_iter().map(packed).collect();
    // Debian's names and places for these.
    let documents = Path::new("usr/share/doc/ringway");
    for name in ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        assert!(expected.remove(&documents.join(name)), "{name}");
    }
    expected.extend(
        ["copyright", "changelog.gz", "changelog.Debian.gz"].map(|name| documents.join(name)),
    );
    expected.insert(PathBuf::from("usr/share/lintian/overrides/ringway"));
    assert_eq!(files_below(&unpacked), expected);
}

/// Files by their paths below a folder.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = Vec::new();
    files(folder, &mut all);
    all.iter().map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect()
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// The static setting and the program's default must not part.
#[test]
fn the_sysctl_is_what_the_relay_asks_for() {
    let wanted = relay::control::config::Config::default().buffers.receive_socket_bytes;
    let line = format!("\nnet.core.rmem_max = {wanted}\n");
    assert!(read("deploy/sysctl/50-ringway.conf").contains(&line));
}

#[test]
fn units_give_a_drain_its_time() {
    let deadline = relay::control::config::Config::default().drain.deadline;
    assert_eq!(deadline.as_secs(), 600);
    for name in ["ringway-relay", "ringway-transceiver"] {
        let unit = read(&format!("deploy/systemd/{name}.service"));
        assert!(unit.contains("\nTimeoutStopSec=11min\n"), "{name}");
    }
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_says_why_for_each_group() {
    let profile: serde_json::Value =
        serde_json::from_str(&read("deploy/seccomp/ringway.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let mut allowed = BTreeSet::new();
    for group in profile["syscalls"].as_array().unwrap() {
        assert!(group["comment"].as_str().is_some_and(|text| text.ends_with('.')));
        for name in group["names"].as_array().unwrap() {
            assert!(allowed.insert(name.as_str().unwrap()), "{name} twice");
        }
    }
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "recvmmsg", "execve"] {
        assert!(allowed.contains(name), "{name}");
    }
    for name in ["ptrace", "mount", "bpf", "init_module", "setns", "unshare", "keyctl", "setuid"] {
        assert!(!allowed.contains(name), "{name}");
    }
}

/// The program itself under the profile, as a container runtime would run it.
#[test]
fn the_relay_chooses_its_engine_under_the_seccomp_profile() {
    let Some(relay) = built("ringway-relay") else { return };
    if !run("/usr/bin/python3", &["-c", "import seccomp"]).is_some_and(|(good, _)| good) {
        println!("skipped: this needs python3-seccomp");
        return;
    }
    let profile = "deploy/seccomp/ringway.json";
    let relay = relay.to_str().unwrap();
    // An impossible address: it gets as far as choosing the engine, and ends by itself.
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    service::keyfile::create(&keys).unwrap();
    let keys = format!("keys={}", keys.display());
    let socket = format!("admin.socket={}", folder.path().join("relay.sock").display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http = format!("http.listen=127.0.0.1:{port}");
    let engine = |without: &[&str]| {
        let mut words = vec!["deploy/seccomp/run-under.py", profile];
        words.extend(without);
        words.extend(["--", relay, "run", "--set", &keys, "--set", &socket, "--set"]);
        words.extend(["listen=198.51.100.1:3478", "--set", &http]);
        words.extend(["--set", "tunnel.address=127.0.0.1", "--workers", "1"]);
        run("/usr/bin/python3", &words).unwrap().1
    };
    if tuning::host::Host::live(None).io_uring().is_ok() {
        let text = engine(&[]);
        assert!(text.contains("uring: io_uring works"), "{text}");
    }
    let text = engine(&["--without", "io_uring_setup"]);
    assert!(text.contains("mmsg: io_uring is forbidden by a seccomp filter"), "{text}");
}

/// Keys of a YAML file that is nothing but nested keys, dotted; those of flow-style values too.
fn yaml_keys(text: &str) -> BTreeSet<String> {
    let (mut keys, mut path) = (BTreeSet::new(), Vec::<(usize, String)>::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        let Some((name, value)) = trimmed.split_once(':') else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            continue;
        }
        path.retain(|(other, _)| *other < depth);
        path.push((depth, name.to_owned()));
        let dotted = path.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
        for part in value.split(['{', ',']).skip(1) {
            if let Some((inner, _)) = part.trim().split_once(':') {
                keys.insert(format!("{dotted}.{inner}"));
            }
        }
        keys.insert(dotted);
    }
    keys
}

#[test]
fn templates_and_schema_know_the_same_values() {
    let values = yaml_keys(&read("deploy/helm/ringway/values.yaml"));
    assert!(values.contains("transceiver.autoscaling.callsPerPod"), "{values:?}");
    let mut templates = Vec::new();
    files(&top().join("deploy/helm/ringway/templates"), &mut templates);
    let mut references = 0;
    for template in templates {
        let text = fs::read_to_string(&template).unwrap();
        for part in text.split(".Values.").skip(1) {
            let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
            let name = part[..end.unwrap_or(part.len())].trim_end_matches('.');
            assert!(values.contains(name), "{}: {name}", template.display());
            references += 1;
        }
    }
    assert!(references > 40, "{references}");
    let schema: serde_json::Value =
        serde_json::from_str(&read("deploy/helm/ringway/values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    schema_keys(&schema, "", &mut known);
    for value in &values {
        let open = ["requests.", "limits.", "seccompProfile."];
        if !open.iter().any(|part| value.contains(part)) {
            assert!(known.contains(value), "the schema does not have {value}");
        }
    }
    for key in known.iter().filter(|key| !key.contains("seccompProfile.") && *key != "global") {
        assert!(values.contains(key), "values.yaml does not have {key}");
    }
}

fn schema_keys(schema: &serde_json::Value, path: &str, into: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, inner) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        schema_keys(inner, &path, into);
        into.insert(path);
    }
}

/// A document that Helm rendered, by kind and the end of its name.
fn document<'a>(rendered: &'a str, kind: &str, name: &str) -> &'a str {
    let mut found = rendered.split("\n---\n").filter(|document| {
        let has = |line: &str| document.lines().any(|each| each == line);
        has(&format!("kind: {kind}")) && has(&format!("  name: {name}"))
    });
    found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The text of a block such as `relay.toml: |`.
fn block(document: &str, name: &str) -> String {
    let lines = document.lines().skip_while(|line| line.trim() != format!("{name}: |")).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.get(4..).unwrap_or_default())).collect()
}

const CHART: &str = "deploy/helm/ringway";
/// Everything on.
const VALUES: &str = "deploy/helm/ringway/ci/values.yaml";

/// Helm: the one of set-up, that of the variable `HELM`, or the host's. None, with a line, without.
fn helm(arguments: &[&str]) -> Option<(bool, String)> {
    let brought = top().join("target/chart/helm");
    let brought = brought.exists().then(|| brought.to_str().unwrap().to_owned());
    let helm = std::env::var("HELM").ok().or(brought).unwrap_or_else(|| "helm".to_owned());
    let answer = run(&helm, arguments);
    let required = std::env::var("RINGWAY_CHART").is_ok_and(|value| value == "require");
    assert!(answer.is_some() || !required, "RINGWAY_CHART=require, but there is no {helm}");
    answer
}

/// What the chart makes of its values, with some set otherwise.
fn render(settings: &[&str]) -> Option<(bool, String)> {
    let mut words = vec!["template", "edge", CHART, "-f", VALUES];
    words.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    helm(&words)
}

/// What Kubernetes' own schemas say of what the chart renders, for releases from the oldest that it takes.
fn against_kubernetes(rendered: &str) -> (bool, String) {
    let mut python = Command::new(top().join("target/chart/venv/bin/python"))
        .args(["deploy/helm/check/validate.py", "1.27", "1.31", "1.35", "1.37"])
        .current_dir(top())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn kubernetes_takes_what_helm_renders() {
    // Helm's remarks about links are on the other stream, which these lines are not from.
    let yaml = |(good, text): (bool, String)| {
        assert!(good, "{text}");
        text.lines()
            .filter(|line| !line.starts_with("level="))
            .fold(String::new(), |text, line| text + line + "\n")
    };
    let Some(rendered) = render(&[]) else { return };
    if !top().join("target/chart/venv/bin/python").exists() {
        println!("skipped: Kubernetes' schemas come with make setup-chart");
        return;
    }
    let rendered = yaml(rendered);
    let (good, said) = against_kubernetes(&rendered);
    assert!(good, "{said}");
    assert!(said.contains("48 right, 0 wrong, 16 of other makers"), "{said}");
    for settings in [
        ["transceiver.autoscaling.enabled=false", "transceiver.open=true"],
        ["transceiver.enabled=false", "relay.seccompProfile.type=Unconfined"],
        ["relay.enabled=false", "networkPolicy.enabled=false"],
        ["relay.drainSeconds=7200", "transceiver.drainSeconds=7200"],
    ] {
        let (good, said) = against_kubernetes(&yaml(render(&settings).unwrap()));
        assert!(good, "{settings:?}: {said}");
    }
    // It would notice: a field that is not there, a type, a kind.
    for (right, wrong) in [
        ("hostNetwork: true", "hostNetworks: true"),
        ("hostNetwork: true", "hostNetwork: yes please"),
        ("endPort:", "endport:"),
        ("kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"),
    ] {
        assert!(rendered.contains(right), "{right}");
        let (good, said) = against_kubernetes(&rendered.replace(right, wrong));
        assert!(!good, "{wrong}: {said}");
    }
}

#[test]
fn no_period_of_the_autoscaler_is_longer_than_kubernetes_takes() {
    let Some((good, rendered)) = render(&["transceiver.drainSeconds=7200"]) else { return };
    assert!(good, "{rendered}");
    let scaler = document(&rendered, "HorizontalPodAutoscaler", "edge-ringway-transceiver");
    assert!(scaler.contains("value: 1, periodSeconds: 1800"), "{scaler}");
    let pods = document(&rendered, "Deployment", "edge-ringway-transceiver");
    assert!(pods.contains("terminationGracePeriodSeconds: 7230"), "{pods}");
}

#[test]
fn helm_renders_configurations_that_the_programs_take() {
    let Some((good, text)) = helm(&["lint", "--strict", CHART, "-f", VALUES]) else { return };
    assert!(good, "{text}");
    let render = |settings: &[&str]| render(settings).unwrap();
    let (good, rendered) = render(&["relay.drainSeconds=90", "transceiver.shards=3"]);
    assert!(good, "{rendered}");
    let relay = document(&rendered, "DaemonSet", "edge-ringway-relay");
    assert!(relay.contains("terminationGracePeriodSeconds: 120"), "{relay}");
    assert!(relay.contains("hostNetwork: true"), "{relay}");
    let policy = document(&rendered, "NetworkPolicy", "edge-ringway-transceiver");
    assert!(policy.contains("port: 3600, endPort: 3602"), "{policy}");
    let rule = document(&rendered, "PrometheusRule", "edge-ringway-relay");
    assert!(rule.contains("- alert: RelayDown"), "{rule}");
    assert!(rule.contains("{{ $labels.instance }}"), "not rendered by Helm: {rule}");
    let rule = document(&rendered, "PrometheusRule", "edge-ringway-transceiver");
    assert!(rule.contains("- alert: TransceiverDown"), "{rule}");
    for part in ["relay", "transceiver"] {
        let map = document(&rendered, "ConfigMap", &format!("edge-ringway-{part}-dashboard"));
        let text = block(map, &format!("ringway-{part}.json"));
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(dashboard["uid"], format!("ringway-{part}"));
    }

    let folder = tempfile::tempdir().unwrap();
    for (part, variable, value) in [
        ("relay", "RINGWAY_TUNNEL_ADDRESS", "10.0.0.7"),
        ("transceiver", "RINGWAY_TRANSCEIVER", "10.1.0.9"),
    ] {
        let Some(program) = built(&format!("ringway-{part}")) else { continue };
        let map = document(&rendered, "ConfigMap", &format!("edge-ringway-{part}"));
        let file = folder.path().join(format!("{part}.toml"));
        let text = block(map, &format!("{part}.toml"));
        assert!(text.contains("[drain]"), "{map}");
        fs::write(&file, text).unwrap();
        let output = Command::new(program)
            .arg("check-config")
            .arg(&file)
            .env(variable, value)
            .env_remove("RINGWAY_CONFIG")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.contains("is not built yet") {
            println!("skipped: {said}");
            continue;
        }
        assert!(output.status.success(), "{said}");
    }
    for (setting, expected) in [
        ("relay.workers=0", "/relay/workers"),
        ("relay.wrokers=1", "wrokers"),
        ("relay.seccompProfile.type=Localhost", "localhostProfile"),
        ("cluster.podCidrs=null", "cluster.podCidrs is needed"),
        ("networkPolicy.nodeCidrs=null", "networkPolicy.nodeCidrs is needed"),
        ("transceiver.apiKeys.existingSecret=", "apiKeys.existingSecret is needed"),
    ] {
        let (good, text) = render(&[setting]);
        assert!(!good && text.contains(expected), "{setting}: {text}");
    }
}

/// An image's file system as a folder, with the program run in it as its user.
#[test]
fn a_root_file_system_of_nothing_else_runs_the_programs() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: chroot needs root");
        return;
    }
    for name in ["ringway-relay", "ringway-transceiver"] {
        let Some(program) = built(name) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).unwrap();
        let root = folder.path().join("root");
        let (root, program) = (root.to_str().unwrap(), program.to_str().unwrap());
        let (good, text) = run("deploy/docker/rootfs.sh", &[root, program]).unwrap();
        assert!(good, "{text}");
        let inside = |words: &[&str]| {
            let inner = format!("/usr/bin/{name}");
            let all = [&["--userspec=65532:65532", root, &inner], words].concat();
            run("chroot", &all).unwrap()
        };
        let (good, text) = inside(&["--version"]);
        assert!(good, "{text}");
        let (good, text) = inside(&["print-config"]);
        assert!(good && text.contains("[tunnel]"), "{text}");
    }
}

/// What the chart's autoscaler counts is what the transceiver exports.
#[test]
fn the_autoscaler_counts_what_there_is() {
    let template = read("deploy/helm/ringway/templates/autoscaling.yaml");
    let (_, rest) = template.split_once("metric: { name: ").unwrap();
    let name = rest.split_whitespace().next().unwrap();
    let row = format!("| `{name}` | gauge |");
    assert!(read("docs/metrics-transceiver.md").contains(&row), "{name}");
}
