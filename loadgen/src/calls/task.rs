//! One call, from its offer to its end.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_uring::net::UdpSocket;

use super::beat::{Alarm, Beat};
use super::book::Book;
use super::failure::Failure;
use super::kept::Kept;
use super::signaling::Signaling;
use crate::call::{Call, Event, Identity, udp_candidates};
use crate::measure::{Measurement, Nanoseconds};
use crate::slo::SETUP_PHASE;
use crate::target::Permission;

/// From the answer to the first frame heard, each step at most.
const STEP_TIME: Duration = Duration::from_secs(10);
/// How long frames under way are waited for at the end.
const LINGER: Duration = Duration::from_secs(2);
/// How long the last receive may take to end.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Whatever is longer is no packet of a call.
const PACKET_BYTES_MAX: usize = 2048;

/// What all calls of a thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) signaling: Arc<Signaling>,
    pub(super) identity: Identity,
    pub(super) permission: Permission,
    pub(super) window: RefCell<Measurement>,
    pub(super) clock: Clock,
    pub(super) beat: Rc<Beat>,
}

/// Ties the clock of measurements to that of the standard library.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    instant: Instant,
    monotonic: Nanoseconds,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { instant: Instant::now(), monotonic: engine::clock::monotonic_ns() }
    }

    pub(super) fn at(&self, instant: Instant) -> Nanoseconds {
        self.monotonic
            + crate::measure::nanoseconds(instant.saturating_duration_since(self.instant))
    }

    pub(super) fn instant(&self, at: Nanoseconds) -> Instant {
        self.instant + Duration::from_nanos(at.saturating_sub(self.monotonic))
    }
}

/// How a call is told to leave.
#[derive(Debug, Default)]
pub(super) struct Leave {
    told: Cell<bool>,
    bell: Notify,
}

impl Leave {
    pub(super) fn tell(&self) {
        self.told.set(true);
        self.bell.notify_one();
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.get()
    }

    /// Waits until it is told.
    pub(super) async fn left(&self) {
        while !self.is_told() {
            self.bell.notified().await;
        }
    }
}

type Received = (std::io::Result<(usize, SocketAddr)>, Vec<u8>);
type Receiving = Kept<Received>;

struct Task {
    shared: Rc<Shared>,
    leave: Rc<Leave>,
    due: Nanoseconds,
    call: Call,
    socket: Rc<UdpSocket>,
    is_ipv4: bool,
    book: Option<Book>,
    step: Step,
    step_from: Instant,
    leaving_from: Option<Instant>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Step {
    Checking,
    Securing,
    Listening,
    Talking,
}

/// Makes a call that was due then, and keeps it up until it is told to leave.
pub(super) async fn run(
    shared: Rc<Shared>,
    leave: Rc<Leave>,
    due: Nanoseconds,
) -> Result<(), Failure> {
    let began = Instant::now();
    {
        let mut window = shared.window.borrow_mut();
        window.counts.started += 1;
        let late = shared.clock.at(began).saturating_sub(due);
        crate::measure::record(&mut window.lateness, late);
    }
    let (mut call, offer) =
        Call::with_identity(&shared.identity, began).map_err(|_| Failure::Protocol)?;
    let answered = shared.signaling.offer(&offer).await?;
    let location = answered.location;
    {
        let mut window = shared.window.borrow_mut();
        window.phase("1 connect to signaling", crate::measure::nanoseconds(answered.connect));
        window.phase("2 offer to answer", crate::measure::nanoseconds(answered.response));
    }
    let candidates = udp_candidates(&answered.answer);
    for candidate in &candidates {
        shared.permission.check_answer(*candidate).map_err(|_| Failure::NotAuthorized)?;
    }
    let now = Instant::now();
    call.accept_answer(&answered.answer, now).map_err(|_| Failure::Answer)?;
    // One family is enough for one call, and every deployment has IPv4.
    let is_ipv4 = candidates.iter().any(SocketAddr::is_ipv4);
    let unspecified = if is_ipv4 {
        SocketAddr::from(([0, 0, 0, 0], 0))
    } else {
        SocketAddr::from(([0u16; 8], 0))
    };
    // Not by tokio-uring's own `bind`: it lets other sockets share the port, so that the kernel may give
    // two calls the same one, and each then hears half of both.
    let socket = std::net::UdpSocket::bind(unspecified).map_err(|_| Failure::Socket)?;
    let socket = UdpSocket::from_std(socket);
    let mut task = Task {
        shared: Rc::clone(&shared),
        leave,
        due,
        call,
        socket: Rc::new(socket),
        is_ipv4,
        book: None,
        step: Step::Checking,
        step_from: now,
        leaving_from: None,
    };
    let mut receiving = receive(&task.socket, vec![0; PACKET_BYTES_MAX]);
    let result = task.talk(&mut receiving).await;
    task.end(receiving).await;
    if result.is_err()
        && let Some(location) = location
    {
        // A call that never was, or was lost, may not have heard the goodbye.
        shared.signaling.hang_up(&location).await;
    }
    result
}

impl Task {
    async fn talk(&mut self, receiving: &mut Receiving) -> Result<(), Failure> {
        let leave = Rc::clone(&self.leave);
        let alarm = Alarm::new(Rc::clone(&self.shared.beat));
        loop {
            self.handle_events()?;
            self.send_frames()?;
            self.transmit().await;
            if self.is_over(Instant::now())? {
                return Ok(());
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                (result, buffer) = &mut *receiving => {
                    if let Ok((length, source)) = result {
                        self.take(source, &buffer[..length])?;
                    }
                    *receiving = receive(&self.socket, buffer);
                }
                () = alarm.until(deadline) => self.tick()?,
                () = leave.bell.notified() => {}
            }
        }
    }

