//! What `ctl` and a running relay say to each other, as JSON.
//!
//! The types are the documentation: a request is `{"command":"flow","client":"192.0.2.7:5000"}`,
//! the answer the JSON of the type that is named beside it.

use crate::control::decode::Decoded;
use crate::control::direct::DirectState;
use crate::control::names::NamedRoute;
use crate::control::parking::ParkingState;
use crate::control::peers::Peer;
use crate::control::upgrade::Upgraded;
use serde::{Deserialize, Serialize};
use service::config::ReloadReport;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Flows on a page, unless told otherwise.
pub const FLOWS_PAGE_DEFAULT: u32 = 100;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How the relay is: a [`Status`], measured over a second.
    Status,
    /// The same every second, until the client leaves.
    Top,
    /// A page of flows: [`Flows`].
    Flows {
        /// Only those of this worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<usize>,
        /// Where to go on: what the page before said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Cursor>,
        /// The most flows on the page.
        #[serde(default = "flows_page_default")]
        limit: u32,
    },
    /// The flows of a client address on any worker: [`Found`].
    Flow(ClientAddress),
    /// The shards that the relay talks to: [`Peers`].
    Peers,
    /// Take no new flows: [`Done`].
    Drain,
    /// Take new flows again: [`Done`].
    Undrain,
    /// Read configuration and keys again: [`ReloadReport`].
    Reload,
    /// Hand over to a new process of this program: [`Upgraded`].
    Upgrade,
    /// What a ufrag says: [`Decoded`].
    Decode {
        /// The ufrag.
        ufrag: String,
    },
    /// What would become of a packet: [`Traced`].
    Trace {
        /// Whose packet.
        client: SocketAddr,
        /// By which listener it comes, as a number in the order of `listen`; the first that suits
        /// the client's family, unless told otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listener: Option<u8>,
        /// Which packet.
        packet: TracedPacket,
    },
    /// Free the flows of a client address on every worker: [`Found`], what they were.
    Forget(ClientAddress),
}

const fn flows_page_default() -> u32 {
    FLOWS_PAGE_DEFAULT
}

/// Whose flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAddress {
    /// The client's address, as the relay sees it.
    pub client: SocketAddr,
    /// By which listener; any, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<u8>,
}

/// A packet to be traced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TracedPacket {
    /// The connectivity check that a client with this ufrag in its SDP answer would send.
    Ufrag(String),
    /// These bytes, as hex digits.
    Hex(String),
}

/// A place between two flows: `worker:slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor {
    /// Which worker's table.
    pub worker: usize,
    /// Where in it.
    pub slot: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.worker, self.slot)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cursor = text.split_once(':').and_then(|(worker, slot)| {
            Some(Self { worker: worker.parse().ok()?, slot: slot.parse().ok()? })
        });
        cursor.ok_or_else(|| {
            format!("must be what the page before ended with, such as 0:1000, is {text}")
        })
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Any answer; the request tells which.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `status` and `top`.
    Status(Box<Status>),
    /// To `flows`.
    Flows(Flows),
    /// To `flow` and `forget`.
    Found(Found),
    /// To `peers`.
    Peers(Peers),
    /// To `drain` and `undrain`.
    Done(Done),
    /// To `reload`.
    Reloaded(ReloadReport),
    /// To `upgrade`.
    Upgraded(Upgraded),
    /// To `decode`.
    Decoded(Decoded),
    /// To `trace`.
    Traced(Traced),
}

/// How the relay is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version, with its revision.
    pub version: String,
    /// The running kernel.
    pub kernel: String,
    /// How long the relay has been running.
    pub uptime_seconds: u64,
    /// How datagrams are moved.
    pub engine: String,
    /// Why so.
    pub engine_reason: String,
    /// Direct egress.
    pub direct: DirectState,
    /// What the service manager has for the next process.
    pub parking: ParkingState,
    /// The configuration's number.
    pub generation: u64,
    /// Whether no new flows are taken.
    pub draining: bool,
    /// Every worker.
    pub workers: Vec<WorkerStatus>,
    /// Why packets were dropped; only reasons that ever occurred, the present ones first.
    pub drops: Vec<Drops>,
    /// Every shard.
    pub peers: Vec<Peer>,
}

