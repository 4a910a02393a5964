//! One connection to Redis, made when it is needed, given up when it does not answer.

use super::CacheCounters;
use super::breaker::Breaker;
use crate::control::config::Redis as Settings;
use anyhow::{Context as _, Result};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, Pipeline, RedisError, TlsCertificates,
    Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{info, warn};

/// The replies to a pipeline, each by itself.
pub(super) type Replies = Vec<Result<Value, RedisError>>;

pub(super) struct Line {
    name: &'static str,
    client: Client,
    patience: Duration,
    state: Mutex<State>,
    counters: Arc<CacheCounters>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
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

/// How to reach Redis, with the password from its file and the authority from its.
pub(super) fn client(settings: &Settings) -> Result<Client> {
    let info = settings.url.as_str().into_connection_info().context("redis.url")?;
    let info = match &settings.password_file {
        None => info,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("redis.password_file {}", file.display()))?;
            let redis = info.redis_settings().clone().set_password(text.trim_end());
            info.set_redis_settings(redis)
        }
    };
    if !settings.url.starts_with("rediss") {
        return Client::open(info).context("redis.url");
    }
    super::prepare_tls()?;
    let root_cert = match &settings.ca_file {
        None => None,
        Some(file) => {
            let bytes = std::fs::read(file);
            Some(bytes.with_context(|| format!("redis.ca_file {}", file.display()))?)
        }
    };
    let certificates = TlsCertificates { client_tls: None, root_cert };
    Client::build_with_tls(info, certificates).context("redis.url, redis.ca_file")
}

impl Line {
    pub(super) fn new(
        name: &'static str,
        client: Client,
        patience: Duration,
        counters: Arc<CacheCounters>,
    ) -> Self {
        Self { name, client, patience, state: Mutex::default(), counters }
    }

    /// Asks, if it is worth asking, and waits as long as that may take.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> Result<Replies, Failure> {
        let mut connection = self.connection().await?;
        let asked = pipeline.query_async::<Replies>(&mut connection);
        match timeout(self.patience, asked).await {
            Ok(Ok(replies)) => {
                self.worked().await;
                Ok(replies)
            }
            Ok(Err(error)) => Err(self.failed(error.to_string()).await),
            Err(_) => Err(self.failed(format!("no answer within {:?}", self.patience)).await),
        }
    }

    /// It answers, and does nothing of what it is asked.
    pub(super) async fn refused(&self, replies: &Replies) {
        let reason = replies.iter().find_map(|reply| reply.as_ref().err());
        let mut state = self.state.lock().await;
        if state.breaker.failed(Instant::now())
            && let Some(reason) = reason
        {
            warn!("the flow cache refuses {}: {reason}", self.name);
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Failure> {
        let mut state = self.state.lock().await;
        if !state.breaker.allows(Instant::now()) {
            return Err(Failure::Skipped);
        }
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(self.patience));
        // Others wait for this one meanwhile, rather than to connect as well.
        let made = self.client.get_multiplexed_async_connection_with_config(&config);
        match timeout(self.patience, made).await {
            Ok(Ok(connection)) => {
                state.connection = Some(connection.clone());
                self.counters.connections.fetch_add(1, Ordering::Relaxed);
                Ok(connection)
            }
            Ok(Err(error)) => Err(self.give_up(&mut state, &error.to_string())),
            Err(_) => Err(self.give_up(&mut state, "no connection in time")),
        }
    }

    async fn worked(&self) {
        if self.state.lock().await.breaker.worked() {
            info!("the flow cache answers again ({})", self.name);
        }
    }

    async fn failed(&self, error: String) -> Failure {
        self.give_up(&mut *self.state.lock().await, &error)
    }

    /// Many may fail on one connection; each makes the pause longer only once it is over.
    fn give_up(&self, state: &mut State, error: &str) -> Failure {
        if state.connection.take().is_some() {
            self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        if state.breaker.allows(now) && state.breaker.failed(now) {
            warn!(
                "the flow cache does not answer ({}); it is left alone for a while: {error}",
                self.name
            );
        }
        Failure::Failed
    }
}
