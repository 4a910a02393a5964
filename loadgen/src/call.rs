//! One WebRTC call from the client's side: a state machine without socket or clock.
//!
//! ```
//! # use std::time::Instant;
//! # use loadgen::call::{Call, Event};
//! # fn signal(offer: &str) -> Option<String> { None }
//! # fn send(to: std::net::SocketAddr, bytes: &[u8]) {}
//! # fn main() -> Result<(), loadgen::call::CallError> {
//! let now = Instant::now();
//! let (mut call, offer) = Call::new(now)?;
//! if let Some(answer) = signal(&offer) {
//!     call.accept_answer(&answer, now)?;
//!     // From here on, whenever a packet came (`handle_packet`) or `deadline` has passed
//!     // (`handle_timeout`), and after everything else that was asked of it:
//!     while let Some(transmit) = call.poll_transmit() {
//!         send(transmit.destination, &transmit.bytes);
//!     }
//!     while let Some(event) = call.poll_event() {
//!         if matches!(event, Event::Connected) {
//!             call.send_frame(0, now)?;
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The client knows no address of its own: it stands behind whatever NAT there is, and the server
//! learns where it is from its checks, as it does with a browser that hides its addresses. str0m
//! wants candidates all the same, so it is given stand-ins, one per family, that nobody ever sees.

mod frame;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, IceConnectionState, Input, Output, Rtc, RtcError};

pub use frame::FRAME_BYTES;

/// The label of the data channel for events, as the OpenAI Realtime API has it.
pub const CHANNEL_LABEL: &str = "oai-events";
/// The time between two frames.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(20);

/// How loud a frame says it is (RFC 6464): somebody speaking, and nobody.
const VOICE_DBOV: i8 = -30;
const SILENCE_DBOV: i8 = -127;

/// What the client is to str0m; TEST-NET-1 and the documentation prefix, so that no packet could
/// ever really come from there.
const STAND_IN_V4: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const STAND_IN_V6: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// Something went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The answer is no SDP, or none to this offer.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// The answer names no UDP address to send to.
    #[error("the answer has no UDP candidate")]
    NoCandidate,
    /// There is no offer that this could be the answer to.
    #[error("no offer is waiting for an answer")]
    NoOffer,
    /// No certificate could be made.
    #[error("no DTLS certificate could be made")]
    Certificate,
    /// The protocol stack refused.
    #[error("{0}")]
    Protocol(#[from] RtcError),
}

/// The client's certificate. Many calls may share one; making one costs as much as half a call.
#[derive(Debug, Clone)]
pub struct Identity(DtlsCert);

impl Identity {
    /// A new one.
    pub fn generate() -> Result<Identity, CallError> {
        let provider = str0m::crypto::from_feature_flags();
        provider.dtls_provider.generate_certificate().map(Identity).ok_or(CallError::Certificate)
    }
}

/// A packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A path works: a check was answered. Comes again when a lost path works again.
    IceConnected,
    /// DTLS is done as well: frames can be sent.
    Connected,
    /// A frame of ours came back.
    Frame(Frame),
    /// Audio of somebody else's making: the payload of one RTP packet.
    Audio(Vec<u8>),
    /// The data channel is open.
    ChannelOpen,
    /// A message came on the data channel.
    Message(String),
    /// No answers to checks for a while. The call may come back.
    Disconnected,
    /// The call is over, by the server's doing or by ours.
    Closed,
}

/// A frame that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its number, as given to [`Call::send_frame`].
    pub number: u64,
    /// When it was sent.
    pub sent_at: Instant,
    /// When it came back.
    pub received_at: Instant,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    rtc: Rtc,
    began: Instant,
    audio: Mid,
    payload_type: Option<Pt>,
    rtp_number: u64,
    channel: Option<ChannelId>,
    pending: Option<SdpPendingOffer>,
    has_candidates: bool,
    deadline: Instant,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    closed: bool,
}

impl Call {
    /// A call with a certificate of its own, and the offer to send to the server.
    pub fn new(now: Instant) -> Result<(Call, String), CallError> {
        Call::with_identity(&Identity::generate()?, now)
    }

