//! Everything around the shards that happens less than once a packet: the configuration, and what
//! an operator sees and does.

pub mod admin;
pub mod config;
mod front;
pub mod metrics;
pub mod pages;
mod run;
mod start;
pub mod transceiver;

pub use run::run;
