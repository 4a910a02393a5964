//! Columns that line up.

/// Lines of cells, each column as wide as its widest cell.
pub(super) fn lined_up(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(cell, &width)| format!("{cell:<width$}  ")).collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Text in lines of at most `width` letters, where its words allow.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_words_stay_whole() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["µµ".to_owned(), "c".to_owned()]];
        assert_eq!(lined_up(&rows), ["a   b", "µµ  c"]);
        assert_eq!(wrapped("one two three-four", 8), ["one two", "three-four"]);
        assert_eq!(wrapped("", 8), [""; 0]);
    }
}
