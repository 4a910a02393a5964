//! Sockets and flows parked with the service manager, so that a relay that was killed has lost none
//! of them (systemd: `FileDescriptorStoreMax=`).
//!
//! ```text
//!   this process ── its sockets, once; its flows, every few seconds ──► manager
//!        killed                                    holds them: packets queue up
//!   the next one ◄── all of them, at its start ──────────────────────── manager
//! ```
//!
//! | name | what |
//! |---|---|
//! | `worker-N` | the sockets of worker N: of each listener's group one, and its tunnel's |
//! | `flows-N-0`, `flows-N-1` | the flows of worker N, as they were at some moment |
//!
//! Which listener a socket is of, its own address says. A relay takes the sockets if they are all of
//! those that its configuration asks for and no others, as after a hot upgrade: then the groups are as
//! they were, and every client comes to the worker that has its flow. Else it gives them back, and waits
//! until they are closed, because a member of a group that nobody reads swallows its share of packets.
//!
//! Flows have two names in turn: each time the older is taken away and another put there, so one
//! that is whole is always there. They are taken away before they are read, so if they kill the
//! process that reads them, then only once.

mod flows;
mod keeper;
mod parked;
mod state;

pub(super) use keeper::keep;
pub(super) use parked::Parked;
pub(super) use state::Parking;
pub use state::ParkingState;

use std::io;
use std::time::Duration;

/// How long the manager may be too busy to listen, or to do what it was told.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before it is told again.
const AGAIN: Duration = Duration::from_millis(10);

fn worker_name(worker: usize) -> String {
    format!("worker-{worker}")
}

fn flows_name(worker: usize, turn: usize) -> String {
    format!("flows-{worker}-{turn}")
}

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Sockets(usize),
    Flows(usize),
}

impl Named {
    fn parse(name: &str) -> Option<Self> {
        if let Some(worker) = name.strip_prefix("worker-") {
            return Some(Self::Sockets(worker.parse().ok()?));
        }
        let (worker, _) = name.strip_prefix("flows-")?.split_once('-')?;
        Some(Self::Flows(worker.parse().ok()?))
    }
}

/// Whether it is worth trying again: the manager's queue is full.
fn is_busy(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_by_the_next_process() {
        for worker in [0, 63] {
            assert_eq!(Named::parse(&worker_name(worker)), Some(Named::Sockets(worker)));
            assert_eq!(Named::parse(&flows_name(worker, 1)), Some(Named::Flows(worker)));
        }
        for other in ["", "stored", "worker-", "worker-x", "flows-1", "flows-x-1"] {
            assert_eq!(Named::parse(other), None, "{other}");
        }
    }
}
