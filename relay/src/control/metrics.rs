//! Metrics: what the workers have published, and what only the whole relay knows, in the
//! Prometheus text format.
//!
//! Nothing is counted here. At each scrape the workers' slots are read and the numbers shown as
//! they are, so a scrape costs the workers nothing and counters never go back. What takes more than
//! reading (how busy a worker was lately, what the shards' health is) is sampled every few seconds.

mod declare;
pub mod document;
mod registry;

pub use declare::all;

use super::cache::CacheCounters;
use super::direct::DirectState;
use super::names::Names;
use super::parking::ParkingState;
use super::peers::{self, Peer};
use super::recall::RecallCounters;
use super::relay::Relay;
use crate::worker::{Histogram, Numbers};
use engine::direct;
use registry::{Registry, Whole};
use service::build::Build;
use service::metrics::{Row, Text, ratio, scaled};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often what cannot be read at a scrape is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Shards that have series of their own. A scraper pays for every one.
const PEERS_SHOWN_MAX: usize = 1_024;

/// The metrics of a running relay.
pub struct Metrics {
    relay: Arc<Relay>,
    exposition: Exposition,
    samples: Arc<Mutex<Samples>>,
}

impl Metrics {
    /// The metrics of this relay. Begins to sample at once, so it must be made in a tokio runtime;
    /// it ends with the relay.
    pub fn new(relay: &Arc<Relay>) -> Self {
        let samples = Arc::new(Mutex::new(Samples::default()));
        tokio::spawn(sample(Arc::downgrade(relay), Arc::clone(&samples)));
        let engine = relay.engine();
        let workers = relay.fleet().len();
        let exposition = Exposition::new(workers, engine.name, &engine.reason, &Build::current());
        Self { relay: Arc::clone(relay), exposition, samples }
    }

    /// The text that a scrape gets.
    pub fn render(&self) -> String {
        let numbers = self.relay.fleet().numbers();
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        self.exposition.render(&Scrape {
            busy: &samples.busy(&numbers),
            numbers: &numbers,
            peers: &samples.peers,
            recall: self.relay.recall_counters(),
            cache: self.relay.cache_counters(),
            direct: &self.relay.direct(),
            parking: &self.relay.parking_state(),
            generation: self.relay.generation(),
            uptime: self.relay.uptime(),
            now_us: engine::clock::monotonic_ns() / 1_000,
        })
    }
}

/// Samples for as long as there is a relay.
async fn sample(relay: Weak<Relay>, samples: Arc<Mutex<Samples>>) {
    let mut interval = tokio::time::interval(SAMPLE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(relay) = relay.upgrade() else { return };
        let peers = peers::ask(relay.fleet(), &Names::of(&relay.config())).await;
        let numbers = relay.fleet().numbers();
        samples.lock().unwrap_or_else(PoisonError::into_inner).take(&numbers, peers);
    }
}

/// What was sampled.
#[derive(Debug, Default)]
struct Samples {
    peers: Vec<Peer>,
    /// CPU and wall time of each worker at the last sample but one, and at the last.
    before: Vec<Times>,
    last: Vec<Times>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    cpu_ns: u64,
    wall_ns: u64,
}

impl Times {
    const fn of(numbers: &Numbers) -> Self {
        Self { cpu_ns: numbers.own.cpu_ns, wall_ns: numbers.own.wall_ns }
    }
}

impl Samples {
    fn take(&mut self, numbers: &[Numbers], peers: Vec<Peer>) {
        self.peers = peers;
        let times = numbers.iter().map(Times::of).collect();
        self.before = std::mem::replace(&mut self.last, times);
    }

    /// The share of a core that each worker used since the last sample but one. The last one may
    /// have been taken just now.
    fn busy(&self, numbers: &[Numbers]) -> Vec<f64> {
        let share = |(worker, numbers): (usize, &Numbers)| {
            let before = self.before.get(worker).copied().unwrap_or_default();
            let now = Times::of(numbers);
            ratio(
                now.cpu_ns.saturating_sub(before.cpu_ns),
                now.wall_ns.saturating_sub(before.wall_ns),
            )
        };
        numbers.iter().enumerate().map(share).collect()
    }
}

/// Everything that one scrape shows.
struct Scrape<'a> {
    numbers: &'a [Numbers],
    busy: &'a [f64],
    peers: &'a [Peer],
    recall: &'a RecallCounters,
    cache: &'a CacheCounters,
    direct: &'a DirectState,
    parking: &'a ParkingState,
    generation: u64,
    uptime: Duration,
    now_us: u64,
}

/// Turns numbers into text.
struct Exposition {
    registry: Registry,
}

impl Exposition {
    fn new(workers: usize, engine: &'static str, reason: &str, build: &Build) -> Self {
        Self { registry: Registry::new(workers, engine, reason, build) }
    }

    fn render(&self, scrape: &Scrape<'_>) -> String {
        for (worker, (numbers, busy)) in scrape.numbers.iter().zip(scrape.busy).enumerate() {
            let ticked_at_us = numbers.own.ticked_at_us;
            let age = Duration::from_micros(scrape.now_us.saturating_sub(ticked_at_us));
            // Before its first tick a worker has no age; nor may a clock read a moment earlier
            // give it a negative one.
            let age = if ticked_at_us == 0 { Duration::ZERO } else { age };
            self.registry.set_worker(worker, numbers, *busy, age);
        }
        let peers_not_shown = scrape.peers.len().saturating_sub(PEERS_SHOWN_MAX);
        let Scrape { generation, uptime, .. } = *scrape;
        self.registry.set_whole(Whole { generation, uptime, peers_not_shown });
        let mut text = Text::after(self.registry.render());
        write_seconds(&mut text, scrape.numbers);
        write_histograms(&mut text, scrape.numbers);
        write_peers(&mut text, scrape.peers);
        write_recall(&mut text, scrape.recall, scrape.cache);
        write_direct(&mut text, scrape.numbers, scrape.direct);
        write_parking(&mut text, scrape.parking);
        text.finish()
    }
}

