//! Whom the client talks to.
//!
//! A [`Backend`] is one call's partner. It lives on the shard's thread, is told what the client
//! says and does, and answers by the call's [`Line`]. It knows nothing of WebRTC. What takes time
//! (a model, a socket) does not happen here: such a backend keeps bounded queues to threads of its
//! own, which ring its [`Bell`] when something waits in them, and it is asked by
//! [`Backend::on_wake`].

mod bell;
pub mod echo;
mod line;
pub mod opus;
pub mod parrot;

pub use bell::{Bell, Board};
pub use line::{Full, Line, MESSAGES_BYTES_MAX, PLAYOUT_BYTES_MAX, Stopped};

use crate::call::{CallId, EndReason};
use std::sync::Arc;
use std::time::Instant;

/// One Opus packet from the client.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The packet, usually 20 ms.
    pub opus: Arc<[u8]>,
    /// Its RTP time, in samples at 48 kHz, from an arbitrary start.
    pub time_48k: u64,
    /// How loud it is, if the client says so.
    pub level: Option<Level>,
    /// Packets were lost between this and the one before.
    pub after_loss: bool,
}

/// The client's own measure of a packet's loudness (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// From -127 (silence) to 0 (as loud as can be).
    pub dbov: i8,
    /// Whether the client thinks that this is a voice.
    pub voice: Option<bool>,
}

/// One message on the data channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text, by convention one JSON event.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// How long it is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// What became of the audio that a backend gave its line to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playout {
    /// The first frame after a pause has left.
    Started,
    /// The last frame has left, and its time is over.
    Drained,
}

/// One call's partner. Every method may use the line; none may block.
pub trait Backend: Send {
    /// Media flows from now on.
    fn on_connected(&mut self, _line: &mut Line) {}

    /// The data channel is open.
    fn on_channel(&mut self, _line: &mut Line) {}

    /// The client said something.
    fn on_audio(&mut self, heard: Heard, line: &mut Line);

    /// The client sent a message on the data channel.
    fn on_message(&mut self, message: Message, line: &mut Line);

    /// Playing began or ended.
    fn on_playout(&mut self, _playout: Playout, _line: &mut Line) {}

    /// The bell was rung, or the time has come that [`Line::wake_at`] asked for.
    fn on_wake(&mut self, _line: &mut Line) {}

    /// The call is over.
    fn on_end(&mut self, _reason: EndReason) {}
}

/// What a backend may know of a call before it begins.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The call.
    pub id: CallId,
    /// What the client wrote into `session`: JSON, as it came.
    pub session: Option<Arc<serde_json::Value>>,
    /// How to be called from other threads.
    pub bell: Bell,
    /// When the call begins.
    pub now: Instant,
}

/// A kind of backend: makes one for each call. Called on the signaling threads.
pub trait Backends: Send + Sync {
    /// The name that clients give as `session.model`.
    fn name(&self) -> &'static str;

    /// What it does, in a line for people.
    fn description(&self) -> &'static str;

    /// Makes the partner of one call.
    fn invite(&self, invitation: Invitation) -> Result<Box<dyn Backend>, Unavailable>;
}

/// A backend cannot take a call now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend is not available: {0}")]
pub struct Unavailable(pub String);
