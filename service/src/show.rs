//! How `ctl` shows answers to people.

mod screen;
mod table;
pub mod words;

pub use screen::{CLEAR, over};
pub use table::{Side, Table};
