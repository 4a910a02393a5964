//! The result of a test as one value: what the JSON file holds, and what tables, plots and
//! comparisons are made of.
//!
//! The schema has a version. Fields may be added to it; nothing in it changes its meaning without a
//! new number. `docs` of each field here are its documentation; `README.md` has an example.

pub mod compare;
pub mod hdr;
pub mod html;
pub mod prometheus;
pub mod table;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::conduct::{Moment, Story};
use crate::host::Host;
use crate::measure::{Counts, Generator, Measurement, Summary, milliseconds, share};
use crate::plan::Mode;
use crate::slo::Slo;
use crate::verdict::{self, Limits, Verdict};

/// Name and version of the schema.
pub const SCHEMA: &str = "ringway-loadgen/1";

/// A whole test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// `flows` or `calls`.
    pub kind: String,
    /// How the test went.
    pub mode: Mode,
    /// What was loaded.
    pub target: String,
    /// The command line, without secrets.
    pub arguments: Vec<String>,
    /// When it began, in seconds since 1970.
    pub started_at_unix_s: u64,
    /// How long it took, with everything.
    pub elapsed_s: f64,
    /// Where the generator ran.
    pub host: Host,
    /// What the generator was.
    pub build: BuildInfo,
    /// How it moved datagrams.
    pub engine: String,
    /// Threads it used.
    pub threads: u32,
    /// The figures that objectives are held against: of the last step.
    pub result: Figures,
    /// Step by step.
    pub steps: Vec<Figures>,
    /// What a sweep or search found.
    pub finding: Option<String>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// The spectrum of round trips.
    pub spectrum: Vec<SpectrumPoint>,
    /// Objectives, and how they were met.
    pub objectives: Vec<ObjectiveResult>,
    /// Why the generator was the bottleneck; empty if it was not.
    pub bottlenecks: Vec<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// Somebody stopped it before its end.
    pub interrupted: bool,
}

/// A build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// The version of the workspace.
    pub version: String,
    /// The git revision.
    pub revision: String,
    /// The compiler.
    pub compiler: String,
}

/// The figures of one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Which step.
    pub label: String,
    /// Calls or flows wanted.
    pub load: u32,
    /// For how long it was measured.
    pub seconds: f64,
    /// Media packets sent per second.
    pub packets_per_second: f64,
    /// The share of media packets lost.
    pub loss: f64,
    /// The share lost on the way there, if the far end counts.
    pub loss_up: f64,
    /// The share of calls or flows that failed.
    pub failure_share: f64,
    /// Everything counted.
    pub counts: Counts,
    /// Round trips from when each packet was due.
    pub latency: Summary,
    /// What a closed loop would have reported: one at a time, from when it was sent.
    pub latency_uncorrected: Summary,
    /// One way there; only with a far end on the same host.
    pub up: Summary,
    /// One way back; the same.
    pub down: Summary,
    /// Round trips of connectivity checks.
    pub checks: Summary,
    /// Set-up by phase.
    pub phases: BTreeMap<String, Summary>,
    /// Failures by cause.
    pub failures: BTreeMap<String, u64>,
    /// The longest silence of each call.
    pub gap: Summary,
    /// The jitter of each call (RFC 3550).
    pub jitter: Summary,
    /// Median, 99th percentile and maximum of the calls' own shares of loss.
    pub call_loss: [f64; 3],
    /// How late the generator sent.
    pub lateness: Summary,
    /// What else the generator counts about itself.
    pub generator: Generator,
    /// How busy its threads were; one is all of each.
    pub generator_busy: f64,
}

/// One second of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Since the beginning.
    pub elapsed_s: f64,
    /// The step.
    pub step: String,
    /// Calls or flows.
    pub active: u32,
    /// Packets sent in it.
    pub sent: u64,
    /// Median round trip, if anything came back.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// The share lost.
    pub loss: f64,
}

/// A point of the spectrum: so much of all was no slower than this.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpectrumPoint {
    /// From 0 to 1.
    pub quantile: f64,
    /// From when packets were due.
    pub corrected_ms: f64,
    /// As a closed loop has it.
    pub uncorrected_ms: f64,
}

/// An objective and how it was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveResult {
    /// As on the command line: `p99`.
    pub metric: String,
    /// The most it may be, for people.
    pub limit: String,
    /// What it was; `None` if nothing was measured.
    pub value: Option<String>,
    /// Whether it was met.
    pub met: bool,
}

/// What a report says beside what was measured.
#[derive(Debug, Clone)]
pub struct About {
    /// `flows` or `calls`.
    pub kind: &'static str,
    /// How the test goes.
    pub mode: Mode,
    /// What is loaded.
    pub target: String,
    /// The command line, without secrets.
    pub arguments: Vec<String>,
    /// When it began.
    pub started_at: SystemTime,
    /// How datagrams are moved.
    pub engine: String,
    /// Threads used.
    pub threads: u32,
}

