//! Which load is put on when: the modes of the command line as a sequence of steps. No clock: the
//! caller runs a step, says what came out, and asks for the next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A stretch of constant load.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is, for tables.
    pub label: String,
    /// Calls or flows at a time.
    pub load: u32,
    /// Calls or flows that leave and arrive per second.
    pub churn_per_second: f64,
    /// Over how long those that are missing arrive.
    pub spread: Duration,
    /// Time before measuring, so that a change of load is not measured with it.
    pub settle: Duration,
    /// Time of measuring.
    pub measure: Duration,
}

/// What came out of a step, as far as it decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The share of packets lost.
    pub loss: f64,
    /// The share of calls or flows that failed.
    pub failures: f64,
    /// Median round trip; nothing came back if there is none.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the round trip.
    pub p99_ms: Option<f64>,
    /// Every objective was met.
    pub met: bool,
    /// The generator did not manage.
    pub bottleneck: bool,
}

/// How a test goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One load.
    Steady,
    /// One load for hours, in stretches that are compared.
    Soak,
    /// One load whose calls come and go.
    Churn,
    /// From low to high, up to where latency leaves the floor.
    Sweep,
    /// The highest load that meets the objectives.
    Search,
}

/// What the command line says about load and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The mode.
    pub mode: Mode,
    /// Calls or flows; for sweep and search the most.
    pub load: u32,
    /// All time, or of each step for sweep and search.
    pub duration: Duration,
    /// Over how long they arrive.
    pub ramp: Duration,
    /// Calls or flows that leave and arrive per second, in churn.
    pub churn_per_second: f64,
    /// Steps of a sweep.
    pub sweep_steps: u32,
    /// Settling time of a step in sweep and search.
    pub settle: Duration,
}

/// The sequence of steps.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    steps: u32,
    /// Median of the lightest step: the floor that a knee rises from.
    floor_ms: Option<f64>,
    /// For the search: the highest good load, the lowest bad one, the one being tried.
    good: u32,
    bad: u32,
    trying: u32,
    /// Why no step follows.
    ended: Option<String>,
    /// It ended because the generator did not manage.
    gave_out: bool,
}

/// A step of a soak.
const SOAK_STEP: Duration = Duration::from_secs(60);
/// Loss that counts as beyond the knee.
const KNEE_LOSS: f64 = 0.01;
/// Rise of the median over the floor that counts as beyond the knee.
const KNEE_RISE: f64 = 4.0;
/// Medians below this are noise, and no multiple of them is a knee.
const KNEE_LEAST_MS: f64 = 5.0;

