//! Tells systemd how the process is doing (`Type=notify` or `notify-reload`, `WatchdogSec=`).
//!
//! The protocol is a datagram of `KEY=value` lines to the Unix socket named in `NOTIFY_SOCKET`;
//! `man sd_notify`. Some lines of our own, because the crate for it reads and changes the
//! environment of the running process, and cannot be pointed at a test's socket.
//!
//! The manager can also keep descriptors (`FileDescriptorStoreMax=`), which the next process of the
//! service finds at its start, however this one ends.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

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
    to: Option<(UnixDatagram, UnixAddr)>,
    watchdog: Option<Duration>,
    keeps: usize,
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
            variable("FDSTORE").as_deref(),
        )
    }

    fn new(
        socket: Option<&str>,
        watchdog_usec: Option<&str>,
        watchdog_pid: Option<&str>,
        store: Option<&str>,
    ) -> io::Result<Self> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
            return Ok(Self { to: None, watchdog: None, keeps: 0 });
        };
        let address = match socket.strip_prefix('@') {
            Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
            None => UnixAddr::new(socket)?,
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
        let keeps = store.and_then(|store| store.parse().ok()).unwrap_or(0);
        Ok(Self { to: Some((from, address)), watchdog, keeps })
    }

    /// How often to send [`State::Watchdog`]: half of what the supervisor waits, as its manual
    /// recommends. None if it does not watch.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Tells. Failure is for the log; no work depends on it.
    pub fn tell(&self, state: State<'_>) -> io::Result<()> {
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
        self.send(&message, &[])
    }

    /// How many descriptors the supervisor keeps for this service, as far as it says so.
    #[must_use]
    pub fn keeps(&self) -> usize {
        self.keeps
    }

    /// Has the supervisor keep descriptors under a name. Those that it has already stay as they are.
    pub fn park(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Without FDPOLL=0 systemd lets go of a socket that has an error to tell, such as an ICMP one.
        self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), descriptors)
    }

    /// Has the supervisor let go of all descriptors of a name.
    pub fn unpark(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    /// Waits until the supervisor has done what it was told.
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        if self.to.is_none() {
            return Ok(());
        }
        let (ours, theirs) = io::pipe()?;
        self.send("BARRIER=1", &[theirs.as_fd()])?;
        // Only the supervisor has that end now, and closes it when its turn comes.
        drop(theirs);
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(ours.as_fd(), PollFlags::empty())], patience)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    fn send(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some((from, address)) = &self.to else {
            return Ok(());
        };
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights: &[_] = if raw.is_empty() { &[] } else { &rights };
        let bytes = [IoSlice::new(message.as_bytes())];
        sendmsg(from.as_raw_fd(), &bytes, rights, MsgFlags::MSG_NOSIGNAL, Some(address))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

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
        let notifier = Notifier::new(path.to_str(), None, None, None).unwrap();
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
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(&format!("@{name}")), None, None, None).unwrap();
        notifier.tell(State::Ready).unwrap();
        assert_eq!(received(&supervisor), "READY=1");
    }

    #[test]
    fn without_a_supervisor_nothing_happens() {
        for socket in [None, Some("")] {
            let notifier = Notifier::new(socket, Some("1000000"), None, Some("9")).unwrap();
            notifier.tell(State::Ready).unwrap();
            assert_eq!((notifier.watchdog_interval(), notifier.keeps()), (None, 0));
            notifier.wait(Duration::ZERO).unwrap();
        }
    }

    #[test]
    fn a_supervisor_that_is_gone_or_slow_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = Notifier::new(path.to_str(), None, None, None).unwrap();
        assert!(notifier.tell(State::Ready).is_err());
        let _never_reads = UnixDatagram::bind(&path).unwrap();
        let refused = (0..100_000).find_map(|_| notifier.tell(State::Watchdog).err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(Notifier::new(Some(&"x".repeat(200)), None, None, None).is_err());
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
            let notifier = Notifier::new(Some("/nonexistent"), usec, pid, None).unwrap();
            let interval = milliseconds.map(Duration::from_millis);
            assert_eq!(notifier.watchdog_interval(), interval, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn descriptors_come_along_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let keeps = |store| Notifier::new(path.to_str(), None, None, store).unwrap().keeps();
        assert_eq!((keeps(Some("7")), keeps(Some("many")), keeps(None)), (7, 0, 0));
        let notifier = Notifier::new(path.to_str(), None, None, Some("7")).unwrap();
        let sockets = [UnixDatagram::unbound().unwrap(), UnixDatagram::unbound().unwrap()];
        notifier.park("two", &sockets.each_ref().map(AsFd::as_fd)).unwrap();
        notifier.unpark("two").unwrap();
        let mut buffer = [0; 256];
        let mut space = nix::cmsg_space!([RawFd; 2]);
        let mut bytes = [io::IoSliceMut::new(&mut buffer)];
        let got = nix::sys::socket::recvmsg::<UnixAddr>(
            supervisor.as_raw_fd(),
            &mut bytes,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let count = got.cmsgs().unwrap().map(|control| match control {
            nix::sys::socket::ControlMessageOwned::ScmRights(raw) => raw.len(),
            _ => 0,
        });
        assert_eq!(count.sum::<usize>(), 2);
        let length = got.bytes;
        assert_eq!(&buffer[..length], b"FDSTORE=1\nFDPOLL=0\nFDNAME=two");
        assert_eq!(received(&supervisor), "FDSTOREREMOVE=1\nFDNAME=two");
    }

    #[test]
    fn a_supervisor_is_waited_for_until_it_has_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.to_str(), None, None, None).unwrap();
        let error = notifier.wait(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Nobody takes the descriptor out of these messages, so the kernel closes it with them.
        let reader = std::thread::spawn(move || {
            (received(&supervisor), received(&supervisor), drop(supervisor))
        });
        notifier.wait(Duration::from_secs(10)).unwrap();
        let (first, second, ()) = reader.join().unwrap();
        assert_eq!([first, second], ["BARRIER=1", "BARRIER=1"]);
    }
}
