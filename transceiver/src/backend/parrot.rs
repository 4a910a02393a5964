//! Listens while the client talks and says it back when they pause; talking over it stops it.
//!
//! It needs no model and no codec: packets are kept and replayed as they are, and how loud they are
//! is what the client says of them (the audio-level header extension). So it shows everything a
//! conversation asks of the media path: turn taking, pacing and interruption.

use super::{Backend, Backends, Heard, Invitation, Line, Message, Playout, Unavailable};
use crate::call::CallId;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At least this loud is talking. Browsers suppress noise to well below, and voices are above.
const VOICE_DBOV: i8 = -45;
/// So many loud packets in a row are somebody talking; fewer are a click.
const ONSET_PACKETS: u32 = 3;
/// What is kept of the time before, so that the first sound is not cut off.
const LEAD_PACKETS: usize = 12;
/// Silence that ends a turn.
const PAUSE: Duration = Duration::from_millis(700);
/// Silence that is left at the end of what is said back.
const TAIL_PACKETS: usize = 8;
/// What is kept of one turn: half a minute of 20 ms packets, and bytes at 64 kbit/s.
const TURN_PACKETS_MAX: usize = 1_500;
const TURN_BYTES_MAX: usize = 240 << 10;
/// So many packets without a level, and the client is told why nothing happens.
const UNMEASURED_PACKETS: u32 = 100;

/// Makes parrots.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parrots;

impl Backends for Parrots {
    fn name(&self) -> &'static str {
        "parrot"
    }

    fn description(&self) -> &'static str {
        "says back what you said when you pause; talk over it and it stops"
    }

    fn invite(&self, invitation: Invitation) -> Result<Box<dyn Backend>, Unavailable> {
        let Invitation { id, session, now, .. } = invitation;
        Ok(Box::new(Parrot::new(id, session, now)))
    }
}

struct Parrot {
    id: CallId,
    session: Option<Arc<Value>>,
    began: Instant,
    /// Packets of this turn, led by some of the silence before it.
    kept: VecDeque<Arc<[u8]>>,
    kept_bytes: usize,
    /// Loud packets in a row.
    loud: u32,
    /// Packets since the last loud one.
    quiet: usize,
    /// The client is talking; since its last loud packet.
    heard_at: Option<Instant>,
    /// Turns that have begun.
    turns: u32,
    /// An answer is being played.
    answering: bool,
    unmeasured: u32,
}

impl Parrot {
    fn new(id: CallId, session: Option<Arc<Value>>, now: Instant) -> Self {
        Self {
            id,
            session,
            began: now,
            kept: VecDeque::new(),
            kept_bytes: 0,
            loud: 0,
            quiet: 0,
            heard_at: None,
            turns: 0,
            answering: false,
            unmeasured: 0,
        }
    }

    fn keep(&mut self, opus: Arc<[u8]>) {
        // Nothing is dropped from a turn that has begun: it ends when there is no more room.
        if self.heard_at.is_none() {
            while self.kept.len() >= LEAD_PACKETS {
                self.kept_bytes -= self.kept.pop_front().map_or(0, |packet| packet.len());
            }
        }
        self.kept_bytes += opus.len();
        self.kept.push_back(opus);
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= TURN_PACKETS_MAX || self.kept_bytes >= TURN_BYTES_MAX
    }

    fn begin_turn(&mut self, line: &mut Line) {
        self.turns += 1;
        if line.is_playing() {
            let stopped = line.stop_playing();
            self.answering = false;
            let response = self.response();
            tell(line, &json!({"type": "output_audio_buffer.cleared", "response_id": response}));
            tell(
                line,
                &json!({
                    "type": "response.done",
                    "response": {"id": response, "status": "cancelled",
                                 "audio_played_ms": millis(stopped.played)},
                }),
            );
        }
        let start = millis(line.now() - self.began);
        tell(
            line,
            &json!({
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": start, "item_id": self.item(),
            }),
        );
    }

    fn end_turn(&mut self, line: &mut Line) {
        self.heard_at = None;
        self.loud = 0;
        let end = millis(line.now() - self.began);
        tell(
            line,
            &json!({
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": end, "item_id": self.item(),
            }),
        );
        let spoken = self.kept.len() - self.quiet.min(self.kept.len()).saturating_sub(TAIL_PACKETS);
        self.kept_bytes = 0;
        self.quiet = 0;
        for opus in self.kept.drain(..).take(spoken) {
            // What is no Opus packet is left out.
            let _ = line.play(opus);
        }
        if line.is_playing() {
            self.answering = true;
            let response = json!({"id": self.response(), "status": "in_progress"});
            tell(line, &json!({"type": "response.created", "response": response}));
        }
    }

