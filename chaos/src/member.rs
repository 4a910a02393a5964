//! One call of the fleet, on a socket of its own.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use loadgen::call::{Call, Event, FRAME_INTERVAL};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::ReceiveTimestampns,
};
use wire::demux::PacketClass;

use crate::ledger::{Heard, Ledger};

const PACKET_BYTES_MAX: usize = 2048;
/// A call that has not been heard for so long at the end of a row is lost.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// How a client talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Not at all, not even silence.
    Off,
    /// Fifty frames a second, loud.
    Loud,
    /// Fifty frames a second that say of themselves that they are silence.
    Quiet,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// The transceiver that has it.
    pub(crate) transceiver: usize,
    pub(crate) call: Call,
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
    pub(crate) voice: Voice,
    next_due: Instant,
    next_frame: u64,
    pub(crate) ledger: Ledger,
    pub(crate) connected: bool,
    /// When it was first told that nobody answers, or that the call is over.
    pub(crate) unanswered: Option<Instant>,
    pub(crate) closed: Option<Instant>,
    /// The latest check that it sent, and where.
    pub(crate) check: Option<(SocketAddr, Vec<u8>)>,
    /// Datagrams that the kernel took.
    pub(crate) datagrams: u64,
    /// The latest that a frame has left.
    pub(crate) late: Duration,
}

impl Member {
    /// A call whose answer has been accepted. To be made on the clients' host.
    pub(crate) fn new(call: Call, id: String, transceiver: usize, ip: Ipv4Addr) -> Result<Self> {
        let socket = socket_at(ip)?;
        let address = socket.local_addr()?;
        Ok(Self {
            id,
            transceiver,
            call,
            socket,
            address,
            voice: Voice::Off,
            next_due: Instant::now(),
            next_frame: 0,
            ledger: Ledger::open(0, since_1970()),
            connected: false,
            unanswered: None,
            closed: None,
            check: None,
            datagrams: 0,
            late: Duration::ZERO,
        })
    }

    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The client has another address and port from now on; the old one is dead.
    pub(crate) fn rebind(&mut self, ip: Ipv4Addr) -> Result<()> {
        self.socket = socket_at(ip)?;
        self.address = self.socket.local_addr()?;
        Ok(())
    }

    /// Talks like that from a moment on.
    pub(crate) const fn speak(&mut self, voice: Voice, from: Instant) {
        self.voice = voice;
        self.next_due = from;
    }

    pub(crate) fn open_books(&mut self) {
        self.ledger = Ledger::open(self.next_frame, since_1970());
        self.late = Duration::ZERO;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.closed.is_some()
            || self.ledger.last_heard().is_none_or(|at| at + SILENCE_MAX < since_1970())
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<()> {
        if self.call.deadline() <= now {
            self.call.handle_timeout(now)?;
            self.pump();
        }
        while self.voice != Voice::Off && self.next_due <= now && self.connected {
            let sent_at = Instant::now();
            let sent = match self.voice {
                Voice::Quiet => self.call.send_silence(self.next_frame, sent_at)?,
                _ => self.call.send_frame(self.next_frame, sent_at)?,
            };
            // A call that is over sends nothing; the frame is missing all the same.
            if sent {
                self.late = self.late.max(sent_at.saturating_duration_since(self.next_due));
            }
            self.ledger.send(sent_at);
            self.next_frame += 1;
            self.next_due += FRAME_INTERVAL;
            self.pump();
        }
        Ok(())
    }

    /// Takes everything that has come.
    pub(crate) fn receive(&mut self) -> Result<()> {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        loop {
            let mut slices = [IoSliceMut::new(&mut packet)];
            let received = recvmsg::<SockaddrIn>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            );
            let message = match received {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(()),
                // What an ICMP error says (a relay is gone) is learned by its silence too.
                Err(_) => continue,
            };
            let at = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            });
            let Some(source) = message.address else { continue };
            let (length, source) =
                (message.bytes, SocketAddr::from(std::net::SocketAddrV4::from(source)));
            self.take(source, &packet[..length], at.unwrap_or_else(since_1970));
        }
    }

    fn take(&mut self, source: SocketAddr, packet: &[u8], at: Duration) {
        let sequence = (PacketClass::of(packet) == PacketClass::Rtp)
            .then(|| packet.get(2..4)?.try_into().ok().map(u16::from_be_bytes))
            .flatten();
        // What makes no sense to the call is a stranger's.
        let _ = self.call.handle_packet(source, packet, Instant::now());
        self.drain(sequence.map(|sequence| (sequence, at)));
    }

    /// Sends and books what the call wants.
    pub(crate) fn pump(&mut self) {
        self.drain(None);
    }

    fn drain(&mut self, audio: Option<(u16, Duration)>) {
        while let Some(transmit) = self.call.poll_transmit() {
            if PacketClass::of(&transmit.bytes) == PacketClass::Stun {
                self.check = Some((transmit.destination, transmit.bytes.clone()));
            }
            if self.socket.send_to(&transmit.bytes, transmit.destination).is_ok() {
                self.datagrams += 1;
            }
        }
        while let Some(event) = self.call.poll_event() {
            match event {
                Event::Connected => self.connected = true,
                Event::Frame(frame) => {
                    if let Some((sequence, at)) = audio {
                        self.ledger.hear(Heard { frame: frame.number, sequence, at });
                    }
                }
                Event::IceConnected => self.unanswered = None,
                Event::Disconnected => {
                    self.unanswered.get_or_insert_with(Instant::now);
                }
                Event::Closed => {
                    self.closed.get_or_insert_with(Instant::now);
                }
                Event::Audio(_) | Event::ChannelOpen | Event::Message(_) => {}
            }
        }
    }
}

fn socket_at(ip: Ipv4Addr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0)).with_context(|| format!("Failed to bind to {ip}"))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, ReceiveTimestampns, &true).context("Failed to ask for time stamps")?;
    Ok(socket)
}

/// The clock that the kernel stamps packets with.
pub(crate) fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