impl Plan {
    /// The plan of these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let bad = settings.load.saturating_add(1);
        Self {
            settings,
            steps: 0,
            floor_ms: None,
            good: 0,
            bad,
            trying: 0,
            ended: None,
            gave_out: false,
        }
    }

    /// The next step, if there is one, given what came out of the last.
    pub fn next(&mut self, last: Option<&Outcome>) -> Option<Step> {
        let step = match self.settings.mode {
            Mode::Steady => self.once("steady"),
            Mode::Churn => self.once("churn"),
            Mode::Soak => self.soak(),
            Mode::Sweep => self.sweep(last),
            Mode::Search => self.search(last),
        };
        self.steps += 1;
        step
    }

    /// What a sweep or a search has found, once it has ended.
    #[must_use]
    pub fn finding(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Whether it ended because the generator did not manage, not the target.
    #[must_use]
    pub fn generator_gave_out(&self) -> bool {
        self.gave_out
    }

    /// The highest good load that a search has found.
    #[must_use]
    pub fn highest_good(&self) -> Option<u32> {
        (self.settings.mode == Mode::Search && self.good > 0).then_some(self.good)
    }

    /// How long the whole will take at the longest, as far as that is known.
    #[must_use]
    pub fn duration_max(&self) -> Duration {
        let Settings { duration, settle, ramp, sweep_steps, load, .. } = &self.settings;
        match self.settings.mode {
            Mode::Steady | Mode::Churn | Mode::Soak => *duration,
            Mode::Sweep => (*duration + *settle + *ramp) * *sweep_steps,
            Mode::Search => (*duration + *settle + *ramp) * (u32::BITS - load.leading_zeros() + 1),
        }
    }

    fn once(&mut self, label: &str) -> Option<Step> {
        let step = self.step(label.to_owned(), self.settings.load, Duration::ZERO);
        (self.steps == 0).then_some(step)
    }

    fn soak(&self) -> Option<Step> {
        let done = SOAK_STEP * self.steps;
        let left = self.settings.duration.checked_sub(done).filter(|left| !left.is_zero())?;
        let label = format!("minute {}", self.steps + 1);
        let step = self.step(label, self.settings.load, Duration::ZERO);
        Some(Step { measure: left.min(SOAK_STEP), ..step })
    }

    fn sweep(&mut self, last: Option<&Outcome>) -> Option<Step> {
        if let Some(last) = last {
            if last.bottleneck {
                self.gave_out = true;
                self.ended = Some(format!(
                    "no knee below {}, and there the generator itself gave out",
                    self.trying
                ));
                return None;
            }
            let beyond = beyond_the_knee(last, self.floor_ms);
            self.floor_ms = self.floor_ms.or(last.p50_ms);
            if let Some(why) = beyond {
                self.ended = Some(format!("the knee is at or below {} ({why})", self.trying));
                return None;
            }
        }
        let index = self.steps + 1;
        if index > self.settings.sweep_steps {
            self.ended = Some(format!("no knee up to {}", self.settings.load));
            return None;
        }
        // Rounded up, so that the lightest step is some load, and the last is all of it.
        let part = u64::from(self.settings.load) * u64::from(index);
        let load = part.div_ceil(u64::from(self.settings.sweep_steps));
        self.trying = u32::try_from(load).unwrap_or(u32::MAX);
        Some(self.step(format!("{}", self.trying), self.trying, self.settings.settle))
    }

    fn search(&mut self, last: Option<&Outcome>) -> Option<Step> {
        if let Some(last) = last {
            if last.bottleneck && !last.met {
                self.gave_out = true;
                self.ended = Some(format!(
                    "the generator gave out at {}; the target managed {}",
                    self.trying, self.good
                ));
                return None;
            }
            if last.met {
                self.good = self.trying;
            } else {
                self.bad = self.trying;
            }
        }
        let resolution = (self.settings.load / 64).max(1);
        if self.bad.saturating_sub(self.good) <= resolution || self.good == self.settings.load {
            self.ended = Some(match (self.good, self.good == self.settings.load) {
                (0, _) => format!("not even {} met the objectives", self.bad),
                (good, true) => format!("all {good} met the objectives: the limit is higher"),
                (good, false) => format!("{good} met the objectives, {} did not", self.bad),
            });
            return None;
        }
        // Everything first: if that is met, there is nothing to search.
        self.trying = if self.steps == 0 {
            self.settings.load
        } else {
            self.good + (self.bad - self.good) / 2
        };
        Some(self.step(format!("{}", self.trying), self.trying, self.settings.settle))
    }

    fn step(&self, label: String, load: u32, settle: Duration) -> Step {
        let Settings { ramp, churn_per_second, duration, mode, .. } = self.settings;
        let churn_per_second = if mode == Mode::Churn { churn_per_second } else { 0.0 };
        // What arrives during a settled step's ramp is part of settling.
        let settle = if settle.is_zero() { settle } else { settle + ramp };
        Step { label, load, churn_per_second, spread: ramp, settle, measure: duration }
    }
}

