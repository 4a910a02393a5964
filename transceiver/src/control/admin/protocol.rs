//! What `ctl` and a running transceiver say to each other, as JSON.
//!
//! The types are the documentation: a request is `{"command":"session","id":"rtc_…"}`, the answer
//! the JSON of the type that is named beside it.

use crate::call::CallReport;
use serde::{Deserialize, Serialize};
use service::config::ReloadReport;

/// Sessions in a list, unless told otherwise.
pub const SESSIONS_DEFAULT: usize = 100;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How the transceiver is: a [`Status`], measured over a second.
    Status,
    /// The same every second, until the client leaves.
    Top,
    /// Sessions: [`Sessions`].
    Sessions {
        /// The most of each shard.
        #[serde(default = "sessions_default")]
        limit: usize,
    },
    /// All about one session: the [`CallReport`] that signaling gives, too.
    Session {
        /// The call's id.
        id: String,
    },
    /// End a call: [`Done`].
    Hangup {
        /// The call's id.
        id: String,
    },
    /// Take no new calls: [`Done`].
    Drain,
    /// Take new calls again: [`Done`].
    Undrain,
    /// Read configuration and keys again: [`ReloadReport`].
    Reload,
}

const fn sessions_default() -> usize {
    SESSIONS_DEFAULT
}

/// Any answer; the request tells which.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `status` and `top`.
    Status(Box<Status>),
    /// To `sessions`.
    Sessions(Sessions),
    /// To `session`.
    Session(Box<CallReport>),
    /// To `hangup`, `drain` and `undrain`.
    Done(Done),
    /// To `reload`.
    Reloaded(ReloadReport),
}

/// How the transceiver is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version, with its revision.
    pub version: String,
    /// The running kernel.
    pub kernel: String,
    /// How long the transceiver has been running.
    pub uptime_seconds: u64,
    /// Its cluster.
    pub cluster: u16,
    /// What the relays know it by.
    pub transceiver: u32,
    /// How datagrams are moved.
    pub engine: String,
    /// Why so.
    pub engine_reason: String,
    /// The configuration's number.
    pub generation: u64,
    /// Whether no new calls are taken.
    pub draining: bool,
    /// Calls that each shard takes.
    pub calls_per_shard_max: u32,
    /// Every shard.
    pub shards: Vec<ShardStatus>,
    /// Why packets were dropped; only reasons that ever occurred, the present ones first.
    pub drops: Vec<Drops>,
    /// How calls ended; only reasons that ever occurred.
    pub ended: Vec<Ended>,
}

/// How a shard is. Rates are per second, over the time measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Which.
    pub shard: usize,
    /// Calls that it has, and those on their way to it.
    pub calls: u32,
    /// Calls in which media flows.
    pub connected: u64,
    /// Calls begun.
    pub opened: f64,
    /// Audio packets from clients.
    pub audio_in: f64,
    /// Audio packets to clients.
    pub audio_out: f64,
    /// Bits of tunnel datagrams received.
    pub received_bits: f64,
    /// Bits of tunnel datagrams sent.
    pub sent_bits: f64,
    /// Datagrams, packets and frames dropped.
    pub drops: f64,
    /// Share of the audio packets of clients that never came.
    pub loss: f64,
    /// Share of a core that was used: 1 is all of it.
    pub busy: f64,
    /// Wake-ups.
    pub wakes: f64,
    /// Relay workers that it hears.
    pub relays: u64,
    /// Datagrams that the kernel dropped at a full tunnel socket, since the start.
    pub kernel_drops: u64,
    /// Sessions whose code panicked, since the start.
    pub panics: u64,
    /// Time since its last tick, which should be a tenth of a second.
    pub tick_age_ms: u64,
}

/// How often something was dropped, over all shards.
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

/// How often calls ended in one way, over all shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How: the label in metrics.
    pub reason: String,
    /// Since the start.
    pub total: u64,
}

/// Sessions, by shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// As many of each shard as asked for.
    pub sessions: Vec<Session>,
    /// How many there are in all.
    pub total: u32,
}

/// One session in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The call's id.
    pub id: String,
    /// Which shard has it.
    pub shard: u8,
    /// How far it is.
    pub state: String,
    /// Whom the client talks to.
    pub backend: String,
    /// How long it is there.
    pub age_ms: u64,
    /// The client's address, once known.
    pub client: Option<String>,
    /// The relay worker's address, once known.
    pub relay: Option<String>,
    /// Audio packets from the client.
    pub packets_in: u64,
    /// Audio packets to the client.
    pub packets_out: u64,
    /// Audio packets from the client that never came.
    pub lost_in: u64,
    /// Round trip to the client.
    pub round_trip_ms: Option<f64>,
}

impl Session {
    /// The line of a report.
    pub fn of(report: &CallReport) -> Self {
        let path = report.path.as_ref();
        Self {
            id: report.id.to_string(),
            shard: report.id.shard().0,
            state: report.state.as_str().to_owned(),
            backend: report.backend.to_owned(),
            age_ms: report.age_ms,
            client: path.map(|path| path.client.clone()),
            relay: path.map(|path| path.relay.clone()),
            packets_in: report.media.packets_in,
            packets_out: report.media.packets_out,
            lost_in: report.media.lost_in,
            round_trip_ms: report.media.round_trip_ms,
        }
    }
}

/// An order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What is so now, as a sentence.
    pub done: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_a_person_types_them() {
        let table = [
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"sessions"}"#, Request::Sessions { limit: SESSIONS_DEFAULT }),
            (r#"{"command":"sessions","limit":5}"#, Request::Sessions { limit: 5 }),
            (r#"{"command":"session","id":"rtc_a"}"#, Request::Session { id: "rtc_a".into() }),
            (r#"{"command":"hangup","id":"rtc_a"}"#, Request::Hangup { id: "rtc_a".into() }),
            (r#"{"command":"drain"}"#, Request::Drain),
        ];
        for (text, expected) in table {
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), expected, "{text}");
            let written = serde_json::to_string(&expected).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&written).unwrap(), expected, "{written}");
        }
        for text in [
            r#"{"command":"stauts"}"#,
            r#"{"command":"session"}"#,
            r#"{"command":"hangup","ids":"rtc_a"}"#,
            r#"{"command":"sessions","limit":-1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
