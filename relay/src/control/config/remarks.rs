//! What a person should know about a configuration that is good: what it comes to, and what is
//! allowed but seldom meant.

use std::path::Path;

use service::config::sections::Log;
use service::config::{Process, size};

use super::{Config, DEFAULT_FILE, Resolution};

impl Process for Config {
    const NAME: &'static str = "relay";
    const DEFAULT_FILE: &'static str = DEFAULT_FILE;

    fn summary(&self) -> String {
        let transceivers: usize = self.clusters.iter().map(|each| each.transceivers.len()).sum();
        let workers = match self.workers {
            super::Workers::Auto => "workers: auto".to_owned(),
            super::Workers::Count(count) => format!("workers: {count}"),
        };
        format!(
            "addresses: {}, {workers} with about {} each, clusters: {}, transceivers listed: \
             {transceivers}",
            self.listen.len(),
            size_of_about(self.worker_bytes()),
            self.clusters.len(),
        )
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.clusters.is_empty() {
            remarks.push("there are no clusters: this relay will drop every packet".to_owned());
        }
        for cluster in &self.clusters {
            if cluster.resolution() == Resolution::Table(&[]) {
                let name = &cluster.name;
                remarks.push(format!(
                    "cluster \"{name}\" lists no transceivers: hints for it are dropped"
                ));
            }
        }
        if self.listen.iter().all(|address| address.ip().is_loopback()) {
            remarks
                .push("listen has only loopback addresses: no other host can reach it".to_owned());
        }
        if self.allow_loopback_clients {
            remarks.push(
                "allow_loopback_clients is on: a transceiver can make this relay send to loopback \
                 addresses; for demos and tests only"
                    .to_owned(),
            );
        }
        if self.http.listen.ip().is_unspecified() {
            let address = self.http.listen;
            remarks.push(format!(
                "http.listen {address} shows metrics to everyone who can reach this host"
            ));
        }
        remarks
    }

    fn admin_socket(&self) -> &Path {
        &self.admin.socket
    }

    fn log(&self) -> &Log {
        &self.log
    }
}

impl Config {
    /// What one worker allocates at start for its rings and tables, more or less.
    fn worker_bytes(&self) -> u64 {
        let buffers = &self.buffers;
        // One ring for each public socket, one for the tunnel.
        let rings = (self.listen.len() as u64 + 1) * u64::from(buffers.ring_buffers);
        let flows = u64::from(self.flows.per_worker) + u64::from(self.flows.new_max);
        rings * buffers.buffer_bytes + flows * super::limits::FLOW_BYTES
    }
}

/// To the nearest MiB, for reading.
fn size_of_about(bytes: u64) -> String {
    size::format(bytes.div_ceil(1 << 20) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_say_what_they_come_to() {
        let config = Config::default();
        assert_eq!(
            config.summary(),
            "addresses: 2, workers: auto with about 29MiB each, clusters: 0, transceivers listed: 0"
        );
        assert_eq!(config.remarks(), ["there are no clusters: this relay will drop every packet"]);
    }

    #[test]
    fn oddities_are_remarked_on() {
        let mut config =
            Config { listen: vec!["127.0.0.1:1".parse().unwrap()], ..Config::default() };
        config.http.listen = "0.0.0.0:1".parse().unwrap();
        config.allow_loopback_clients = true;
        let text = config.remarks().join("\n");
        for part in
            ["no clusters", "only loopback", "shows metrics to everyone", "demos and tests only"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