fn write_seconds(text: &mut Text, workers: &[Numbers]) {
    let mut family = |row: &Row, value: fn(&Numbers) -> f64| {
        text.family(row);
        for (worker, numbers) in workers.iter().enumerate() {
            text.sample(row.name, &[("worker", &worker.to_string())], value(numbers));
        }
    };
    family(&declare::CPU, |numbers| scaled(numbers.own.cpu_ns, 1e-9));
    family(&declare::COALESCE_WAIT, |numbers| scaled(numbers.own.coalesce_us, 1e-6));
}

fn write_histograms(text: &mut Text, workers: &[Numbers]) {
    type Written = [u64; Histogram::LEN];
    let mut family = |row: &Row, unit, written: fn(&Numbers) -> &Written| {
        text.family(row);
        for (worker, numbers) in workers.iter().enumerate() {
            let labels = [("worker", worker.to_string())];
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            text.histogram(row.name, &labels, written(numbers), Histogram::bound, unit);
        }
    };
    family(&declare::BATCH, 1.0, |numbers| &numbers.batch);
    family(&declare::TURN, 1e-6, |numbers| &numbers.turn_us);
    family(&declare::LATENCY, 1e-6, |numbers| &numbers.latency_us);
}

fn write_peers(text: &mut Text, peers: &[Peer]) {
    let mut shown: Vec<_> = peers.iter().collect();
    if shown.len() > PEERS_SHOWN_MAX {
        shown.sort_by_key(|peer| std::cmp::Reverse(peer.flows));
        shown.truncate(PEERS_SHOWN_MAX);
    }
    let mut family = |row: &Row, value: fn(&Peer) -> Option<f64>| {
        text.family(row);
        for peer in &shown {
            let Some(value) = value(peer) else { continue };
            let shard = peer.route.shard.to_string();
            let labels = [
                ("cluster", peer.route.cluster.as_str()),
                ("transceiver", peer.route.transceiver.as_str()),
                ("shard", shard.as_str()),
            ];
            text.sample(row.name, &labels, value);
        }
    };
    family(&declare::PEER_UP, |peer| peer.up.map(|up| if up { 1.0 } else { 0.0 }));
    family(&declare::PEER_ROUND_TRIP, |peer| peer.round_trip_us.map(|us| scaled(us.into(), 1e-6)));
}

fn write_recall(text: &mut Text, recall: &RecallCounters, cache: &CacheCounters) {
    text.family(&declare::DIRECTORY);
    text.sample(declare::DIRECTORY.name, &[], recall.flows());
    text.family(&declare::MISSES);
    for (outcome, count) in recall.outcomes() {
        text.sample(declare::MISSES.name, &[("outcome", outcome)], count);
    }
    text.family(&declare::CACHE);
    for (operation, outcome, count) in cache.rows() {
        let labels = [("operation", operation), ("outcome", outcome)];
        text.sample(declare::CACHE.name, &labels, count);
    }
    text.family(&declare::CACHE_CONNECTIONS);
    text.sample(declare::CACHE_CONNECTIONS.name, &[], cache.connections());
}

fn write_direct(text: &mut Text, workers: &[Numbers], state: &DirectState) {
    let rows = direct::Counters::ROWS;
    let by_socket = direct::Counters::BY_SOCKET;
    let mut family = |row: &Row, places: std::ops::Range<usize>| {
        text.family(row);
        for (worker, numbers) in workers.iter().enumerate() {
            let worker = worker.to_string();
            for place in places.clone() {
                let mut labels = vec![("worker", &worker[..])];
                if places.len() > 1 {
                    labels.push(("reason", rows[place].0));
                }
                text.sample(row.name, &labels, numbers.direct[place]);
            }
        }
    };
    family(&declare::DIRECT_PACKETS, 0..by_socket.start);
    family(&declare::DIRECT_BY_SOCKET, by_socket.clone());
    family(&declare::DIRECT_KICK_FAILURES, by_socket.end..rows.len());
    text.family(&declare::DIRECT_RINGS);
    for (worker, numbers) in workers.iter().enumerate() {
        let labels = [("worker", &worker.to_string()[..])];
        text.sample(declare::DIRECT_RINGS.name, &labels, numbers.own.direct_rings);
    }
    text.family(&declare::DIRECT);
    let labels = [("state", &state.state[..]), ("reason", &state.reason[..])];
    text.sample(declare::DIRECT.name, &labels, 1);
}

fn write_parking(text: &mut Text, parking: &ParkingState) {
    let age = scaled(parking.flows_age_ms, 1e-3);
    let mut family = |row: &Row, value: &dyn std::fmt::Display| {
        text.family(row);
        text.sample(row.name, &[], value);
    };
    family(&declare::PARKED_SOCKETS, &parking.sockets);
    family(&declare::PARKED_FLOWS, &parking.flows);
    family(&declare::PARKED_FLOWS_AGE, &age);
    family(&declare::PARKING_FAILURES, &parking.failures);
}

#[cfg(test)]
mod tests;
