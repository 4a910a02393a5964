//! Numbers, times and dates in a form for reading.

use std::time::Duration;

/// A rate or count in three digits: `0`, `7.5`, `950`, `1.2k`, `48M`.
pub fn short(value: f64) -> String {
    let mut value = value;
    let mut unit = 0;
    // 999.5 and more would be printed as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let whole = value >= 9.95 || (value - value.round()).abs() < 0.05;
    let number = if whole { format!("{value:.0}") } else { format!("{value:.1}") };
    format!("{number}{}", UNITS[unit])
}

const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A time in its two largest units: `3h 12m`, `5m 0s`, `42s`.
pub fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let largest = UNITS.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let (name, length) = UNITS[largest];
    let mut text = format!("{}{name}", seconds / length);
    if let Some((next, next_length)) = UNITS.get(largest + 1) {
        text.push_str(&format!(" {}{next}", seconds % length / next_length));
    }
    text
}

/// Milliseconds: below a minute with a digit behind the point, else as [`span`].
pub fn millis(ms: u32) -> String {
    if ms < 60_000 {
        format!("{:.1}s", f64::from(ms) / 1_000.0)
    } else {
        span(Duration::from_millis(ms.into()).as_secs())
    }
}

/// Microseconds as milliseconds, as round trips are told.
pub fn round_trip(us: Option<u32>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", f64::from(us) / 1_000.0))
}

/// A moment in UTC: `2026-11-21 06:40:00 UTC`.
pub fn date(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last; 400 years are 146,097 days.
/// See Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
const fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let table = [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (7.54, "7.5"),
            (9.96, "10"),
            (950.0, "950"),
            (999.6, "1k"),
            (1_234.0, "1.2k"),
            (48_300_000.0, "48M"),
            (2.5e15, "2500T"),
        ];
        for (value, expected) in table {
            assert_eq!(short(value), expected, "{value}");
        }
    }

    #[test]
    fn times_in_two_units() {
        let table = [
            (0, "0s"),
            (42, "42s"),
            (300, "5m 0s"),
            (11_520, "3h 12m"),
            (86_399, "23h 59m"),
            (200_000, "2d 7h"),
        ];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
        assert_eq!(millis(20), "0.0s");
        assert_eq!(millis(59_940), "59.9s");
        assert_eq!(millis(61_000), "1m 1s");
        assert_eq!(round_trip(Some(245)), "0.24 ms");
        assert_eq!(round_trip(None), "-");
    }

    #[test]
    fn dates() {
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_795_243_200, "2026-11-21 06:40:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (seconds, expected) in table {
            assert_eq!(date(seconds), expected);
        }
    }
}
