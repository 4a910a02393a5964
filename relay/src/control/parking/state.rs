//! How parking is, for people and for metrics.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How parking is. What is counted was given to the manager: it never says that it keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkingState {
    /// `off` (nobody keeps anything for this process), `on` or `failing`.
    pub state: String,
    /// Why it fails; nothing if it does not.
    pub reason: String,
    /// Sockets that the manager has.
    pub sockets: usize,
    /// Flows that it has.
    pub flows: usize,
    /// How long ago it was given the oldest of them.
    pub flows_age_ms: u64,
    /// Rounds that failed.
    pub failures: u64,
}

/// Where that is kept.
#[derive(Debug, Default)]
pub(in crate::control) struct Parking(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    sockets: usize,
    /// Flows of each worker, and since when.
    flows: BTreeMap<usize, (usize, Instant)>,
    /// What came of the last round; nothing before the first.
    last: Option<Result<(), String>>,
    failures: u64,
}

impl Parking {
    pub(super) fn has_sockets(&self, count: usize) {
        self.book().sockets = count;
    }

    pub(super) fn has_flows(&self, worker: usize, count: usize) {
        self.book().flows.insert(worker, (count, Instant::now()));
    }

    /// What came of a round; says whether it is another thing than before.
    pub(super) fn ended(&self, round: &Result<(), String>) -> bool {
        let mut book = self.book();
        book.failures += u64::from(round.is_err());
        let is_new = book.last.as_ref() != Some(round);
        book.last = Some(round.clone());
        is_new
    }

    pub(in crate::control) fn state(&self) -> ParkingState {
        let book = self.book();
        let (state, reason) = match &book.last {
            None => ("off", ""),
            Some(Ok(())) => ("on", ""),
            Some(Err(reason)) => ("failing", &reason[..]),
        };
        let age = book.flows.values().map(|(_, since)| since.elapsed()).max();
        ParkingState {
            state: state.to_owned(),
            reason: reason.to_owned(),
            sockets: book.sockets,
            flows: book.flows.values().map(|(count, _)| count).sum(),
            flows_age_ms: millis(age.unwrap_or_default()),
            failures: book.failures,
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        // Each value is right by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_manager_there_is_nothing() {
        let ParkingState { state, reason, sockets, flows, flows_age_ms, failures } =
            Parking::default().state();
        assert_eq!((state.as_str(), reason.as_str()), ("off", ""));
        assert_eq!((sockets, flows, flows_age_ms, failures), (0, 0, 0, 0));
    }

    #[test]
    fn a_failure_is_told_once_and_counted_each_time() {
        let parking = Parking::default();
        let refused = |why: &str| Err(why.to_owned());
        let rounds = [
            (refused("full"), true),
            (refused("full"), false),
            (refused("gone"), true),
            (Ok(()), true),
            (Ok(()), false),
            (refused("gone"), true),
        ];
        for (round, is_new) in rounds {
            assert_eq!(parking.ended(&round), is_new, "{round:?}");
        }
        let state = parking.state();
        assert_eq!((state.state.as_str(), state.reason.as_str()), ("failing", "gone"));
        assert_eq!(state.failures, 4);
    }

    #[test]
    fn flows_are_those_of_all_workers_and_as_old_as_the_oldest() {
        let parking = Parking::default();
        parking.has_sockets(6);
        parking.has_flows(0, 70);
        std::thread::sleep(Duration::from_millis(30));
        parking.has_flows(1, 7);
        parking.has_flows(1, 5);
        parking.ended(&Ok(()));
        let state = parking.state();
        assert_eq!((state.state.as_str(), state.sockets, state.flows), ("on", 6, 75));
        assert!(state.flows_age_ms >= 30, "{state:?}");
    }
}
