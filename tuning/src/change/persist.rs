//! Making changes outlive a restart of the host: what the journal says was changed goes into the
//! files that each kind of setting has for it.
//!
//! ```text
//! sysctls                         /etc/sysctl.d/60-ringway.conf
//! by interface (ethtool, queues)  /etc/udev/rules.d/60-ringway.rules    also when a card comes back
//! the rest (interrupts, cores,    /etc/systemd/system/ringway-tuning.service
//!  packet filter)                 this program at start: interrupts have new numbers then
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::files;
use super::journal::Entry;
use super::knob::{Act, Knob};
use crate::items;

/// The first line of each file: by it this program knows its own.
const MARK: &str = "# Written by `ringway-tuning persist`; `ringway-tuning unpersist` removes it.";

const SYSCTL: &str = "/etc/sysctl.d/60-ringway.conf";
const UDEV: &str = "/etc/udev/rules.d/60-ringway.rules";
const UNIT: &str = "/etc/systemd/system/ringway-tuning.service";
/// What `systemctl enable` makes.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/ringway-tuning.service";

/// How this program is called at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// This program.
    pub program: String,
    /// What to say before the items: profile, configuration, journal.
    pub arguments: Vec<String>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persisted {
    /// Where.
    pub path: &'static str,
    /// What.
    pub text: String,
}

/// What would hold these changes over a restart.
#[must_use]
pub fn plan(entries: &[Entry], call: &Call) -> Vec<Persisted> {
    let (mut sysctls, mut rules) = (String::new(), String::new());
    let mut rest = BTreeSet::new();
    for entry in entries {
        let why = items::named(&entry.item).map_or("", |item| item.why);
        if let Some(name) = sysctl_name(&entry.knob) {
            let _ = write!(sysctls, "\n# {}: {why}\n{name} = {}\n", entry.item, entry.after);
        } else if let Some((nic, action)) = udev_action(&entry.knob, &entry.after) {
            let _ = write!(
                rules,
                "\n# {}: {why}\nACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==\"{nic}\", {action}\n",
                entry.item
            );
        } else {
            rest.insert(entry.item.as_str());
        }
    }
    let mut files = Vec::new();
    let mut add = |path, body: String| {
        if !body.is_empty() {
            files.push(Persisted { path, text: format!("{MARK}\n{body}") });
        }
    };
    add(SYSCTL, sysctls);
    add(UDEV, rules);
    add(UNIT, if rest.is_empty() { String::new() } else { unit(&rest, call) });
    files
}

fn sysctl_name(knob: &Knob) -> Option<String> {
    let Knob::File { path } = knob else { return None };
    Some(path.strip_prefix("/proc/sys/")?.replace('/', "."))
}

/// What a udev rule does for an interface.
fn udev_action(knob: &Knob, value: &str) -> Option<(String, String)> {
    match knob {
        Knob::File { path } => {
            let (nic, attribute) = path.strip_prefix("/sys/class/net/")?.split_once('/')?;
            Some((nic.to_owned(), format!("ATTR{{{attribute}}}=\"{value}\"")))
        }
        Knob::Channels { nic, .. }
        | Knob::Ring { nic }
        | Knob::Coalescing { nic, .. }
        | Knob::FlowHash { nic, .. }
        | Knob::Feature { nic, .. } => {
            let Act::Run(words) = knob.act(value) else { return None };
            let line = words.get(1..)?.join(" ");
            Some((nic.clone(), format!("RUN+=\"/usr/sbin/ethtool {line}\"")))
        }
        Knob::Notrack => None,
    }
}

fn unit(items: &BTreeSet<&str>, call: &Call) -> String {
    let names = items.iter().copied().collect::<Vec<_>>().join(",");
    let mut words = vec![call.program.clone(), "apply".to_owned()];
    words.extend(call.arguments.iter().cloned());
    words.extend(["--only".to_owned(), names.clone(), "--allow".to_owned(), names]);
    let line: Vec<String> = words.iter().map(|word| word.replace('%', "%%")).collect();
    format!(
        "[Unit]\n\
         Description=Ringway host tuning: what no file can hold\n\
         Wants=network-online.target\n\
         After=network-online.target nftables.service irqbalance.service\n\
         Before=ringway-relay.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         # 1: a driver refused something. The relay starts all the same.\n\
         SuccessExitStatus=1\n\
         ExecStart={}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        line.join(" ")
    )
}

