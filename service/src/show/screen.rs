//! What is shown again and again in one place.

/// Clears the screen.
pub const CLEAR: &str = "\x1b[2J";

/// A text over the one before, without a moment of empty screen between: from the top, the rest of
/// each line cleared, and whatever is below.
#[must_use]
pub fn over(text: &str) -> String {
    let mut over = "\x1b[H".to_owned();
    for line in text.lines() {
        over.push_str(line);
        over.push_str("\x1b[K\n");
    }
    over.push_str("\x1b[J");
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_written_over_the_one_before() {
        assert_eq!(over("a\nbc\n"), "\x1b[Ha\x1b[K\nbc\x1b[K\n\x1b[J");
    }
}
