//! Checks a Linux host against what the relay needs, and changes it on request.
//!
//! ```text
//! host ──► facts ──► rules ──► findings ──► change::apply ──► host
//! reads    parsed    pure      what, why,   journal first,    written
//!                              changes      then verified
//! ```
//!
//! Rules are pure functions over facts, and facts can come from a capture of another host, so every
//! rule is tested on hosts that nobody here owns. What is changed is a [`change::knob::Knob`]: read
//! and written the same way, so that what was there before can be put back exactly.
#![forbid(unsafe_code)]

pub mod change;
pub mod cpu_list;
pub mod facts;
pub mod finding;
pub mod host;
pub mod items;
pub mod needs;
pub mod profile;
pub mod report;
pub mod rules;
