//! Every metric there is: its name, kind, labels and help, once. The text and the table in the
//! documentation follow from here.

use crate::shard::{Counters, HistogramSeries, SeriesKind};
use crate::signaling;
use engine::Statistics;
use service::metrics::{Declaration, Kind, Row};

const SHARD: &[&str] = &["shard"];

pub(super) const CPU: Row =
    Row::counter("transceiver_shard_cpu_seconds_total", SHARD, "CPU time of the shard's thread.");
pub(super) const BUSY: Row = Row::gauge(
    "transceiver_shard_busy_ratio",
    SHARD,
    "CPU time over wall time of the shard's thread in the last five to ten seconds: 1 is a full \
     core.",
);
pub(super) const TICK_AGE: Row = Row::gauge(
    "transceiver_shard_tick_age_seconds",
    SHARD,
    "Time since the shard's last tick. Above five seconds, /live fails.",
);
pub(super) const WAKES: Row =
    Row::counter("transceiver_shard_wakes_total", SHARD, "How often the shard's thread woke up.");
pub(super) const KERNEL_DROPS: Row = Row::counter(
    "transceiver_kernel_drops_total",
    SHARD,
    "Datagrams that the kernel dropped because the receive buffer of the shard's tunnel socket was \
     full.",
);
pub(super) const CALLS: Row = Row::gauge(
    "transceiver_calls",
    SHARD,
    "Calls that the shard has, and those that are on their way to it.",
);
pub(super) const CALLS_MAX: Row = Row::gauge(
    "transceiver_calls_per_shard_max",
    &[],
    "Calls that each shard takes: calls.per_shard_max.",
);
pub(super) const DRAINING: Row =
    Row::gauge("transceiver_draining", &[], "1 while no new calls are taken, otherwise 0.");
pub(super) const GENERATION: Row = Row::gauge(
    "transceiver_config_generation",
    &[],
    "How often the configuration was taken: 1 at start, one more with each reload that was good.",
);
pub(super) const UPTIME: Row =
    Row::gauge("transceiver_uptime_seconds", &[], "Time since the transceiver started.");
pub(super) const BUILD: Row = Row::gauge(
    "transceiver_build_info",
    &["version", "revision", "rustc", "kernel", "engine"],
    "Always 1; the labels say what is running, on which kernel, with which engine.",
);
pub(super) const ENGINE: Row = Row::gauge(
    "transceiver_engine_info",
    &["engine", "reason"],
    "Always 1; the labels say which engine was taken and why.",
);
pub(super) const IDENTITY: Row = Row::gauge(
    "transceiver_identity_info",
    &["cluster", "transceiver"],
    "Always 1; the labels say what the relays know this transceiver by.",
);

const BY_HAND: [Row; 13] = [
    CPU,
    BUSY,
    TICK_AGE,
    WAKES,
    KERNEL_DROPS,
    CALLS,
    CALLS_MAX,
    DRAINING,
    GENERATION,
    UPTIME,
    BUILD,
    ENGINE,
    IDENTITY,
];

/// What an engine's counter is called.
pub(super) fn engine_name(field: &str) -> String {
    format!("transceiver_engine_{field}_total")
}

pub(super) const fn kind(kind: SeriesKind) -> Kind {
    match kind {
        SeriesKind::Counter => Kind::Counter,
        SeriesKind::Gauge => Kind::Gauge,
    }
}

/// A shard's histogram as it is shown: shards count microseconds, metrics are in seconds.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: f64,
}

pub(super) fn shown(series: &HistogramSeries) -> Shown {
    match series.name.strip_suffix("_microseconds") {
        Some(base) => Shown {
            name: format!("{base}_seconds"),
            help: series.help.replacen("Microseconds", "Time", 1),
            unit: 1e-6,
        },
        None => Shown { name: series.name.to_owned(), help: series.help.to_owned(), unit: 1.0 },
    }
}

/// Every metric, in the order of the documentation.
pub fn all() -> Vec<Declaration> {
    let labels = |label: Option<(&'static str, &'static str)>| {
        SHARD.iter().copied().chain(label.map(|(label, _)| label)).collect()
    };
    let counters = Counters::series().map(|series| Declaration {
        name: series.name.to_owned(),
        kind: kind(series.kind),
        labels: labels(series.label),
        help: series.help.to_owned(),
    });
    let histograms = Counters::histograms().map(|series| {
        let Shown { name, help, .. } = shown(&series);
        Declaration { name, kind: Kind::Histogram, labels: labels(series.label), help }
    });
    let mut all: Vec<_> = counters.chain(histograms).collect();
    // The values of a label follow each other.
    all.dedup_by(|next, one| next.name == one.name);
    all.extend(BY_HAND.iter().map(Declaration::from));
    all.extend(Statistics::ROWS.iter().map(|(field, help)| Declaration {
        name: engine_name(field),
        kind: Kind::Counter,
        labels: vec!["shard", "engine"],
        help: help.trim().to_owned(),
    }));
    all.extend(signaling::Counters::ROWS.into_iter().map(Declaration::from));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_follow_the_rules() {
        service::metrics::strict::check_declarations("transceiver_", &all());
    }
}
