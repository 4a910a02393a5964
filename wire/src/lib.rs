//! The formats Ringway speaks, and nothing else: no I/O, no clock, no `unsafe`, and no allocation
//! on any path that a packet takes.
//!
//! ```text
//! client packet ── demux ──┬─ STUN ── stun ── hint ── credentials     routes by itself
//!                          └─ DTLS, RTP, RTCP                         goes by the flow table
//! tunnel datagram ── tunnel ── frame ── address
//! key file ── keyring ── the keys of hint, credentials and tunnel
//! ```
//!
//! Everything read here comes from the network and may come from an attacker. A parser therefore
//! returns a `Copy` error that names the one check that failed, and never panics; the caller
//! counts it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod address;
mod base62;
pub mod credentials;
pub mod demux;
pub mod frame;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod hint;
pub mod keyring;
mod secret;
pub mod stun;
pub mod tunnel;
