//! The server's side: accepts, reads one request, lets the handler answer, closes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Line;
use super::socket::{BindError, Place, Socket};
use crate::log::Sparing;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// What can be asked.
    type Request: DeserializeOwned + Send;
    /// What is answered.
    type Reply: Serialize + Send + Sync;

    /// Answers one request. What streams sends with [`Stream::next`] first and returns the last
    /// value. Is not cancelled when the client leaves, except that its next send fails: a
    /// half-done upgrade would be worse than an answer nobody reads.
    fn handle(
        &self,
        request: Self::Request,
        stream: &mut Stream<'_>,
    ) -> impl Future<Output = Result<Self::Reply, Refusal>> + Send;
}

/// Why a request was not carried out: a sentence for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl From<io::Error> for Refusal {
    /// For `?` after [`Stream::next`]: the client is gone and will not read this.
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Bounds on what clients can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients at a time; one more is told to come back later.
    pub clients_max: usize,
    /// Bytes of a request.
    pub request_bytes_max: usize,
    /// Time for a request to arrive, and for a line of the answer to be taken.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clients_max: 16, request_bytes_max: 64 << 10, patience: Duration::from_secs(5) }
    }
}

/// An admin socket that is bound. Dropping it removes the file.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    limits: Limits,
}

impl Server {
    /// Makes the socket. From now on clients can connect; they are served once
    /// [`serve`](Self::serve) runs.
    pub fn bind(place: &Place, limits: Limits) -> Result<Self, BindError> {
        Ok(Self { socket: Socket::bind(place)?, limits })
    }

    /// Serves until the future is dropped, which is how to stop: no request is half-read then that
    /// anybody would miss. The file goes with it. Fails only if listening itself fails.
    pub async fn serve<H: Handler>(mut self, handler: Arc<H>) -> io::Result<()> {
        static ACCEPT_FAILED: Sparing = Sparing::once_a_minute();
        let listener = UnixListener::from_std(self.socket.take_listener()?)?;
        let places = Arc::new(Semaphore::new(self.limits.clients_max));
        // Refusing takes no place, but must be bounded like everything else.
        let refusals = Arc::new(Semaphore::new(self.limits.clients_max));
        // Dropped together with this future, and with it all clients.
        let mut clients = tokio::task::JoinSet::new();
        loop {
            // Finished clients are forgotten here; their results are of no interest.
            while clients.try_join_next().is_some() {}
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly. Going round at once would burn the core.
                    if let Some(suppressed) = ACCEPT_FAILED.admit() {
                        tracing::warn!(%error, suppressed, "the admin socket accepts nobody");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let handler = Arc::clone(&handler);
                clients.spawn(client(stream, handler, self.limits, place));
            } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                clients.spawn(busy(stream, self.limits, place));
            }
        }
    }
}

/// A client that is being answered.
#[derive(Debug)]
pub struct Stream<'a> {
    stream: &'a mut UnixStream,
    patience: Duration,
}

impl Stream<'_> {
    /// Sends a value with more to follow. Fails when the client left or does not read.
    pub async fn next<T: Serialize + Sync>(&mut self, value: &T) -> io::Result<()> {
        self.send(&Line::Next(value)).await
    }

    async fn send<T: Serialize + Sync>(&mut self, line: &Line<T>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        timeout(self.patience, self.stream.write_all(&bytes))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

async fn client<H: Handler>(
    mut stream: UnixStream,
    handler: Arc<H>,
    limits: Limits,
    _place: OwnedSemaphorePermit,
) {
    let request = timeout(limits.patience, read_line(&mut stream, limits.request_bytes_max)).await;
    let mut stream = Stream { stream: &mut stream, patience: limits.patience };
    let line = match request {
        Err(_) => Line::Error(format!(
            "no request came within {}",
            crate::config::duration::format(limits.patience)
        )),
        // The client left, or a bare connection asked whether anybody answers here.
        Ok(Err(_) | Ok(None)) => return,
        Ok(Ok(Some(Err(TooLong)))) => {
            Line::Error(format!("a request has at most {} bytes", limits.request_bytes_max))
        }
        Ok(Ok(Some(Ok(line)))) => match serde_json::from_slice(&line) {
            Err(error) => Line::Error(format!("not a request that is known here: {error}")),
            Ok(request) => match handler.handle(request, &mut stream).await {
                Ok(reply) => Line::Ok(reply),
                Err(Refusal(reason)) => Line::Error(reason),
            },
        },
    };
    // A client that left does not read its answer; nothing depends on it.
    let _ = stream.send(&line).await;
}

async fn busy(mut stream: UnixStream, limits: Limits, _place: OwnedSemaphorePermit) {
    let line = Line::<()>::Error(format!(
        "{} clients are being answered already; try again in a moment",
        limits.clients_max
    ));
    let mut client = Stream { stream: &mut stream, patience: limits.patience };
    let _ = client.send(&line).await;
    // Closing with an unread request would reset the connection and take the answer with it.
    let _ = timeout(limits.patience, read_line(&mut stream, limits.request_bytes_max)).await;
}

struct TooLong;

/// Reads up to a line break. None if the client closed without one.
async fn read_line(
    stream: &mut UnixStream,
    bytes_max: usize,
) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
    let mut line = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Ok(None);
        }
        let end = part[..count].iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&part[..end.unwrap_or(count)]);
        if line.len() > bytes_max {
            return Ok(Some(Err(TooLong)));
        }
        if end.is_some() {
            return Ok(Some(Ok(line)));
        }
    }
}
