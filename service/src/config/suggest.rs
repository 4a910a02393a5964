//! "Did you mean …": the nearest known word, when one is near enough to be what was meant.

/// Of `known`, the word that `word` most likely misspells. A third of the letters may be wrong;
/// a last part that is right under another table counts too (`idle_new` for `flows.idle_new`).
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| {
            let tail_matches = candidate.rsplit('.').next() == Some(word);
            let apart = if tail_matches { 1 } else { distance(word, candidate) };
            (apart, candidate)
        })
        .filter(|&(apart, _)| apart <= allowed)
        .min_by_key(|&(apart, _)| apart)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, delete, replace, or swap two neighbours (optimal string
/// alignment). Three rows of the matrix are enough.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = vec![row + 1; right.len() + 1];
        for (column, &b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a == right[column - 1] && left[row - 1] == b {
                best = best.min(before[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("idle_new", "idle_new", 0),
            ("idel_new", "idle_new", 1),
            ("idle_nw", "idle_new", 1),
            ("kitten", "sitting", 3),
        ];
        for (left, right, expected) in table {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn suggestions() {
        let known = ["listen", "workers", "flows.idle_new", "flows.idle_assured", "id"];
        let table = [
            ("listn", Some("listen")),
            ("worker", Some("workers")),
            ("flows.idel_new", Some("flows.idle_new")),
            ("idle_new", Some("flows.idle_new")),
            ("di", Some("id")),
            ("completely_else", None),
            ("x", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
