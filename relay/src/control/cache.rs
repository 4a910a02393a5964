//! The flow cache: flows in Redis, so that a relay that has restarted finds a client's shard before
//! that says anything, and before the client's next check.
//!
//! It is a help, and nothing depends on it. Flows are written behind, from a bounded queue, in
//! pipelines, with a time to live; a client that no flow knows is looked for once. When Redis is
//! slow, gone, full or full of nonsense, that is counted, the breaker keeps the relay from asking
//! for a while, and everything else goes on. What is read is checked as if a hint had said it.
//!
//! Reads and writes go by a connection each, so that neither waits for the other.

mod breaker;
mod line;
mod record;
mod servers;

use super::config::Redis as Settings;
use crate::core::Recalled;
use anyhow::{Context as _, Result};
use line::Line;
use redis::{Pipeline, RedisResult, Value};
use service::exit::Usage;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use wire::frame::Client;

pub(super) use servers::Servers;

/// Flows that may wait to be written. At the rate of a full table's refreshes, some seconds of them.
const QUEUE_WRITES_MAX: usize = 16_384;
/// Flows written in one pipeline.
const PIPELINE_WRITES_MAX: usize = 128;
/// What Redis says of a key that holds no string.
const WRONG_TYPE: &str = "WRONGTYPE";

/// What was counted. One row for each pair of operation and outcome in metrics.
#[derive(Debug, Default)]
pub(super) struct CacheCounters {
    written: AtomicU64,
    writes_failed: AtomicU64,
    /// No room in the queue, or the breaker is open.
    writes_skipped: AtomicU64,
    found: AtomicU64,
    absent: AtomicU64,
    garbage: AtomicU64,
    reads_failed: AtomicU64,
    reads_skipped: AtomicU64,
    /// Connections in use: 0, 1 or 2.
    connections: AtomicU64,
}

impl CacheCounters {
    /// How many connections are in use.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Each operation and outcome with its count.
    pub(super) fn rows(&self) -> [(&'static str, &'static str, u64); 8] {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("write", "done", of(&self.written)),
            ("write", "failed", of(&self.writes_failed)),
            ("write", "skipped", of(&self.writes_skipped)),
            ("read", "found", of(&self.found)),
            ("read", "absent", of(&self.absent)),
            ("read", "garbage", of(&self.garbage)),
            ("read", "failed", of(&self.reads_failed)),
            ("read", "skipped", of(&self.reads_skipped)),
        ]
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// The way to Redis.
pub(super) struct Cache {
    writes: mpsc::Sender<Recalled>,
    reader: Line,
    prefix: String,
    counters: Arc<CacheCounters>,
}

/// Checks the settings, and reads the password. None if there is to be no cache.
pub(super) fn servers(settings: &Settings) -> Result<Option<Servers>, Usage> {
    if settings.url.is_empty() {
        return Ok(None);
    }
    let servers = Servers::new(settings).map_err(|error| Usage(format!("{error:#}")))?;
    Ok(Some(servers))
}

impl Cache {
    /// Begins to write behind. Connects when there is something to say. Flows live for `ttl` if they
    /// are not refreshed.
    pub(super) fn start(
        servers: Servers,
        settings: &Settings,
        ttl: Duration,
        counters: Arc<CacheCounters>,
    ) -> Self {
        let (writes, queue) = mpsc::channel(QUEUE_WRITES_MAX);
        let servers = Arc::new(servers);
        let line =
            |name| Line::new(name, Arc::clone(&servers), settings.timeout, Arc::clone(&counters));
        let writer = Writer {
            line: line("writing"),
            queue,
            ttl_seconds: ttl.as_secs().max(1),
            prefix: settings.prefix.clone(),
            counters: Arc::clone(&counters),
        };
        tokio::spawn(writer.run());
        Self { writes, reader: line("reading"), prefix: settings.prefix.clone(), counters }
    }

    /// Has a flow written some time soon.
    pub(super) fn write(&self, flow: Recalled) {
        if self.writes.try_send(flow).is_err() {
            add(&self.counters.writes_skipped, 1);
        }
    }

    /// Looks for clients' flows, in one pipeline; gives one answer for each of them.
    pub(super) async fn read(&self, clients: &[Client]) -> Vec<Option<Recalled>> {
        let mut pipeline = Pipeline::with_capacity(clients.len());
        pipeline.ignore_errors();
        for client in clients {
            // Not GET: whoever has poisoned it may have put megabytes there.
            let key = record::key(&self.prefix, client);
            pipeline.cmd("GETRANGE").arg(key).arg(0).arg(record::BYTES_MAX);
        }
        let mut values = match self.reader.run(&pipeline).await {
            Ok(values) => values.into_iter(),
            Err(failure) => {
                let counters = &self.counters;
                let counter = failure.counter(&counters.reads_failed, &counters.reads_skipped);
                add(counter, clients.len());
                return vec![None; clients.len()];
            }
        };
        clients.iter().map(|client| self.understand(*client, values.next())).collect()
    }

    fn understand(&self, client: Client, value: Option<RedisResult<Value>>) -> Option<Recalled> {
        let counters = &self.counters;
        let (counter, flow) = match value {
            Some(Ok(Value::BulkString(text))) if text.is_empty() => (&counters.absent, None),
            Some(Ok(Value::BulkString(text))) => match record::parse(&text, client) {
                Some(flow) => (&counters.found, Some(flow)),
                None => (&counters.garbage, None),
            },
            // Another node of a Cluster may have answered; and who refuses has not looked.
            Some(Err(error)) if error.code() != Some(WRONG_TYPE) => (&counters.reads_failed, None),
            // Such as a list under this key.
            _ => (&counters.garbage, None),
        };
        add(counter, 1);
        flow
    }
}

struct Writer {
    line: Line,
    queue: mpsc::Receiver<Recalled>,
    ttl_seconds: u64,
    prefix: String,
    counters: Arc<CacheCounters>,
}

impl Writer {
    async fn run(mut self) {
        let mut flows = Vec::with_capacity(PIPELINE_WRITES_MAX);
        while self.queue.recv_many(&mut flows, PIPELINE_WRITES_MAX).await > 0 {
            let mut pipeline = Pipeline::with_capacity(flows.len());
            pipeline.ignore_errors();
            for flow in &flows {
                let key = record::key(&self.prefix, &flow.client);
                let set = pipeline.cmd("SET").arg(key).arg(record::write(flow));
                set.arg("EX").arg(self.ttl_seconds);
            }
            match self.line.run(&pipeline).await {
                Ok(replies) => {
                    let refused = replies.iter().filter(|reply| reply.is_err()).count();
                    add(&self.counters.written, flows.len().saturating_sub(refused));
                    add(&self.counters.writes_failed, refused);
                    if refused == flows.len() {
                        // Full, or read-only: a pause does it good.
                        self.line.refused(&replies).await;
                    }
                }
                Err(failure) => {
                    let counter = failure
                        .counter(&self.counters.writes_failed, &self.counters.writes_skipped);
                    add(counter, flows.len());
                }
            }
            flows.clear();
        }
    }
}

/// Makes the crypto that TLS needs this process's.
pub(super) fn prepare_tls() -> Result<()> {
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    // Somebody else may have: then it is there.
    let _ = provider.install_default();
    tokio_rustls::rustls::crypto::CryptoProvider::get_default()
        .map(|_| ())
        .context("Failed to prepare TLS")
}
