//! Tests that cannot run here say so, and are not allowed to where they must run.

/// Set to `require`, this makes a skipped test a failed one.
pub const VARIABLE: &str = "RINGWAY_E2E";

/// Says that a test is skipped, and why; fails it where nothing may be skipped.
pub fn skip(why: &str) {
    let required = std::env::var(VARIABLE).is_ok_and(|value| value == "require");
    assert!(!required, "{VARIABLE}=require, but {why}");
    println!("skipped: {why}");
}
