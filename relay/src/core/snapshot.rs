//! Flows as bytes: what a hot upgrade hands to the next process.
//!
//! ```text
//!   magic (8) · version (2) · workers (2) · for each worker: count (4) · records (50 each)
//!
//!   record: flags (1) · listener (1) · port (2) · address (16) · route (7) · session (4)
//!           · pending route (7) · pending session (4) · idle ms (4) · silent ms (4)
//! ```
//!
//! Big-endian. The times are ages, not moments, so that clocks need not agree. A snapshot of another
//! version is refused, and with it the upgrade: a restart that relearns its flows is better than one
//! that misreads them.

use super::clusters::Route;
use super::flow::FlowState;
use super::records::FlowRecord;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thiserror::Error;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, SessionTag, ShardId, TransceiverId};

/// The version of the format.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"RWFLOWS\n";
const RECORD_BYTES: usize = 50;

const ASSURED: u8 = 1;
const IPV6: u8 = 2;
const SESSION: u8 = 4;
const PENDING: u8 = 8;
const HEARD: u8 = 16;
/// A reader that does not know it takes the pending session for one that has asked.
const PENDING_HAD: u8 = 32;

/// Why bytes are no snapshot that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Something else altogether.
    #[error("these are no flows")]
    Magic,
    /// Of another version of this program.
    #[error("the flows are in format {0}, and this program reads format {VERSION}")]
    Version(u16),
    /// Cut off, too long, or with a record that cannot be.
    #[error("the flows are damaged")]
    Damaged,
}

