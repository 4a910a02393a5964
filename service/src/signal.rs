//! Unix signals as a stream of what they ask for.
//!
//! | signal | event |
//! |---|---|
//! | SIGTERM or SIGINT, first | [`Event::Drain`]: finish what is running, then stop |
//! | SIGTERM or SIGINT, again | [`Event::StopNow`]: somebody is impatient |
//! | SIGHUP | [`Event::Reload`]: read the configuration again; a relay whose program was replaced upgrades |
//! | SIGUSR2 | [`Event::Upgrade`]: hand over to a new process |

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Finish what is running, then stop.
    Drain,
    /// Stop without waiting for anything.
    StopNow,
    /// Read the configuration again.
    Reload,
    /// Hand over to a new process.
    Upgrade,
}

/// The signals of this process. From the moment it exists none of them kills the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
    draining: bool,
}

impl Signals {
    /// Takes over the signals. Needs a tokio runtime with its I/O driver.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
            draining: false,
        })
    }

    /// The next event. Cancelling loses none.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            // A stop goes before a reload that arrived together with it.
            biased;
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hangup.recv() => Event::Reload,
            _ = self.user2.recv() => Event::Upgrade,
        }
    }

    fn stop(&mut self) -> Event {
        if std::mem::replace(&mut self.draining, true) { Event::StopNow } else { Event::Drain }
    }

    /// Says that draining was called off (`undrain`): the next SIGTERM is a first one again.
    pub fn undrained(&mut self) {
        self.draining = false;
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    /// One test only: signals belong to the process, and tests share it.
    #[tokio::test]
    async fn signals_become_events() {
        let mut signals = Signals::listen().unwrap();
        let table = [
            (Signal::SIGHUP, Event::Reload),
            (Signal::SIGUSR2, Event::Upgrade),
            (Signal::SIGTERM, Event::Drain),
            (Signal::SIGHUP, Event::Reload),
            (Signal::SIGINT, Event::StopNow),
        ];
        for (signal, event) in table {
            raise(signal).unwrap();
            assert_eq!(signals.next().await, event, "{signal}");
        }
        signals.undrained();
        raise(Signal::SIGINT).unwrap();
        assert_eq!(signals.next().await, Event::Drain);
    }
}
