//! Every limit on what can be configured, in one place, with its reason.

use std::time::Duration;

/// The port of STUN and TURN (RFC 8489): the one that firewalls most likely let out.
pub const STUN_PORT: u16 = 3478;

/// Public addresses: a frame names its listener in one byte, and each worker has a socket for each.
pub const LISTEN_MAX: usize = 16;

/// Workers. One moves some hundred thousand packets a second; the network card ends before this.
pub const WORKERS_MAX: u16 = 64;

/// Coalescing, in microseconds: a tenth of a voice frame. More would be heard, not just measured.
pub const COALESCE_US_MAX: u32 = 2_000;

/// The smallest tunnel datagram: IPv6's smallest MTU (1280), less IPv6 and UDP headers.
pub const TUNNEL_MTU_MIN: u16 = 1_232;

/// The largest: jumbo frames of 9,000 bytes, less IPv4 and UDP headers.
pub const TUNNEL_MTU_MAX: u16 = 8_972;

/// The usual one: Ethernet's 1,500 bytes, less IPv4 and UDP headers.
pub const TUNNEL_MTU_ETHERNET: u16 = 1_472;

/// The first tunnel port of a relay's workers.
pub const RELAY_PORT_BASE: u16 = 3_500;

/// The first tunnel port of a transceiver's shards.
pub const TRANSCEIVER_PORT_BASE: u16 = 3_600;

/// Shards of a transceiver: a hint names one in a byte.
pub const SHARDS_MAX: u16 = 256;

/// The lowest port that a tunnel may have. Nothing else needs privileges.
pub const PORT_MIN: u16 = 1_024;

/// Flows of one worker: below the first a table is a toy, above the second it is 1 GiB.
pub const FLOWS_PER_WORKER_MIN: u32 = 1_024;
/// See [`FLOWS_PER_WORKER_MIN`].
pub const FLOWS_PER_WORKER_MAX: u32 = 1 << 24;

/// What a flow takes in its table, at most.
pub const FLOW_BYTES: u64 = 64;

/// The fewest flows in the state new: with fewer, the start of a busy minute would be a flood.
pub const FLOWS_NEW_MIN: u32 = 64;
/// The most: their slab is small on purpose.
pub const FLOWS_NEW_MAX: u32 = 1 << 20;

/// How long a new flow may wait for its transceiver's answer.
pub const IDLE_NEW_MIN: Duration = Duration::from_secs(1);
/// See [`IDLE_NEW_MIN`].
pub const IDLE_NEW_MAX: Duration = Duration::from_mins(5);

/// An assured flow must outlive a lost consent check: RFC 7675 sends one every 5 s on average, up
/// to 6 s apart.
pub const IDLE_ASSURED_MIN: Duration = Duration::from_secs(15);
/// See [`IDLE_ASSURED_MIN`].
pub const IDLE_ASSURED_MAX: Duration = Duration::from_hours(1);

/// New flows a second: one costs about 0.7 µs, so this is most of a core.
pub const NEW_FLOW_RATE_MAX: u32 = 1_000_000;

/// Client addresses of one session.
pub const ADDRESSES_PER_SESSION_MAX: u16 = 64;

/// A socket's receive buffer.
pub const SOCKET_BYTES_MIN: u64 = 64 << 10;
/// More would hold a second of traffic at capacity, and hand it on a second late.
pub const SOCKET_BYTES_MAX: u64 = 256 << 20;

/// Buffers of one ring; the kernel's limit on a provided-buffer ring is the upper one.
pub const RING_BUFFERS_MIN: u32 = 64;
/// See [`RING_BUFFERS_MIN`].
pub const RING_BUFFERS_MAX: u32 = 1 << 15;

/// What a buffer needs beside the datagram: io_uring's header, the source address, control
/// messages (timestamp, drop counter), and headroom for the tunnel's header and tag.
pub const BUFFER_OVERHEAD_BYTES: u64 = 256;
/// The largest buffer: a full UDP datagram and its overhead.
pub const BUFFER_BYTES_MAX: u64 = 66 << 10;

/// Clusters of one relay.
pub const CLUSTERS_MAX: usize = 256;
/// Letters of a cluster's name: it becomes a metric label.
pub const CLUSTER_NAME_MAX: usize = 63;
/// Transceivers of one cluster.
pub const TRANSCEIVERS_MAX: usize = 4_096;
/// Networks in one list: each is compared when an address is first seen.
pub const NETWORKS_MAX: usize = 64;
/// A network of transceivers is at most a /8: wider is a mistake, not a network.
pub const NETWORK_LENGTH_MIN: u8 = 8;

/// An answer of the flow cache: it is of use for as long as nothing else has found the flow.
pub const REDIS_TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// See [`REDIS_TIMEOUT_MIN`].
pub const REDIS_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// Bytes of the prefix: each key has it.
pub const REDIS_PREFIX_BYTES_MAX: usize = 64;

const _: () =
    assert!(RELAY_PORT_BASE + WORKERS_MAX <= TRANSCEIVER_PORT_BASE, "on one host both fit");
const _: () = assert!(STUN_PORT < RELAY_PORT_BASE);
const _: () = assert!(TUNNEL_MTU_MAX as u64 + BUFFER_OVERHEAD_BYTES <= BUFFER_BYTES_MAX);
