//! The engine on recvmmsg, sendmmsg and epoll. It runs where io_uring is forbidden, which is most
//! containers, and is the oracle for the tests of the others.
//!
//! One turn: sendmmsg per link with something to send, at most one short sleep to coalesce,
//! epoll_pwait2, recvmmsg per ready link. Nothing is edge triggered: what one turn leaves in a
//! socket, the next one finds.

mod receive;
mod send;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;

use crate::arrivals::Arrivals;
use crate::clock;
use crate::interface::{Engine, LinkSocket, Settings, Wait};
use crate::kernel;
use crate::link::{LINKS_MAX, Link, LinkSettings};
use crate::outbox::Outbox;
use crate::segmentation::Segmentation;
use crate::shedding;
use crate::statistics::Statistics;
use crate::waker::Waker;
use receive::Receive;
pub(crate) use receive::count_arrival;
use send::Send;

/// Stands for the waker where a link's index stands otherwise.
const WAKER: u64 = u64::MAX;

/// The engine on recvmmsg and sendmmsg.
#[derive(Debug)]
pub struct Mmsg {
    links: Box<[MmsgLink]>,
    epoll: Epoll,
    events: Box<[EpollEvent]>,
    waker: Waker,
    arrivals: Arrivals,
    outbox: Outbox,
    segmentation: Segmentation,
    statistics: Statistics,
    receive: Receive,
    send: Send,
    /// The last turn filled a batch: there is probably more, so do not sleep.
    saturated: bool,
    /// Linux before 5.11 has no epoll_pwait2.
    only_milliseconds: bool,
}

#[derive(Debug)]
struct MmsgLink {
    socket: OwnedFd,
    connected: bool,
    /// Buffers nobody uses; the one used last, whose memory is warm, is on top.
    free: Vec<u16>,
    failures_in_a_row: u32,
}

impl Mmsg {
    /// Makes an engine that owns these sockets.
    pub fn new(links: Vec<LinkSocket>, settings: &Settings) -> io::Result<Mmsg> {
        assert!(links.len() <= LINKS_MAX, "at most {LINKS_MAX} links");
        let batch = usize::from(settings.batch.clamp(1, 1024));
        let mut link_settings: Vec<LinkSettings> = Vec::with_capacity(links.len());
        for link in &links {
            let mut prepared = prepare(link)?;
            // More than one batch is never in use at once.
            let useful = u16::try_from(batch.next_power_of_two()).unwrap_or(1024);
            prepared.buffers = prepared.buffers.min(useful);
            link_settings.push(prepared);
        }
        let arrivals = Arrivals::new(&link_settings, 0)?;
        let outbox = Outbox::new(settings.outbox, &link_settings)?;
        let waker = Waker::new()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(waker.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let mut served = Vec::with_capacity(links.len());
        for (index, link) in links.into_iter().enumerate() {
            let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
            epoll.add(&link.socket, EpollEvent::new(interest, index as u64))?;
            served.push(MmsgLink {
                connected: kernel::peer(link.socket.as_fd()).is_some(),
                socket: link.socket,
                free: (0..link_settings[index].buffers).rev().collect(),
                failures_in_a_row: 0,
            });
        }
        Ok(Mmsg {
            events: vec![EpollEvent::empty(); served.len() + 1].into(),
            segmentation: Segmentation::new(served.len()),
            links: served.into(),
            epoll,
            waker,
            arrivals,
            outbox,
            statistics: Statistics::default(),
            receive: Receive::new(batch),
            send: Send::new(),
            saturated: false,
            only_milliseconds: false,
        })
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        #[allow(clippy::cast_possible_truncation)] // At most LINKS_MAX.
        let name = Link(index as u8);
        let failures = self.statistics.receive_errors;
        let full = self.receive.fill(
            name,
            link.socket.as_fd(),
            &mut link.free,
            &mut self.arrivals,
            &mut self.statistics,
        )?;
        self.saturated |= full;
        if self.statistics.receive_errors == failures {
            link.failures_in_a_row = 0;
        } else {
            link.failures_in_a_row += 1;
            if link.failures_in_a_row > kernel::FAILURES_IN_A_ROW_MAX {
                return Err(kernel::link_gone(name, &"receiving fails again and again"));
            }
        }
        Ok(())
    }

    /// Sleeps to let a batch grow; a wake-up ends it.
    fn coalesce(&mut self, duration: Duration) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, ppoll};
        let mut waker = [PollFd::new(self.waker.as_fd(), PollFlags::POLLIN)];
        self.statistics.syscalls += 1;
        match ppoll(&mut waker, Some(TimeSpec::from_duration(duration)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sleep(&mut self, timeout: Duration) -> io::Result<usize> {
        self.statistics.syscalls += 1;
        if !self.only_milliseconds {
            let timeout = TimeSpec::from_duration(timeout);
            let capacity = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
            // SAFETY: "The buffer pointed to by events is used to return information from the
            // ready list", up to `maxevents`: `events` is that long. `EpollEvent` is
            // `repr(transparent)` over `epoll_event`. Timeout and null signal mask outlive the
            // call.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.0.as_raw_fd(),
                    self.events.as_mut_ptr(),
                    capacity,
                    std::ptr::from_ref(timeout.as_ref()),
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            match Errno::result(result) {
                Ok(count) => return Ok(usize::try_from(count).unwrap_or(0)),
                Err(Errno::EINTR) => return Ok(0),
                Err(Errno::ENOSYS | Errno::EPERM) => self.only_milliseconds = true,
                Err(error) => return Err(error.into()),
            }
        }
        // Rounded up: a timeout rounded to zero would spin.
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
        let milliseconds = u16::try_from(milliseconds).unwrap_or(u16::MAX);
        match self.epoll.wait(&mut self.events, milliseconds) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn take_wake(&mut self) -> bool {
        let woken = self.waker.take();
        self.statistics.waker_wakes += u64::from(woken);
        woken
    }
}

/// Checks a link's settings and makes its socket ready for any engine; settings the kernel cannot
/// fulfil come back switched off.
pub(crate) fn prepare(link: &LinkSocket) -> io::Result<LinkSettings> {
    let mut settings = link.settings;
    settings.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    settings.gso &= kernel::knows_gso(&link.socket);
    if settings.gro {
        // An optimisation of the kernel's; without it datagrams come one by one.
        settings.gro = kernel::enable_gro(&link.socket).is_ok();
    }
    Ok(settings)
}

impl Engine for Mmsg {
    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.statistics.waits += 1;
        self.flush()?;
        let links = &mut self.links;
        self.arrivals.recycle(|_, link, frame| links[link.index()].free.push(frame));
        if !self.arrivals.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.saturated) {
            for index in 0..self.links.len() {
                self.receive(index)?;
            }
            if !self.arrivals.is_empty() {
                if self.waker.is_pending() {
                    self.take_wake();
                }
                return Ok(());
            }
        }
        let coalesce = wait.coalesce.min(wait.timeout);
        if !coalesce.is_zero() {
            self.coalesce(coalesce)?;
        }
        let ready = self.sleep(wait.timeout - coalesce)?;
        let mut woken = false;
        for event in 0..ready {
            let (data, flags) = (self.events[event].data(), self.events[event].events());
            if data == WAKER {
                woken = self.take_wake();
                continue;
            }
            let index = usize::try_from(data).unwrap_or(usize::MAX);
            if flags.contains(EpollFlags::EPOLLERR) {
                let errors = kernel::drain_errors(self.links[index].socket.as_fd());
                self.statistics.icmp_errors += errors;
            }
            if flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP) {
                #[allow(clippy::cast_possible_truncation)] // At most LINKS_MAX.
                return Err(kernel::link_gone(Link(index as u8), &"epoll reports a hang-up"));
            }
            self.receive(index)?;
        }
        if self.arrivals.is_empty() && !woken {
            self.statistics.waits_timed_out += 1;
        }
        Ok(())
    }

