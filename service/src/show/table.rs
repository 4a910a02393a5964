//! Columns that line up, for people.

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a line of titles.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no lines yet.
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Side)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a line: a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// The text, each line behind `indent`.
    pub fn text(&self, indent: &str) -> String {
        let titles: Vec<String> =
            self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let mut shown = indent.to_owned();
            for ((cell, width), (_, side)) in line.iter().zip(&widths).zip(&self.columns) {
                let width = *width;
                match side {
                    Side::Left => shown.push_str(&format!("{cell:<width$}  ")),
                    Side::Right => shown.push_str(&format!("{cell:>width$}  ")),
                }
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new([("name", Side::Left), ("count", Side::Right), ("x", Side::Left)]);
        table.row(["µ".to_owned(), "5".to_owned(), "end".to_owned()]);
        table.row(["longer".to_owned(), "123456".to_owned(), String::new()]);
        let expected = "  name     count  x\n  µ            5  end\n  longer  123456\n";
        assert_eq!(table.text("  "), expected);
    }
}
