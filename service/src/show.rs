//! How `ctl` shows answers to people.

mod table;
pub mod words;

pub use table::{Side, Table};
