//! A TCP listener with a bound on everything that a peer could use up: connections in all, those of
//! one address, the time for a request's head, the length of it, the life of a connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::log::Sparing;
use crate::network::Cidr;

/// Bounds of a listener.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections at a time; those above wait in the kernel's queue.
    pub connections_max: usize,
    /// Those of one address (of one /64 for IPv6), so that nobody takes them all; more are closed.
    pub connections_per_address_max: usize,
    /// Proxies in front, which speak for many: only `connections_max` binds them.
    pub proxies: Arc<[Cidr]>,
    /// A request's head must have arrived by then, from the moment one is waited for.
    pub header_time: Duration,
    /// How long a head may be.
    pub head_bytes_max: usize,
    /// The longest life of a connection, however busy.
    pub connection_time: Duration,
}

/// Who sent a request: an extension of every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A listener that is bound.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    bounds: Bounds,
    connections: Arc<Connections>,
}

/// What a listener's connections came to.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<HashMap<IpAddr, usize>>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Connections {
    /// Connections that were served.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed at once, because their address had as many as it may have.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections now.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Counts one in, unless the address has so many already.
    fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Entered> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Entered { connections: Arc::clone(self), address })
    }
}

/// One connection, counted.
struct Entered {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// The address by which somebody is counted: whoever has one IPv6 address has all of its /64.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Listener {
    /// Binds. Port 0 means any.
    pub async fn bind(address: SocketAddr, bounds: Bounds) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(address).await?, bounds))
    }

    /// A listener that is bound already.
    #[must_use]
    pub fn new(listener: TcpListener, bounds: Bounds) -> Self {
        Self { listener, bounds, connections: Arc::default() }
    }

    /// The address, with the port that was chosen.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The socket once more.
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Its counters.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// The bounds, to be changed before it serves.
    pub fn bounds_mut(&mut self) -> &mut Bounds {
        &mut self.bounds
    }

    /// Serves until the future is dropped, which is how to stop.
    pub async fn serve(self, router: Router) {
        static ACCEPT_FAILED: Sparing = Sparing::once_a_minute();
        let bounds = Arc::new(self.bounds);
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        // Dropped together with this future, and with it all connections.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // A place first: who finds none waits unaccepted, and costs us nothing. The semaphore
            // is never closed, so there is no error to handle.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let proxy = bounds.proxies.iter().any(|proxy| proxy.contains(peer.ip()));
                    let max = if proxy { usize::MAX } else { bounds.connections_per_address_max };
                    let Some(entered) = self.connections.enter(counted_as(peer.ip()), max) else {
                        continue;
                    };
                    let held = Held { _place: place, _entered: entered };
                    let bounds = Arc::clone(&bounds);
                    connections.spawn(connection(stream, Peer(peer), router.clone(), bounds, held));
                }
                Err(error) => {
                    if let Some(suppressed) = ACCEPT_FAILED.admit() {
                        let address = self.listener.local_addr().ok();
                        tracing::warn!(%error, ?address, suppressed, "an HTTP listener accepts nobody");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// What a connection has while it lives.
struct Held {
    _place: OwnedSemaphorePermit,
    _entered: Entered,
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    bounds: Arc<Bounds>,
    _held: Held,
) {
    // Answers are small and complete: none waits for another.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_time)
        .max_buf_size(bounds.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
    // What a peer does wrong is its own affair, and it is gone.
    let _ = timeout(bounds.connection_time, serving).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_connections() {
        let connections = Arc::new(Connections::default());
        let address = |text: &str| counted_as(text.parse().unwrap());
        let first = connections.enter(address("2001:db8::1"), 2);
        let second = connections.enter(address("2001:db8::2"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(connections.enter(address("2001:db8::3"), 2).is_none(), "the same /64");
        assert!(connections.enter(address("2001:db8:0:1::3"), 2).is_some(), "another, and gone");
        assert_eq!((connections.open(), connections.accepted(), connections.refused()), (2, 3, 1));
        drop(first);
        assert!(connections.enter(address("2001:db8::3"), 2).is_some());
        drop(second);
        assert_eq!(connections.open(), 0);
        assert!(connections.open.lock().unwrap().is_empty(), "addresses are forgotten");
    }

    #[test]
    fn ipv4_in_ipv6_clothing_is_ipv4() {
        let plain: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(counted_as("::ffff:192.0.2.1".parse().unwrap()), plain);
        assert_eq!(counted_as(plain), plain);
    }
}