impl Report {
    /// Of a test that has ended.
    #[must_use]
    pub fn new(about: &About, story: &Story, slo: &Slo, limits: Limits) -> Self {
        let empty = Measurement::default();
        let last = story.steps.last().map_or(&empty, |chapter| &chapter.measurement);
        // A soak's minutes are one test; the steps of a sweep are many.
        let judged = match about.mode {
            Mode::Steady | Mode::Churn | Mode::Soak => &story.total,
            Mode::Sweep | Mode::Search => last,
        };
        let steps: Vec<Figures> = story
            .steps
            .iter()
            .map(|chapter| {
                let (label, load) = (&chapter.step.label, chapter.step.load);
                Figures::of(label, load, chapter.elapsed, &chapter.measurement)
            })
            .collect();
        let load = story.steps.last().map_or(0, |chapter| chapter.step.load);
        let elapsed = match about.mode {
            Mode::Steady | Mode::Churn | Mode::Soak => {
                story.steps.iter().map(|chapter| chapter.elapsed).sum()
            }
            Mode::Sweep | Mode::Search => {
                story.steps.last().map_or(Duration::ZERO, |chapter| chapter.elapsed)
            }
        };
        let bottlenecks = verdict::bottlenecks(judged, limits);
        // A sweep goes on until something gives, and a search judges each of its steps: neither is
        // missed by its last one.
        let verdict = match about.mode {
            Mode::Sweep | Mode::Search if judged.counts.sent > 0 => exploration(about, story),
            _ => verdict::verdict(judged, slo, !bottlenecks.is_empty()),
        };
        let build = service::build::Build::current();
        let started = about.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA.to_owned(),
            kind: about.kind.to_owned(),
            mode: about.mode,
            target: about.target.clone(),
            arguments: about.arguments.clone(),
            started_at_unix_s: started.as_secs(),
            elapsed_s: story.elapsed.as_secs_f64(),
            host: Host::current(),
            build: BuildInfo {
                version: build.version.to_owned(),
                revision: build.revision.to_owned(),
                compiler: build.compiler.to_owned(),
            },
            engine: about.engine.clone(),
            threads: about.threads,
            result: Figures::of("result", load, elapsed, judged),
            steps,
            finding: story.finding.clone(),
            seconds: story.seconds.iter().map(Second::of).collect(),
            spectrum: spectrum(&judged.latency.corrected, &judged.latency.uncorrected),
            objectives: objectives(slo, judged),
            bottlenecks,
            verdict,
            interrupted: story.interrupted,
        }
    }
}

/// A search has missed its objectives if no load met them. Neither it nor a sweep says anything of
/// the target if the generator gave out first.
fn exploration(about: &About, story: &Story) -> Verdict {
    let found_none = story.finding.as_ref().is_some_and(|finding| finding.starts_with("not even"));
    match about.mode {
        _ if story.generator_gave_out => Verdict::Bottleneck,
        Mode::Search if found_none => Verdict::Missed,
        _ => Verdict::Met,
    }
}

fn objectives(slo: &Slo, of: &Measurement) -> Vec<ObjectiveResult> {
    slo.0
        .iter()
        .map(|objective| {
            let (met, value) = objective.judge(of);
            ObjectiveResult {
                metric: objective.metric.to_string(),
                limit: objective.show(objective.limit),
                value: value.map(|value| objective.show(value)),
                met,
            }
        })
        .collect()
}

impl Figures {
    fn of(label: &str, load: u32, elapsed: Duration, of: &Measurement) -> Self {
        let counts = of.counts;
        let judged = counts.back + counts.lost;
        let seconds = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let packets_per_second = if seconds > 0.0 { counts.sent as f64 / seconds } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "at most a million")]
        let call_loss = [0.5, 0.99, 1.0].map(|quantile| {
            let ppm = &of.call_loss_ppm;
            if ppm.is_empty() { 0.0 } else { ppm.value_at_quantile(quantile) as f64 / 1e6 }
        });
        Self {
            label: label.to_owned(),
            load,
            seconds,
            packets_per_second,
            loss: of.loss(),
            loss_up: share(counts.lost_up, judged),
            failure_share: of.failure_share(),
            counts,
            latency: Summary::of(&of.latency.corrected),
            latency_uncorrected: Summary::of(&of.latency.uncorrected),
            up: Summary::of(&of.up),
            down: Summary::of(&of.down),
            checks: Summary::of(&of.checks),
            phases: of
                .phases
                .iter()
                .map(|(phase, times)| ((*phase).to_owned(), Summary::of(times)))
                .collect(),
            failures: of
                .failures
                .iter()
                .map(|(cause, count)| ((*cause).to_owned(), *count))
                .collect(),
            gap: Summary::of(&of.gaps),
            jitter: Summary::of(&of.jitter),
            call_loss,
            lateness: Summary::of(&of.lateness),
            generator: of.generator,
            generator_busy: of.busy(),
        }
    }
}

impl Second {
    fn of(moment: &Moment) -> Self {
        Self {
            elapsed_s: moment.elapsed.as_secs_f64(),
            step: moment.step.clone(),
            active: moment.active,
            sent: moment.sent,
            p50_ms: moment.p50.map(milliseconds),
            p99_ms: moment.p99.map(milliseconds),
            loss: moment.loss,
        }
    }
}

/// Both histograms at the same quantiles, ever closer to one.
fn spectrum(corrected: &Histogram<u64>, uncorrected: &Histogram<u64>) -> Vec<SpectrumPoint> {
    if corrected.is_empty() {
        return Vec::new();
    }
    let mut points = Vec::new();
    let mut rest = 1.0;
    // Ten points for every half of what is left, down to the last value there is.
    #[expect(clippy::cast_precision_loss, reason = "where to stop needs no precision")]
    let least = 0.5 / corrected.len() as f64;
    while rest > least {
        for part in 0..10 {
            let quantile = 1.0 - rest * (1.0 - f64::from(part) / 20.0);
            points.push(quantile);
        }
        rest /= 2.0;
    }
    points.push(1.0);
    points
        .into_iter()
        .map(|quantile| SpectrumPoint {
            quantile,
            corrected_ms: milliseconds(corrected.value_at_quantile(quantile)),
            uncorrected_ms: milliseconds(uncorrected.value_at_quantile(quantile)),
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
