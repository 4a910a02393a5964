//! The one place where str0m is changed: one change at a time, with all it has to say taken from it
//! in between.

use super::playout::{Due, Frame};
use super::{Outlet, Path, Session, Step, Tally};
use crate::backend::Message;
use crate::call::{CallState, EndReason};
use std::time::Instant;
use str0m::format::PayloadParams;
use str0m::media::MediaTime;
use str0m::{Input, Output};
use wire::demux::PacketClass;

/// Turns of one drive. A session that is not quiet by then has a bug, in us or in str0m.
const TURNS_MAX: u32 = 10_000;

impl Session {
    /// Takes from str0m all it has to say, and gives it, one at a time, what is due.
    pub(super) fn drive(&mut self, cause: Option<Path>, now: Instant, outlet: &mut impl Outlet) {
        self.line.set_now(now);
        for _ in 0..TURNS_MAX {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.send(&transmit.contents, cause, outlet),
                Ok(Output::Event(event)) => self.on_event(event, now, outlet),
                Ok(Output::Timeout(at)) => {
                    self.rtc_timeout = at;
                    if !self.do_what_is_due(now, outlet) {
                        return;
                    }
                }
                Err(_) => {
                    outlet.count(Tally::Unreadable);
                    if !self.rtc.is_alive() {
                        self.rtc_timeout = now + self.call_time_max;
                        return self.closed(EndReason::Failed);
                    }
                }
            }
        }
        tracing::error!(call = %self.facts.id, "a session does not come to rest: it is ended");
        self.rtc.disconnect();
        self.closed(EndReason::Failed);
    }

    /// Answers to checks go back the way of the check; all else to where the client was last
    /// heard for certain, which str0m would find out fifteen seconds later.
    fn send(&mut self, packet: &[u8], cause: Option<Path>, outlet: &mut impl Outlet) {
        let path = match PacketClass::of(packet) {
            PacketClass::Stun => cause,
            PacketClass::Dtls | PacketClass::Rtp | PacketClass::Rtcp | PacketClass::Other => {
                self.paths.egress()
            }
        };
        match path {
            Some(path) => outlet.send(&path, packet),
            None => outlet.count(Tally::NoPath),
        }
    }

    /// One change to str0m, if there is one to make.
    fn do_what_is_due(&mut self, now: Instant, outlet: &mut impl Outlet) -> bool {
        if self.end.is_some() || !self.rtc.is_alive() {
            return false;
        }
        if self.line.hung_up {
            self.backend.on_end(EndReason::BackendClosed);
            self.end = Some(EndReason::BackendClosed);
            self.state = CallState::Ended;
            return self.rtc.close().is_ok();
        }
        self.send_message(now) || self.send_audio(now, outlet)
    }

    fn send_message(&mut self, now: Instant) -> bool {
        if self.channel_full {
            return false;
        }
        let Some(channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return false };
        let Some(message) = self.line.next_message() else { return false };
        let mut channel = channel;
        let is_binary = matches!(message, Message::Binary(_));
        match channel.write(is_binary, message.bytes()) {
            Ok(true) => self.line.message_sent(),
            Ok(false) => {
                self.channel_full = true;
                channel.set_buffered_amount_low_threshold(16 << 10);
                return false;
            }
            // The channel is closing: nobody will read it.
            Err(_) => self.line.message_sent(),
        }
        self.rtc.handle_input(Input::Timeout(now)).is_ok()
    }

    fn send_audio(&mut self, now: Instant, outlet: &mut impl Outlet) -> bool {
        // What is played before there are keys to send it with waits for them.
        if !matches!(self.state, CallState::Connected | CallState::Disconnected) {
            return false;
        }
        let due = match self.playout.due(&mut self.line, now) {
            Due::Nothing => return false,
            Due::Tell(playout) => {
                self.backend.on_playout(playout, &mut self.line);
                return true;
            }
            Due::Frame(frame) => frame,
        };
        let bytes = due.opus.len() as u64;
        if !self.write(due, now) {
            outlet.count(Tally::NoTaker);
            return true;
        }
        self.media.packets_out += 1;
        self.media.bytes_out += bytes;
        outlet.count(Tally::AudioOut);
        self.reach(Step::FirstAudioOut, now, outlet);
        // Writing only queues: without this the packet would wait for the next timer.
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            outlet.count(Tally::Unreadable);
        }
        true
    }

    fn write(&mut self, frame: Frame, now: Instant) -> bool {
        let Some(writer) = self.audio.and_then(|mid| self.rtc.writer(mid)) else { return false };
        let Some(pt) = writer.payload_params().next().map(PayloadParams::pt) else {
            return false;
        };
        let time = MediaTime::new(frame.time_48k, str0m::media::Frequency::FORTY_EIGHT_KHZ);
        let writer = writer.start_of_talkspurt(frame.begins_speech);
        writer.write(pt, now, time, frame.opus).is_ok()
    }
}
