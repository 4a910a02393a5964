//! The admin socket: how `ctl` talks to a running process.
//!
//! ```text
//! client                                  server
//!   {"command":"status"}\n        ──►                     one request, one line, at most 64 KiB
//!                                 ◄──     {"next":…}\n    any number, for what streams (`top`)
//!                                 ◄──     {"ok":…}\n      or {"error":"why, and what to do"}\n
//!                                         (closes)
//! ```
//!
//! One JSON line each way can be typed by hand into `socat`, and needs no library in a script. The
//! last line is of its own kind, so that a client can tell an end from a process that died.
//!
//! Who may use it is decided by the file: mode 0600, or 0660 with a group.

mod client;
mod server;
mod socket;

pub use client::{Client, ClientError};
pub use server::{Handler, Limits, Refusal, Server, Stream};
pub use socket::{BindError, Place};

use serde::{Deserialize, Serialize};

/// One line from the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<T> {
    /// There is more to come.
    Next(T),
    /// The last.
    Ok(T),
    /// The last, and no good.
    Error(String),
}

#[cfg(test)]
mod tests;
