//! The steps of a decision, in words: what `trace` shows. On the path of real packets they are
//! noted to nobody and cost nothing.

use super::clusters::Route;
use super::flow::FlowState;
use std::fmt;
use wire::address::Address;
use wire::demux::PacketClass;
use wire::hint::{Hint, SessionTag};
use wire::stun::Kind;

/// Who listens to a decision being made.
pub(super) trait Steps {
    fn note(&mut self, step: Step);
}

/// Nobody.
impl Steps for () {
    #[inline(always)]
    fn note(&mut self, _: Step) {}
}

/// An operator.
impl Steps for Vec<Step> {
    fn note(&mut self, step: Step) {
        self.push(step);
    }
}

/// One thing that was found out about a packet on the way to its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// By its first byte.
    Class(PacketClass),
    /// It is well-formed STUN.
    Stun(Kind),
    /// Its USERNAME holds one of our hints.
    Hint(Hint),
    /// The client has no flow.
    NoFlow,
    /// The client has a flow that has been idle for too long.
    StaleFlow {
        /// For how long.
        idle_ms: u32,
    },
    /// The client has a flow.
    Flow {
        /// New or assured.
        state: FlowState,
        /// Where it goes.
        route: Route,
        /// Whose it is, if that is known.
        session: Option<SessionTag>,
    },
    /// The hint names the flow's own session, so nothing more is asked.
    OwnSession,
    /// The hint leads to this tunnel address.
    Resolved(Option<Address>),
    /// MESSAGE-INTEGRITY is right: the sender has seen the session's SDP answer.
    Proven,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "the packet is {}", class.as_str()),
            Self::Stun(Kind::BindingRequest) => f.write_str("it is a Binding request"),
            Self::Stun(Kind::GoogPing) => f.write_str("it is a GOOG-PING"),
            Self::Stun(kind) => write!(f, "it is a STUN message of type {kind:?}"),
            Self::Hint(hint) => write!(f, "its USERNAME holds the hint: {hint}"),
            Self::NoFlow => f.write_str("the client has no flow here"),
            Self::StaleFlow { idle_ms } => {
                write!(f, "the client's flow has been idle for {idle_ms} ms and counts no more")
            }
            Self::Flow { state, route, session } => {
                let state = match state {
                    FlowState::New => "a new",
                    FlowState::Assured => "an assured",
                };
                write!(f, "the client has {state} flow to {route}")?;
                match session {
                    Some(tag) => write!(f, ", session {:#08x}", tag.value()),
                    None => f.write_str(", learned from the shard"),
                }
            }
            Self::OwnSession => f.write_str("the hint is that of the flow's own session"),
            Self::Resolved(Some(address)) => write!(f, "the hint leads to the tunnel at {address}"),
            Self::Resolved(None) => f.write_str("the hint leads to a shard that is no more"),
            Self::Proven => f.write_str("its integrity proves that the client saw the SDP answer"),
        }
    }
}
