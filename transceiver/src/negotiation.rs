//! From an SDP offer to an answer.
//!
//! str0m negotiates codecs and keys. What it cannot know is ours: the ufrag with the route in it,
//! and the addresses, which are the relays' and never this process's own. So str0m is told one
//! candidate that stands for all of them, and our text takes its place in the answer.

mod answer;
mod fragment;
mod offer;

pub use fragment::{FRAGMENT_BYTES_MAX, Fragment, NoFragment};
pub use offer::{OFFER_BYTES_MAX, Offer, OfferError, Role};

use answer::Answer;
use service::log::Sparing;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::ice::IceCreds;
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc};
use wire::credentials::IcePwd;
use wire::hint::Ufrag;

/// The address that str0m believes to listen on: the dummy address of RFC 7600, which no network
/// routes. Every packet is handed to it as if it came in there.
pub(crate) const STAND_IN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), 9);

/// One lost packet must not hold up the ones behind it: three, or this long, and it is given up.
/// The defaults (15 packets) stall audio for 300 ms.
const REORDERING_PACKETS: usize = 3;
const REORDERING_TIMEOUT: Duration = Duration::from_millis(60);
/// How often numbers for reports are made.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

/// By what a session is known: where its packets are to be routed, and the password that shows who
/// has seen its answer.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name, with the route in it.
    pub ufrag: Ufrag,
    /// Derived from it.
    pub pwd: IcePwd,
}

impl Credentials {
    fn to_str0m(&self) -> IceCreds {
        IceCreds { ufrag: self.ufrag.as_str().to_owned(), pass: self.pwd.as_str().to_owned() }
    }
}

/// An answer, and the session's half of the connection that it promises.
pub struct Negotiated {
    /// Ready for its first packet.
    pub rtc: Box<Rtc>,
    /// For the client.
    pub answer: String,
}

/// What renegotiating came to.
#[derive(Debug)]
pub struct Renegotiated {
    /// For the client.
    pub answer: String,
    /// The client restarted ICE: from now on it uses the new credentials.
    pub restarted: bool,
}

/// Makes answers. One for the whole process: all its sessions have one certificate, which costs a
/// tenth of a set-up less than one each and tells nobody more than the address does.
pub struct Negotiator {
    provider: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl Negotiator {
    /// Makes the certificate.
    pub fn new() -> Result<Self, NoCertificate> {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider.dtls_provider.generate_certificate().ok_or(NoCertificate)?;
        Ok(Self { provider: Arc::new(provider), certificate })
    }

    /// Answers a new call's offer.
    pub fn accept(
        &self,
        offer: &Offer,
        credentials: &Credentials,
        ingress: &[SocketAddr],
        now: Instant,
    ) -> Result<Negotiated, OfferError> {
        guarded(|| {
            let mut rtc = Box::new(self.rtc(credentials, now));
            let stand_in = Candidate::host(STAND_IN, "udp").map_err(|_| OfferError::Internal)?;
            rtc.add_local_candidate(stand_in);
            let answer = negotiate(&mut rtc, offer)?;
            let answer = Answer { text: &answer, credentials, ingress, role: offer.role() };
            Ok(Negotiated { answer: answer.to_text(), rtc })
        })
    }

    fn rtc(&self, credentials: &Credentials, now: Instant) -> Rtc {
        Rtc::builder()
            .set_crypto_provider(Arc::clone(&self.provider))
            .set_dtls_cert(self.certificate.clone())
            .set_ice_lite(true)
            .set_local_ice_credentials(credentials.to_str0m())
            .clear_codecs()
            .enable_opus(true, false)
            // Without transport-wide congestion control: for audio it is a third of all packets.
            .clear_extension_map()
            .set_extension(1, Extension::AudioLevel)
            .set_extension(4, Extension::RtpMid)
            .set_reordering_size_audio(REORDERING_PACKETS)
            .set_reordering_timeout_audio(Some(REORDERING_TIMEOUT))
            .set_stats_interval(Some(STATS_INTERVAL))
            .build(now)
    }
}

/// Answers another offer of a live call. `current` are the credentials it has, `fresh` those it
/// gets if the client restarts ICE. On an error the session is as it was.
pub fn renegotiate(
    rtc: &mut Rtc,
    offer: &Offer,
    current: &Credentials,
    fresh: &Credentials,
    ingress: &[SocketAddr],
) -> Result<Renegotiated, OfferError> {
    guarded(|| {
        let before = rtc.direct_api().local_ice_credentials();
        let answer = negotiate(rtc, offer)?;
        let after = rtc.direct_api().local_ice_credentials();
        let restarted = before.ufrag != after.ufrag;
        if restarted {
            // str0m has made up its own, which no relay could route.
            rtc.direct_api().set_local_ice_credentials(fresh.to_str0m());
        }
        let credentials = if restarted { fresh } else { current };
        let answer = Answer { text: &answer, credentials, ingress, role: offer.role() };
        Ok(Renegotiated { answer: answer.to_text(), restarted })
    })
}

fn negotiate(rtc: &mut Rtc, offer: &Offer) -> Result<String, OfferError> {
    let sdp = SdpOffer::from_sdp_string(offer.text())
        .map_err(|error| OfferError::Unreadable(error.to_string()))?;
    let answer = rtc
        .sdp_api()
        .accept_offer(sdp)
        .map_err(|error| OfferError::Unacceptable(error.to_string()))?;
    Ok(answer.to_sdp_string())
}

/// An offer that makes the library panic is an offer we refuse; it has cost nobody else anything.
fn guarded<T>(work: impl FnOnce() -> Result<T, OfferError>) -> Result<T, OfferError> {
    static PANICKED: Sparing = Sparing::once_a_minute();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        if let Some(suppressed) = PANICKED.admit() {
            tracing::error!(suppressed, "an offer made the negotiation panic: it was refused");
        }
        Err(OfferError::Internal)
    })
}

/// The process cannot make a certificate, so no call can be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DTLS certificate could not be made")]
pub struct NoCertificate;

#[cfg(test)]
mod tests;
