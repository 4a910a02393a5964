//! The text format of Prometheus, read as strictly as it is written down (exposition formats,
//! "text-based format"), and the rules for names: for tests, so it panics with what is wrong.

use super::{Declaration, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// A metric as the text has it.
#[derive(Debug, Default, PartialEq)]
pub struct Family {
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub help: String,
    /// Value by full series: `name{label="value"}`, labels sorted.
    pub samples: BTreeMap<String, f64>,
}

/// Reads a whole text. Panics with the line that breaks a rule.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            check_name(name);
            assert!(!families.contains_key(name), "all lines of a metric are one group: {line}");
            name.clone_into(&mut current);
            let help = help.to_owned();
            families.insert(current.clone(), Family { help, ..Family::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, current, "TYPE follows its HELP: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = families.get_mut(name).expect(line);
            assert!(family.kind.is_empty() && family.samples.is_empty(), "{line}");
            kind.clone_into(&mut family.kind);
        } else {
            assert!(!line.starts_with('#'), "no other comments: {line}");
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).expect(line);
            let base = if family.kind == "histogram" { base(name) } else { name };
            assert_eq!(base, current, "a sample stands in its metric's group: {line}");
            let before = family.samples.insert(format!("{name}{labels:?}"), value);
            assert_eq!(before, None, "a series stands there once: {line}");
            if family.kind == "counter" {
                assert!(value >= 0.0, "{line}");
            }
        }
    }
    families.values().filter(|family| family.kind == "histogram").for_each(check_histogram);
    families
}

fn base(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).expect(name)
}

fn check_name(name: &str) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    assert!(!name.is_empty() && name.bytes().all(good), "{name}");
    assert!(!name.starts_with(|first: char| first.is_ascii_digit()), "{name}");
}

/// `name{label="value",…} number`: name, labels, number.
fn sample(line: &str) -> (&str, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    check_name(name);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"").expect(line);
            check_name(label);
            let (value, after) = unescape(after, line);
            assert_eq!(labels.insert(label.to_owned(), value), None, "label twice: {line}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            inside = after.strip_prefix(',').expect(line);
        }
    }
    let number = rest.strip_prefix(' ').expect(line);
    assert!(!number.contains(' '), "no timestamps: {line}");
    let number: f64 = number.parse().expect(line);
    assert!(number.is_finite(), "{line}");
    (name, labels, number)
}

/// A label's value up to its quote, and what stands behind it.
fn unescape<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect(line).1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => panic!("\\{other} is no escape: {line}"),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote: {line}");
}

/// Every set of buckets grows, ends with +Inf, and that equals its count.
fn check_histogram(family: &Family) {
    let mut sets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let mut sums = BTreeSet::new();
    for (series, value) in &family.samples {
        let (name, labels) = series.split_once('{').expect(series);
        if name.ends_with("_bucket") {
            let (before, after) = labels.split_once("\"le\": \"").expect(series);
            let (bound, after) = after.split_once('"').expect(series);
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect(series) };
            let set = format!("{before}{}", after.trim_start_matches(", "));
            sets.entry(set).or_default().push((bound, *value));
        } else if name.ends_with("_count") {
            counts.insert(labels.to_owned(), *value);
        } else {
            sums.insert(labels.to_owned());
        }
    }
    assert_eq!(sets.len(), counts.len());
    assert!(sets.keys().eq(counts.keys()) && sums.iter().eq(counts.keys()), "{sets:?} {counts:?}");
    for (labels, buckets) in &mut sets {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{labels}: {buckets:?}");
        assert_eq!(buckets.last().map(|last| last.0), Some(f64::INFINITY), "{labels}");
        assert_eq!(buckets.last().map(|last| last.1), counts.get(labels).copied(), "{labels}");
    }
}

/// Metrics have distinct names that follow the rules, all begin with `prefix`, and are explained.
pub fn check_declarations(prefix: &str, all: &[Declaration]) {
    for (index, metric) in all.iter().enumerate() {
        let name = metric.name.as_str();
        assert!(name.starts_with(prefix), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        assert!(!metric.help.contains("  "), "{name}: {}", metric.help);
        assert!(all[index + 1..].iter().all(|other| other.name != name), "{name} twice");
        for unit in ["_ms", "_us", "_ns", "millis", "micros"] {
            assert!(!name.contains(unit), "{name}: base units only");
        }
    }
}
