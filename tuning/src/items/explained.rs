//! What `explain` says: a paragraph for each item, in `explained.txt`.

use super::Item;

/// Headed by `[name]`, in any order; a test holds it to the items.
const TEXT: &str = include_str!("explained.txt");

/// What an item does, when it hurts, and how to see it working.
#[must_use]
pub fn explain(item: &Item) -> &'static str {
    let heading = format!("{}]", item.name);
    let section = TEXT.split("\n[").find(|section| section.lines().next() == Some(&heading));
    section.and_then(|section| section.split_once('\n')).map_or("", |(_, text)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_no_item_that_is_gone() {
        for section in TEXT.split("\n[").skip(1) {
            let name = section.split(']').next().unwrap();
            assert!(super::super::named(name).is_some(), "{name}");
        }
        for line in TEXT.lines() {
            assert!(line.len() <= 110, "{line}");
        }
    }
}
