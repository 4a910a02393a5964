//! Runs a plan: gives the orders of its steps in time, gathers what the threads hand in, and keeps
//! the story of the test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use engine::clock::monotonic_ns;
use hdrhistogram::Histogram;

use crate::control::{Control, Order, Window};
use crate::measure::{Measurement, Nanoseconds, SECOND, histogram, nanoseconds};
use crate::plan::{Outcome, Plan, Step};
use crate::slo::Slo;
use crate::verdict::{self, Limits};

/// What happened.
#[derive(Debug, Default)]
pub struct Story {
    /// Step by step.
    pub steps: Vec<Chapter>,
    /// Second by second.
    pub seconds: Vec<Moment>,
    /// Everything, settling times included.
    pub total: Measurement,
    /// How long it took.
    pub elapsed: Duration,
    /// Somebody stopped it before its end.
    pub interrupted: bool,
    /// What a sweep or search has found.
    pub finding: Option<String>,
    /// A sweep or search ended because the generator did not manage.
    pub generator_gave_out: bool,
    /// Round trips of each second, for interval logs.
    pub intervals: Vec<Histogram<u64>>,
}

/// A step and what was measured in it.
#[derive(Debug)]
pub struct Chapter {
    /// The step.
    pub step: Step,
    /// Its figures.
    pub measurement: Measurement,
    /// For how long it was measured.
    pub elapsed: Duration,
}

/// The state of a test in some second of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Since the beginning.
    pub elapsed: Duration,
    /// The step it is in.
    pub step: String,
    /// Calls or flows.
    pub active: u32,
    /// Packets sent in this second.
    pub sent: u64,
    /// Packets that came back in this second, in nanoseconds.
    pub p50: Option<Nanoseconds>,
    /// The same.
    pub p99: Option<Nanoseconds>,
    /// The share lost, of those judged in this second.
    pub loss: f64,
    /// Failures so far.
    pub failed: u64,
}

/// How the threads are reached.
#[derive(Debug)]
pub struct Threads<'a> {
    /// Orders to them.
    pub control: &'a Control,
    /// Measurements from them.
    pub windows: &'a Receiver<Window>,
    /// Set by somebody who wants it to end now.
    pub stop: &'a AtomicBool,
}

/// After the last order, threads have this long to end.
const ENDING: Duration = Duration::from_secs(20);

struct Conductor<'a> {
    threads: Threads<'a>,
    story: Story,
    began: Nanoseconds,
    epoch: u64,
    /// The epochs that are measured, and which chapter they belong to.
    chapters: BTreeMap<u64, usize>,
    active: BTreeMap<u32, u32>,
    second: Measurement,
    next_second: Nanoseconds,
    label: String,
    watch: &'a mut dyn FnMut(&Moment, &Measurement),
}

/// Runs the whole plan. `watch` is shown every second.
pub fn conduct(
    mut plan: Plan,
    slo: &Slo,
    limits: Limits,
    threads: Threads<'_>,
    watch: &mut dyn FnMut(&Moment, &Measurement),
) -> anyhow::Result<Story> {
    let began = monotonic_ns();
    let mut conductor = Conductor {
        threads,
        story: Story::default(),
        began,
        epoch: 0,
        chapters: BTreeMap::new(),
        active: BTreeMap::new(),
        second: Measurement::default(),
        next_second: began + SECOND,
        label: String::new(),
        watch,
    };
    let mut last = None;
    while let Some(step) = plan.next(last.as_ref()) {
        conductor.step(step)?;
        if conductor.story.interrupted {
            break;
        }
        last = conductor.story.steps.last().map(|chapter| outcome(chapter, slo, limits));
    }
    conductor.end()?;
    let mut story = conductor.story;
    story.elapsed = Duration::from_nanos(monotonic_ns() - began);
    story.finding = plan.finding().map(str::to_owned);
    story.generator_gave_out = plan.generator_gave_out();
    Ok(story)
}