    /// When something is to be done even if nothing comes.
    fn deadline(&self) -> Instant {
        let mut deadline = self.call.deadline();
        if self.step != Step::Talking {
            deadline = deadline.min(self.step_from + STEP_TIME);
        }
        match (self.leaving_from, &self.book) {
            (Some(from), _) => deadline.min(from + LINGER),
            (None, Some(book)) => deadline.min(self.shared.clock.instant(book.next_due())),
            (None, None) => deadline,
        }
    }

    fn take(&mut self, source: SocketAddr, packet: &[u8]) -> Result<(), Failure> {
        self.shared.window.borrow_mut().counts.bytes_received += packet.len() as u64;
        let result = self.call.handle_packet(source, packet, Instant::now());
        // A packet that makes no sense is some stranger's, unless there is no call yet to disturb.
        match result {
            Err(_) if self.step == Step::Checking || self.step == Step::Securing => {
                Err(Failure::Protocol)
            }
            Err(_) => {
                self.shared.window.borrow_mut().counts.foreign += 1;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn tick(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.call.deadline() <= now {
            self.call.handle_timeout(now).map_err(|_| Failure::Protocol)?;
        }
        Ok(())
    }

    fn handle_events(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.call.poll_event() {
            let now = Instant::now();
            match event {
                Event::IceConnected if self.step == Step::Checking => {
                    self.reach(Step::Securing, "3 ICE", now);
                }
                Event::Connected if self.step < Step::Listening => {
                    self.reach(Step::Listening, "4 DTLS", now);
                    self.shared.window.borrow_mut().counts.connected += 1;
                    self.book = Some(Book::new(self.shared.clock.at(now)));
                }
                Event::Frame(frame) => {
                    if self.step == Step::Listening {
                        self.reach(Step::Talking, "5 first audio back", now);
                        let total = self.shared.clock.at(now).saturating_sub(self.due);
                        self.shared.window.borrow_mut().phase(SETUP_PHASE, total);
                    }
                    if let Some(book) = &mut self.book {
                        let clock = self.shared.clock;
                        let mut window = self.shared.window.borrow_mut();
                        let received = clock.at(frame.received_at);
                        book.arrive(&frame, clock.at(frame.sent_at), received, &mut window);
                    }
                }
                Event::Disconnected => return Err(Failure::Lost),
                Event::Closed => return Err(Failure::HungUp),
                _ => {}
            }
        }
        Ok(())
    }

    fn reach(&mut self, step: Step, phase: &'static str, now: Instant) {
        let took = crate::measure::nanoseconds(now.saturating_duration_since(self.step_from));
        self.shared.window.borrow_mut().phase(phase, took);
        (self.step, self.step_from) = (step, now);
    }

    fn send_frames(&mut self) -> Result<(), Failure> {
        if self.leaving_from.is_some() {
            return Ok(());
        }
        let Some(book) = &mut self.book else { return Ok(()) };
        let mut window = self.shared.window.borrow_mut();
        // What was missed is made up for at once, so that the beat holds.
        loop {
            let instant = Instant::now();
            let now = self.shared.clock.at(instant);
            if book.next_due() > now {
                return Ok(());
            }
            let number = book.send(now, &mut window);
            if !self.call.send_frame(number, instant).map_err(|_| Failure::Protocol)? {
                book.withdraw(number, &mut window);
            }
        }
    }

    async fn transmit(&mut self) {
        while let Some(transmit) = self.call.poll_transmit() {
            if transmit.destination.is_ipv4() != self.is_ipv4 {
                continue;
            }
            let length = transmit.bytes.len() as u64;
            let (result, _) = send(&self.socket, transmit.bytes, transmit.destination).await;
            let mut window = self.shared.window.borrow_mut();
            match result {
                Ok(_) => window.counts.bytes_sent += length,
                Err(_) => window.generator.refused += 1,
            }
        }
    }

    /// Whether the call has come to its end, as planned or for lack of progress.
    fn is_over(&mut self, now: Instant) -> Result<bool, Failure> {
        if self.leave.is_told() && self.leaving_from.is_none() {
            self.leaving_from = Some(now);
            if let Some(book) = &mut self.book {
                book.close(self.shared.clock.at(now));
            }
        }
        if let Some(from) = self.leaving_from {
            let is_waiting = self.book.as_ref().is_some_and(Book::is_waiting);
            return Ok(!is_waiting || now >= from + LINGER);
        }
        if self.step == Step::Talking || now < self.step_from + STEP_TIME {
            return Ok(false);
        }
        Err(match self.step {
            Step::Checking => Failure::Ice,
            Step::Securing => Failure::Dtls,
            Step::Listening | Step::Talking => Failure::Silent,
        })
    }

    /// Says goodbye and closes the books.
    async fn end(&mut self, receiving: Receiving) {
        let now = Instant::now();
        if let Some(book) = &mut self.book {
            let mut window = self.shared.window.borrow_mut();
            book.close(self.shared.clock.at(now));
            book.finish(&mut window);
        }
        // One that fails to close is closed all the same: nobody answers it any more.
        let _ = self.call.close(now);
        self.transmit().await;
        self.settle(receiving).await;
    }

    /// A receive that is dropped stays in the ring and holds the socket open until something
    /// arrives. So something arrives: a byte from ourselves.
    async fn settle(&self, receiving: Receiving) {
        let Ok(own) = self.socket.local_addr() else { return };
        let localhost = if self.is_ipv4 {
            SocketAddr::from(([127, 0, 0, 1], own.port()))
        } else {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, own.port()))
        };
        let (sent, _) = send(&self.socket, vec![0], localhost).await;
        if sent.is_ok() {
            let _ = tokio::time::timeout(SETTLE_TIME, receiving).await;
        }
    }
}

fn receive(socket: &Rc<UdpSocket>, buffer: Vec<u8>) -> Receiving {
    let socket = Rc::clone(socket);
    Kept::new(async move { socket.recv_from(buffer).await })
}

fn send(
    socket: &Rc<UdpSocket>,
    bytes: Vec<u8>,
    to: SocketAddr,
) -> Kept<(std::io::Result<usize>, Vec<u8>)> {
    let socket = Rc::clone(socket);
    Kept::new(async move { socket.send_to(bytes, to).await })
}
