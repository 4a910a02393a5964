use super::*;
use crate::conduct::Chapter;
use crate::measure::record;
use crate::plan::Step;

/// A story with known figures: `p99_ms` is the slowest hundredth.
pub(crate) fn story(p99_ms: u64, lost: u64) -> Story {
    let counts = Counts {
        sent: 1000,
        back: 1000 - lost,
        lost,
        started: 4,
        connected: 4,
        ..Counts::default()
    };
    let mut total = Measurement { counts, ..Measurement::default() };
    for index in 0..1000 {
        let latency = if index < 980 { 2_000_000 } else { p99_ms * 1_000_000 };
        record(&mut total.latency.corrected, latency);
        record(&mut total.latency.uncorrected, 2_000_000);
        record(&mut total.gaps, 40_000_000);
    }
    total.phase("total", 30_000_000);
    total.failure("no answer to any check");
    let step = |label: &str, load| Step {
        label: label.to_owned(),
        load,
        churn_per_second: 0.0,
        spread: Duration::ZERO,
        settle: Duration::ZERO,
        measure: Duration::from_secs(10),
    };
    let moment = |second, p99| Moment {
        elapsed: Duration::from_secs(second),
        step: "steady".into(),
        active: 4,
        sent: 100,
        p50: Some(2_000_000),
        p99,
        loss: 0.0,
        failed: 0,
    };
    let chapter = |label, load| Chapter {
        step: step(label, load),
        measurement: total.clone(),
        elapsed: Duration::from_secs(10),
    };
    Story {
        steps: vec![chapter("2", 2), chapter("4", 4)],
        seconds: vec![
            moment(1, Some(3_000_000)),
            moment(2, None),
            moment(3, Some(p99_ms * 1_000_000)),
        ],
        intervals: vec![total.latency.corrected.clone(); 3],
        total,
        elapsed: Duration::from_secs(21),
        interrupted: false,
        finding: None,
        generator_gave_out: false,
    }
}

pub(crate) fn about(mode: Mode) -> About {
    About {
        kind: "flows",
        mode,
        target: "127.0.0.1:3478".into(),
        arguments: vec!["flows".into(), "--relay".into(), "127.0.0.1:3478".into()],
        started_at: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        engine: "uring".into(),
        threads: 1,
    }
}

pub(crate) fn report(p99_ms: u64, lost: u64) -> Report {
    let slo = "p99=20ms,loss=1%".parse().unwrap();
    Report::new(&about(Mode::Steady), &story(p99_ms, lost), &slo, Limits::FLOWS)
}

#[test]
fn a_report_survives_its_file() {
    let report = report(50, 5);
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(text.contains("\"schema\": \"ringway-loadgen/1\""));
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!((read.verdict, read.mode), (report.verdict, report.mode));
    assert_eq!(read.result.counts, report.result.counts);
    assert_eq!(read.result.failures, report.result.failures);
    assert_eq!((read.steps.len(), read.seconds.len()), (2, 3));
    assert_eq!(read.spectrum.len(), report.spectrum.len());
    assert!((read.result.latency.p99_ms - 50.0).abs() < 0.1);
}

#[test]
fn objectives_decide_the_verdict() {
    let missed = report(50, 5);
    let met: Vec<bool> = missed.objectives.iter().map(|objective| objective.met).collect();
    assert_eq!((met, missed.verdict), (vec![false, true], Verdict::Missed));
    assert_eq!(report(5, 5).verdict, Verdict::Met);
    assert_eq!(report(5, 50).verdict, Verdict::Missed);
}

#[test]
fn a_sweep_is_not_missed_by_its_overload() {
    let slo = "p99=20ms".parse().unwrap();
    let mut story = story(900, 500);
    let of = |story: &Story, mode| Report::new(&about(mode), story, &slo, Limits::FLOWS).verdict;
    assert_eq!(of(&story, Mode::Sweep), Verdict::Met);
    assert_eq!(of(&story, Mode::Search), Verdict::Met);
    story.finding = Some("not even 1 met the objectives".into());
    assert_eq!(of(&story, Mode::Search), Verdict::Missed);
    story.generator_gave_out = true;
    assert_eq!(of(&story, Mode::Sweep), Verdict::Bottleneck);
    assert_eq!(of(&story, Mode::Search), Verdict::Bottleneck);
}

#[test]
fn the_spectrum_rises_to_the_maximum() {
    let spectrum = report(50, 0).spectrum;
    assert!(spectrum.is_sorted_by_key(|point| point.corrected_ms));
    assert!(spectrum.is_sorted_by_key(|point| point.quantile));
    let last = spectrum.last().unwrap();
    assert!(last.quantile >= 1.0 && (last.corrected_ms - 50.0).abs() < 0.1);
    assert!((last.uncorrected_ms - 2.0).abs() < 0.1);
}