fn outcome(chapter: &Chapter, slo: &Slo, limits: Limits) -> Outcome {
    let measured = &chapter.measurement;
    let corrected = &measured.latency.corrected;
    let at = |quantile| {
        (!corrected.is_empty())
            .then(|| crate::measure::milliseconds(corrected.value_at_quantile(quantile)))
    };
    Outcome {
        loss: measured.loss(),
        failures: measured.failure_share(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        met: slo.0.iter().all(|objective| objective.judge(measured).0),
        bottleneck: !verdict::bottlenecks(measured, limits).is_empty(),
    }
}

impl Conductor<'_> {
    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        self.label.clone_from(&step.label);
        let order = Order {
            wanted: step.load,
            from: monotonic_ns(),
            spread: nanoseconds(step.spread),
            churn_per_second: step.churn_per_second,
            ..Order::default()
        };
        if !step.settle.is_zero() {
            self.epoch = self.threads.control.order(order);
            self.gather_for(step.settle)?;
        }
        // Those that arrive have arrived if there was time to settle.
        let spread = if step.settle.is_zero() { order.spread } else { 0 };
        let order = Order { from: monotonic_ns(), spread, ..order };
        self.epoch = self.threads.control.order(order);
        self.chapters.insert(self.epoch, self.story.steps.len());
        let measure = step.measure;
        let measurement = Measurement::default();
        self.story.steps.push(Chapter { step, measurement, elapsed: Duration::ZERO });
        let from = monotonic_ns();
        self.gather_for(measure)?;
        if let Some(chapter) = self.story.steps.last_mut() {
            chapter.elapsed = Duration::from_nanos(monotonic_ns() - from);
        }
        // What the threads hand in at the next order still belongs here.
        Ok(())
    }

    fn gather_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = monotonic_ns() + nanoseconds(time);
        loop {
            let now = monotonic_ns();
            if now >= end || self.story.interrupted {
                return Ok(());
            }
            if self.threads.stop.load(Ordering::Relaxed) {
                self.story.interrupted = true;
            }
            let wait = Duration::from_nanos(end - now).min(Duration::from_millis(50));
            match self.threads.windows.recv_timeout(wait) {
                Ok(window) => self.take(&window),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all threads have ended"),
            }
            self.tell();
        }
    }

    /// Stops the threads and gathers what is left.
    fn end(&mut self) -> anyhow::Result<()> {
        self.label = "ending".to_owned();
        let from = monotonic_ns();
        let order = Order { from, stop: true, ..Order::default() };
        let last = self.threads.control.order(order);
        // What ends now was begun, and mostly measured, in the last step.
        if let Some(index) = self.story.steps.len().checked_sub(1) {
            self.chapters.insert(last, index);
        }
        let deadline = from + nanoseconds(ENDING);
        loop {
            match self.threads.windows.recv_timeout(Duration::from_millis(50)) {
                Ok(window) => self.take(&window),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if monotonic_ns() > deadline => {
                    bail!("threads did not end within {} s", ENDING.as_secs())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, window: &Window) {
        self.active.insert(window.worker, window.active);
        self.second.merge(&window.measurement);
        self.story.total.merge(&window.measurement);
        if let Some(index) = self.chapters.get(&window.epoch) {
            self.story.steps[*index].measurement.merge(&window.measurement);
        }
    }

    fn tell(&mut self) {
        let now = monotonic_ns();
        if now < self.next_second {
            return;
        }
        self.next_second = now + SECOND;
        let second = std::mem::take(&mut self.second);
        let round_trips = &second.latency.corrected;
        let at =
            |quantile| (!round_trips.is_empty()).then(|| round_trips.value_at_quantile(quantile));
        let moment = Moment {
            elapsed: Duration::from_nanos(now - self.began),
            step: self.label.clone(),
            active: self.active.values().sum(),
            sent: second.counts.sent,
            p50: at(0.5),
            p99: at(0.99),
            loss: second.loss(),
            failed: self.story.total.failed(),
        };
        (self.watch)(&moment, &self.story.total);
        self.story.seconds.push(moment);
        let mut interval = histogram();
        let _ = interval.add(round_trips);
        self.story.intervals.push(interval);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::channel::bounded;

    use super::*;
    use crate::measure::record;
    use crate::plan::{Mode, Settings};

    /// A thread that pretends to measure: what it hands in depends on how much is ordered alone.
    fn pretend(capacity: u32, mode: Mode) -> Story {
        let control = Arc::new(Control::default());
        let (sender, windows) = bounded(100);
        let stop = AtomicBool::new(false);
        let settings = Settings {
            mode,
            load: 64,
            duration: Duration::from_millis(60),
            ramp: Duration::ZERO,
            churn_per_second: 0.0,
            sweep_steps: 4,
            settle: Duration::from_millis(20),
        };
        let threads = Threads { control: &control, windows: &windows, stop: &stop };
        let slo = "loss=1%,p99=20ms".parse().unwrap();
        std::thread::scope(|scope| {
            let control = &control;
            scope.spawn(move || {
                let mut order = Order::default();
                while !order.stop {
                    if let Some(newer) = control.newer_than(order.epoch) {
                        order = newer;
                    }
                    let mut measurement = Measurement::default();
                    measurement.counts.back = 90;
                    measurement.counts.lost = if order.wanted > capacity { 10 } else { 0 };
                    record(&mut measurement.latency.corrected, 1_000_000);
                    let (worker, epoch) = (0, order.epoch);
                    sender
                        .send(Window { worker, epoch, active: order.wanted, measurement })
                        .unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            conduct(Plan::new(settings), &slo, Limits::FLOWS, threads, &mut |_, _| ()).unwrap()
        })
    }

    #[test]
    fn a_search_is_conducted_to_its_finding() {
        let story = pretend(20, Mode::Search);
        assert_eq!(story.finding.as_deref(), Some("20 met the objectives, 21 did not"));
        assert!(!story.interrupted && story.steps.len() > 4);
        assert!(story.total.counts.lost > 0);
    }

    #[test]
    fn a_steps_figures_are_its_own() {
        let story = pretend(33, Mode::Sweep);
        let loads: Vec<_> = story.steps.iter().map(|chapter| chapter.step.load).collect();
        assert_eq!(loads, [16, 32, 48], "{:?}", story.finding);
        for chapter in &story.steps {
            let counts = &chapter.measurement.counts;
            assert!(counts.back > 0);
            // The end of the test is counted to its last step, and that order wants nothing.
            assert_eq!(counts.lost > 0, chapter.step.load > 33, "{counts:?}");
        }
    }
}
