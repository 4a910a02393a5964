//! Where and with what a result was obtained: a figure without it means nothing.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The machine and the revision.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    cpu: String,
    cores: usize,
    kernel: String,
    governor: String,
    virtualisation: String,
    mitigations: String,
    revision: String,
    date: String,
}

impl Host {
    /// Looks around.
    pub fn observe() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim());
        let virtualisation = match output("systemd-detect-virt", &[]) {
            Some(kind) => kind,
            None if cpuinfo.contains("hypervisor") => "a virtual machine".to_owned(),
            None => "none seen".to_owned(),
        };
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let unknown = || "unknown".to_owned();
        let line = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            name: line("/proc/sys/kernel/hostname").unwrap_or_else(unknown),
            cpu: cpu.to_owned(),
            cores,
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .unwrap_or_else(|| "not visible".to_owned()),
            virtualisation,
            mitigations: line("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow")
                .into_iter()
                .chain(line("/sys/devices/system/cpu/vulnerabilities/spectre_v2"))
                .collect::<Vec<_>>()
                .join("; "),
            revision: output("git", &["describe", "--always", "--dirty"]).unwrap_or_else(unknown),
            date: output("date", &["+%Y-%m-%d"]).unwrap_or_else(unknown),
        }
    }

    /// What result files are called, without their kind's ending.
    pub fn file_stem(&self, what: &str) -> String {
        format!("{}-{}-{what}", self.date, self.name)
    }

    /// A line for each fact.
    pub fn to_markdown(&self) -> String {
        format!(
            "- host: {} × {} ({})\n- kernel: {}\n- frequency governor: {}\n- mitigations: {}\n\
             - revision: {}\n- date: {}\n",
            self.cores,
            self.cpu,
            self.virtualisation,
            self.kernel,
            self.governor,
            if self.mitigations.is_empty() { "unknown" } else { &self.mitigations },
            self.revision,
            self.date,
        )
    }

    /// For the result file.
    pub fn to_json(&self) -> Value {
        json!({
            "host": self.name,
            "cpu": self.cpu,
            "cores": self.cores,
            "kernel": self.kernel,
            "governor": self.governor,
            "virtualisation": self.virtualisation,
            "mitigations": self.mitigations,
            "revision": self.revision,
            "date": self.date,
        })
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
