//! What a person should know about a configuration that is good: what it comes to, and what is
//! allowed but seldom meant.

use std::path::Path;

use service::config::sections::Log;
use service::config::{Process, duration};

use super::{Config, DEFAULT_FILE, Identity, Shards};

impl Process for Config {
    const NAME: &'static str = "transceiver";
    const DEFAULT_FILE: &'static str = DEFAULT_FILE;

    fn summary(&self) -> String {
        let shards = match self.shards {
            Shards::Auto => "shards: auto".to_owned(),
            Shards::Count(count) => format!("shards: {count}"),
        };
        let transceiver = match self.transceiver {
            Identity::Auto => "auto".to_owned(),
            Identity::Number(number) => number.to_string(),
            Identity::Address(address) => address.to_string(),
        };
        format!(
            "cluster {}, transceiver {transceiver}, {shards} with {} calls each, relays told: {}, \
             backend: {}",
            self.cluster,
            self.calls.per_shard_max,
            self.ingress.len(),
            self.backend.as_str(),
        )
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let signaling = &self.signaling;
        let reachable = !signaling.listen.ip().is_loopback();
        if signaling.open && reachable {
            remarks.push(format!(
                "signaling.open on {}: everybody who can reach this host can make calls without a \
                 key",
                signaling.listen
            ));
        }
        if reachable {
            remarks.push(format!(
                "signaling.listen {} is plain HTTP: keys can be read on the way, and browsers on \
                 other hosts give no microphone; put a proxy with TLS in front",
                signaling.listen
            ));
        }
        if signaling.open && signaling.origins.iter().any(|origin| origin == "*") {
            remarks.push(
                "signaling.origins is \"*\" and signaling.open: any web page that somebody looks \
                 at can make calls"
                    .to_owned(),
            );
        }
        if self.ingress.iter().all(|ingress| ingress.address.ip().is_loopback()) {
            remarks.push(
                "ingress has only loopback addresses: clients on other hosts cannot call, and \
                 Firefox not even on this one"
                    .to_owned(),
            );
        }
        if self.http.listen.ip().is_unspecified() {
            let address = self.http.listen;
            remarks.push(format!(
                "http.listen {address} shows metrics to everyone who can reach this host"
            ));
        }
        if self.drain.deadline > self.calls.time_max {
            let [deadline, longest] =
                [self.drain.deadline, self.calls.time_max].map(duration::format);
            remarks.push(format!("drain.deadline {deadline} is longer than any call ({longest})"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ingress: &str) -> Config {
        Config { ingress: vec![ingress.parse().unwrap()], ..Config::default() }
    }

    #[test]
    fn a_configuration_says_what_it_comes_to() {
        let config = config("192.0.2.1:3478");
        assert_eq!(
            config.summary(),
            "cluster 1, transceiver auto, shards: auto with 2000 calls each, relays told: 1, \
             backend: echo"
        );
        assert_eq!(config.remarks(), [""; 0]);
    }

    #[test]
    fn oddities_are_remarked_on() {
        let mut odd = config("127.0.0.1:3478");
        odd.signaling.listen = "0.0.0.0:8080".parse().unwrap();
        odd.signaling.open = true;
        odd.http.listen = "0.0.0.0:1".parse().unwrap();
        odd.calls.time_max = std::time::Duration::from_mins(1);
        let text = odd.remarks().join("\n");
        for part in [
            "without a key",
            "plain HTTP",
            "only loopback",
            "shows metrics to everyone",
            "longer than any call",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        odd.signaling.origins = vec!["*".into()];
        assert!(odd.remarks().join("\n").contains("any web page"));
        odd.signaling.listen = "127.0.0.1:8080".parse().unwrap();
        odd.signaling.open = true;
        assert!(!odd.remarks().join("\n").contains("without a key"), "open on loopback is a demo");
    }
}