/// The flows of all workers, in the workers' order.
pub fn encode(workers: &[Vec<FlowRecord>]) -> Vec<u8> {
    let records: usize = workers.iter().map(Vec::len).sum();
    let mut bytes = Vec::with_capacity(12 + workers.len() * 4 + records * RECORD_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(u16::try_from(workers.len()).unwrap_or(u16::MAX).to_be_bytes());
    for records in workers {
        bytes.extend(u32::try_from(records.len()).unwrap_or(u32::MAX).to_be_bytes());
        for record in records {
            put(&mut bytes, record);
        }
    }
    bytes
}

/// The other way.
pub fn decode(bytes: &[u8]) -> Result<Vec<Vec<FlowRecord>>, SnapshotError> {
    let mut from = Reader(bytes);
    if from.take::<8>() != Some(*MAGIC) {
        return Err(SnapshotError::Magic);
    }
    let version = from.u16().ok_or(SnapshotError::Damaged)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let workers = read(&mut from).ok_or(SnapshotError::Damaged)?;
    if from.0.is_empty() { Ok(workers) } else { Err(SnapshotError::Damaged) }
}

fn read(from: &mut Reader<'_>) -> Option<Vec<Vec<FlowRecord>>> {
    let workers = from.u16()?;
    let mut all = Vec::new();
    for _ in 0..workers {
        let count = from.u32()? as usize;
        // Before room is made for them: they must all be there.
        if count.checked_mul(RECORD_BYTES)? > from.0.len() {
            return None;
        }
        all.push((0..count).map(|_| record(from)).collect::<Option<Vec<_>>>()?);
    }
    Some(all)
}

fn put(bytes: &mut Vec<u8>, record: &FlowRecord) {
    let address = record.client.address;
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    bytes.push(
        flag(record.state == FlowState::Assured, ASSURED)
            | flag(!address.is_ipv4(), IPV6)
            | flag(record.session.is_some(), SESSION)
            | flag(record.pending.is_some(), PENDING)
            | flag(record.silent_ms.is_some(), HEARD)
            | flag(record.pending_had, PENDING_HAD),
    );
    bytes.push(record.client.listener.0);
    bytes.extend(address.port().to_be_bytes());
    let mut ip = [0; 16];
    ip[..address.ip_bytes().len()].copy_from_slice(address.ip_bytes());
    bytes.extend(ip);
    put_session(bytes, record.route, record.session);
    let (route, session) = record.pending.map_or((record.route, None), |(r, s)| (r, Some(s)));
    put_session(bytes, route, session);
    bytes.extend(record.idle_ms.to_be_bytes());
    bytes.extend(record.silent_ms.unwrap_or(0).to_be_bytes());
}

fn put_session(bytes: &mut Vec<u8>, route: Route, session: Option<SessionTag>) {
    bytes.extend(route.cluster.0.to_be_bytes());
    bytes.extend(route.transceiver.0.to_be_bytes());
    bytes.push(route.shard.0);
    bytes.extend(session.map_or(0, SessionTag::value).to_be_bytes());
}

fn record(from: &mut Reader<'_>) -> Option<FlowRecord> {
    let flags = from.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let listener = ListenerId(from.u8()?);
    let port = from.u16()?;
    let ip: [u8; 16] = from.take()?;
    let ip = if has(IPV6) {
        IpAddr::from(Ipv6Addr::from(ip))
    } else {
        let [a, b, c, d, ..] = ip;
        IpAddr::from(Ipv4Addr::new(a, b, c, d))
    };
    let (route, session) = session(from)?;
    let pending = self::session(from)?;
    let idle_ms = from.u32()?;
    let silent_ms = from.u32()?;
    Some(FlowRecord {
        client: Client { address: Address::new(ip, port), listener, transport: Transport::Udp },
        state: if has(ASSURED) { FlowState::Assured } else { FlowState::New },
        route,
        session: has(SESSION).then_some(session),
        pending: has(PENDING).then_some(pending),
        pending_had: has(PENDING_HAD),
        idle_ms,
        silent_ms: has(HEARD).then_some(silent_ms),
    })
}

fn session(from: &mut Reader<'_>) -> Option<(Route, SessionTag)> {
    let cluster = ClusterId(from.u16()?);
    let transceiver = TransceiverId(from.u32()?);
    let shard = ShardId(from.u8()?);
    let tag = SessionTag::new(from.u32()?);
    Some((Route { cluster, transceiver, shard }, tag))
}

/// What is left of the bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = SessionTag> {
        (0u32..1 << 24).prop_map(SessionTag::new)
    }

    fn route() -> impl Strategy<Value = Route> {
        any::<(u16, u32, u8)>().prop_map(|(cluster, transceiver, shard)| Route {
            cluster: ClusterId(cluster),
            transceiver: TransceiverId(transceiver),
            shard: ShardId(shard),
        })
    }

    prop_compose! {
        fn flow()(
            (ip, port, listener) in any::<(IpAddr, u16, u8)>(),
            (assured, pending_had) in any::<(bool, bool)>(),
            route in route(),
            session in prop::option::of(tag()),
            pending in prop::option::of((route(), tag())),
            (idle_ms, silent_ms) in any::<(u32, Option<u32>)>(),
        ) -> FlowRecord {
            let listener = ListenerId(listener);
            let address = Address::new(ip, port);
            FlowRecord {
                client: Client { address, listener, transport: Transport::Udp },
                state: if assured { FlowState::Assured } else { FlowState::New },
                route, session, pending, pending_had, idle_ms, silent_ms,
            }
        }
    }

    fn workers() -> impl Strategy<Value = Vec<Vec<FlowRecord>>> {
        prop::collection::vec(prop::collection::vec(flow(), 0..20), 0..4)
    }

    proptest! {
        #[test]
        fn round_trip(workers in workers()) {
            prop_assert_eq!(decode(&encode(&workers)), Ok(workers));
        }

        #[test]
        fn every_other_length_is_refused(workers in workers()) {
            let mut bytes = encode(&workers);
            for length in 0..bytes.len() {
                prop_assert!(decode(&bytes[..length]).is_err());
            }
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), Err(SnapshotError::Damaged));
        }

        #[test]
        fn any_bytes_behind_the_header_do_no_harm(rest: Vec<u8>) {
            let mut bytes = encode(&[]);
            bytes.truncate(10);
            bytes.extend(rest);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode(&[]);
        bytes[9] = 7;
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error, SnapshotError::Version(7));
        assert_eq!(error.to_string(), "the flows are in format 7, and this program reads format 1");
        assert_eq!(decode(b"something"), Err(SnapshotError::Magic));
    }
}