    fn item(&self) -> String {
        format!("item_{}", self.turns)
    }

    /// The answer to the turn before, if another has begun already.
    fn response(&self) -> String {
        let turn = if self.answering { self.turns } else { self.turns.saturating_sub(1) };
        format!("resp_{turn}")
    }
}

impl Backend for Parrot {
    fn on_channel(&mut self, line: &mut Line) {
        let session = self.session.as_deref().cloned().unwrap_or_else(|| json!({}));
        tell(
            line,
            &json!({
                "type": "session.created", "call_id": self.id, "session": session,
            }),
        );
    }

    fn on_audio(&mut self, heard: Heard, line: &mut Line) {
        self.keep(heard.opus);
        let Some(level) = heard.level else {
            self.unmeasured += 1;
            if self.unmeasured == UNMEASURED_PACKETS {
                tell(
                    line,
                    &json!({"type": "error", "error": {
                        "type": "invalid_request_error", "code": "no_audio_level",
                        "message": "The parrot hears no loudness: offer the header extension \
                                    urn:ietf:params:rtp-hdrext:ssrc-audio-level, or use the model echo.",
                    }}),
                );
            }
            return;
        };
        if level.dbov < VOICE_DBOV {
            self.loud = 0;
            self.quiet += 1;
        } else {
            self.loud += 1;
            self.quiet = 0;
            if self.heard_at.is_some() || self.loud >= ONSET_PACKETS {
                if self.heard_at.is_none() {
                    self.begin_turn(line);
                }
                self.heard_at = Some(line.now());
                // A client that sends nothing in silence would never let us see its end.
                line.wake_at(line.now() + PAUSE);
            }
        }
        if self.heard_at.is_some() && self.is_full() {
            self.end_turn(line);
        }
    }

    fn on_message(&mut self, message: Message, line: &mut Line) {
        let Message::Text(text) = message else { return };
        let Ok(event) = serde_json::from_str::<Value>(&text) else { return };
        match event["type"].as_str() {
            Some("output_audio_buffer.clear" | "response.cancel") if line.is_playing() => {
                line.stop_playing();
                let response = self.response();
                self.answering = false;
                tell(
                    line,
                    &json!({
                        "type": "output_audio_buffer.cleared", "response_id": response,
                    }),
                );
            }
            // Others are for models.
            _ => {}
        }
    }

    fn on_playout(&mut self, playout: Playout, line: &mut Line) {
        let response = self.response();
        match playout {
            Playout::Started => tell(
                line,
                &json!({
                    "type": "output_audio_buffer.started", "response_id": response,
                }),
            ),
            Playout::Drained => {
                self.answering = false;
                tell(
                    line,
                    &json!({
                        "type": "output_audio_buffer.stopped", "response_id": response,
                    }),
                );
                let response = json!({"id": response, "status": "completed"});
                tell(line, &json!({"type": "response.done", "response": response}));
            }
        }
    }

    fn on_wake(&mut self, line: &mut Line) {
        if let Some(heard_at) = self.heard_at {
            if line.now() >= heard_at + PAUSE {
                self.end_turn(line);
            } else {
                line.wake_at(heard_at + PAUSE);
            }
        }
    }
}

