//! The relay: shows clients one address and port, and routes their packets to transceivers.
//!
//! ```text
//! wire ← core ← worker ← control ← main        and `engine` below worker
//! ```
//!
//! Arrows never point back: what routes packets knows nothing of threads, and what runs threads
//! knows nothing of configuration files.
#![forbid(unsafe_code)]

pub mod control;
pub mod core;
pub mod worker;
