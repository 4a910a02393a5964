//! A host in one text file: what was read, and what it said. Made to be mailed, and read by people.
//!
//! ```text
//! --- file /proc/sys/net/core/rmem_max
//! 212992
//! --- failed run ethtool -c eth0
//! netlink error: Operation not supported
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::{Missing, Reading};

const MARK: &str = "--- ";
/// Before a line of the text that would be taken for a heading.
const QUOTE: &str = "\\";

/// What was read from a host, by what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    readings: BTreeMap<String, Reading>,
}

/// A text that is no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}; `ringway-tuning capture` writes such files")]
pub struct Malformed {
    line: usize,
    reason: &'static str,
}

impl Archive {
    /// Notes a reading.
    pub fn add(&mut self, what: &str, reading: Reading) {
        self.readings.insert(what.to_owned(), reading);
    }

    /// What was read then. What nobody asked then is not there.
    pub fn reading(&self, what: &str) -> Reading {
        let absent = || Err(Missing::Absent(subject(what).to_owned()));
        self.readings.get(what).cloned().unwrap_or_else(absent)
    }

    /// All that was asked.
    pub fn questions(&self) -> impl Iterator<Item = (&str, &Reading)> {
        self.readings.iter().map(|(what, reading)| (what.as_str(), reading))
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut archive = Self::default();
        let mut section: Option<(&str, Vec<&str>)> = None;
        for (index, line) in text.lines().enumerate() {
            let malformed = |reason| Malformed { line: index + 1, reason };
            if let Some(heading) = line.strip_prefix(MARK) {
                archive.finish(section.take());
                section = Some((heading, Vec::new()));
            } else if let Some((_, lines)) = &mut section {
                lines.push(line.strip_prefix(QUOTE).unwrap_or(line));
            } else if !line.is_empty() && !line.starts_with('#') {
                return Err(malformed("a heading such as `--- file /proc/…` was expected"));
            }
        }
        archive.finish(section);
        if archive.readings.is_empty() {
            return Err(Malformed { line: 1, reason: "there is nothing in it" });
        }
        Ok(archive)
    }

    fn finish(&mut self, section: Option<(&str, Vec<&str>)>) {
        let Some((heading, lines)) = section else { return };
        let text = lines.join("\n").trim().to_owned();
        let (what, reading) = if let Some(what) = heading.strip_prefix("absent ") {
            (what, Err(Missing::Absent(subject(what).to_owned())))
        } else if let Some(what) = heading.strip_prefix("denied ") {
            (what, Err(Missing::Denied(subject(what).to_owned())))
        } else if let Some(what) = heading.strip_prefix("failed ") {
            (what, Err(Missing::Failed(text)))
        } else {
            (heading, Ok(text))
        };
        self.add(what, reading);
    }
}

/// `file /proc/stat` is about `/proc/stat`; `run ethtool -l eth0` about `ethtool`.
fn subject(what: &str) -> &str {
    let (kind, rest) = what.split_once(' ').unwrap_or(("", what));
    match kind {
        "run" => rest.split_once(' ').map_or(rest, |(program, _)| program),
        _ => rest,
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, reading) in &self.readings {
            let (prefix, text) = match reading {
                Ok(text) => ("", text.as_str()),
                Err(Missing::Absent(_)) => ("absent ", ""),
                Err(Missing::Denied(_)) => ("denied ", ""),
                Err(Missing::Failed(text)) => ("failed ", text.as_str()),
            };
            writeln!(f, "{MARK}{prefix}{what}")?;
            for line in text.lines() {
                let quote =
                    if line.starts_with(MARK) || line.starts_with(QUOTE) { QUOTE } else { "" };
                writeln!(f, "{quote}{line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_archive_reads_as_it_was_written() {
        let mut archive = Archive::default();
        archive.add("file /a", Ok("--- not a heading\n\\ nor this\nlast".to_owned()));
        archive.add("file /b", Err(Missing::Absent("/b".to_owned())));
        archive.add("file /c", Err(Missing::Denied("/c".to_owned())));
        archive.add("run ethtool -l eth0", Err(Missing::Failed("no\nway".to_owned())));
        archive.add("run nft list ruleset", Err(Missing::Absent("nft".to_owned())));
        archive.add("list /d", Ok(String::new()));
        assert_eq!(Archive::parse(&archive.to_string()), Ok(archive.clone()));
        assert_eq!(
            archive.reading("run tc qdisc").unwrap_err().to_string(),
            "tc is not there",
            "what nobody asked"
        );
    }

    #[test]
    fn other_texts_are_refused_with_the_line() {
        let refused = |text| Archive::parse(text).unwrap_err().to_string();
        assert!(refused("# a remark\n\nhello").starts_with("line 3: a heading"));
        assert!(refused("").starts_with("line 1: there is nothing"));
    }

    proptest! {
        #[test]
        fn no_text_is_fatal(text in "(--- |file |\\\\|[a-z/]|\n){0,40}") {
            let _ = Archive::parse(&text);
        }
    }
}
