//! Peers over all workers: each worker pings each shard on a leg of its own, and an operator asks
//! whether the shard is there.
//!
//! The best leg speaks for the shard. A shard that answers one worker lives; that another worker's
//! leg is broken shows as a number of legs up below the number of legs.

use super::fleet::Fleet;
use super::names::{NamedRoute, Names};
use crate::core::{Command, PeerInfo, Reply};
use crate::worker::Numbers;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One shard, as all workers together see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// How hints name it.
    pub route: NamedRoute,
    /// Where its tunnel is.
    pub tunnel: SocketAddr,
    /// Whether it is listed by name.
    pub listed: bool,
    /// Whether it answers at least one worker; none before anyone could tell.
    pub up: Option<bool>,
    /// Whether it takes no new sessions, as it says.
    pub draining: bool,
    /// Workers that have a leg to it.
    pub legs: u32,
    /// Workers that it answers.
    pub legs_up: u32,
    /// The shortest of the workers' latest round trips.
    pub round_trip_us: Option<u32>,
    /// Flows that go, or may soon go, to it.
    pub flows: u64,
}

/// A worker ticks ten times a second. One that has not for this long is not worth waiting for.
const TICK_AGE_US_MAX: u64 = 2_000_000;

/// All shards that the workers know, as those say that can. A worker that is stuck must not keep
/// an operator from seeing the rest, so it is passed over; that it is stuck is shown elsewhere.
pub async fn ask(fleet: &Fleet, names: &Names) -> Vec<Peer> {
    let now_us = engine::clock::monotonic_ns() / 1_000;
    let mut workers = Vec::with_capacity(fleet.len());
    for (worker, numbers) in fleet.numbers().iter().enumerate() {
        if answers(numbers, now_us)
            && let Ok(Reply::Peers(peers)) = fleet.ask(worker, Command::Peers).await
        {
            workers.push(peers);
        }
    }
    merge(names, workers)
}

const fn answers(numbers: &Numbers, now_us: u64) -> bool {
    now_us.saturating_sub(numbers.own.ticked_at_us) <= TICK_AGE_US_MAX
}

/// All shards that any worker knows, in the order of their ids.
pub fn merge(names: &Names, workers: impl IntoIterator<Item = Vec<PeerInfo>>) -> Vec<Peer> {
    let mut peers = BTreeMap::new();
    for info in workers.into_iter().flatten() {
        let key = (info.route, info.tunnel);
        let peer = peers.entry(key).or_insert_with(|| Peer {
            route: names.route(info.route),
            tunnel: info.tunnel.into(),
            listed: info.listed,
            up: None,
            draining: false,
            legs: 0,
            legs_up: 0,
            round_trip_us: None,
            flows: 0,
        });
        let up = info.up == Some(true);
        peer.legs += 1;
        peer.legs_up += u32::from(up);
        peer.listed |= info.listed;
        peer.draining |= info.draining;
        peer.flows += u64::from(info.flows);
        peer.up = match (peer.up, info.up) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, None) => None,
        };
        // The last round trip of a leg that is down says nothing about now.
        let round_trip_us = info.round_trip_us.filter(|_| up);
        peer.round_trip_us = peer.round_trip_us.into_iter().chain(round_trip_us).min();
    }
    peers.into_values().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::Route;
    use wire::address::Address;
    use wire::hint::{ClusterId, ShardId, TransceiverId};

    pub(crate) fn info(shard: u8, up: Option<bool>, round_trip_us: Option<u32>) -> PeerInfo {
        let cluster = ClusterId(1);
        let transceiver = TransceiverId(2);
        PeerInfo {
            route: Route { cluster, transceiver, shard: ShardId(shard) },
            tunnel: Address::new([10, 0, 0, 2].into(), 3_600 + u16::from(shard)),
            listed: true,
            up,
            round_trip_us,
            pings_missed: 0,
            flows: 5,
            draining: false,
        }
    }

    #[test]
    fn the_best_leg_speaks_for_the_shard() {
        let table = [
            // Two legs, and what the shard is.
            ((None, None), (None, None), (None, 0, None)),
            ((Some(false), Some(9)), (None, None), (Some(false), 0, None)),
            ((Some(false), Some(9)), (Some(true), Some(80)), (Some(true), 1, Some(80))),
            ((Some(true), Some(70)), (Some(true), Some(80)), (Some(true), 2, Some(70))),
            ((None, None), (Some(true), Some(80)), (Some(true), 1, Some(80))),
        ];
        for (first, second, (up, legs_up, round_trip_us)) in table {
            let workers = [vec![info(0, first.0, first.1)], vec![info(0, second.0, second.1)]];
            let merged = merge(&Names::default(), workers);
            let [peer] = &merged[..] else { panic!("one shard: {merged:?}") };
            assert_eq!((peer.up, peer.legs_up), (up, legs_up));
            assert_eq!((peer.round_trip_us, peer.legs, peer.flows), (round_trip_us, 2, 10));
        }
    }

    #[test]
    fn a_worker_that_stopped_ticking_is_not_asked() {
        let ticked = |at_us| {
            let mut numbers = Numbers::new();
            numbers.own.ticked_at_us = at_us;
            numbers
        };
        let now_us = 50_000_000;
        let table = [
            (now_us + 1, true),
            (now_us - TICK_AGE_US_MAX, true),
            (now_us - TICK_AGE_US_MAX - 1, false),
            (0, false),
        ];
        for (at_us, expected) in table {
            assert_eq!(answers(&ticked(at_us), now_us), expected, "{at_us}");
        }
    }

    #[test]
    fn shards_are_in_order_whoever_knows_them() {
        let workers = [vec![info(2, None, None), info(0, None, None)], vec![info(1, None, None)]];
        let shards: Vec<_> =
            merge(&Names::default(), workers).iter().map(|peer| peer.route.shard).collect();
        assert_eq!(shards, [0, 1, 2]);
    }
}
