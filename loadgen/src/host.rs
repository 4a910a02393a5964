//! Which machine this is, for reports: figures without it mean nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its CPU's model.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// How their frequency is governed; empty if nobody says (virtual machines).
    pub governor: String,
}

impl Host {
    /// This one.
    #[must_use]
    pub fn current() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let models = read("/proc/cpuinfo");
        let cpu = models
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned());
        Self {
            name: read("/proc/sys/kernel/hostname"),
            kernel: service::build::Build::current().kernel,
            cpu,
            cpus: engine::affinity::allowed_cpus().map_or(1, |cpus| cpus.len()),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        }
    }
}

/// Tells whose monotonic clock a time is of: the same for all processes of one boot of one machine
/// (and one time namespace), and never zero.
#[must_use]
pub fn clock_id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        fs::read("/proc/sys/kernel/random/boot_id").ok().hash(&mut hasher);
        fs::read_link("/proc/self/ns/time").ok().hash(&mut hasher);
        hasher.finish().max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described() {
        let host = Host::current();
        assert!(host.cpus > 0 && !host.cpu.is_empty() && !host.kernel.is_empty(), "{host:?}");
        assert_ne!(clock_id(), 0);
        assert_eq!(clock_id(), clock_id());
    }
}
