//! What a process and its children weigh.

use std::fs;

use serde::Serialize;

/// At one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Footprint {
    /// Resident memory. What the kernel keeps for sockets is not in it.
    pub(crate) rss_kb: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Sockets.
    pub(crate) sockets: u64,
}

impl Footprint {
    /// Of several processes together.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            sum.rss_kb += number(&status, "VmRSS:");
            sum.threads += number(&status, "Threads:");
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let is_socket = |path: fs::DirEntry| {
                fs::read_link(path.path())
                    .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
            };
            sum.sockets += files.filter_map(|file| is_socket(file).then_some(())).count() as u64;
        }
        sum
    }
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_weigh_something_and_the_formats_are_the_kernels() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = Footprint::of(&[std::process::id()]);
        assert!(own.rss_kb > 100 && own.threads >= 1 && own.sockets >= 1, "{own:?}");
        assert_eq!(number("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(Footprint::of(&[]), Footprint::default());
    }
}