    fn halves(&mut self) -> (&mut Arrivals, &mut Outbox) {
        (&mut self.arrivals, &mut self.outbox)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.outbox.seal();
        for (index, link) in (0u8..).zip(&self.links) {
            self.send.link(
                Link(index),
                link.socket.as_fd(),
                link.connected,
                &self.outbox,
                &mut self.segmentation,
                &mut self.statistics,
            );
        }
        self.segmentation.settle(&mut self.outbox);
        self.outbox.clear();
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        // It receives in `wait` alone, and sends in `flush` at once.
        self.flush()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn link_drops(&mut self, link: Link) -> io::Result<u64> {
        let socket = self.links[link.index()].socket.as_fd();
        kernel::check_alive(link, socket)?;
        kernel::drops(socket)
    }

    fn fill_percent(&mut self, link: Link) -> io::Result<u64> {
        kernel::fill_percent(self.links[link.index()].socket.as_fd())
    }

    fn shed(&mut self, link: Link, halvings: u8) -> io::Result<()> {
        shedding::shed(&self.links[link.index()].socket, halvings)
    }

    fn timestamps(&mut self, link: Link, on: bool) -> io::Result<()> {
        kernel::timestamps(&self.links[link.index()].socket, on)
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn now_ns(&self) -> u64 {
        clock::monotonic_ns()
    }

    fn name(&self) -> &'static str {
        "mmsg"
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn without_epoll_pwait2_timeouts_are_rounded_up() {
        let mut engine = Mmsg::new(Vec::new(), &Settings::default()).unwrap();
        engine.only_milliseconds = true;
        let start_ns = engine.now_ns();
        engine.wait(Wait { timeout: Duration::from_micros(1100), ..Default::default() }).unwrap();
        assert!(engine.now_ns() - start_ns >= 1_100_000);
        engine.waker().wake();
        engine.wait(Wait { timeout: Duration::from_secs(100), ..Default::default() }).unwrap();
        assert_eq!(engine.statistics().waker_wakes, 1);
    }

    #[test]
    fn echoes_on_loopback() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        let link = LinkSocket { socket: socket.into(), settings: LinkSettings::default() };
        let mut engine = Mmsg::new(vec![link], &Settings::default()).unwrap();
        client.send_to(b"hello", server).unwrap();
        engine.wait(Wait { timeout: Duration::from_secs(5), ..Default::default() }).unwrap();
        let (arrivals, outbox) = engine.halves();
        let arrival = arrivals.pop().unwrap();
        outbox.push(arrival.link, arrival.source, arrival.bytes).unwrap();
        engine.flush().unwrap();
        let mut bytes = [0; 10];
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.recv_from(&mut bytes).unwrap(), (5, server));
        assert_eq!((engine.statistics().datagrams_in, engine.statistics().datagrams_out), (1, 1));
    }
}
