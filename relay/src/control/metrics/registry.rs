//! The metrics that the exporter holds: a handle for each series, made once, so that every series
//! is there from the start with zero.

use super::declare;
use crate::core::{Counters, SeriesKind};
use crate::worker::Numbers;
use engine::Statistics;
use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use service::build::Build;
use service::metrics::{Declaration, Kind, scaled};
use std::time::Duration;

const METADATA: Metadata<'static> = Metadata::new("relay", Level::INFO, None);

/// All handles.
pub(super) struct Registry {
    /// Not the global one: what a library might count is not mixed with what is documented.
    exporter: PrometheusHandle,
    workers: Vec<Worker>,
    generation: Gauge,
    uptime: Gauge,
    peers_not_shown: Gauge,
}

struct Worker {
    core: Vec<Number>,
    engine: Vec<Counter>,
    busy: Gauge,
    tick_age: Gauge,
    coalesce: Gauge,
    allocations: Counter,
    drops_public: Counter,
    drops_tunnel: Counter,
    outbox_full: Counter,
}

enum Number {
    Counter(Counter),
    Gauge(Gauge),
}

/// What is set at a scrape beside the workers' numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) generation: u64,
    pub(super) uptime: Duration,
    pub(super) peers_not_shown: usize,
}

impl Registry {
    pub(super) fn new(workers: usize, engine: &'static str, reason: &str, build: &Build) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in declare::all() {
            describe(&recorder, metric);
        }
        let labels = vec![
            Label::new("version", build.version),
            Label::new("revision", build.revision),
            Label::new("rustc", build.compiler),
            Label::new("kernel", build.kernel.clone()),
            Label::new("engine", engine),
        ];
        gauge(&recorder, declare::BUILD.name, labels).set(1.0);
        let labels = vec![Label::new("engine", engine), Label::new("reason", reason.to_owned())];
        gauge(&recorder, declare::ENGINE.name, labels).set(1.0);
        Self {
            exporter: recorder.handle(),
            workers: (0..workers).map(|worker| Worker::new(&recorder, worker, engine)).collect(),
            generation: gauge(&recorder, declare::GENERATION.name, Vec::new()),
            uptime: gauge(&recorder, declare::UPTIME.name, Vec::new()),
            peers_not_shown: gauge(&recorder, declare::PEERS_NOT_SHOWN.name, Vec::new()),
        }
    }

    /// Takes over one worker's numbers.
    pub(super) fn set_worker(&self, worker: usize, numbers: &Numbers, busy: f64, age: Duration) {
        if let Some(worker) = self.workers.get(worker) {
            worker.set(numbers, busy, age);
        }
    }

    /// Takes over what is not one worker's.
    #[expect(clippy::cast_precision_loss, reason = "nobody reloads 2^53 times")]
    pub(super) fn set_whole(&self, whole: Whole) {
        self.generation.set(whole.generation as f64);
        self.uptime.set(whole.uptime.as_secs_f64());
        self.peers_not_shown.set(whole.peers_not_shown as f64);
    }

    /// The text of all of them.
    pub(super) fn render(&self) -> String {
        self.exporter.render()
    }
}

impl Worker {
    fn new(recorder: &PrometheusRecorder, worker: usize, engine: &'static str) -> Self {
        let own = || vec![Label::new("worker", worker.to_string())];
        let and = |name, value| {
            let mut labels = own();
            labels.push(Label::new(name, value));
            labels
        };
        let number = |series: crate::core::Series| {
            let labels = series.label.map_or_else(own, |(name, value)| and(name, value));
            match series.kind {
                SeriesKind::Counter => Number::Counter(counter(recorder, series.name, labels)),
                SeriesKind::Gauge => Number::Gauge(gauge(recorder, series.name, labels)),
            }
        };
        let of_engine = |(field, _): &(&'static str, _)| {
            counter(recorder, declare::engine_name(field), and("engine", engine))
        };
        let drops = |socket| counter(recorder, declare::KERNEL_DROPS.name, and("socket", socket));
        Self {
            core: Counters::series().map(number).collect(),
            engine: Statistics::ROWS.iter().map(of_engine).collect(),
            busy: gauge(recorder, declare::BUSY.name, own()),
            tick_age: gauge(recorder, declare::TICK_AGE.name, own()),
            coalesce: gauge(recorder, declare::COALESCE.name, own()),
            allocations: counter(recorder, declare::ALLOCATIONS.name, own()),
            drops_public: drops("public"),
            drops_tunnel: drops("tunnel"),
            outbox_full: counter(recorder, declare::OUTBOX_FULL.name, own()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges count flows and peers, below 2^53")]
    fn set(&self, numbers: &Numbers, busy: f64, age: Duration) {
        for (handle, number) in self.core.iter().zip(numbers.counters) {
            match handle {
                Number::Counter(counter) => counter.absolute(number),
                Number::Gauge(gauge) => gauge.set(number as f64),
            }
        }
        for (handle, number) in self.engine.iter().zip(numbers.engine) {
            handle.absolute(number);
        }
        self.busy.set(busy);
        self.tick_age.set(age.as_secs_f64());
        self.coalesce.set(scaled(numbers.own.coalesce_now_us, 1e-6));
        self.allocations.absolute(numbers.own.allocations);
        self.drops_public.absolute(numbers.own.kernel_drops_public);
        self.drops_tunnel.absolute(numbers.own.kernel_drops_tunnel);
        self.outbox_full.absolute(numbers.own.outbox_full);
    }
}

fn describe(recorder: &PrometheusRecorder, metric: Declaration) {
    let name = KeyName::from(metric.name);
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name, None, metric.help.into()),
        Kind::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
        // The exporter shows none of ours.
        Kind::Histogram => {}
    }
}

fn counter(recorder: &PrometheusRecorder, name: impl Into<KeyName>, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, name: impl Into<KeyName>, labels: Vec<Label>) -> Gauge {
    recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
}