/// Tells the client, unless it reads too slowly: then it misses an event rather than the audio.
fn tell(line: &mut Line, event: &Value) {
    let _ = line.send_event(event);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Level;
    use wire::hint::ShardId;

    const MS: Duration = Duration::from_millis(1);
    const TALK: i8 = -20;
    const SILENCE: i8 = -90;

    struct Scene {
        parrot: Parrot,
        line: Line,
        next: u8,
    }

    impl Scene {
        fn new() -> Self {
            let now = Instant::now();
            let parrot = Parrot::new(CallId::new(ShardId(0), [0; 14]), None, now);
            Self { parrot, line: Line::new(now), next: 0 }
        }

        fn hear(&mut self, packets: usize, dbov: Option<i8>) {
            for _ in 0..packets {
                self.pass(20 * MS);
                self.next = self.next.wrapping_add(1);
                let level = dbov.map(|dbov| Level { dbov, voice: None });
                let heard = Heard {
                    opus: Arc::from([0x78, self.next]),
                    time_48k: 0,
                    level,
                    after_loss: false,
                };
                self.parrot.on_audio(heard, &mut self.line);
            }
        }

        fn pass(&mut self, time: Duration) {
            let now = self.line.now() + time;
            self.line.set_now(now);
            if self.line.wake_at.is_some_and(|at| at <= now) {
                self.line.wake_at = None;
                self.parrot.on_wake(&mut self.line);
            }
        }

        fn played(&mut self) -> Vec<u8> {
            std::iter::from_fn(|| self.line.take_queued()).map(|queued| queued.opus[1]).collect()
        }

        fn events(&mut self) -> Vec<String> {
            let mut types = Vec::new();
            while let Some(message) = self.line.next_message() {
                let Message::Text(text) = message else { panic!("events are text") };
                let event: Value = serde_json::from_str(text).unwrap();
                types.push(event["type"].as_str().unwrap().to_owned());
                self.line.message_sent();
            }
            types
        }
    }

    #[test]
    fn what_was_said_comes_back_after_a_pause_with_its_lead_and_without_the_long_silence() {
        let mut scene = Scene::new();
        scene.hear(50, Some(SILENCE));
        scene.hear(10, Some(TALK));
        assert_eq!(scene.events(), ["input_audio_buffer.speech_started"]);
        scene.hear(34, Some(SILENCE));
        assert!(!scene.line.is_playing(), "not a pause yet");
        scene.hear(1, Some(SILENCE));
        let played = scene.played();
        // Packets are numbered from 1: 50 of silence, then 10 of speech. The turn was noticed at
        // its third packet, the last of the twelve that were kept.
        assert_eq!(played.first(), Some(&42), "{played:?}");
        assert_eq!(played.last(), Some(&(60 + u8::try_from(TAIL_PACKETS).unwrap())), "{played:?}");
        assert_eq!(scene.events(), ["input_audio_buffer.speech_stopped", "response.created"]);
    }

    #[test]
    fn a_click_is_no_turn() {
        let mut scene = Scene::new();
        for _ in 0..20 {
            scene.hear(2, Some(TALK));
            scene.hear(3, Some(SILENCE));
        }
        scene.pass(2 * PAUSE);
        assert!(!scene.line.is_playing());
        assert!(scene.events().is_empty());
        assert!(scene.parrot.kept.len() <= LEAD_PACKETS + 1);
    }

    #[test]
    fn a_client_that_sends_nothing_in_silence_is_answered_too() {
        let mut scene = Scene::new();
        scene.hear(10, Some(TALK));
        scene.pass(PAUSE);
        assert_eq!(scene.played(), (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn talking_over_it_stops_it_at_once_and_a_click_does_not() {
        let mut scene = Scene::new();
        scene.hear(30, Some(TALK));
        scene.pass(PAUSE);
        scene.line.take_queued();
        scene.parrot.on_playout(Playout::Started, &mut scene.line);
        scene.events();
        scene.hear(2, Some(TALK));
        scene.hear(1, Some(SILENCE));
        assert!(scene.line.is_playing(), "a click");
        scene.hear(3, Some(TALK));
        assert!(!scene.line.is_playing());
        assert_eq!(
            scene.events(),
            ["output_audio_buffer.cleared", "response.done", "input_audio_buffer.speech_started"]
        );
        scene.pass(PAUSE);
        assert!(scene.line.is_playing(), "and the interruption is answered in turn");
    }

    #[test]
    fn a_turn_without_end_is_answered_when_it_is_full() {
        let mut scene = Scene::new();
        scene.hear(TURN_PACKETS_MAX + 10, Some(TALK));
        assert!(scene.line.queue.len() <= TURN_PACKETS_MAX);
        assert!(scene.events().contains(&"input_audio_buffer.speech_stopped".to_owned()));
    }

    #[test]
    fn a_client_without_levels_is_told_so_once() {
        let mut scene = Scene::new();
        scene.hear(500, None);
        assert_eq!(scene.events(), ["error"]);
        assert!(scene.parrot.kept.len() <= LEAD_PACKETS);
    }

    #[test]
    fn ids_of_the_answer_agree_from_its_creation_to_its_end() {
        let mut scene = Scene::new();
        scene.hear(10, Some(TALK));
        scene.pass(PAUSE);
        scene.parrot.on_playout(Playout::Started, &mut scene.line);
        scene.parrot.on_playout(Playout::Drained, &mut scene.line);
        let mut ids = Vec::new();
        while let Some(Message::Text(text)) = scene.line.next_message().cloned() {
            let event: Value = serde_json::from_str(&text).unwrap();
            let id = event["response_id"].as_str().or(event["response"]["id"].as_str());
            ids.extend(id.map(ToOwned::to_owned));
            scene.line.message_sent();
        }
        assert_eq!(ids, ["resp_1"; 4]);
    }
}
