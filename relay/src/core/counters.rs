//! What the core counts: one table of fields, names and helps, from which all else follows.
//!
//! The struct is plain numbers, one writer, no atomics. The worker copies the numbers to its slot
//! ([`Counters::write`]) and the exporter names them by [`Counters::series`], which has the same
//! order. Every series is there from the start, with zero.

use super::drop_reason::DropReason;
use wire::demux::PacketClass;

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number, as metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Name of the metric.
    pub name: &'static str,
    /// Name and value of its label, if it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: SeriesKind,
}

macro_rules! counters {
    (
        by label:
        $($(#[doc = $array_help:literal])+ $array:ident: [$each:ty] = $array_name:literal,)+
        single:
        $($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal,)+
    ) => {
        /// All numbers of one router.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $array_help])+ pub $array: [u64; <$each>::ALL.len()],)+
            $($(#[doc = $help])+ pub $field: u64,)+
        }

        impl Counters {
            /// How many numbers there are.
            pub const LEN: usize = 0 $(+ <$each>::ALL.len())+ + [$($name),+].len();

            pub(super) const fn new() -> Self {
                Self { $($array: [0; <$each>::ALL.len()],)+ $($field: 0,)+ }
            }

            /// Copies the numbers out, in the order of [`Counters::series`].
            pub fn write(&self, out: &mut [u64; Self::LEN]) {
                let numbers = [].iter() $(.chain(&self.$array))+ $(.chain([&self.$field]))+;
                for (out, number) in out.iter_mut().zip(numbers) {
                    *out = *number;
                }
            }

            /// What the numbers are.
            pub fn series() -> impl Iterator<Item = Series> {
                let all = std::iter::empty();
                $(let all = all.chain(<$each>::ALL.iter().map(|each| Series {
                    name: $array_name,
                    label: Some((<$each as Label>::NAME, each.as_str())),
                    help: concat!($($array_help),+).trim_ascii(),
                    kind: SeriesKind::Counter,
                }));)+
                all.chain([$(Series {
                    name: $name,
                    label: None,
                    help: concat!($($help),+).trim_ascii(),
                    kind: SeriesKind::$kind,
                }),+])
            }
        }
    };
}

/// The label that an array of numbers is spread over.
trait Label {
    const NAME: &'static str;
}

impl Label for PacketClass {
    const NAME: &'static str = "class";
}

impl Label for DropReason {
    const NAME: &'static str = "reason";
}

counters! {
    by label:
    /// Packets received from clients.
    client_received_packets: [PacketClass] = "relay_client_received_packets_total",
    /// Bytes received from clients.
    client_received_bytes: [PacketClass] = "relay_client_received_bytes_total",
    /// Packets for clients, handed over for sending.
    client_sent_packets: [PacketClass] = "relay_client_sent_packets_total",
    /// Bytes for clients, handed over for sending.
    client_sent_bytes: [PacketClass] = "relay_client_sent_bytes_total",
    /// Packets, frames and tunnel datagrams that went no further.
    drops: [DropReason] = "relay_drops_total",

    single:
    /// Tunnel datagrams handed over for sending, pings and pongs not counted.
    tunnel_sent_datagrams: Counter = "relay_tunnel_sent_datagrams_total",
    /// Frames in them. Frames per datagram is how well bundling works.
    tunnel_sent_frames: Counter = "relay_tunnel_sent_frames_total",
    /// Their bytes.
    tunnel_sent_bytes: Counter = "relay_tunnel_sent_bytes_total",
    /// Tunnel datagrams with one packet too long for the tunnel's MTU.
    tunnel_sent_oversize: Counter = "relay_tunnel_sent_oversize_total",
    /// Tunnel datagrams received, whatever became of them.
    tunnel_received_datagrams: Counter = "relay_tunnel_received_datagrams_total",
    /// Frames with a packet in authentic ones.
    tunnel_received_frames: Counter = "relay_tunnel_received_frames_total",
    /// Bytes of tunnel datagrams received.
    tunnel_received_bytes: Counter = "relay_tunnel_received_bytes_total",
    /// Pings sent to shards.
    pings_sent: Counter = "relay_tunnel_pings_sent_total",
    /// Pings that were not answered before the next one was due.
    pings_missed: Counter = "relay_tunnel_pings_missed_total",
    /// Pongs that answered the latest ping.
    pongs_received: Counter = "relay_tunnel_pongs_received_total",
    /// Pongs that answered an earlier ping or none.
    pongs_stale: Counter = "relay_tunnel_pongs_stale_total",
    /// Pings received from shards, each answered with a pong.
    pings_received: Counter = "relay_tunnel_pings_received_total",

    /// Flows made by a check whose integrity verified.
    flows_created: Counter = "relay_flows_created_total",
    /// Flows that became assured because their shard answered.
    flows_answered: Counter = "relay_flows_answered_total",
    /// Assured flows learned from a shard's packet to an unknown client.
    flows_learned: Counter = "relay_flows_learned_total",
    /// Flows taken over from the process before, at a hot upgrade.
    flows_restored: Counter = "relay_flows_restored_total",
    /// Flows recalled after a miss: another worker had them, or the flow cache.
    flows_recalled: Counter = "relay_flows_recalled_total",
    /// Flows that were to be recalled or restored and were not: no such shard any more, no room, or
    /// too many at once.
    flows_not_recalled: Counter = "relay_flows_not_recalled_total",
    /// Flows that another shard took over.
    flows_repointed: Counter = "relay_flows_repointed_total",
    /// Flows that changed to another session of the same shard, as an ICE restart does.
    flows_adopted: Counter = "relay_flows_adopted_total",
    /// New flows that made room for newer ones.
    flows_evicted: Counter = "relay_flows_evicted_total",
    /// New flows whose idle time ran out.
    flows_expired_new: Counter = "relay_flows_expired_new_total",
    /// Assured flows whose idle time ran out.
    flows_expired_assured: Counter = "relay_flows_expired_assured_total",
    /// Flows freed because their shard said that the client is gone.
    flows_gone: Counter = "relay_flows_gone_total",
    /// Flows freed by an operator, or because their transceiver left the configuration.
    flows_forgotten: Counter = "relay_flows_forgotten_total",
    /// Clients that a shard called gone and that had no flow of that shard.
    gone_ignored: Counter = "relay_gone_ignored_total",
    /// Checks routed by their hint without making a flow, because of too many new flows.
    under_flood: Counter = "relay_under_flood_total",
    /// Checks of another shard's session, routed by their hint beside the flow.
    routed_beside: Counter = "relay_routed_beside_flow_total",
    /// Packets delivered to a client whose flow belongs to another shard.
    delivered_beside: Counter = "relay_delivered_beside_flow_total",
    /// Times that a flow was not made assured, learned or taken over for want of room.
    assured_full: Counter = "relay_flows_assured_full_total",
    /// Packets of shards to unknown clients that taught nothing, because too many did before.
    learning_limited: Counter = "relay_flows_learning_limited_total",
    /// Packets of shards to unknown clients that taught nothing, because so many flows go to that
    /// shard already.
    taught_full: Counter = "relay_flows_taught_full_total",
    /// Times that a shard's process was found to be another one than before.
    peers_restarted: Counter = "relay_peers_restarted_total",
    /// Shards of `ipv4` clusters that came to be known.
    peers_added: Counter = "relay_peers_added_total",
    /// Shards of `ipv4` clusters that were unused and forgotten.
    peers_dropped: Counter = "relay_peers_dropped_total",
    /// Flow events lost because nobody took them in time.
    change_events_lost: Counter = "relay_flow_change_events_lost_total",
    /// Flow misses not reported because nobody took them in time.
    miss_events_lost: Counter = "relay_flow_miss_events_lost_total",

    /// Flows whose shard has not answered yet.
    flows_new: Gauge = "relay_flows_new",
    /// Flows whose shard has answered.
    flows_assured: Gauge = "relay_flows_assured",
    /// Shards known.
    peers: Gauge = "relay_tunnel_peers",
    /// Shards that answer pings.
    peers_up: Gauge = "relay_tunnel_peers_up",
    /// Of connectivity checks, one in two to the power of this is admitted, because the worker could not
    /// keep up with all of them. 0: all are.
    shed_halvings: Gauge = "relay_shed_halvings",
    /// 1 while no new flows are taken.
    draining: Gauge = "relay_draining",
}

impl Counters {
    /// How often packets were dropped for this reason.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Counts a drop.
    #[inline]
    pub(super) const fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    #[inline]
    pub(super) const fn count_client_received(&mut self, class: PacketClass, bytes: usize) {
        self.client_received_packets[class as usize] += 1;
        self.client_received_bytes[class as usize] += bytes as u64;
    }

    #[inline]
    pub(super) const fn count_client_sent(&mut self, class: PacketClass, bytes: usize) {
        self.client_sent_packets[class as usize] += 1;
        self.client_sent_bytes[class as usize] += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_series_have_one_order() {
        let mut counters = Counters::new();
        counters.count_drop(DropReason::TunnelForged);
        counters.count_client_received(PacketClass::Dtls, 100);
        counters.draining = 7;
        let mut numbers = [0; Counters::LEN];
        counters.write(&mut numbers);
        let series: Vec<_> = Counters::series().collect();
        assert_eq!(series.len(), Counters::LEN);
        let shown: Vec<_> = series
            .iter()
            .zip(numbers)
            .filter(|(_, number)| *number != 0)
            .map(|(series, number)| (series.name, series.label, number))
            .collect();
        assert_eq!(
            shown,
            [
                ("relay_client_received_packets_total", Some(("class", "dtls")), 1),
                ("relay_client_received_bytes_total", Some(("class", "dtls")), 100),
                ("relay_drops_total", Some(("reason", "tunnel_forged")), 1),
                ("relay_draining", None, 7),
            ]
        );
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for (index, class) in PacketClass::ALL.iter().enumerate() {
            assert_eq!(*class as usize, index, "a class's number is its counter");
        }
        for series in Counters::series() {
            let counter = series.kind == SeriesKind::Counter;
            assert_eq!(series.name.ends_with("_total"), counter, "{}", series.name);
            assert!(series.name.starts_with("relay_"), "{}", series.name);
            assert!(series.help.ends_with('.'), "{}", series.name);
        }
    }
}
