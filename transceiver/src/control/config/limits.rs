//! Every limit on what can be configured, in one place, with its reason.

use std::time::Duration;

/// Relays that clients are told. A client checks every one that it is told, for nothing if the first
/// answers.
pub const INGRESS_MAX: usize = 8;

/// Shards: a hint names one in a byte.
pub const SHARDS_MAX: u16 = 256;

/// The smallest tunnel datagram: IPv6's smallest MTU (1280), less IPv6 and UDP headers.
pub const TUNNEL_MTU_MIN: u16 = 1_232;
/// The largest: jumbo frames of 9,000 bytes, less IPv4 and UDP headers.
pub const TUNNEL_MTU_MAX: u16 = 8_972;
/// The usual one: Ethernet's 1,500 bytes, less IPv4 and UDP headers.
pub const TUNNEL_MTU_ETHERNET: u16 = 1_472;

/// The first tunnel port of the shards.
pub const PORT_BASE: u16 = 3_600;
/// The lowest port that a tunnel may have. Nothing else needs privileges.
pub const PORT_MIN: u16 = 1_024;

/// Socket buffers: below the first a burst of one call overflows it.
pub const SOCKET_BYTES_MIN: u64 = 64 << 10;
/// Above this, what waits is too old to be heard.
pub const SOCKET_BYTES_MAX: u64 = 1 << 30;

/// Calls of one shard: beyond what a core can carry.
pub const CALLS_PER_SHARD_MAX: u32 = 65_536;

/// The longest call.
pub const CALL_TIME_MIN: Duration = Duration::from_mins(1);
/// See [`CALL_TIME_MIN`]. A hint's time is told apart over 48 days; a day is plenty.
pub const CALL_TIME_MAX: Duration = Duration::from_hours(24);

/// Consent checks come every 5 s or so (RFC 7675); one that is lost ends no call.
pub const LOST_AFTER_MIN: Duration = Duration::from_secs(5);
/// See [`LOST_AFTER_MIN`].
pub const LOST_AFTER_MAX: Duration = Duration::from_mins(10);

/// Signaling connections: each is a file descriptor and some kilobytes.
pub const CONNECTIONS_MAX: u32 = 65_536;

/// Requests a second, and at once, of one caller.
pub const RATE_MAX: u32 = 100_000;

/// Origins of other web pages.
pub const ORIGINS_MAX: usize = 64;

/// Networks of proxies: each is compared for every request.
pub const PROXIES_MAX: usize = 64;
