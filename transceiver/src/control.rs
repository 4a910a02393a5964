//! Everything around the shards that happens less than once a packet: the configuration, and what
//! an operator sees and does.

pub mod config;
