//! The relay's core: decides what becomes of every packet, and does nothing itself.
//!
//! ```text
//!  client packet ──► on_client ──► Verdict ─────── Forward ──► append ─┐ a bundle per peer
//!  tunnel datagram ► on_tunnel ──► TunnelVerdict ─ Frames ──► on_frame ┼► FrameVerdict
//!  time ───────────► on_tick                                           │
//!  operator ───────► on_command ──► Reply            flush ◄───────────┘ sealed datagrams
//! ```
//!
//! It has no clock, no socket and no thread: time, randomness and keys come in as values, verdicts
//! and sealed datagrams go out. All memory is taken when a [`Router`] is made; packets and ticks
//! allocate nothing, which a test proves. Each worker owns one router and shares nothing of it.
//!
//! The rules that it keeps are those of DESIGN §5; each is a test of its name in
//! `tests/core_routing.rs`, `core_admission.rs` and `core_recovery.rs`.

mod clusters;
mod command;
mod counters;
mod decide;
mod drop_reason;
mod events;
mod flow;
mod from_client;
mod from_shard;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod keyed_hash;
mod legs;
pub mod limits;
mod now;
mod peers;
mod records;
mod router;
mod settings;
mod slot_index;
pub mod snapshot;
mod steps;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod testing;
mod tick;
mod token_bucket;

pub use clusters::{
    Cluster, Clusters, ClustersError, Ipv4Network, Ipv4Rule, NotANetwork, Resolve, Route,
    Transceiver,
};
pub use command::{Command, FlowInfo, FlowsPage, PeerInfo, Reply, Trace};
pub use counters::{Counters, Series, SeriesKind};
pub use drop_reason::DropReason;
pub use events::FlowChange;
pub use flow::FlowState;
pub use from_client::Verdict;
pub use from_shard::{FrameVerdict, TunnelVerdict};
pub use legs::Random;
pub use now::Now;
pub use peers::PeerIndex;
pub use records::{FlowRecord, Recalled, Restored};
pub use router::Router;
pub use settings::{ClientScopes, Family, Settings, SetupError};
pub use steps::Step;
