//! Metrics: what the shards and signaling have published, and what only the whole transceiver
//! knows, in the Prometheus text format.
//!
//! Nothing is counted here. At each scrape the shards' slots are read and the numbers shown as they
//! are, so a scrape costs the shards nothing and counters never go back.

mod declare;
pub mod document;
#[cfg(test)]
mod tests;

pub use declare::all;

use super::transceiver::Transceiver;
use crate::shard::{Counters, Numbers};
use crate::signaling;
use declare::Shown;
use engine::Statistics;
use engine::histogram::Histogram;
use service::build::Build;
use service::metrics::{Kind, Row, Text, ratio, scaled};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often it is noted how busy the shards were.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics of a running transceiver.
pub struct Metrics {
    transceiver: Arc<Transceiver>,
    build: Build,
    samples: Arc<Mutex<Samples>>,
}

impl Metrics {
    /// The metrics of this transceiver. Begins to sample at once, so it must be made in a tokio
    /// runtime; it ends with the transceiver.
    pub fn new(transceiver: &Arc<Transceiver>) -> Self {
        let samples = Arc::new(Mutex::new(Samples::default()));
        tokio::spawn(sample(Arc::downgrade(transceiver), Arc::clone(&samples)));
        Self { transceiver: Arc::clone(transceiver), build: Build::current(), samples }
    }

    /// The text that a scrape gets.
    pub fn render(&self) -> String {
        let transceiver = &*self.transceiver;
        let engine = transceiver.engine();
        let numbers = transceiver.numbers();
        let busy = self.samples.lock().unwrap_or_else(PoisonError::into_inner).busy(&numbers);
        let policy = transceiver.calls().policy();
        render(&Scrape {
            numbers: &numbers,
            busy: &busy,
            loads: &transceiver.calls().loads(),
            calls_max: policy.calls_per_shard_max,
            draining: transceiver.calls().is_draining(),
            signaling: transceiver.signaling(),
            engine: (engine.name, &engine.reason),
            build: &self.build,
            identity: (policy.cluster.0, policy.transceiver.0),
            generation: transceiver.generation(),
            uptime: transceiver.uptime(),
            now_us: engine::clock::monotonic_ns() / 1_000,
        })
    }
}

/// Samples for as long as there is a transceiver.
async fn sample(transceiver: Weak<Transceiver>, samples: Arc<Mutex<Samples>>) {
    let mut interval = tokio::time::interval(SAMPLE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(transceiver) = transceiver.upgrade() else { return };
        let numbers = transceiver.numbers();
        samples.lock().unwrap_or_else(PoisonError::into_inner).take(&numbers);
    }
}

/// CPU and wall time of each shard at the last sample but one, and at the last.
#[derive(Debug, Default)]
struct Samples {
    before: Vec<(u64, u64)>,
    last: Vec<(u64, u64)>,
}

impl Samples {
    fn take(&mut self, numbers: &[Numbers]) {
        let times = numbers.iter().map(|numbers| (numbers.own.cpu_ns, numbers.own.wall_ns));
        self.before = std::mem::replace(&mut self.last, times.collect());
    }

    /// The share of a core that each shard used since the last sample but one. The last one may
    /// have been taken just now.
    fn busy(&self, numbers: &[Numbers]) -> Vec<f64> {
        let share = |(shard, numbers): (usize, &Numbers)| {
            let (cpu_ns, wall_ns) = self.before.get(shard).copied().unwrap_or_default();
            ratio(
                numbers.own.cpu_ns.saturating_sub(cpu_ns),
                numbers.own.wall_ns.saturating_sub(wall_ns),
            )
        };
        numbers.iter().enumerate().map(share).collect()
    }
}

/// Everything that one scrape shows.
struct Scrape<'a> {
    numbers: &'a [Numbers],
    busy: &'a [f64],
    loads: &'a [u32],
    calls_max: u32,
    draining: bool,
    signaling: &'a signaling::Counters,
    /// Its name, and why it was taken.
    engine: (&'static str, &'a str),
    build: &'a Build,
    /// Cluster and transceiver.
    identity: (u16, u32),
    generation: u64,
    uptime: Duration,
    now_us: u64,
}

fn render(scrape: &Scrape<'_>) -> String {
    let mut text = Text::default();
    let shards: Vec<String> = (0..scrape.numbers.len()).map(|shard| shard.to_string()).collect();
    write_counters(&mut text, &shards, scrape.numbers);
    write_histograms(&mut text, &shards, scrape.numbers);
    write_threads(&mut text, &shards, scrape);
    write_engines(&mut text, &shards, scrape);
    write_whole(&mut text, scrape);
    scrape.signaling.write(&mut text);
    text.finish()
}

