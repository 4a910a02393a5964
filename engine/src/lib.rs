//! Moves UDP datagrams in batches between the kernel and pre-allocated buffers.
//!
//! This is the only crate of Ringway with `unsafe` in it. Everything above it sees addresses and
//! bytes.

pub mod heap;
