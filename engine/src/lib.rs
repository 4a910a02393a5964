//! Moves UDP datagrams in batches between the kernel and pre-allocated buffers.
//!
//! This is the only crate of Ringway with `unsafe` in it. Everything above it sees addresses and
//! bytes.
//!
//! An [`Engine`] serves a fixed list of links (sockets) for one thread: [`Engine::wait`] sleeps and
//! fills the [`Arrivals`], the caller reads them and queues replies in the [`Outbox`], and
//! [`Engine::flush`] sends those.

mod address;
pub mod affinity;
mod arrivals;
pub mod clock;
mod control;
pub mod direct;
pub mod handover;
pub mod heap;
pub mod histogram;
pub mod inherited;
mod interface;
mod kernel;
mod link;
mod memory;
mod mmsg;
mod options;
mod outbox;
mod probe;
mod segmentation;
mod shedding;
pub mod sim;
pub mod sockets;
mod statistics;
pub mod steering;
mod uring;
mod waker;

pub use arrivals::{Arrival, Arrivals};
pub use interface::{Engine, LinkSocket, Settings, Wait};
pub use link::{DATAGRAM_BYTES_MAX, LINKS_MAX, Link, LinkSettings};
pub use mmsg::Mmsg;
pub use outbox::{Full, Outbox, OutboxSettings, SEGMENTS_MAX, Slot};
pub use probe::{Choice, EngineKind, Probe, Refusal, UnknownEngine, UringFeatures, probe};
pub use statistics::Statistics;
pub use uring::{TaskRun, Uring, UringSettings};
pub use waker::Waker;
