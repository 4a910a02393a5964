//! Everything around the workers that happens less than once a packet: the configuration, and what
//! an operator sees and does.

pub mod admin;
mod cache;
pub mod config;
mod convert;
pub mod decode;
pub mod direct;
mod directory;
pub mod fleet;
pub mod metrics;
pub mod names;
pub mod pages;
pub mod parking;
pub mod peers;
mod recall;
pub mod relay;
mod run;
mod start;
pub mod upgrade;

pub use run::run;
