//! What the benchmarks are made of: a network in namespaces, raw injection, sinks, clocks of CPU
//! time, processes in their place, and what a result needs to mean anything. `plan` has the
//! addresses and a picture of the network.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod command_line;
pub mod counters;
pub mod cpu;
pub mod ethernet;
pub mod forwarder;
pub mod host;
pub mod inbox;
pub mod injector;
pub mod namespaces;
pub mod payload;
pub mod plan;
pub mod process;
pub mod relay;
pub mod report;
pub mod schedule;
pub mod search;
pub mod sessions;
pub mod soaker;
pub mod statistics;
pub mod stop;
pub mod svg;
