//! What operators ask of a running transceiver over the admin socket, and how it is answered.

pub mod protocol;
mod status;

use super::transceiver::Transceiver;
use crate::call::CallId;
use protocol::{Answer, Done, Request, Session, Sessions, Status};
use service::admin::{Handler, Refusal, Stream};
use std::sync::Arc;
use std::time::Duration;
use tracing::info;

/// What rates are measured over.
const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// A shard answers between two turns: within milliseconds. One that takes this long is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Sessions of one shard in a list: putting it together holds up the shard's calls.
const SESSIONS_MAX: usize = 1_000;

/// Answers requests about a running transceiver.
pub struct TransceiverAdmin {
    transceiver: Arc<Transceiver>,
}

impl TransceiverAdmin {
    /// For this transceiver.
    pub const fn new(transceiver: Arc<Transceiver>) -> Self {
        Self { transceiver }
    }

    /// Measures for a second, and tells.
    async fn status(&self) -> Status {
        let before = self.transceiver.numbers();
        tokio::time::sleep(RATE_INTERVAL).await;
        status::of(&self.transceiver, &before, &self.transceiver.numbers())
    }

    /// Tells every second, until the client leaves, which the next send notices.
    async fn top(&self, stream: &mut Stream<'_>) -> Result<Answer, Refusal> {
        loop {
            let status = self.status().await;
            stream.next(&Answer::Status(Box::new(status))).await?;
        }
    }

    async fn sessions(&self, limit: usize) -> Result<Sessions, Refusal> {
        let calls = self.transceiver.calls();
        let reports = in_time(calls.list(limit.min(SESSIONS_MAX))).await?;
        Ok(Sessions { sessions: reports.iter().map(Session::of).collect(), total: calls.count() })
    }

    fn drain(&self, on: bool) -> Result<Done, Refusal> {
        self.transceiver.calls().set_drain(on).map_err(refuse)?;
        info!(draining = on, "by an operator");
        let done = if on {
            "draining: /ready fails, no new calls are taken, the present ones go on"
        } else {
            "not draining: new calls are taken"
        };
        Ok(Done { done: done.to_owned() })
    }
}

impl Handler for TransceiverAdmin {
    type Request = Request;
    type Reply = Answer;

    async fn handle(&self, request: Request, stream: &mut Stream<'_>) -> Result<Answer, Refusal> {
        let calls = self.transceiver.calls();
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status().await))),
            Request::Top => self.top(stream).await,
            Request::Sessions { limit } => self.sessions(limit).await.map(Answer::Sessions),
            Request::Session { id } => {
                in_time(calls.report(call_id(&id)?)).await.map(Answer::Session)
            }
            Request::Hangup { id } => {
                in_time(calls.hang_up(call_id(&id)?)).await?;
                info!(call = id, "hung up by an operator");
                Ok(Answer::Done(Done { done: format!("{id} has ended") }))
            }
            Request::Drain => self.drain(true).map(Answer::Done),
            Request::Undrain => self.drain(false).map(Answer::Done),
            Request::Reload => {
                let report = self.transceiver.reload().await.map_err(Refusal)?;
                info!(generation = report.generation, "reloaded by an operator");
                Ok(Answer::Reloaded(report))
            }
        }
    }
}

fn call_id(text: &str) -> Result<CallId, Refusal> {
    text.parse().map_err(refuse)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refuse(error: impl ToString) -> Refusal {
    Refusal(error.to_string())
}

async fn in_time<T, E: ToString>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Refusal> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(refuse),
        Err(_) => Err(Refusal(format!(
            "a shard did not answer within {} s: it is stuck",
            ANSWER_TIMEOUT.as_secs()
        ))),
    }
}
