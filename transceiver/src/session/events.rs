//! What str0m tells of the client, and what becomes of it.

use super::{Outlet, Session, Step, Tally};
use crate::backend::{Heard, Level, Message};
use crate::call::{CallState, EndReason};
use std::sync::Arc;
use std::time::Instant;
use str0m::media::{MediaData, MediaKind};
use str0m::{Event, IceConnectionState};

impl Session {
    pub(super) fn on_event(&mut self, event: Event, now: Instant, outlet: &mut impl Outlet) {
        match event {
            Event::IceConnectionStateChange(state) => self.on_ice(state, now, outlet),
            Event::Connected => {
                self.state = CallState::Connected;
                self.reach(Step::Dtls, now, outlet);
                self.backend.on_connected(&mut self.line);
            }
            // One conversation: the first track and the first channel.
            Event::MediaAdded(added) if added.kind == MediaKind::Audio && self.audio.is_none() => {
                self.audio = Some(added.mid);
            }
            Event::MediaData(data) => self.on_audio(&data, now, outlet),
            Event::ChannelOpen(id, _) if self.channel.is_none() => {
                self.channel = Some(id);
                self.reach(Step::DataChannel, now, outlet);
                self.backend.on_channel(&mut self.line);
            }
            Event::ChannelData(data) if self.channel == Some(data.id) => {
                let message = if data.binary {
                    Message::Binary(data.data)
                } else {
                    Message::Text(String::from_utf8_lossy(&data.data).into_owned())
                };
                self.backend.on_message(message, &mut self.line);
            }
            Event::ChannelClose(id) if self.channel == Some(id) => {
                self.channel = None;
                self.channel_full = false;
            }
            Event::ChannelBufferedAmountLow(_) => self.channel_full = false,
            Event::PeerStats(stats) => self.media.on_peer(&stats),
            Event::MediaIngressStats(stats) => {
                outlet.count(Tally::Jitter(self.media.on_ingress(&stats)));
            }
            Event::MediaEgressStats(stats) => {
                if let Some(round_trip) = self.media.on_egress(&stats) {
                    outlet.count(Tally::RoundTrip(round_trip));
                }
            }
            Event::Closed => self.closed(EndReason::ClientClosed),
            _ => {}
        }
    }

    fn on_ice(&mut self, state: IceConnectionState, now: Instant, outlet: &mut impl Outlet) {
        match state {
            IceConnectionState::Connected | IceConnectionState::Completed => {
                self.reach(Step::Ice, now, outlet);
                self.lost_at = None;
                if self.state == CallState::Disconnected {
                    self.state = CallState::Connected;
                }
            }
            IceConnectionState::Disconnected => {
                if self.state == CallState::Connected {
                    self.state = CallState::Disconnected;
                    self.lost_at = Some(now);
                }
            }
            IceConnectionState::New | IceConnectionState::Checking => {}
        }
    }

    fn on_audio(&mut self, data: &MediaData, now: Instant, outlet: &mut impl Outlet) {
        if self.audio != Some(data.mid) {
            return;
        }
        let lost = self.media.on_audio(data);
        if lost > 0 {
            outlet.count(Tally::AudioLost(lost));
        }
        outlet.count(Tally::AudioIn);
        self.reach(Step::FirstAudioIn, now, outlet);
        let level = data.ext_vals.audio_level;
        let heard = Heard {
            time_48k: data.time.numer(),
            level: level.map(|dbov| Level { dbov, voice: data.ext_vals.voice_activity }),
            after_loss: !data.contiguous,
            opus: Arc::clone(&data.data),
        };
        self.backend.on_audio(heard, &mut self.line);
    }

    /// The connection is over, whoever ended it.
    pub(super) fn closed(&mut self, reason: EndReason) {
        if self.end.is_none() {
            self.end = Some(reason);
            self.backend.on_end(reason);
        }
        self.state = CallState::Ended;
    }
}
