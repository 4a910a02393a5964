//! The io_uring engine.

/// Settings of the io_uring engine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UringSettings {
    /// Entries of the completion queue; by default enough for every buffer and every send.
    pub completions: Option<u32>,
}