/// What the shards' cores count.
fn write_counters(text: &mut Text, shards: &[String], numbers: &[Numbers]) {
    let series: Vec<_> = Counters::series().collect();
    let mut at = 0;
    for family in series.chunk_by(|one, next| one.name == next.name) {
        text.begin(family[0].name, declare::kind(family[0].kind), family[0].help);
        for (shard, numbers) in shards.iter().zip(numbers) {
            for (series, number) in family.iter().zip(&numbers.counters[at..]) {
                let labels = [Some(("shard", shard.as_str())), series.label];
                let labels: Vec<_> = labels.into_iter().flatten().collect();
                text.sample(series.name, &labels, number);
            }
        }
        at += family.len();
    }
}

fn write_histograms(text: &mut Text, shards: &[String], numbers: &[Numbers]) {
    let series: Vec<_> = Counters::histograms().collect();
    let mut at = 0;
    for family in series.chunk_by(|one, next| one.name == next.name) {
        let Shown { name, help, unit } = declare::shown(&family[0]);
        text.begin(&name, Kind::Histogram, &help);
        for (shard, numbers) in shards.iter().zip(numbers) {
            for (series, written) in family.iter().zip(&numbers.histograms[at..]) {
                let labels = [Some(("shard", shard.as_str())), series.label];
                let labels: Vec<_> = labels.into_iter().flatten().collect();
                text.histogram(&name, &labels, written, Histogram::bound, unit);
            }
        }
        at += family.len();
    }
}

/// What the shards' threads publish of themselves, and what is known of each from outside.
fn write_threads(text: &mut Text, shards: &[String], scrape: &Scrape<'_>) {
    let mut family = |row: &Row, value: &dyn Fn(usize, &Numbers) -> f64| {
        text.family(row);
        for (index, (shard, numbers)) in shards.iter().zip(scrape.numbers).enumerate() {
            text.sample(row.name, &[("shard", shard)], value(index, numbers));
        }
    };
    family(&declare::CPU, &|_, numbers| scaled(numbers.own.cpu_ns, 1e-9));
    family(&declare::BUSY, &|shard, _| scrape.busy.get(shard).copied().unwrap_or_default());
    family(&declare::TICK_AGE, &|_, numbers| {
        // Before its first tick a shard has no age; nor may a clock read a moment earlier give it a
        // negative one.
        match numbers.own.ticked_at_us {
            0 => 0.0,
            ticked_at_us => scaled(scrape.now_us.saturating_sub(ticked_at_us), 1e-6),
        }
    });
    family(&declare::WAKES, &|_, numbers| scaled(numbers.own.wakes, 1.0));
    family(&declare::KERNEL_DROPS, &|_, numbers| scaled(numbers.own.kernel_drops, 1.0));
    family(&declare::CALLS, &|shard, _| scrape.loads.get(shard).copied().map_or(0.0, f64::from));
}

fn write_engines(text: &mut Text, shards: &[String], scrape: &Scrape<'_>) {
    for (row, (field, help)) in Statistics::ROWS.iter().enumerate() {
        let name = declare::engine_name(field);
        text.begin(&name, Kind::Counter, help.trim());
        for (shard, numbers) in shards.iter().zip(scrape.numbers) {
            let labels = [("shard", shard.as_str()), ("engine", scrape.engine.0)];
            text.sample(&name, &labels, numbers.engine[row]);
        }
    }
}

/// What is not one shard's.
fn write_whole(text: &mut Text, scrape: &Scrape<'_>) {
    let mut one = |row: &Row, labels: &[(&str, &str)], value: f64| {
        text.family(row);
        text.sample(row.name, labels, value);
    };
    one(&declare::CALLS_MAX, &[], f64::from(scrape.calls_max));
    one(&declare::DRAINING, &[], f64::from(u8::from(scrape.draining)));
    one(&declare::GENERATION, &[], scaled(scrape.generation, 1.0));
    one(&declare::UPTIME, &[], scrape.uptime.as_secs_f64());
    let Build { version, revision, compiler, kernel } = scrape.build;
    let (engine, reason) = scrape.engine;
    let build = [
        ("version", *version),
        ("revision", *revision),
        ("rustc", *compiler),
        ("kernel", kernel.as_str()),
        ("engine", engine),
    ];
    one(&declare::BUILD, &build, 1.0);
    one(&declare::ENGINE, &[("engine", engine), ("reason", reason)], 1.0);
    let (cluster, transceiver) = scrape.identity;
    let (cluster, transceiver) = (cluster.to_string(), transceiver.to_string());
    one(&declare::IDENTITY, &[("cluster", &cluster), ("transceiver", &transceiver)], 1.0);
}