fn beyond_the_knee(outcome: &Outcome, floor_ms: Option<f64>) -> Option<String> {
    if outcome.loss > KNEE_LOSS {
        return Some(format!("loss {}", crate::slo::percent(outcome.loss)));
    }
    let (floor, now) = (floor_ms?, outcome.p50_ms?);
    (now > KNEE_LEAST_MS && now > floor * KNEE_RISE)
        .then(|| format!("median {now:.1} ms from {floor:.1} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: Mode, load: u32) -> Settings {
        Settings {
            mode,
            load,
            duration: Duration::from_secs(150),
            ramp: Duration::from_secs(1),
            churn_per_second: 5.0,
            sweep_steps: 10,
            settle: Duration::from_secs(2),
        }
    }

    /// A target that is good up to its capacity: tries a plan on it.
    fn run(plan: &mut Plan, capacity: u32) -> Vec<u32> {
        let mut loads = Vec::new();
        let mut last = None;
        while let Some(step) = plan.next(last.as_ref()) {
            loads.push(step.load);
            assert!(loads.len() < 100, "a plan ends");
            let met = step.load <= capacity;
            let loss = if met { 0.0 } else { 0.2 };
            let p50_ms = Some(if met { 1.0 } else { 80.0 });
            let outcome =
                Outcome { loss, failures: 0.0, p50_ms, p99_ms: p50_ms, met, bottleneck: false };
            last = Some(outcome);
        }
        loads
    }

    #[test]
    fn steady_and_churn_are_one_step() {
        let mut plan = Plan::new(settings(Mode::Steady, 50));
        let step = plan.next(None).unwrap();
        assert_eq!((step.load, step.measure.as_secs(), step.settle.as_secs()), (50, 150, 0));
        assert!(step.churn_per_second.abs() < 1e-9);
        assert_eq!(plan.next(None), None);
        let step = Plan::new(settings(Mode::Churn, 50)).next(None).unwrap();
        assert!((step.churn_per_second - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_soak_is_cut_into_minutes() {
        let mut plan = Plan::new(settings(Mode::Soak, 50));
        let times: Vec<_> =
            std::iter::from_fn(|| plan.next(None)).map(|s| s.measure.as_secs()).collect();
        assert_eq!(times, [60, 60, 30]);
    }

    #[test]
    fn a_sweep_ends_behind_the_knee() {
        let mut plan = Plan::new(settings(Mode::Sweep, 100));
        assert_eq!(run(&mut plan, 45), [10, 20, 30, 40, 50]);
        assert!(plan.finding().unwrap().contains("at or below 50"), "{:?}", plan.finding());
        let mut plan = Plan::new(settings(Mode::Sweep, 100));
        assert_eq!(run(&mut plan, 1000).len(), 10);
        assert_eq!(plan.finding(), Some("no knee up to 100"));
        let mut few = Plan::new(settings(Mode::Sweep, 3));
        assert_eq!(run(&mut few, 9), [1, 1, 1, 2, 2, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn a_search_finds_the_capacity_within_its_resolution() {
        for capacity in [1, 2, 17, 63, 500, 777, 999] {
            let mut plan = Plan::new(settings(Mode::Search, 1000));
            run(&mut plan, capacity);
            let found = plan.highest_good().unwrap_or(0);
            assert!(found <= capacity && capacity - found <= 15, "{capacity}: {found}");
        }
        let mut all = Plan::new(settings(Mode::Search, 1000));
        assert_eq!(run(&mut all, 5000), [1000], "one step, if everything is met");
        assert!(all.finding().unwrap().contains("the limit is higher"));
        let mut none = Plan::new(settings(Mode::Search, 64));
        run(&mut none, 0);
        assert_eq!(none.highest_good(), None);
        assert!(none.finding().unwrap().contains("not even"), "{:?}", none.finding());
    }

    #[test]
    fn a_generator_that_gives_out_is_not_the_targets_limit() {
        let gave_out = Outcome {
            loss: 0.3,
            failures: 0.0,
            p50_ms: None,
            p99_ms: None,
            met: false,
            bottleneck: true,
        };
        for mode in [Mode::Search, Mode::Sweep] {
            let mut plan = Plan::new(settings(mode, 1000));
            plan.next(None).unwrap();
            assert_eq!(plan.next(Some(&gave_out)), None);
            assert!(plan.finding().unwrap().contains("generator"), "{:?}", plan.finding());
            assert!(plan.generator_gave_out());
        }
    }

    #[test]
    fn how_long_it_can_take_covers_what_it_takes() {
        for mode in [Mode::Steady, Mode::Churn, Mode::Soak, Mode::Sweep, Mode::Search] {
            let mut plan = Plan::new(settings(mode, 1000));
            let promised = plan.duration_max();
            let mut total = Duration::ZERO;
            let mut last = None;
            while let Some(step) = plan.next(last.as_ref()) {
                total += step.settle + step.measure;
                let met = step.load <= 333;
                last = Some(Outcome {
                    loss: 0.0,
                    failures: 0.0,
                    p50_ms: Some(1.0),
                    p99_ms: Some(1.0),
                    met,
                    bottleneck: false,
                });
            }
            assert!(total <= promised, "{mode:?}: {total:?} of {promised:?}");
        }
    }
}
