//! Signaling: the HTTP API by which calls begin, are asked about, and end; WHIP beside it; and the
//! page to talk to.
//!
//! ```text
//!   listener ── bounds ──► around ── CORS, counters ──► route
//!                                                         ├ calls ─────────── /v1/realtime/calls
//!                                                         ├ client_secrets ── /v1/realtime/client_secrets
//!                                                         ├ models ────────── /v1/models
//!                                                         ├ whip ──────────── /whip/{endpoint}
//!                                                         └ page ──────────── /
//! ```
//!
//! Every route but the page asks first who it is (`access`) and how often (`rate`), then reads
//! a bounded body, then asks the front desk ([`Calls`]). It keeps no state of calls but which client
//! secret opened which.

mod access;
mod body;
mod call_api;
mod client_secrets;
mod cors;
mod counters;
mod failure;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod json;
mod keys;
mod media_type;
mod models;
mod multipart;
mod page;
mod rate;
mod request;
mod router;
mod secret;
#[cfg(test)]
mod tests;
mod whip;

pub use access::Access;
pub use cors::Origins;
pub use counters::Counters;
pub use keys::{Keys, KeysError, fresh as fresh_key};
pub use rate::{Rate, Rates};

use crate::calls::Calls;
use access::Openers;
use anyhow::Context as _;
use axum::Router;
use rate::Buckets;
use service::http::{Bounds, Listener};
use service::network::Cidr;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 4_096;
/// A browser opens six; behind one address there may be many.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;
/// A request's head must have arrived by then, and an idle connection is closed.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The longest client secret fits in, with room for cookies of other programs of the same host.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest life of a connection, however busy.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// A body must be there by then.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What can change while calls are going on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who is let in.
    pub access: Access,
    /// Which pages of other origins may use the API from a browser.
    pub origins: Origins,
    /// How often anybody may ask.
    pub rates: Rates,
    /// Proxies in front of us: from these, and only these, `X-Forwarded-For` is believed.
    pub proxies: Vec<Cidr>,
    /// Whether to serve the page.
    pub page: bool,
    /// A body must be there by then.
    pub body_time: Duration,
}

impl Settings {
    /// Sane settings for this access. Pages of other origins are let in only where everybody is.
    #[must_use]
    pub fn new(access: Access) -> Self {
        let origins = if access.is_open() { Origins::Any } else { Origins::These(Vec::new()) };
        Self {
            access,
            origins,
            rates: Rates::default(),
            proxies: Vec::new(),
            page: true,
            body_time: BODY_TIME,
        }
    }
}

/// The bounds of the listener, for settings with these proxies.
#[must_use]
pub fn default_bounds(proxies: &[Cidr]) -> Bounds {
    Bounds {
        connections_max: CONNECTIONS_MAX,
        connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
        proxies: proxies.into(),
        header_time: HEADER_TIME,
        head_bytes_max: HEAD_BYTES_MAX,
        connection_time: CONNECTION_TIME,
    }
}

/// What all requests share.
pub struct Signaling {
    calls: Arc<Calls>,
    settings: RwLock<Arc<Settings>>,
    buckets: Buckets,
    openers: Openers,
    counters: Arc<Counters>,
}

impl Signaling {
    fn new(calls: Arc<Calls>, settings: Settings, counters: Counters) -> Self {
        Self {
            calls,
            settings: RwLock::new(Arc::new(settings)),
            buckets: Buckets::new(),
            openers: Openers::default(),
            counters: Arc::new(counters),
        }
    }

    /// The settings that hold now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has these settings hold from the next request on.
    pub fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

/// The signaling listener, bound.
pub struct Server {
    listener: Listener,
    signaling: Arc<Signaling>,
}

impl Server {
    /// Binds, with the default bounds. Port 0 means any.
    pub async fn bind(
        address: SocketAddr,
        settings: Settings,
        calls: Arc<Calls>,
    ) -> anyhow::Result<Self> {
        let bounds = default_bounds(&settings.proxies);
        Self::bind_within(address, bounds, settings, calls).await
    }

    /// Binds, with these bounds.
    pub async fn bind_within(
        address: SocketAddr,
        bounds: Bounds,
        settings: Settings,
        calls: Arc<Calls>,
    ) -> anyhow::Result<Self> {
        let listener = Listener::bind(address, bounds)
            .await
            .with_context(|| format!("Failed to listen on http://{address}, for signaling"))?;
        let counters = Counters::of(listener.connections());
        let signaling = Arc::new(Signaling::new(calls, settings, counters));
        Ok(Self { listener, signaling })
    }

    /// The address, with the port that was chosen.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// For changing settings while it serves, and for its counters.
    pub fn signaling(&self) -> Arc<Signaling> {
        Arc::clone(&self.signaling)
    }

    /// Serves until the future is dropped, which is how to stop.
    pub async fn serve(self) {
        self.listener.serve(router::router(self.signaling)).await;
    }
}

/// All routes, for tests and fuzzing without a socket.
pub fn router(calls: Arc<Calls>, settings: Settings) -> Router {
    router::router(Arc::new(Signaling::new(calls, settings, Counters::default())))
}
