//! Tells systemd how the process is doing (`Type=notify` or `notify-reload`, `WatchdogSec=`).
//!
//! The protocol is a datagram of `KEY=value` lines to the Unix socket named in `NOTIFY_SOCKET`;
//! `man sd_notify`. Forty lines of our own, because the crate for it reads and changes the
//! environment of the running process, and cannot be pointed at a test's socket.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Something to tell the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// Start-up is over, or a reload is.
    Ready,
    /// A reload has begun; [`State::Ready`] ends it.
    Reloading,
    /// The process is on its way out.
    Stopping,
    /// Still alive: not calling this for `WatchdogSec` gets the process killed.
    Watchdog,
    /// A line for `systemctl status`.
    Status(&'a str),
    /// The process that is now the service: said by the old one at a hot upgrade.
    MainProcess(u32),
}

/// The way to the supervisor. Without one, everything here does nothing.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says. A `NOTIFY_SOCKET` that cannot be used is an error: under
    /// `Type=notify` the service would be killed at its start time-out, and nobody would know why.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        Self::new(
            variable("NOTIFY_SOCKET").as_deref(),
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
        )
    }

    fn new(
        socket: Option<&str>,
        watchdog_usec: Option<&str>,
        watchdog_pid: Option<&str>,
    ) -> io::Result<Self> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
            return Ok(Self { to: None, watchdog: None });
        };
        let address = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        // A supervisor that does not read must not be able to hold us up.
        let from = UnixDatagram::unbound()?;
        from.set_nonblocking(true)?;
        // man sd_watchdog_enabled: meant for this process only if WATCHDOG_PID is absent or ours.
        let ours = watchdog_pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let watchdog = watchdog_usec
            .and_then(|text| text.parse().ok())
            .filter(|&microseconds| ours && microseconds > 0)
            .map(Duration::from_micros);
        Ok(Self { to: Some((from, address)), watchdog })
    }

    /// How often to send [`State::Watchdog`]: half of what the supervisor waits, as its manual
    /// recommends. None if it does not watch.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Tells. Failure is for the log; no work depends on it.
    pub fn tell(&self, state: State<'_>) -> io::Result<()> {
        let Some((from, address)) = &self.to else {
            return Ok(());
        };
        let message = match state {
            State::Ready => "READY=1".to_owned(),
            State::Reloading => {
                // man sd_notify: RELOADING=1 needs the time, so that it cannot be taken for an
                // older reload's.
                let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
                let microseconds = Duration::from(now).as_micros();
                format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")
            }
            State::Stopping => "STOPPING=1".to_owned(),
            State::Watchdog => "WATCHDOG=1".to_owned(),
            // A line break would let text from elsewhere pose as another key.
            State::Status(text) => format!("STATUS={}", text.replace('\n', " ")),
            State::MainProcess(pid) => format!("MAINPID={pid}"),
        };
        from.send_to_addr(message.as_bytes(), address).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(at: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = at.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn every_state_arrives_at_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.to_str(), None, None).unwrap();
        let table = [
            (State::Ready, "READY=1"),
            (State::Stopping, "STOPPING=1"),
            (State::Watchdog, "WATCHDOG=1"),
            (State::Status("2 workers\nREADY=1"), "STATUS=2 workers READY=1"),
            (State::MainProcess(77), "MAINPID=77"),
        ];
        for (state, message) in table {
            notifier.tell(state).unwrap();
            assert_eq!(received(&supervisor), message);
        }
        notifier.tell(State::Reloading).unwrap();
        let message = received(&supervisor);
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn an_abstract_address_works() {
        let name = format!("ringway-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(&format!("@{name}")), None, None).unwrap();
        notifier.tell(State::Ready).unwrap();
        assert_eq!(received(&supervisor), "READY=1");
    }

    #[test]
    fn without_a_supervisor_nothing_happens() {
        for socket in [None, Some("")] {
            let notifier = Notifier::new(socket, Some("1000000"), None).unwrap();
            notifier.tell(State::Ready).unwrap();
            assert_eq!(notifier.watchdog_interval(), None);
        }
    }

    #[test]
    fn a_supervisor_that_is_gone_or_slow_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = Notifier::new(path.to_str(), None, None).unwrap();
        assert!(notifier.tell(State::Ready).is_err());
        let _never_reads = UnixDatagram::bind(&path).unwrap();
        let refused = (0..100_000).find_map(|_| notifier.tell(State::Watchdog).err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(Notifier::new(Some(&"x".repeat(200)), None, None).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked_and_only_if_meant_for_us() {
        let me = std::process::id().to_string();
        let table = [
            (Some("10000000"), None, Some(5_000)),
            (Some("10000000"), Some(me.as_str()), Some(5_000)),
            (Some("10000000"), Some("1"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, None, None),
        ];
        for (usec, pid, milliseconds) in table {
            let notifier = Notifier::new(Some("/nonexistent"), usec, pid).unwrap();
            let interval = milliseconds.map(Duration::from_millis);
            assert_eq!(notifier.watchdog_interval(), interval, "{usec:?} {pid:?}");
        }
    }
}
