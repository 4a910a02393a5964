//! When the backend's audio leaves: what is passed on at once, what is played one packet after the
//! other. Models make speech faster than it is spoken, and str0m sends what it is given at once, so
//! the schedule is ours.

use crate::backend::{Line, Playout as Told};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A schedule this far behind (the thread was stuck) begins anew: catching up would make a burst
/// that the client's jitter buffer has to swallow.
const BEHIND_MAX: Duration = Duration::from_millis(200);

/// A packet that is to leave now.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) opus: Arc<[u8]>,
    pub(super) time_48k: u64,
    /// The first after a pause.
    pub(super) begins_speech: bool,
}

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    Nothing,
    Frame(Frame),
    /// The backend is to be told.
    Tell(Told),
}

/// A session's schedule.
#[derive(Debug, Default)]
pub(super) struct Playout {
    /// When the next packet leaves, or, behind the last one, when its time is over.
    next_at: Option<Instant>,
    /// Where the media clock stood, and when.
    clock: Option<(u64, Instant)>,
    tell_started: bool,
}

impl Playout {
    pub(super) const fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    pub(super) fn due(&mut self, line: &mut Line, now: Instant) -> Due {
        if let Some(passed) = line.passed.pop_front() {
            self.clock = Some((passed.time_48k, now));
            return Due::Frame(Frame {
                opus: passed.opus,
                time_48k: passed.time_48k,
                begins_speech: false,
            });
        }
        if std::mem::take(&mut line.stopped) {
            self.next_at = None;
            self.tell_started = false;
        }
        if std::mem::take(&mut self.tell_started) {
            return Due::Tell(Told::Started);
        }
        let begins = self.next_at.is_none();
        if self.next_at.is_some_and(|at| at > now) || (begins && line.queue.is_empty()) {
            return Due::Nothing;
        }
        let Some(queued) = line.take_queued() else {
            self.next_at = None;
            line.speaking = false;
            line.played = Duration::ZERO;
            return Due::Tell(Told::Drained);
        };
        let planned = self.next_at.unwrap_or(now);
        let late = now.saturating_duration_since(planned);
        let leaves_at = if late > BEHIND_MAX { now } else { planned };
        let time_48k = self.media_time(begins || late > BEHIND_MAX, leaves_at);
        self.clock = Some((time_48k + samples(queued.duration), leaves_at + queued.duration));
        self.next_at = Some(leaves_at + queued.duration);
        self.tell_started = begins;
        line.speaking = true;
        line.played += queued.duration;
        Due::Frame(Frame { opus: queued.opus, time_48k, begins_speech: begins })
    }

    /// The media clock runs on in pauses, so that the client plays what comes next at its time.
    fn media_time(&self, after_pause: bool, leaves_at: Instant) -> u64 {
        match self.clock {
            None => 0,
            Some((time_48k, at)) if after_pause => {
                time_48k + samples(leaves_at.saturating_duration_since(at))
            }
            Some((time_48k, _)) => time_48k,
        }
    }
}

fn samples(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros() * 48 / 1_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(number: u8) -> Arc<[u8]> {
        Arc::from([0x78, number])
    }

    /// What leaves at each millisecond of a scene: (ms, number, samples).
    struct Scene {
        start: Instant,
        now: Instant,
        line: Line,
        playout: Playout,
        left: Vec<(u128, u8, u64, bool)>,
        told: Vec<(u128, Told)>,
    }

    impl Scene {
        fn new() -> Self {
            let start = Instant::now();
            let line = Line::new(start);
            Self {
                start,
                now: start,
                line,
                playout: Playout::default(),
                left: vec![],
                told: vec![],
            }
        }

        fn pass(&mut self, duration: Duration) {
            let end = self.now + duration;
            loop {
                let ms = (self.now - self.start).as_millis();
                match self.playout.due(&mut self.line, self.now) {
                    Due::Frame(frame) => {
                        self.left.push((ms, frame.opus[1], frame.time_48k, frame.begins_speech));
                    }
                    Due::Tell(told) => self.told.push((ms, told)),
                    Due::Nothing if self.now >= end => return,
                    Due::Nothing => self.now += MS,
                }
            }
        }
    }

    #[test]
    fn a_burst_is_spread_and_a_pause_is_kept() {
        let mut scene = Scene::new();
        for number in 0..3 {
            scene.line.play(packet(number)).unwrap();
        }
        scene.pass(100 * MS);
        scene.line.play(packet(3)).unwrap();
        scene.pass(30 * MS);
        assert_eq!(
            scene.left,
            [(0, 0, 0, true), (20, 1, 960, false), (40, 2, 1920, false), (100, 3, 4800, true)]
        );
        let told: Vec<_> = scene.told.iter().map(|(ms, told)| (*ms, *told)).collect();
        assert_eq!(
            told,
            [(0, Told::Started), (60, Told::Drained), (100, Told::Started), (120, Told::Drained)]
        );
    }

    #[test]
    fn stopping_is_at_once_and_what_comes_next_begins_at_once() {
        let mut scene = Scene::new();
        for number in 0..50 {
            scene.line.play(packet(number)).unwrap();
        }
        scene.pass(30 * MS);
        let stopped = scene.line.stop_playing();
        assert_eq!((stopped.played, stopped.dropped), (40 * MS, 48 * 20 * MS));
        scene.line.play(packet(99)).unwrap();
        scene.pass(5 * MS);
        let last = scene.left.last().unwrap();
        assert_eq!((last.0, last.1, last.3), (30, 99, true), "not at 40");
    }

    #[test]
    fn a_little_late_catches_up_and_very_late_begins_anew() {
        let mut scene = Scene::new();
        for number in 0..4 {
            scene.line.play(packet(number)).unwrap();
        }
        scene.pass(Duration::ZERO);
        scene.now += 50 * MS;
        scene.pass(Duration::ZERO);
        let numbers: Vec<_> = scene.left.iter().map(|left| (left.1, left.2)).collect();
        assert_eq!(numbers, [(0, 0), (1, 960), (2, 1920)], "both that were due");
        scene.now += 1_000 * MS;
        scene.pass(Duration::ZERO);
        let (ms, number, samples, _) = *scene.left.last().unwrap();
        assert_eq!((ms, number), (1_050, 3));
        assert_eq!(samples, 1_050 * 48, "on the client's clock it is as late as it is");
    }

    #[test]
    fn what_is_passed_on_keeps_its_own_time() {
        let mut scene = Scene::new();
        scene.line.pass_on(packet(1), 77_777).unwrap();
        scene.line.pass_on(packet(2), 90_000).unwrap();
        scene.pass(Duration::ZERO);
        assert_eq!(scene.left, [(0, 1, 77_777, false), (0, 2, 90_000, false)]);
        assert_eq!(scene.playout.next_at(), None, "nothing is scheduled");
    }
}
