//! What operators ask of a running relay over the admin socket, and how it is answered.
//!
//! Everything is asked of the routers themselves: they own the flows, and the answer is as of the
//! moment between two batches. Nothing here can change a packet's way except `drain`, `reload` and
//! `forget`, which are logged.

mod flows;
pub mod protocol;
mod status;
mod trace;

use super::decode;
use super::names::Names;
use super::peers::{self, Peer};
use super::relay::Relay;
use super::upgrade;
use crate::core::Command;
use flows::refuse;
use protocol::{Answer, Done, Peers, Request, Status};
use service::admin::{Handler, Refusal, Stream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::info;

/// What rates are measured over.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// Answers requests about a running relay.
pub struct RelayAdmin {
    relay: Arc<Relay>,
}

impl RelayAdmin {
    /// For this relay.
    pub const fn new(relay: Arc<Relay>) -> Self {
        Self { relay }
    }

    fn names(&self) -> Names {
        Names::of(&self.relay.config())
    }

    async fn peers(&self) -> Vec<Peer> {
        peers::ask(self.relay.fleet(), &self.names()).await
    }

    /// Measures for a second, and tells.
    async fn status(&self) -> Status {
        let before = self.relay.fleet().numbers();
        tokio::time::sleep(RATE_INTERVAL).await;
        let after = self.relay.fleet().numbers();
        status::of(&self.relay, &before, &after, self.peers().await)
    }

    /// Tells every second, until the client leaves, which the next send notices.
    async fn top(&self, stream: &mut Stream<'_>) -> Result<Answer, Refusal> {
        loop {
            let status = self.status().await;
            stream.next(&Answer::Status(Box::new(status))).await?;
        }
    }

    async fn drain(&self, on: bool) -> Result<Done, Refusal> {
        self.relay.set_drain(on).await.map_err(refuse)?;
        info!(draining = on, "by an operator");
        let done = if on {
            "draining: /ready fails, no new flows are taken, the present ones go on"
        } else {
            "not draining: new flows are taken"
        };
        Ok(Done { done: done.to_owned() })
    }

    fn listeners(&self) -> u8 {
        u8::try_from(self.relay.config().listen.len()).unwrap_or(u8::MAX)
    }
}

impl Handler for RelayAdmin {
    type Request = Request;
    type Reply = Answer;

    async fn handle(&self, request: Request, stream: &mut Stream<'_>) -> Result<Answer, Refusal> {
        let fleet = self.relay.fleet();
        let names = self.names();
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status().await))),
            Request::Top => self.top(stream).await,
            Request::Flows { worker, from, limit } => {
                flows::page(fleet, &names, worker, from, limit).await.map(Answer::Flows)
            }
            Request::Flow(address) => {
                let found = flows::find(fleet, &names, self.listeners(), address, Command::Flow);
                found.await.map(Answer::Found)
            }
            Request::Forget(address) => {
                let found = flows::find(fleet, &names, self.listeners(), address, Command::Forget);
                let found = found.await?;
                info!(client = %address.client, flows = found.flows.len(), "forgotten");
                Ok(Answer::Found(found))
            }
            Request::Peers => Ok(Answer::Peers(Peers { peers: self.peers().await })),
            Request::Drain => self.drain(true).await.map(Answer::Done),
            Request::Undrain => self.drain(false).await.map(Answer::Done),
            Request::Reload => {
                let report = self.relay.reload().await.map_err(Refusal)?;
                info!(generation = report.generation, "reloaded by an operator");
                Ok(Answer::Reloaded(report))
            }
            Request::Upgrade => {
                upgrade::upgrade(&self.relay).await.map(Answer::Upgraded).map_err(Refusal)
            }
            Request::Decode { ufrag } => {
                // Before 1970 every hint is valid; a clock that wrong has other consequences.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let decoded = decode::decode(&self.relay.keyring(), &ufrag, now);
                decoded.map(Answer::Decoded).map_err(|error| Refusal(error.to_string()))
            }
            Request::Trace { client, listener, packet } => {
                let listener = trace::listener(&self.relay.config().listen, client, listener)?;
                let packet = trace::packet(&self.relay.keyring(), &packet)?;
                trace::trace(fleet, listener, client, packet).await.map(Answer::Traced)
            }
        }
    }
}
