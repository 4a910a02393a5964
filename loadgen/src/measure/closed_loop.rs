//! What a closed loop would have measured: the tool that sends, waits for the answer, and only then
//! sends again. Kept beside the true figure to show the difference, which is the point of an open
//! loop.

use super::{Nanoseconds, SECOND};

/// A closed loop gives up on an answer after this long, as such tools do.
const PATIENCE_NS: Nanoseconds = SECOND;

/// Picks, out of the packets of an open loop, those that a closed loop would have sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClosedLoop {
    waiting: Option<(u64, Nanoseconds)>,
}

impl ClosedLoop {
    /// A packet was sent.
    pub fn sent(&mut self, number: u64, now: Nanoseconds) {
        let busy = self.waiting.is_some_and(|(_, since)| now.saturating_sub(since) < PATIENCE_NS);
        if !busy {
            self.waiting = Some((number, now));
        }
    }

    /// A packet came back: its latency, if a closed loop would have sent it.
    pub fn answered(&mut self, number: u64, now: Nanoseconds) -> Option<Nanoseconds> {
        let (_, since) = self.waiting.take_if(|(waiting, _)| *waiting == number)?;
        Some(now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_at_a_time() {
        let mut closed = ClosedLoop::default();
        closed.sent(0, 100);
        closed.sent(1, 120);
        assert_eq!(closed.answered(1, 130), None, "a closed loop has not asked that");
        assert_eq!(closed.answered(0, 150), Some(50));
        assert_eq!(closed.answered(0, 160), None);
        closed.sent(2, 200);
        closed.sent(3, 200 + PATIENCE_NS);
        assert_eq!(closed.answered(3, 210 + PATIENCE_NS), Some(10), "it has given up on 2");
    }
}
