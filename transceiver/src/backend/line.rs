//! What a backend can do with its call: play, stop, send messages, hang up.
//!
//! It only writes down what is to be done. The session does it, paces what is to be played, and
//! bounds everything: a backend that produces faster than real time is told when it is too far
//! ahead.

use super::{Message, opus};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Opus bytes that may wait to be played: four minutes at 32 kbit/s.
pub const PLAYOUT_BYTES_MAX: usize = 1 << 20;
/// Bytes of messages that may wait for the data channel.
pub const MESSAGES_BYTES_MAX: usize = 256 << 10;
/// Packets that may wait to be passed on at once; more than a wake-up ever brings.
const PASSED_MAX: usize = 64;

/// No room: what was given was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room left: give less at a time, or wait until some is played or sent")]
pub struct Full;

/// What was cut off when playing was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How much was played since playing began.
    pub played: Duration,
    /// How much was not.
    pub dropped: Duration,
}

/// A packet that waits to be played.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) opus: Arc<[u8]>,
    pub(crate) duration: Duration,
}

/// A packet that leaves at once, with the time stamp it came with.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) opus: Arc<[u8]>,
    pub(crate) time_48k: u64,
}

/// One call, as its backend sees it.
#[derive(Debug)]
pub struct Line {
    now: Instant,
    pub(crate) queue: VecDeque<Queued>,
    queue_bytes: usize,
    pub(crate) passed: VecDeque<Passed>,
    messages: VecDeque<Message>,
    message_bytes: usize,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) hung_up: bool,
    /// How much of the present speech was played.
    pub(crate) played: Duration,
    /// Something was played since the last pause and its end was not told yet.
    pub(crate) speaking: bool,
    /// Playing was stopped: the session starts its schedule anew.
    pub(crate) stopped: bool,
}

impl Line {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now,
            queue: VecDeque::new(),
            queue_bytes: 0,
            passed: VecDeque::new(),
            messages: VecDeque::new(),
            message_bytes: 0,
            wake_at: None,
            hung_up: false,
            played: Duration::ZERO,
            speaking: false,
            stopped: false,
        }
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Sends a packet at once, with the time stamp of one that was heard, so that the client sees
    /// the same gaps and the same timing that it produced.
    pub fn pass_on(&mut self, opus: Arc<[u8]>, time_48k: u64) -> Result<(), Full> {
        if self.passed.len() >= PASSED_MAX {
            return Err(Full);
        }
        self.passed.push_back(Passed { opus, time_48k });
        Ok(())
    }

    /// Queues an Opus packet. Packets leave one after the other, each after the duration of the one
    /// before. What is no Opus packet is refused as if there were no room.
    pub fn play(&mut self, opus: Arc<[u8]>) -> Result<(), Full> {
        let duration = opus::duration(&opus).ok_or(Full)?;
        if self.queue_bytes + opus.len() > PLAYOUT_BYTES_MAX {
            return Err(Full);
        }
        self.queue_bytes += opus.len();
        self.queue.push_back(Queued { opus, duration });
        Ok(())
    }

    /// Drops everything that is queued: the client has interrupted.
    pub fn stop_playing(&mut self) -> Stopped {
        let dropped = self.queue.drain(..).map(|queued| queued.duration).sum();
        self.queue_bytes = 0;
        self.stopped = true;
        self.speaking = false;
        Stopped { played: std::mem::take(&mut self.played), dropped }
    }

    /// Whether something is being played or waits for it.
    pub fn is_playing(&self) -> bool {
        self.speaking || !self.queue.is_empty()
    }

    /// Sends a message by the data channel, or as soon as that is open.
    pub fn send(&mut self, message: Message) -> Result<(), Full> {
        let bytes = message.bytes().len();
        if self.message_bytes + bytes > MESSAGES_BYTES_MAX || self.messages.len() >= 1024 {
            return Err(Full);
        }
        self.message_bytes += bytes;
        self.messages.push_back(message);
        Ok(())
    }

    /// Sends an event: a JSON object with a `type`, as text.
    pub fn send_event(&mut self, event: &serde_json::Value) -> Result<(), Full> {
        self.send(Message::Text(event.to_string()))
    }

    /// Has `on_wake` called then. There is one such time; the last call counts.
    pub const fn wake_at(&mut self, at: Instant) {
        self.wake_at = Some(at);
    }

    /// Ends the call.
    pub const fn hang_up(&mut self) {
        self.hung_up = true;
    }

    pub(crate) fn take_queued(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.opus.len();
        Some(queued)
    }

    pub(crate) fn next_message(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub(crate) fn message_sent(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.message_bytes -= message.bytes().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS_20: u8 = 0x78;

    #[test]
    fn playing_is_bounded_and_stopping_says_what_was_cut() {
        let mut line = Line::new(Instant::now());
        let packet: Arc<[u8]> = [&[MS_20][..], &[0; 999]].concat().into();
        let mut played = 0;
        while line.play(Arc::clone(&packet)).is_ok() {
            played += 1;
        }
        assert_eq!(played, PLAYOUT_BYTES_MAX / 1000);
        assert!(line.is_playing());
        line.take_queued();
        line.play(packet).expect("there is room again");
        let stopped = line.stop_playing();
        assert_eq!(stopped.dropped, Duration::from_millis(20) * u32::try_from(played).unwrap());
        assert!(!line.is_playing() && line.stopped);
        assert_eq!(line.play(Arc::from([])), Err(Full), "an empty packet is no audio");
    }

    #[test]
    fn messages_are_bounded_and_keep_their_order() {
        let mut line = Line::new(Instant::now());
        let long = Message::Binary(vec![0; MESSAGES_BYTES_MAX - 3]);
        line.send(long.clone()).unwrap();
        assert_eq!(line.send(Message::Text("four".into())), Err(Full));
        line.send(Message::Text("two".into())).unwrap();
        assert_eq!(line.next_message(), Some(&long));
        line.message_sent();
        assert_eq!(line.next_message(), Some(&Message::Text("two".into())));
        line.message_sent();
        assert_eq!((line.next_message(), line.message_bytes), (None, 0));
    }
}