    /// A call that shares a certificate, and the offer to send to the server.
    pub fn with_identity(identity: &Identity, now: Instant) -> Result<(Call, String), CallError> {
        // RTP mode: each packet is an event at the moment it comes, in whatever order. A jitter
        // buffer would measure itself.
        let mut rtc = Rtc::builder()
            .set_dtls_cert(identity.0.clone())
            .clear_codecs()
            .enable_opus(true, false)
            .clear_extension_map()
            .set_extension(1, Extension::AudioLevel)
            .set_extension(4, Extension::RtpMid)
            .set_rtp_mode(true)
            .build(now);
        let mut changes = rtc.sdp_api();
        let audio = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        changes.add_channel(CHANNEL_LABEL.to_owned());
        let (offer, pending) = changes.apply().ok_or(CallError::NoOffer)?;
        let mut call = Call {
            rtc,
            began: now,
            audio,
            payload_type: None,
            rtp_number: 0,
            channel: None,
            pending: Some(pending),
            has_candidates: false,
            deadline: now,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            closed: false,
        };
        call.drain()?;
        Ok((call, offer.to_sdp_string()))
    }

    /// Takes the server's answer to the last offer.
    pub fn accept_answer(&mut self, answer: &str, now: Instant) -> Result<(), CallError> {
        let pending = self.pending.take().ok_or(CallError::NoOffer)?;
        let candidates = udp_candidates(answer);
        if candidates.is_empty() {
            return Err(CallError::NoCandidate);
        }
        let answer = SdpAnswer::from_sdp_string(answer)
            .map_err(|error| CallError::Answer(error.to_string()))?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(|error| CallError::Answer(error.to_string()))?;
        self.drain()?;
        if !self.has_candidates {
            self.has_candidates = true;
            for stand_in in [STAND_IN_V4, STAND_IN_V6] {
                if candidates.iter().any(|address| address.is_ipv4() == stand_in.is_ipv4()) {
                    let candidate = Candidate::host(stand_in, Protocol::Udp)
                        .map_err(|error| CallError::Answer(error.to_string()))?;
                    self.rtc.add_local_candidate(candidate);
                    self.drain()?;
                }
            }
        }
        self.payload_type =
            self.rtc.media(self.audio).and_then(|media| media.remote_pts().first().copied());
        self.handle_timeout(now)
    }

    /// Takes a packet from the network.
    pub fn handle_packet(
        &mut self,
        source: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), CallError> {
        let destination = if source.is_ipv4() { STAND_IN_V4 } else { STAND_IN_V6 };
        let Ok(contents) = packet.try_into() else {
            // Neither STUN nor DTLS nor RTP: a stranger's.
            return Ok(());
        };
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        let result = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain()?;
        Ok(result?)
    }

