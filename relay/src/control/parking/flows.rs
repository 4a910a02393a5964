//! The flows of one worker as bytes that may be read much later.
//!
//! ```text
//!   magic (8) · milliseconds on the monotonic clock when they were written (8) · a snapshot
//! ```
//!
//! The monotonic clock is the host's, and what is parked does not outlive a boot, so what was written
//! later than now is none of ours. A flow is older by the time that has passed.

use crate::core::snapshot::{self, SnapshotError};
use crate::core::{FlowRecord, FlowState};
use std::time::Duration;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"RWPARK1\n";

/// Flows as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Aged {
    pub(super) flows: Vec<FlowRecord>,
    /// Flows that have ended meanwhile.
    pub(super) ended: usize,
    pub(super) age: Duration,
}

/// Why bytes are no parked flows that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ParkedError {
    #[error("these are no parked flows of this version")]
    Magic,
    #[error("they are of the future")]
    Future,
    #[error("they are of {0} workers, and should be of one")]
    Workers(usize),
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
}

pub(super) fn encode(written: Duration, flows: Vec<FlowRecord>) -> Vec<u8> {
    let snapshot = snapshot::encode(&[flows]);
    [&MAGIC[..], &millis(written).to_be_bytes(), &snapshot].concat()
}

/// `idle` says how long a flow may be without a packet.
pub(super) fn decode(
    bytes: &[u8],
    now: Duration,
    idle: impl Fn(FlowState) -> Duration,
) -> Result<Aged, ParkedError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ParkedError::Magic)?;
    let (written, snapshot) = rest.split_first_chunk().ok_or(ParkedError::Magic)?;
    let age = millis(now).checked_sub(u64::from_be_bytes(*written)).ok_or(ParkedError::Future)?;
    let age_ms = u32::try_from(age).unwrap_or(u32::MAX);
    let mut workers = snapshot::decode(snapshot)?;
    let (Some(mut flows), 0) = (workers.pop(), workers.len()) else {
        return Err(ParkedError::Workers(workers.len()));
    };
    let before = flows.len();
    for flow in &mut flows {
        flow.idle_ms = flow.idle_ms.saturating_add(age_ms);
        flow.silent_ms = flow.silent_ms.map(|silent| silent.saturating_add(age_ms));
    }
    flows.retain(|flow| Duration::from_millis(flow.idle_ms.into()) < idle(flow.state));
    let ended = before - flows.len();
    Ok(Aged { flows, ended, age: Duration::from_millis(age) })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Route;
    use wire::address::Address;
    use wire::frame::{Client, ListenerId, Transport};
    use wire::hint::{ClusterId, ShardId, TransceiverId};

    fn flow(state: FlowState, idle_ms: u32) -> FlowRecord {
        let address = Address::new([192, 0, 2, 7].into(), 51_004);
        FlowRecord {
            client: Client { address, listener: ListenerId(0), transport: Transport::Udp },
            state,
            route: Route {
                cluster: ClusterId(1),
                transceiver: TransceiverId(1),
                shard: ShardId(0),
            },
            session: None,
            pending: None,
            pending_had: false,
            idle_ms,
            silent_ms: Some(5),
        }
    }

    fn idle(state: FlowState) -> Duration {
        Duration::from_secs(if state == FlowState::New { 10 } else { 60 })
    }

    const WRITTEN: Duration = Duration::from_secs(100);

    #[test]
    fn flows_age_and_end_while_they_are_parked() {
        let flows = vec![
            flow(FlowState::Assured, 0),
            flow(FlowState::Assured, 55_000),
            flow(FlowState::New, 0),
            flow(FlowState::New, 5_000),
        ];
        let bytes = encode(WRITTEN, flows.clone());
        assert_eq!(decode(&bytes, WRITTEN, idle).unwrap().flows, flows);
        let aged = decode(&bytes, WRITTEN + Duration::from_secs(5), idle).unwrap();
        let left: Vec<_> =
            aged.flows.iter().map(|it| (it.state, it.idle_ms, it.silent_ms)).collect();
        let silent = Some(5_005);
        assert_eq!(left, [(FlowState::Assured, 5_000, silent), (FlowState::New, 5_000, silent)]);
        assert_eq!((aged.ended, aged.age), (2, Duration::from_secs(5)));
        let late = WRITTEN + Duration::from_secs(100 * 24 * 3_600);
        assert_eq!(decode(&bytes, late, idle).unwrap().flows, []);
    }

    #[test]
    fn what_is_no_parked_flows_is_refused() {
        let good = encode(WRITTEN, vec![flow(FlowState::Assured, 0)]);
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let two = [&good[..16], &snapshot::encode(&[vec![], vec![]])].concat();
        let table: [(&str, Vec<u8>, ParkedError); 7] = [
            ("nothing", vec![], ParkedError::Magic),
            ("another version", changed(6, b'2'), ParkedError::Magic),
            ("only the magic", MAGIC.to_vec(), ParkedError::Magic),
            ("the future", changed(8, 1), ParkedError::Future),
            ("another snapshot", changed(25, 9), SnapshotError::Version(9).into()),
            ("cut off", good[..good.len() - 1].to_vec(), SnapshotError::Damaged.into()),
            ("two workers", two, ParkedError::Workers(1)),
        ];
        for (name, bytes, error) in table {
            assert_eq!(decode(&bytes, WRITTEN, idle), Err(error), "{name}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length], WRITTEN, idle).is_err(), "{length}");
        }
    }
}
