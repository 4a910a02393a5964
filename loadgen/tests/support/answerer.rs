//! A server for tests: answers an offer as a transceiver would (ICE-lite, one candidate) and sends
//! every frame and message back. str0m on both sides proves that client and server fit; that the
//! client fits the product is shown by the transceiver's own tests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// One call as the server sees it.
#[derive(Debug)]
pub(crate) struct Answerer {
    rtc: Rtc,
    address: SocketAddr,
    deadline: Instant,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    number: u64,
    closed: bool,
    echo: bool,
}

impl Answerer {
    /// Reachable at this address.
    #[must_use]
    pub(crate) fn new(address: SocketAddr, now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .clear_codecs()
            .enable_opus(true, false)
            .clear_extension_map()
            .set_extension(1, Extension::AudioLevel)
            .set_extension(4, Extension::RtpMid)
            .set_rtp_mode(true)
            .build(now);
        let candidate = Candidate::host(address, Protocol::Udp).expect("an address to bind to");
        rtc.add_local_candidate(candidate);
        let transmits = VecDeque::new();
        Self { rtc, address, deadline: now, transmits, number: 0, closed: false, echo: true }
    }

    /// Answers an offer, the first or a later one.
    pub(crate) fn answer(&mut self, offer: &str, now: Instant) -> String {
        let offer = SdpOffer::from_sdp_string(offer).expect("an offer");
        let answer = self.rtc.sdp_api().accept_offer(offer).expect("an acceptable offer");
        self.drain();
        self.handle_timeout(now);
        answer.to_sdp_string()
    }

    /// Stops sending frames back, or starts again.
    #[allow(dead_code, reason = "each test uses its part")]
    pub(crate) fn set_echo(&mut self, echo: bool) {
        self.echo = echo;
    }

    /// Takes a packet.
    pub(crate) fn handle(&mut self, source: SocketAddr, packet: &[u8], now: Instant) {
        let Ok(contents) = packet.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
        let _ = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain();
        self.handle_timeout(now);
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain();
    }

    /// When it next wants time to pass.
    #[must_use]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next packet to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// Hangs up.
    pub(crate) fn close(&mut self, now: Instant) {
        let _ = self.rtc.close();
        self.drain();
        self.handle_timeout(now);
    }

    /// Whether the call has ended.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed || !self.rtc.is_alive()
    }

    fn drain(&mut self) {
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                Output::Transmit(transmit) => {
                    self.transmits.push_back((transmit.destination, transmit.contents.to_vec()));
                }
                Output::Event(Event::RtpPacket(packet)) if self.echo => {
                    let Some(mid) = packet.header.ext_vals.mid.or(self.audio()) else { continue };
                    let mut direct = self.rtc.direct_api();
                    let Some(stream) = direct.stream_tx_by_mid(mid, None) else { continue };
                    let (pt, time) = (packet.header.payload_type, packet.header.timestamp);
                    let number = self.number.into();
                    let payload = packet.payload.to_vec();
                    stream.write_rtp(RtpWrite::new(pt, number, time, packet.timestamp, payload));
                    self.number += 1;
                }
                Output::Event(Event::ChannelData(data)) => {
                    if let Some(mut channel) = self.rtc.channel(data.id) {
                        let _ = channel.write(data.binary, &data.data);
                    }
                }
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(_) => {}
            }
        }
    }

    fn audio(&self) -> Option<str0m::media::Mid> {
        // The client's only medium; str0m numbers mids of its own making, so it is looked up.
        Some("0".into()).filter(|mid| self.rtc.media(*mid).is_some())
    }
}
