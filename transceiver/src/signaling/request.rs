//! What handlers want to know of a request before they look into it: who sent it, and about which
//! call.

use super::access::{AuthFailure, Caller};
use super::failure::Failure;
use super::rate::Who;
use super::{Settings, Signaling};
use crate::call::CallId;
use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Deserialize;
use service::http::Peer;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// A request of somebody who is let in.
pub(super) struct Admitted {
    pub(super) caller: Caller,
    /// Those that held when it came.
    pub(super) settings: Arc<Settings>,
    /// When it came.
    pub(super) received: Instant,
    address: IpAddr,
}

impl FromRequestParts<Arc<Signaling>> for Admitted {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        signaling: &Arc<Signaling>,
    ) -> Result<Self, Failure> {
        let received = Instant::now();
        let settings = signaling.settings();
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.ip());
        let address = client_address(&settings, peer, &parts.headers);
        match settings.access.caller(&parts.headers) {
            Ok(caller) => {
                signaling.charge(&settings, &Who::of(&caller, address), received)?;
                Ok(Self { caller, settings, received, address })
            }
            Err(failure) => Err(signaling.auth_failed(&settings, address, failure, received)),
        }
    }
}

impl Admitted {
    /// Whether it may open calls.
    pub(super) fn may_open(&self, signaling: &Signaling) -> Result<(), Failure> {
        self.caller.may_open(since_1970()).map_err(|failure| {
            signaling.auth_failed(&self.settings, self.address, failure, self.received)
        })
    }
}

impl Signaling {
    /// Whoever fails too often from one address is told to wait rather than why.
    fn auth_failed(
        &self,
        settings: &Settings,
        address: IpAddr,
        failure: AuthFailure,
        now: Instant,
    ) -> Failure {
        self.counters.auth_failed(failure);
        let charged = self.charge(settings, &Who::address(address), now);
        charged.err().unwrap_or_else(|| failure.into())
    }

    fn charge(&self, settings: &Settings, who: &Who, now: Instant) -> Result<(), Failure> {
        self.buckets.take(who, &settings.rates, now).map_err(|wait| {
            self.counters.rate_limited(who.kind());
            Failure::rate_limited(wait)
        })
    }
}

/// A request about a call that its sender may touch.
pub(super) struct About {
    pub(super) id: CallId,
    /// The WHIP endpoint in the path, if it has one.
    pub(super) endpoint: Option<String>,
    pub(super) admitted: Admitted,
}

#[derive(Deserialize)]
struct CallPath {
    id: String,
    endpoint: Option<String>,
}

impl FromRequestParts<Arc<Signaling>> for About {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        signaling: &Arc<Signaling>,
    ) -> Result<Self, Failure> {
        let admitted = Admitted::from_request_parts(parts, signaling).await?;
        let path = Path::<CallPath>::from_request_parts(parts, signaling).await;
        let Path(CallPath { id, endpoint }) = path.map_err(|_| Failure::no_such_call())?;
        let id = id.parse().map_err(|_| Failure::no_such_call())?;
        if !signaling.openers.admit(&admitted.settings.access, &admitted.caller, id) {
            return Err(Failure::no_such_call());
        }
        Ok(Self { id, endpoint, admitted })
    }
}

/// The time of day, as secrets count it.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Who a request is from: the peer, or behind our own proxies the last address that they saw and
/// that is not one of them. What stands before that, anybody can have written.
fn client_address(settings: &Settings, peer: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
    // Without a socket, as in fuzzing, there is one client.
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let is_proxy = |address: IpAddr| settings.proxies.iter().any(|proxy| proxy.contains(address));
    if !is_proxy(peer) {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
    for hop in hops {
        match hop.trim().parse() {
            Ok(address) if is_proxy(address) => {}
            Ok(address) => return address,
            // Not written by a proxy of ours.
            Err(_) => break,
        }
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::super::Access;
    use super::*;

    #[test]
    fn only_our_proxies_are_believed_who_the_client_is() {
        let mut settings = Settings::new(Access::open());
        settings.proxies = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()];
        let client = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            client_address(&settings, Some(peer.parse().unwrap()), &headers).to_string()
        };
        for (peer, lines, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7, 127.0.0.1"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
        ] {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
    }
}
