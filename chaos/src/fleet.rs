//! All calls, driven by one thread on the clients' host. What else is wanted of them is said as a
//! closure, which that thread runs between two packets.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use loadgen::call::FRAME_INTERVAL;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::ledger::Figures;
use crate::member::{Member, Voice, since_1970};
use crate::namespaces::Host;

/// How often every call is looked after.
const TICK_MS: u8 = 1;
const EVENTS_MAX: usize = 64;
/// For the last echoes to come back.
const TAIL: Duration = Duration::from_millis(1_000);

type Order = Box<dyn FnOnce(&mut Calls) + Send>;

/// A handle on the calls' thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Fleet {
    orders: Option<Sender<Order>>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Fleet {
    pub(crate) fn start(clients: &Host) -> Result<Self> {
        let (orders, taken) = channel();
        let (said, ready) = channel();
        // A namespace is entered by the thread that stays in it.
        let host = clients.path();
        let thread = std::thread::Builder::new().name("calls".to_owned()).spawn(move || {
            let mut calls = Calls::new(&host)?;
            let _ = said.send(());
            calls.run(&taken)
        })?;
        // Without a word it has ended, and says why when it is joined.
        let _ = ready.recv();
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has something done by the calls' thread, and waits for the result.
    pub(crate) fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Calls) -> T + Send + 'static,
    ) -> Result<T> {
        let (said, answer) = channel();
        let order: Order = Box::new(move |calls| {
            let _ = said.send(work(calls));
        });
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent && let Ok(answer) = answer.recv() {
            return Ok(answer);
        }
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(Err(error))) => Err(error.context("The calls' thread failed")),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => anyhow::bail!("the calls' thread has ended"),
        }
    }

    /// Stops the calls' thread until the sender is dropped: nobody sends. How many datagrams have
    /// been sent so far.
    pub(crate) fn freeze(&mut self) -> Result<(u64, Sender<()>)> {
        let (said, answer) = channel();
        let (resume, resumed) = channel::<()>();
        let order: Order = Box::new(move |calls| {
            let _ = said.send(calls.members.iter().map(|member| member.datagrams).sum());
            let _ = resumed.recv();
        });
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        let answer = if sent { answer.recv().ok() } else { None };
        Ok((answer.context("the calls' thread has ended")?, resume))
    }

    /// From now on is counted.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.with(|calls| calls.members.iter_mut().for_each(Member::open_books))
    }

    /// Until now is counted. Calls go on; the last echoes are waited for.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.with(|calls| {
            let now = since_1970();
            calls.members.iter_mut().for_each(|member| member.ledger.close(now));
        })?;
        let deadline = Instant::now() + TAIL;
        while Instant::now() < deadline {
            let complete =
                self.with(|calls| calls.members.iter().all(|member| member.ledger.is_complete()))?;
            if complete {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What all books say of echoes.
    pub(crate) fn echoes(&mut self) -> Result<Vec<Figures>> {
        self.with(|calls| calls.members.iter().map(|member| member.ledger.echo()).collect())
    }

    /// The latest that a frame has left.
    pub(crate) fn late(&mut self) -> Result<Duration> {
        self.with(|calls| calls.members.iter().map(|member| member.late).max().unwrap_or_default())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // Why it failed, if it did, was said where it mattered.
            let _ = thread.join();
        }
    }
}

/// The calls, as their thread has them.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) members: Vec<Member>,
    epoll: Epoll,
    addresses: u16,
}

impl Calls {
    fn new(host: &Path) -> Result<Self> {
        testbed::enter(host)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("Failed to use epoll")?;
        Ok(Self { members: Vec::new(), epoll, addresses: 0 })
    }

    /// An address that no client has had.
    pub(crate) fn next_address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        let [high, low] = self.addresses.to_be_bytes();
        Ipv4Addr::new(10, 80, high, low)
    }

    /// Takes a call in.
    pub(crate) fn join(&mut self, member: Member) -> Result<()> {
        self.members.push(member);
        self.listen_to(self.members.len() - 1)
    }

    /// Hangs all up.
    pub(crate) fn hang_up_all(&mut self) {
        for member in &mut self.members {
            // One that fails to close is closed all the same.
            let _ = member.call.close(Instant::now());
            member.pump();
        }
    }

    /// Forgets all calls, whatever becomes of them.
    pub(crate) fn forget_all(&mut self) {
        self.members.clear();
    }

    /// Hangs up and forgets all but the first so many.
    pub(crate) fn hang_up_after(&mut self, standing: usize) {
        for mut member in self.members.drain(standing..) {
            let _ = member.call.close(Instant::now());
            member.pump();
        }
    }

    /// Gives every client another address.
    pub(crate) fn rebind_all(&mut self) -> Result<()> {
        for index in 0..self.members.len() {
            let ip = self.next_address();
            self.members[index].rebind(ip)?;
            self.listen_to(index)?;
        }
        Ok(())
    }

    fn listen_to(&self, index: usize) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        let socket = self.members[index].socket().as_fd();
        self.epoll.add(socket, event).context("Failed to listen to a socket")
    }

    /// Has all talk like that, each at its own moment in the beat.
    pub(crate) fn speak(&mut self, voice: Voice) {
        let (now, count) = (Instant::now(), self.members.len().max(1));
        for (index, member) in self.members.iter_mut().enumerate() {
            member.speak(voice, now + FRAME_INTERVAL.mul_f64(index as f64 / count as f64));
        }
    }

    fn run(&mut self, orders: &Receiver<Order>) -> Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            match orders.try_recv() {
                Ok(order) => order(self),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            let now = Instant::now();
            for member in &mut self.members {
                member.tick(now)?;
            }
            let ready = self.epoll.wait(&mut events, EpollTimeout::from(TICK_MS));
            for event in &events[..ready.context("Failed to wait")?] {
                // The place is one that `listen_to` gave.
                if let Some(member) =
                    usize::try_from(event.data()).ok().and_then(|index| self.members.get_mut(index))
                {
                    member.receive()?;
                }
            }
        }
    }
}
