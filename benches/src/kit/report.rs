//! What result files have in common: where they go, and tables for terminals.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::statistics::Spread;

/// Writes the files of a result: each by its ending and its text. `-` as the folder: nothing.
pub fn write_files(folder: &Path, stem: &str, files: &[(&str, &str)]) -> Result<()> {
    if folder == Path::new("-") {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("Failed to make {}", folder.display()))?;
    for (ending, text) in files {
        let path = folder.join(format!("{stem}.{ending}"));
        fs::write(&path, format!("{}\n", text.trim_end()))
            .with_context(|| format!("Failed to write {}", path.display()))?;
        progress(&format!("written: {}", path.display()));
    }
    Ok(())
}

/// Aligns rows under headings: the first `names` columns to the left, numbers to the right.
pub fn aligned(headings: &[&str], names: usize, rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(ToString::to_string).collect();
    let all = || std::iter::once(&headings).chain(rows);
    let width =
        |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        for (index, (value, width)) in row.iter().zip(&widths).enumerate() {
            let written = if index < names {
                write!(text, "{value:<width$}  ")
            } else {
                write!(text, "{value:>width$}  ")
            };
            written.expect("writing to a String cannot fail");
        }
        text.push('\n');
    }
    text
}

/// The same rows as a Markdown table.
pub fn markdown(headings: &[&str], names: usize, rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("| {} |", headings.join(" | ")));
    let numbers = headings.len() - names;
    line(&mut text, format_args!("|{}{}", "---|".repeat(names), "---:|".repeat(numbers)));
    for row in rows {
        line(&mut text, format_args!("| {} |", row.join(" | ")));
    }
    text
}

/// What stands where there is no figure.
#[must_use]
pub fn nothing() -> String {
    "–".to_owned()
}

/// A median and, of several, the least and the most.
#[must_use]
pub fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(nothing, |Spread { median, min, max, count }| {
        if count == 1 {
            format!("{median:.digits$}")
        } else {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
    })
}

/// Adds a line.
pub fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a String cannot fail");
}

/// A line on what is going on, beside the results.
#[expect(clippy::print_stderr, reason = "this is the programs' output")]
pub fn progress(line: &str) {
    eprintln!("{line}");
}

/// Says so if figures would mean nothing.
pub fn warn_if_unoptimised() {
    if cfg!(debug_assertions) {
        progress("built without optimisation: the figures mean nothing; use --release");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["µs".to_owned(), "200".to_owned()]];
        let text = aligned(&["name", "n"], 1, &rows);
        assert_eq!(text, "name    n  \na       1  \nµs    200  \n");
        let text = markdown(&["name", "n"], 1, &rows);
        assert_eq!(text, "| name | n |\n|---|---:|\n| a | 1 |\n| µs | 200 |\n");
    }

    #[test]
    fn files_are_written_or_not() {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), "stem", &[("md", "text\n\n"), ("json", "{}")]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("stem.md")).unwrap(), "text\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        write_files(Path::new("-"), "stem", &[("md", "text")]).unwrap();
    }
}
