//! Synthetic calls at the packet level: what a relay sees of a call, without a call.
//!
//! A flow begins with a connectivity check that carries a true hint and integrity, and sends media
//! only once that has been answered: consent, as every WebRTC client needs it (RFC 7675). Media are
//! RTP by their headers and opaque behind them, as SRTP is to a relay.

mod generator;
mod origins;
mod packet;
mod profile;
mod sessions;
mod worker;

pub use generator::{Generator, Load, Outgoing, Settings};
pub use packet::{MEDIA_BYTES_MIN, Media, PACKET_BYTES_MAX, Sink as SinkStamp};
pub use profile::Profile;
pub use sessions::{Place, Session, Sessions};
pub use worker::{Worker, WorkerSettings};
