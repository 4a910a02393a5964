//! The file formats of HdrHistogram, for its plotters: `.hgrm` is one percentile distribution,
//! `.hlog` one histogram per second.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::measure::milliseconds;

/// Half the distances between two points, from tick to tick.
const TICKS_PER_HALF: u32 = 5;

/// The percentile distribution, in milliseconds.
#[must_use]
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for value in histogram.iter_quantiles(TICKS_PER_HALF) {
        let quantile = value.quantile_iterated_to();
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "{:>12.3} {:>14.12} {:>10}",
            milliseconds(value.value_iterated_to()),
            quantile,
            histogram.count_between(0, value.value_iterated_to())
        );
        let _ = match quantile < 1.0 {
            true => writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text),
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
        histogram.mean() / 1e6,
        histogram.stdev() / 1e6
    );
    let _ = writeln!(
        text,
        "#[Max     = {:>12.3}, Total count    = {:>12}]",
        milliseconds(histogram.max()),
        histogram.len()
    );
    let _ =
        writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", histogram.buckets(), 2048);
    text
}

/// An interval log, one histogram per second, in nanoseconds.
pub fn hlog(intervals: &[Histogram<u64>], started_at: SystemTime) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("Ringway round trips, corrected, one interval a second, nanoseconds")
        .with_start_time(started_at)
        .with_base_time(started_at)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut bytes, &mut serializer)
        .context("Failed to begin an interval log")?;
    let mut at = Duration::ZERO;
    for interval in intervals {
        writer
            .write_histogram(interval, at, Duration::from_secs(1), None)
            .map_err(|error| anyhow::anyhow!("Failed to write an interval: {error:?}"))?;
        at += Duration::from_secs(1);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::tests::story;

    #[test]
    fn the_distribution_has_the_plotters_form() {
        let text = hgrm(&story(50, 0).total.latency.corrected);
        let mut lines = text.lines();
        assert!(lines.next().unwrap().contains("Value     Percentile TotalCount"));
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by_key(|row| row[0]) && rows.is_sorted_by_key(|row| row[1]));
        let last = rows.last().unwrap();
        assert!((last[0] - 50.0).abs() < 0.1 && (last[2] - 1000.0).abs() < 0.1, "{last:?}");
    }

    #[test]
    fn the_log_can_be_read_again() {
        let story = story(50, 0);
        let bytes = hlog(&story.intervals, UNIX_EPOCH).unwrap();
        let mut count = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            let LogEntry::Interval(entry) = entry.unwrap() else { continue };
            let bytes = base64(entry.encoded_histogram());
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(read.len(), 1000);
            count += 1;
        }
        assert_eq!(count, 3);
    }

    /// Enough of RFC 4648 for a test.
    fn base64(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bits = 0u32;
        let mut count = 0;
        let mut bytes = Vec::new();
        for character in text.trim_end_matches('=').bytes() {
            let value = alphabet.iter().position(|byte| *byte == character).unwrap();
            bits = bits << 6 | u32::try_from(value).unwrap();
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
            }
        }
        bytes
    }
}
