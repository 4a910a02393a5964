//! One connection to Redis, made when it is needed, given up when it does not answer or its server
//! is the master no more.

use super::CacheCounters;
use super::breaker::Breaker;
use super::servers::{Connection, Replies, Servers, is_demoted, is_out_of_reach};
use redis::{Pipeline, RedisError};
use service::log::Sparing;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tracing::{info, warn};

pub(super) struct Line {
    name: &'static str,
    servers: Arc<Servers>,
    patience: Duration,
    state: Mutex<State>,
    part_is_gone: Sparing,
    counters: Arc<CacheCounters>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    breaker: Breaker,
}

/// Why there are no replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was asked, and did not answer.
    Failed,
    /// It was not asked: it did not answer lately.
    Skipped,
}

impl Failure {
    /// Which of two counters.
    pub(super) fn counter<'a>(
        self,
        failed: &'a AtomicU64,
        skipped: &'a AtomicU64,
    ) -> &'a AtomicU64 {
        match self {
            Self::Failed => failed,
            Self::Skipped => skipped,
        }
    }
}

impl Line {
    pub(super) fn new(
        name: &'static str,
        servers: Arc<Servers>,
        patience: Duration,
        counters: Arc<CacheCounters>,
    ) -> Self {
        let part_is_gone = Sparing::once_a_minute();
        Self { name, servers, patience, state: Mutex::default(), part_is_gone, counters }
    }

    /// Asks, if it is worth asking, and waits as long as that may take.
    pub(super) async fn run(&self, batch: &Pipeline) -> Result<Replies, Failure> {
        let mut connection = self.connection().await?;
        match connection.ask(batch, self.patience).await {
            Ok(replies) => {
                self.answered(&replies).await;
                Ok(replies)
            }
            Err(error) => Err(self.failed(error.to_string()).await),
        }
    }

    /// It answers, and does nothing of what it is asked.
    pub(super) async fn refused(&self, replies: &Replies) {
        let mut said = replies.iter().filter(|reply| !is_out_of_reach(reply));
        let Some(reason) = said.find_map(|reply| reply.as_ref().err()) else {
            // Nobody said no: a node of a Cluster is gone, and others are there.
            return;
        };
        if self.state.lock().await.breaker.failed(Instant::now()) {
            warn!("the flow cache refuses {}: {reason}", self.name);
        }
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let mut state = self.state.lock().await;
        if !state.breaker.allows(Instant::now()) {
            return Err(Failure::Skipped);
        }
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        // Others wait for this one meanwhile, rather than to connect as well.
        match self.servers.connect(self.patience).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                self.counters.connections.fetch_add(1, Ordering::Relaxed);
                Ok(connection)
            }
            Err(error) => Err(self.give_up(&mut state, &error.to_string())),
        }
    }

    async fn answered(&self, replies: &Replies) {
        let mut state = self.state.lock().await;
        if replies.iter().any(Result::is_ok) && state.breaker.worked() {
            info!("the flow cache answers again ({})", self.name);
        }
        if replies.iter().any(is_demoted) {
            // Another server is the master: who, is asked with the next connection.
            self.hang_up(&mut state);
        }
        let gone = replies.iter().find(|reply| is_out_of_reach(reply));
        if let Some(error) = gone.and_then(|reply| reply.as_ref().err()) {
            self.tell_of_a_part(error);
        }
    }

    /// That repeats with each batch, for as long as a node is gone.
    fn tell_of_a_part(&self, error: &RedisError) {
        if let Some(suppressed) = self.part_is_gone.admit() {
            let name = self.name;
            warn!(suppressed, "a part of the flow cache does not answer ({name}): {error}");
        }
    }

    async fn failed(&self, error: String) -> Failure {
        self.give_up(&mut *self.state.lock().await, &error)
    }

    /// Many may fail on one connection; each makes the pause longer only once it is over.
    fn give_up(&self, state: &mut State, error: &str) -> Failure {
        self.hang_up(state);
        let now = Instant::now();
        if state.breaker.allows(now) && state.breaker.failed(now) {
            warn!(
                "the flow cache does not answer ({}); it is left alone for a while: {error}",
                self.name
            );
        }
        Failure::Failed
    }

    fn hang_up(&self, state: &mut State) {
        if state.connection.take().is_some() {
            self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
