//! Signaling by its sockets, in front of real shards: every row of the API and of WHIP, and what
//! attackers send.

#![allow(clippy::unwrap_used)]

mod access;
mod calls;
mod hostile;
mod page;
mod whip;
mod world;
