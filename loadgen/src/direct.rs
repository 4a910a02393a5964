//! Direct egress of one thread: packets leave as Ethernet frames, past the kernel's UDP, which costs
//! less than a socket does. The rest is the socket's, as ever: what cannot leave so, and all that
//! arrives.
//!
//! A relay has a task that keeps its workers' next hops current. Here each thread looks for itself,
//! once a second: a change costs it a fraction of a millisecond, which shows in its own lateness.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use engine::direct::{Changes, Delivery, Device, Egress, NextHops, NoHop, Ring, RingError};
use service::exit::Usage;

/// How long the queue of a process that has ended may take to come free.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// A thread's way past the kernel.
#[derive(Debug)]
pub(crate) struct Direct {
    egress: Egress,
    hops: Arc<NextHops>,
    changes: Changes,
    /// Something has changed that could not be read yet.
    unread: bool,
}

impl Direct {
    /// For packets to a target, or to whoever calls, from the thread of this number. An error says
    /// what is missing.
    pub(crate) fn open(target: Option<IpAddr>, thread: u32) -> anyhow::Result<Self> {
        let changes = Changes::listen().context("the kernel does not tell of routes")?;
        let hops = NextHops::of_this_host().context("the kernel does not tell its routes")?;
        let way = target.map(|target| (target, hops.lookup(target)));
        let only = match way {
            Some((target, Err(NoHop::Route))) => {
                return Err(refusal(&format!(
                    "no plain route leads to {target} by an Ethernet device: it is for other hosts, \
                     not for loopback; leave it out{}",
                    remarks(&hops)
                )));
            }
            Some((_, Ok(hop))) => Some(hops.hops()[hop].device),
            // The first packets go by the socket, and then the neighbour has answered.
            Some((_, Err(NoHop::Neighbour))) | None => None,
        };
        let wanted = hops.devices().iter().enumerate();
        let wanted = wanted.filter(|(index, _)| only.is_none_or(|only| only == *index));
        let (mut rings, mut problem) = (Vec::new(), None);
        for (_, device) in wanted {
            match ring(device, thread) {
                Ok(ring) => rings.push(ring),
                Err(error) => problem = Some(format!("{}: {error}", device.name)),
            }
        }
        if rings.is_empty() {
            let none = || format!("no plain route leads to an Ethernet device{}", remarks(&hops));
            return Err(refusal(&problem.unwrap_or_else(none)));
        }
        let hops = Arc::new(hops);
        let mut egress = Egress::new(&[], false);
        egress.take(Delivery { hops: Arc::clone(&hops), rings });
        Ok(Self { egress, hops, changes, unread: false })
    }

    /// Queues a packet; `false` leaves it to the socket.
    pub(crate) fn send(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        packet: &[u8],
        now_ns: u64,
    ) -> bool {
        self.egress.send_from(Some(from), to, packet, now_ns / 1000)
    }

    /// Hands what was queued to the devices.
    pub(crate) fn flush(&mut self) {
        self.egress.flush();
    }

    /// Looks whether packets go elsewhere by now. To a device that is new there is no ring, and
    /// packets go by the socket.
    pub(crate) fn keep_up(&mut self) {
        // What was not heard may have been anything.
        self.unread |= self.changes.take().unwrap_or(true);
        if !self.unread {
            return;
        }
        let Ok(hops) = NextHops::of_this_host() else { return };
        self.unread = false;
        if hops != *self.hops {
            self.hops = Arc::new(hops);
            self.egress.take(Delivery { hops: Arc::clone(&self.hops), rings: Vec::new() });
        }
    }

    /// Packets that left as frames.
    pub(crate) fn frames(&self) -> u64 {
        self.egress.counters().packets
    }
}

/// A ring, with a moment for a process that has just ended: the kernel takes back its queue after it
/// has gone.
fn ring(device: &Device, thread: u32) -> Result<Ring, RingError> {
    let deadline = Instant::now() + QUEUE_PATIENCE;
    loop {
        match Ring::open(device.index, thread) {
            Err(RingError::NoQueue { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn remarks(hops: &NextHops) -> String {
    let remarks = hops.remarks().join("; ");
    if remarks.is_empty() { remarks } else { format!(" ({remarks})") }
}

fn refusal(why: &str) -> anyhow::Error {
    anyhow!(Usage(format!("--direct-egress: {why}")))
}
