//! Changing a host, so that it can be undone.
//!
//! ```text
//! findings ── plan ──► apply: for each change   read before ─► journal ─► write ─► read again
//!                      revert: from the journal, last first
//!                      persist: what the journal says was changed, in files for the next boot
//! ```

pub mod apply;
pub mod files;
pub mod journal;
pub mod knob;
pub mod persist;
pub mod revert;