/// How a worker is. Rates are per second, over the time measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Which.
    pub worker: usize,
    /// Packets from clients.
    pub received_packets: f64,
    /// Bits from clients.
    pub received_bits: f64,
    /// Packets to clients.
    pub sent_packets: f64,
    /// Bits to clients.
    pub sent_bits: f64,
    /// Packets, frames and datagrams dropped.
    pub drops: f64,
    /// Share of a core that was used: 1 is all of it.
    pub busy: f64,
    /// Flows whose shard has not answered yet.
    pub flows_new: u64,
    /// Flows whose shard has answered.
    pub flows_assured: u64,
    /// How long a batch may fill now.
    pub coalesce_us: u64,
    /// Datagrams that the kernel dropped at a full public socket, since the start.
    pub kernel_drops_public: u64,
    /// Datagrams that the kernel dropped at a full tunnel socket, since the start.
    pub kernel_drops_tunnel: u64,
    /// Heap allocations that should not have been.
    pub allocations: u64,
    /// Time since its last tick, which should be a tenth of a second.
    pub tick_age_ms: u64,
}

/// How often something was dropped, over all workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// Why: the label in metrics.
    pub reason: String,
    /// What that means.
    pub meaning: String,
    /// Now, per second.
    pub rate: f64,
    /// Since the start.
    pub total: u64,
}

/// A page of flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// The flows.
    pub flows: Vec<Flow>,
    /// Where the next page begins; none if there is no more.
    pub next: Option<Cursor>,
}

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Which worker has it.
    pub worker: usize,
    /// Whose it is.
    pub client: SocketAddr,
    /// By which listener.
    pub listener: u8,
    /// `new`, or `assured` once the shard has answered.
    pub state: String,
    /// Where it goes.
    pub route: NamedRoute,
    /// Where that shard's tunnel is.
    pub tunnel: SocketAddr,
    /// Whose session it is; none if it was learned from the shard.
    pub session: Option<u32>,
    /// How long no packet came or went.
    pub idle_ms: u32,
    /// How long the shard has sent nothing; none if it never did.
    pub silent_ms: Option<u32>,
    /// Which other session could take it over.
    pub pending: Option<Pending>,
}

/// A session that could take a flow over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Where it lives.
    pub route: NamedRoute,
    /// Which it is.
    pub session: u32,
}

/// The flows of one client address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// One for each listener and worker that has one.
    pub flows: Vec<Flow>,
}

/// All shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// In the order of their names.
    pub peers: Vec<Peer>,
}

/// An order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What is so now, as a sentence.
    pub done: String,
}

/// What would become of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Whose router was asked: one that has a flow of this client, or the first.
    pub worker: usize,
    /// By which listener the packet would come.
    pub listener: u8,
    /// The packet.
    pub packet_bytes: usize,
    /// What the router found out, in order.
    pub steps: Vec<String>,
    /// What would happen, as a sentence.
    pub outcome: String,
    /// Whether it would be forwarded.
    pub forwarded: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_a_person_types_them() {
        let client: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        let address = ClientAddress { client, listener: None };
        let flows = |worker, from| Request::Flows { worker, from, limit: FLOWS_PAGE_DEFAULT };
        let table = [
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"flows"}"#, flows(None, None)),
            (
                r#"{"command":"flows","worker":1,"from":"1:1000"}"#,
                flows(Some(1), Some(Cursor { worker: 1, slot: 1000 })),
            ),
            (r#"{"command":"flow","client":"192.0.2.7:5000"}"#, Request::Flow(address)),
            (r#"{"command":"decode","ufrag":"A1"}"#, Request::Decode { ufrag: "A1".into() }),
            (
                r#"{"command":"trace","client":"192.0.2.7:5000","packet":{"hex":"80"}}"#,
                Request::Trace { client, listener: None, packet: TracedPacket::Hex("80".into()) },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), expected, "{text}");
            let written = serde_json::to_string(&expected).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&written).unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            r#"{"command":"stauts"}"#,
            r#"{"command":"flows","form":"0:1"}"#,
            r#"{"command":"flows","from":"1000"}"#,
            r#"{"command":"flow","client":"192.0.2.7"}"#,
            r#"{"command":"flow"}"#,
            r#"{"command":"forget","client":"192.0.2.7:5000","listner":1}"#,
            r#"{"command":"trace","client":"192.0.2.7:5000"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
