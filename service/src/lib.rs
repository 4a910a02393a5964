//! What every Ringway process does around its work. Relay and transceiver share it, so that an
//! operator who knows one knows the other: the same configuration rules and error messages, the
//! same logs, signals, admin socket, health pages and exit codes.
//!
//! ```text
//! exit ── main's shape ── cli ───── run, check-config, print-config, ctl: what all programs have
//!                       ├ config ── file < environment < flags, every error with its line
//!                       ├ keyfile ─ the keyring: permissions checked, never overwritten
//!                       ├ life ──── serving: until told to drain, stop, reload, upgrade
//!                       ├ log ───── text or JSON on stderr, level changeable while running
//!                       ├ signal ── drain, stop, reload, upgrade as events
//!                       ├ notify ── systemd: ready, reloading, stopping, watchdog
//!                       ├ admin ─── Unix socket for `ctl`, one JSON line each way
//!                       ├ http ──── /metrics, /live, /ready
//!                       ├ metrics ─ declared once; written and documented from that
//!                       ├ show ──── tables, numbers and times for people
//!                       ├ build ─── who am I: version, revision, compiler, kernel
//!                       └ network ─ networks, and addresses nobody is sent to by accident
//! ```
#![forbid(unsafe_code)]

pub mod admin;
pub mod build;
pub mod cli;
pub mod config;
pub mod exit;
pub mod http;
pub mod keyfile;
pub mod life;
pub mod log;
pub mod metrics;
pub mod network;
pub mod notify;
pub mod show;
pub mod signal;
