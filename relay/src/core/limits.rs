//! Every limit of the core, in one place, with the relations between them checked by the compiler.
//!
//! What an operator may change starts here as a `…_DEFAULT` and is bounded by a limit; the rest is
//! fixed.

/// Assured flows of one worker.
pub const FLOWS_DEFAULT: u32 = 262_144;
/// The most that can be asked for: 16 million flows are 1 GB per worker.
pub const FLOWS_MAX: u32 = 1 << 24;
/// Flows of one worker whose shard has not answered yet.
pub const NEW_FLOWS_DEFAULT: u32 = 16_384;
/// The most that can be asked for.
pub const NEW_FLOWS_MAX: u32 = 1 << 20;
/// How long a new flow may be idle.
pub const NEW_FLOW_IDLE_MS_DEFAULT: u32 = 10_000;
/// How long an assured flow may be idle. Browsers check consent every 5 s at the latest.
pub const FLOW_IDLE_MS_DEFAULT: u32 = 60_000;
/// The longest idle times: an hour.
pub const FLOW_IDLE_MS_MAX: u32 = 3_600_000;
/// New flows a worker makes per second before it is under flood.
pub const NEW_FLOW_RATE_DEFAULT: u32 = 10_000;
/// Client addresses of one session.
pub const SESSION_ADDRESSES_DEFAULT: u8 = 8;
/// Flows of one shard, for each worker, above which it teaches no more: some times what a shard holds.
pub const FLOWS_PER_SHARD_DEFAULT: u32 = 16_384;
/// How long the route of an assured flow must have been silent before another shard may take over.
/// Longer than between two checks of a client that keeps to RFC 7675 (4 s to 6 s), whose answers are all
/// that a silent model sends; and as long as a shard keeps an address for the call that was heard there.
pub const ROUTE_SILENT_MS: u32 = 8_000;

/// Shards that a worker can talk to.
pub const PEERS_DEFAULT: u16 = 4_096;
/// The most that can be asked for: an index stands for "none".
pub const PEERS_MAX: u16 = u16::MAX - 1;
/// Shards of one transceiver: as many as a hint can tell apart.
pub const SHARDS_MAX: u16 = 256;
/// Remembered senders per peer: a shard that has restarted is a second sender for a while.
pub const SENDERS_PER_PEER: usize = 2;
/// Peers looked at, at most, to find one that can make room for another.
pub const PEER_EVICTION_LOOKS: u16 = 64;
/// How long a flowless peer must have been unused before it makes room for another.
pub const PEER_EVICTION_IDLE_US: u64 = 10_000_000;
/// How long a flowless peer of an `ipv4` cluster is kept (and pinged) in any case.
pub const PEER_IDLE_US: u64 = 600_000_000;
/// Time between two pings of a peer.
pub const PING_INTERVAL_US: u64 = 1_000_000;
/// Unanswered pings in a row after which a peer counts as down.
pub const PINGS_MISSED_DOWN: u16 = 3;

/// Listen sockets: as many as a frame can name.
pub const LISTENERS_MAX: usize = 256;
/// Bytes of a tunnel datagram on an ordinary network: 1500 less IPv4 and UDP headers.
pub const TUNNEL_DATAGRAM_BYTES_DEFAULT: u16 = 1_472;
/// The shortest that may be asked for: IPv6's smallest MTU less IPv6 and UDP headers.
pub const TUNNEL_DATAGRAM_BYTES_MIN: u16 = 1_232;
/// The longest: jumbo frames.
pub const TUNNEL_DATAGRAM_BYTES_MAX: u16 = 8_972;
/// The longest client packet that is carried. No WebRTC client sends more than an MTU.
pub const PACKET_BYTES_DEFAULT: u16 = 2_048;
/// The longest that can be asked for: what fits, with all headers, into one UDP datagram.
pub const PACKET_BYTES_MAX: u16 = 65_000;

/// How often the worker should tick. Nothing breaks when it is late.
pub const TICK_INTERVAL_US: u64 = 100_000;
/// Flow slots that one tick looks at.
pub const SWEEP_SLOTS_PER_TICK: u32 = 4_096;
/// Peer slots that one tick looks at.
pub const PEERS_PER_TICK: u16 = 512;
/// Changes of flows that wait for the worker to take them.
pub const CHANGE_EVENTS_MAX: usize = 4_096;
/// Misses that wait for the worker to take them. Apart from the changes, because strangers make
/// misses.
pub const MISS_EVENTS_MAX: usize = 1_024;
/// Flows in one page of a listing.
pub const FLOWS_PAGE_MAX: u32 = 1_000;
/// Slots that one page looks at: an empty table is as long as a full one, and packets wait.
pub const FLOWS_PAGE_SLOTS_MAX: u32 = 4_096;

const _: () = {
    assert!(FLOWS_DEFAULT <= FLOWS_MAX && NEW_FLOWS_DEFAULT <= NEW_FLOWS_MAX);
    // A slot's number plus one, and the sum of both slabs, fit 32 bits.
    assert!(FLOWS_MAX as u64 + (NEW_FLOWS_MAX as u64) < u32::MAX as u64);
    assert!(NEW_FLOWS_DEFAULT < FLOWS_DEFAULT, "new flows are the small slab");
    assert!(NEW_FLOW_IDLE_MS_DEFAULT < FLOW_IDLE_MS_DEFAULT, "new flows go first");
    assert!(ROUTE_SILENT_MS < NEW_FLOW_IDLE_MS_DEFAULT);
    // Times of flows are milliseconds in 32 bits and wrap after 49 days: far beyond any idle time.
    assert!(FLOW_IDLE_MS_MAX < u32::MAX / 4);
    assert!(PEERS_DEFAULT <= PEERS_MAX && PEERS_MAX < u16::MAX);
    assert!(PEER_EVICTION_IDLE_US > PING_INTERVAL_US && PEER_IDLE_US > PEER_EVICTION_IDLE_US);
    assert!(TUNNEL_DATAGRAM_BYTES_MIN <= TUNNEL_DATAGRAM_BYTES_DEFAULT);
    assert!(TUNNEL_DATAGRAM_BYTES_DEFAULT <= TUNNEL_DATAGRAM_BYTES_MAX);
    assert!(PACKET_BYTES_DEFAULT <= PACKET_BYTES_MAX);
    let sweep_ticks = (FLOWS_DEFAULT + NEW_FLOWS_DEFAULT).div_ceil(SWEEP_SLOTS_PER_TICK) as u64;
    assert!(sweep_ticks * TICK_INTERVAL_US <= NEW_FLOW_IDLE_MS_DEFAULT as u64 * 1_000);
    let ping_ticks = PEERS_DEFAULT.div_ceil(PEERS_PER_TICK) as u64;
    assert!(ping_ticks * TICK_INTERVAL_US <= PING_INTERVAL_US, "each peer is seen in time");
    let longest =
        PACKET_BYTES_MAX as usize + wire::frame::OVERHEAD_BYTES_MAX + wire::tunnel::OVERHEAD_BYTES;
    assert!(longest <= 65_507, "the longest payload of UDP over IPv4");
};