/// Writes the files below `root`, removing those of ours that are no longer needed. Nothing is
/// written if one of them is somebody else's.
pub fn persist(root: &Path, files: &[Persisted]) -> Result<()> {
    let paths = [SYSCTL, UDEV, UNIT];
    for path in paths {
        check_ours(&at(root, path))?;
    }
    for path in paths {
        let place = at(root, path);
        match files.iter().find(|file| file.path == path) {
            Some(file) => files::replace(&place, &file.text),
            None => files::remove(&place).map(|_| ()),
        }
        .with_context(|| format!("Failed to write {}", place.display()))?;
    }
    let link = at(root, ENABLED);
    files::remove(&link).with_context(|| format!("Failed to remove {}", link.display()))?;
    if files.iter().any(|file| file.path == UNIT) {
        let folder = link.parent().unwrap_or(root);
        fs::create_dir_all(folder)
            .and_then(|()| std::os::unix::fs::symlink(UNIT, &link))
            .with_context(|| format!("Failed to enable the unit: {}", link.display()))?;
    }
    Ok(())
}

/// Removes the files, and says which were there.
pub fn unpersist(root: &Path) -> Result<Vec<&'static str>> {
    let paths = [SYSCTL, UDEV, UNIT];
    for path in paths {
        check_ours(&at(root, path))?;
    }
    let mut removed = Vec::new();
    for path in paths.into_iter().chain([ENABLED]) {
        let place = at(root, path);
        if files::remove(&place).with_context(|| format!("Failed to remove {}", place.display()))? {
            removed.push(path);
        }
    }
    Ok(removed)
}

/// A file that somebody else wrote, or took over, is not ours to replace or remove.
fn check_ours(path: &Path) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(text) if text.lines().next() == Some(MARK) => Ok(()),
        Ok(_) => bail!(
            "{} was not written by this program (its first line says so): move it away first",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("Failed to read {}", path.display())),
    }
}

fn at(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(item: &str, knob: Knob, after: &str) -> Entry {
        let (before, boot) = ("0".to_owned(), "b".to_owned());
        Entry { item: item.to_owned(), knob, before, after: after.to_owned(), boot }
    }

    fn file(path: &str) -> Knob {
        Knob::File { path: path.to_owned() }
    }

    #[test]
    fn each_setting_goes_where_it_survives() {
        let entries = [
            entry("socket-buffers", file("/proc/sys/net/core/rmem_max"), "4194304"),
            entry("rps", file("/sys/class/net/eth0/queues/rx-0/rps_cpus"), "0"),
            entry("nic-rings", Knob::Ring { nic: "eth0".to_owned() }, "1024"),
            entry("irq-affinity", file("/proc/irq/40/smp_affinity_list"), "3"),
            entry("conntrack", Knob::Notrack, "3478"),
        ];
        let call = Call {
            program: "/usr/bin/ringway-tuning".to_owned(),
            arguments: vec!["--profile".to_owned(), "vm".to_owned()],
        };
        let files = plan(&entries, &call);
        assert_eq!(files.iter().map(|file| file.path).collect::<Vec<_>>(), [SYSCTL, UDEV, UNIT]);
        assert!(files[0].text.contains("\nnet.core.rmem_max = 4194304\n"));
        let rule = "ACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==\"eth0\", ";
        assert!(files[1].text.contains(&format!("{rule}ATTR{{queues/rx-0/rps_cpus}}=\"0\"\n")));
        assert!(
            files[1].text.contains(&format!("{rule}RUN+=\"/usr/sbin/ethtool -G eth0 rx 1024\"\n"))
        );
        assert!(files[2].text.contains(
            "ExecStart=/usr/bin/ringway-tuning apply --profile vm --only conntrack,irq-affinity \
             --allow conntrack,irq-affinity\n"
        ));
        assert!(!files[2].text.contains("/proc/irq/40"));
    }

    #[test]
    fn what_is_written_is_removed_and_nothing_of_others() {
        let tree = tempfile::tempdir().unwrap();
        let call = Call { program: "/usr/bin/ringway-tuning".to_owned(), arguments: Vec::new() };
        let all = [
            entry("socket-buffers", file("/proc/sys/net/core/rmem_max"), "1"),
            entry(
                "governor",
                file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
                "performance",
            ),
        ];
        persist(tree.path(), &plan(&all, &call)).unwrap();
        assert!(fs::read_to_string(at(tree.path(), SYSCTL)).unwrap().starts_with(MARK));
        assert!(fs::symlink_metadata(at(tree.path(), ENABLED)).unwrap().is_symlink());
        // Less than before: what is no longer needed goes.
        persist(tree.path(), &plan(&all[..1], &call)).unwrap();
        assert!(!at(tree.path(), UNIT).exists());
        assert_eq!(unpersist(tree.path()).unwrap(), [SYSCTL]);
        assert_eq!(unpersist(tree.path()).unwrap(), [""; 0]);
        fs::write(at(tree.path(), SYSCTL), "net.core.rmem_max = 7\n").unwrap();
        for refused in [
            persist(tree.path(), &plan(&all, &call)).unwrap_err(),
            unpersist(tree.path()).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("not written by this program"), "{refused}");
        }
        assert!(!at(tree.path(), UNIT).exists(), "nothing by halves");
    }
}