    /// Lets time pass: to be called at [`Call::deadline`], and harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CallError> {
        let result = self.rtc.handle_input(Input::Timeout(now));
        self.drain()?;
        Ok(result?)
    }

    /// When [`Call::handle_timeout`] is next wanted.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends a frame of audio with this number. Numbers are frame times: the next has one more, and
    /// a pause leaves some out. `false` if the call cannot send (yet, or any more).
    pub fn send_frame(&mut self, number: u64, now: Instant) -> Result<bool, CallError> {
        self.send_audio(number, VOICE_DBOV, now)
    }

    /// Sends a frame that says of itself that it is silence: to a partner who stops when talked
    /// over. Else as [`Call::send_frame`].
    pub fn send_silence(&mut self, number: u64, now: Instant) -> Result<bool, CallError> {
        self.send_audio(number, SILENCE_DBOV, now)
    }

    fn send_audio(&mut self, number: u64, dbov: i8, now: Instant) -> Result<bool, CallError> {
        let sent_ns = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX);
        let payload = frame::encode(number, sent_ns);
        let Some(payload_type) = self.payload_type else { return Ok(false) };
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(self.audio, None) else { return Ok(false) };
        let extensions = ExtensionValues {
            audio_level: Some(dbov),
            voice_activity: Some(dbov > SILENCE_DBOV),
            ..ExtensionValues::default()
        };
        // RTP time wraps; RFC 3550 section 5.1.
        #[expect(clippy::cast_possible_truncation, reason = "RTP time is a number modulo 2^32")]
        let rtp_time = (number as u32).wrapping_mul(frame::FRAME_SAMPLES);
        let packet =
            RtpWrite::new(payload_type, self.rtp_number.into(), rtp_time, now, payload.to_vec())
                .marker(self.rtp_number == 0)
                .ext_vals(extensions);
        stream.write_rtp(packet);
        self.rtp_number += 1;
        self.drain()?;
        // What was written leaves at the next input; otherwise the frame waits for a timer.
        self.handle_timeout(now)?;
        Ok(true)
    }

    /// Sends a text on the data channel. `false` if it is not open, or full.
    pub fn send_message(&mut self, text: &str, now: Instant) -> Result<bool, CallError> {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else {
            return Ok(false);
        };
        let taken = channel.write(false, text.as_bytes());
        self.drain()?;
        self.handle_timeout(now)?;
        Ok(taken?)
    }

    /// Starts an ICE restart: the offer for the server, whose answer goes to
    /// [`Call::accept_answer`].
    pub fn restart_ice(&mut self, now: Instant) -> Result<String, CallError> {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().ok_or(CallError::NoOffer)?;
        self.pending = Some(pending);
        self.drain()?;
        self.handle_timeout(now)?;
        Ok(offer.to_sdp_string())
    }

    /// Hangs up: DTLS says so to the server. [`Event::Closed`] comes once that has been sent.
    pub fn close(&mut self, now: Instant) -> Result<(), CallError> {
        let result = self.rtc.close();
        self.drain()?;
        self.handle_timeout(now)?;
        Ok(result?)
    }

    /// Whether the call is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// str0m wants its outputs taken after every single input.
    fn drain(&mut self) -> Result<(), CallError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    if !self.rtc.is_alive() {
                        self.end();
                    }
                    return Ok(());
                }
                Output::Transmit(transmit) => self.transmits.push_back(Transmit {
                    destination: transmit.destination,
                    bytes: transmit.contents.to_vec(),
                }),
                Output::Event(event) => self.take(event),
            }
        }
    }

    fn take(&mut self, event: str0m::Event) {
        let event = match event {
            str0m::Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => Event::IceConnected,
            str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                Event::Disconnected
            }
            str0m::Event::Connected => Event::Connected,
            str0m::Event::ChannelOpen(id, _) => {
                self.channel = Some(id);
                Event::ChannelOpen
            }
            str0m::Event::ChannelData(data) => {
                Event::Message(String::from_utf8_lossy(&data.data).into_owned())
            }
            str0m::Event::RtpPacket(packet) => self.audio_of(&packet),
            str0m::Event::Closed => return self.end(),
            _ => return,
        };
        // Completed may follow Connected; one path that works is one event.
        if self.events.back() != Some(&event) || event != Event::IceConnected {
            self.events.push_back(event);
        }
    }

    fn audio_of(&self, packet: &RtpPacket) -> Event {
        let Some((number, sent_ns)) = frame::decode(&packet.payload) else {
            return Event::Audio(packet.payload.to_vec());
        };
        // A time beyond all reason comes from a server that makes frames up: no audio of ours.
        match self.began.checked_add(Duration::from_nanos(sent_ns)) {
            Some(sent_at) if sent_at <= packet.timestamp => {
                Event::Frame(Frame { number, sent_at, received_at: packet.timestamp })
            }
            _ => Event::Audio(packet.payload.to_vec()),
        }
    }

    fn end(&mut self) {
        if !self.closed {
            self.closed = true;
            self.events.push_back(Event::Closed);
        }
    }
}

/// Where the answer says that the server can be reached by UDP.
pub fn udp_candidates(answer: &str) -> Vec<SocketAddr> {
    let candidate = |line: &str| {
        // RFC 8839 section 5.1: foundation, component, transport, priority, address, port.
        let mut words = line.trim().strip_prefix("a=candidate:")?.split(' ');
        let transport = words.nth(2)?;
        let (ip, port) = (words.nth(1)?.parse().ok()?, words.next()?.parse().ok()?);
        transport.eq_ignore_ascii_case("udp").then_some(SocketAddr::new(ip, port))
    };
    let mut all: Vec<SocketAddr> = answer.lines().filter_map(candidate).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
