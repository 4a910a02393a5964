//! Timers finer than the runtime's, whose tick is a millisecond: a beat that is a millisecond late
//! would be most of what is measured. One timerfd for all calls of a thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer that is due now is set to the shortest time there is: zero would turn it off.
const SHORTEST: Duration = Duration::from_nanos(1);

/// Wakes the tasks of a thread on time.
#[derive(Debug)]
pub(super) struct Beat {
    timer: AsyncFd<Timer>,
    alarms: RefCell<BinaryHeap<Reverse<Entry>>>,
    number: Cell<u64>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    number: u64,
    waker: Waker,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl Beat {
    /// Needs a runtime with its I/O driver.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types whose descriptor may change; a timer owns \
                      its own"
        )]
        let timer = AsyncFd::with_interest(Timer(timer), Interest::READABLE)?;
        Ok(Self { timer, alarms: RefCell::default(), number: Cell::new(0) })
    }

    /// Wakes whoever is due, for ever.
    pub(super) async fn run(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            // Reading makes it unready; what it says (how often it expired) does not matter.
            let mut count = [0; 8];
            let _ = nix::unistd::read(self.timer.get_ref().0.as_fd(), &mut count);
            ready.clear_ready();
            self.wake()?;
        }
    }

    fn wake(&self) -> io::Result<()> {
        let now = Instant::now();
        let mut alarms = self.alarms.borrow_mut();
        while let Some(Reverse(first)) = alarms.peek() {
            if first.due > now {
                return self.set(first.due);
            }
            if let Some(Reverse(entry)) = alarms.pop() {
                entry.waker.wake();
            }
        }
        Ok(())
    }

    fn add(&self, due: Instant, waker: Waker) {
        let number = self.number.replace(self.number.get().wrapping_add(1));
        let mut alarms = self.alarms.borrow_mut();
        let is_first = alarms.peek().is_none_or(|Reverse(first)| due < first.due);
        alarms.push(Reverse(Entry { due, number, waker }));
        if is_first {
            // A timer that exists can be set.
            let _ = self.set(due);
        }
    }

    fn set(&self, due: Instant) -> io::Result<()> {
        let wait = due.saturating_duration_since(Instant::now()).max(SHORTEST);
        let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
        Ok(self.timer.get_ref().0.set(expiration, TimerSetTimeFlags::empty())?)
    }
}

/// One task's use of the beat.
#[derive(Debug)]
pub(super) struct Alarm {
    beat: Rc<Beat>,
    /// When the beat will wake the task anyway.
    set_for: Cell<Option<Instant>>,
}

impl Alarm {
    pub(super) fn new(beat: Rc<Beat>) -> Self {
        Self { beat, set_for: Cell::new(None) }
    }

    /// Waits until then. May be dropped and asked again as often as one likes, by one task.
    pub(super) async fn until(&self, due: Instant) {
        std::future::poll_fn(|context| {
            let now = Instant::now();
            if now >= due {
                return Poll::Ready(());
            }
            // An alarm that is set for no later than that wakes the task, which then asks again.
            if self.set_for.get().is_none_or(|set| set > due || set <= now) {
                self.set_for.set(Some(due));
                self.beat.add(due, context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn everybody_is_woken_not_before_their_time() {
        let beat = Rc::new(Beat::new().unwrap());
        let work = async {
            let began = Instant::now();
            let tasks: Vec<_> = [30u64, 10, 20, 10, 0]
                .into_iter()
                .map(|wait| {
                    let alarm = Alarm::new(Rc::clone(&beat));
                    tokio::task::spawn_local(async move {
                        let due = began + Duration::from_millis(wait);
                        // Asked for twice, the second time sooner.
                        let later = alarm.until(due + Duration::from_secs(60));
                        let _ = tokio::time::timeout(Duration::ZERO, later).await;
                        alarm.until(due).await;
                        assert!(Instant::now() >= due);
                        wait
                    })
                })
                .collect();
            let mut woken = Vec::new();
            for task in tasks {
                woken.push(task.await.unwrap());
            }
            assert_eq!(woken, [30, 10, 20, 10, 0]);
            assert!(began.elapsed() < Duration::from_secs(30), "nobody waited for the later one");
        };
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                tokio::select! {
                    result = beat.run() => panic!("{result:?}"),
                    () = work => {}
                }
            })
            .await;
    }
}
