//! How other threads get a backend's attention.

use crossbeam::queue::SegQueue;
use engine::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::hint::SessionTag;

/// Wakes one call's backend on its shard. Rings are merged: however often it is rung before the
/// backend has woken, it wakes once.
#[derive(Debug, Clone)]
pub struct Bell {
    session: SessionTag,
    rung: Arc<AtomicBool>,
    board: Board,
}

/// Where the bells of a shard's sessions are heard: each session is on it at most once, so it is
/// bounded by their number.
#[derive(Debug, Clone)]
pub struct Board {
    rung: Arc<SegQueue<(SessionTag, Arc<AtomicBool>)>>,
    /// None in tests without a thread to wake.
    waker: Option<Waker>,
}

impl Board {
    /// A board on a shard's wall.
    pub fn new(waker: Option<Waker>) -> Self {
        Self { rung: Arc::new(SegQueue::new()), waker }
    }

    /// A session's bell.
    pub fn bell(&self, session: SessionTag) -> Bell {
        Bell { session, rung: Arc::new(AtomicBool::new(false)), board: self.clone() }
    }

    /// The next session whose bell was rung. It may be rung again from now on.
    pub fn take(&self) -> Option<SessionTag> {
        let (session, rung) = self.rung.pop()?;
        rung.store(false, Ordering::Release);
        Some(session)
    }
}

impl Bell {
    /// Has the backend's `on_wake` called soon.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.board.rung.push((self.session, Arc::clone(&self.rung)));
            if let Some(waker) = &self.board.waker {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rings_are_one_wake_and_the_next_is_heard_again() {
        let board = Board::new(None);
        let (first, second) = (SessionTag::new(1), SessionTag::new(2));
        let (bell, other) = (board.bell(first), board.bell(second));
        for _ in 0..100 {
            bell.clone().ring();
        }
        other.ring();
        assert_eq!(board.take(), Some(first));
        bell.ring();
        assert_eq!(board.take(), Some(second));
        assert_eq!(board.take(), Some(first));
        assert_eq!(board.take(), None);
    }
}
