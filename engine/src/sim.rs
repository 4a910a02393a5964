//! The engine for tests: a network in memory, with seeded loss, duplication, reordering and
//! latency, and a clock that runs only when somebody waits.
//!
//! Engines of one [`Network`] are driven by one thread, in turns. Waiting does not sleep: it moves
//! the clock to whatever happens next, to any of the engines, and returns there, so that nobody
//! skips an event of somebody else. The same seed and the same calls give the same run.
//!
//! There are no ICMP errors, no GSO, and no send buffer that could be full.

mod network;

use std::io;
use std::net::SocketAddr;

pub use network::{Conditions, Network, NetworkSettings, NetworkStatistics};

use crate::arrivals::{Arrivals, Taken};
use crate::interface::{Engine, Settings, Wait};
use crate::link::{LINKS_MAX, Link, LinkSettings};
use crate::mmsg::count_arrival;
use crate::outbox::Outbox;
use crate::statistics::Statistics;
use crate::waker::Waker;
use network::Verdict;

/// An engine on a [`Network`].
#[derive(Debug)]
pub struct Sim {
    network: Network,
    links: Vec<SimLink>,
    batch: usize,
    waker: Waker,
    arrivals: Arrivals,
    outbox: Outbox,
    statistics: Statistics,
}

#[derive(Debug)]
struct SimLink {
    endpoint: usize,
    datagram_bytes_max: u32,
    timestamps: bool,
    free: Vec<u16>,
}

impl Network {
    /// Makes an engine with a link at each of these addresses. One that is taken is an error.
    pub fn engine(
        &self,
        links: &[(SocketAddr, LinkSettings)],
        settings: &Settings,
    ) -> io::Result<Sim> {
        assert!(links.len() <= LINKS_MAX, "at most {LINKS_MAX} links");
        let mut link_settings = Vec::with_capacity(links.len());
        for (_, link) in links {
            link.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
            // Both would only change how the kernel is called.
            link_settings.push(LinkSettings { gso: false, gro: false, ..*link });
        }
        let arrivals = Arrivals::new(&link_settings, 0)?;
        let outbox = Outbox::new(settings.outbox, &link_settings)?;
        let waker = Waker::new()?;
        let mut sim = Sim {
            network: self.clone(),
            links: Vec::with_capacity(links.len()),
            batch: usize::from(settings.batch.max(1)),
            waker,
            arrivals,
            outbox,
            statistics: Statistics::default(),
        };
        for ((address, _), link) in links.iter().zip(&link_settings) {
            // One by one: if an address is taken, dropping `sim` frees those before it.
            sim.links.push(SimLink {
                endpoint: self.join(*address)?,
                datagram_bytes_max: link.datagram_bytes_max,
                timestamps: false,
                free: (0..link.buffers).rev().collect(),
            });
        }
        Ok(sim)
    }
}

impl Sim {
    /// Takes what is due for this engine, as long as there are buffers.
    fn receive(&mut self) {
        let Sim { network, links, arrivals, statistics, .. } = self;
        for (index, link) in (0u8..).zip(links) {
            let name = Link(index);
            network.take_due(link.endpoint, |due_ns, source, bytes| {
                let Some(frame) = link.free.last().copied() else {
                    statistics.buffers_exhausted += 1;
                    return Verdict::Keep;
                };
                link.free.pop();
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                if length > link.datagram_bytes_max {
                    statistics.truncated += 1;
                    arrivals.refuse(name, frame);
                    return Verdict::Taken;
                }
                let pool = arrivals.pool(name);
                // SAFETY: the buffer comes from the free list, so there is no other slice of it.
                unsafe { pool.part(frame, 0, length) }.copy_from_slice(bytes);
                count_arrival(length, 0, statistics);
                arrivals.push(Taken {
                    link: name,
                    frame,
                    offset: 0,
                    length,
                    segment_bytes: 0,
                    source,
                    received_at_ns: link.timestamps.then_some(due_ns),
                });
                Verdict::Taken
            });
        }
    }

    fn next_due_ns(&self) -> Option<u64> {
        self.links.iter().filter_map(|link| self.network.next_due_ns(link.endpoint)).min()
    }
}

impl Engine for Sim {
    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        let nanoseconds =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.statistics.waits += 1;
        self.flush()?;
        let links = &mut self.links;
        self.arrivals.recycle(|_, link, frame| links[link.index()].free.push(frame));
        if !self.arrivals.is_empty() {
            return Ok(());
        }
        let start_ns = self.network.now_ns();
        let deadline_ns = start_ns.saturating_add(nanoseconds(wait.timeout));
        let least_ns = start_ns.saturating_add(nanoseconds(wait.coalesce)).min(deadline_ns);
        loop {
            self.receive();
            if self.waker.is_pending() {
                self.waker.take();
                self.statistics.waker_wakes += 1;
                return Ok(());
            }
            let now_ns = self.network.now_ns();
            if !self.arrivals.is_empty() {
                // Coalesce: let time pass for this engine alone, up to the budget.
                let next_ns = self.next_due_ns().filter(|due_ns| *due_ns <= least_ns);
                match next_ns {
                    Some(due_ns) if due_ns > now_ns && self.arrivals.len() < self.batch => {
                        self.network.advance_to_ns(due_ns);
                    }
                    _ => return Ok(()),
                }
                continue;
            }
            let next_ns = self.network.next_event_ns();
            if now_ns >= deadline_ns || next_ns.is_none_or(|next_ns| next_ns > deadline_ns) {
                self.network.advance_to_ns(deadline_ns);
                self.receive();
                self.statistics.waits_timed_out += u64::from(self.arrivals.is_empty());
                return Ok(());
            }
            self.network.advance_to_ns(next_ns.unwrap_or(deadline_ns));
            if self.next_due_ns().is_none_or(|due_ns| due_ns > self.network.now_ns()) {
                // Somebody else's event: their turn.
                return Ok(());
            }
        }
    }

    fn halves(&mut self) -> (&mut Arrivals, &mut Outbox) {
        (&mut self.arrivals, &mut self.outbox)
    }

    fn flush(&mut self) -> io::Result<()> {
        for run in self.outbox.runs() {
            let from = self.links[run.link.index()].endpoint;
            if self.network.send(from, run.source, run.destination, self.outbox.bytes(run)) {
                self.statistics.sends += 1;
                self.statistics.datagrams_out += 1;
                self.statistics.bytes_out += u64::from(run.length);
            } else {
                self.statistics.send_errors += 1;
            }
        }
        self.outbox.clear();
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        self.flush()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn link_drops(&mut self, link: Link) -> io::Result<u64> {
        Ok(self.network.drops(self.links[link.index()].endpoint))
    }

    /// Its buffers are as large as need be.
    fn fill_percent(&mut self, _: Link) -> io::Result<u64> {
        Ok(0)
    }

    fn shed(&mut self, _: Link, _: u8) -> io::Result<()> {
        Ok(())
    }

    fn timestamps(&mut self, link: Link, on: bool) -> io::Result<()> {
        self.links[link.index()].timestamps = on;
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn now_ns(&self) -> u64 {
        self.network.now_ns()
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for link in &self.links {
            self.network.leave(link.endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: &str = "192.0.2.1:1";
    const B: &str = "192.0.2.2:2";

    fn pair(conditions: Conditions, seed: u64) -> (Network, Sim, Sim) {
        let network =
            Network::new(NetworkSettings { seed, conditions, ..NetworkSettings::default() });
        let engine = |address: &str| {
            let link = (address.parse().unwrap(), LinkSettings::default());
            network.engine(&[link], &Settings::default()).unwrap()
        };
        let (a, b) = (engine(A), engine(B));
        (network, a, b)
    }

    /// Sends numbers from A to B, and says which arrived when.
    fn transcript(seed: u64) -> (Vec<(u64, u16)>, NetworkStatistics) {
        let conditions = Conditions {
            loss: 0.1,
            duplication: 0.1,
            reordering: 0.1,
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(1),
            ..Conditions::default()
        };
        let (network, mut a, mut b) = pair(conditions, seed);
        let mut seen = Vec::new();
        for number in 0..500u16 {
            let destination = B.parse().unwrap();
            a.halves().1.push(Link(0), destination, &number.to_be_bytes()).unwrap();
            a.flush().unwrap();
            b.wait(Wait { timeout: Duration::from_millis(1), ..Wait::default() }).unwrap();
            let now_ns = b.now_ns();
            while let Some(arrival) = b.halves().0.pop() {
                seen.push((now_ns, u16::from_be_bytes([arrival.bytes[0], arrival.bytes[1]])));
            }
        }
        (seen, network.statistics())
    }

    #[test]
    fn one_seed_is_one_run_and_another_is_another() {
        let (first, statistics) = transcript(7);
        assert_eq!(first, transcript(7).0);
        assert_ne!(first, transcript(8).0);
        for count in [statistics.lost, statistics.duplicated, statistics.reordered] {
            assert!((20..90).contains(&count), "about one in ten of 500: {statistics:?}");
        }
        assert!(!first.is_sorted_by_key(|(_, number)| *number));
        assert!(first.is_sorted_by_key(|(time, _)| *time));
    }

    #[test]
    fn a_quiet_network_is_perfect() {
        let (_, mut a, mut b) = pair(Conditions::default(), 1);
        for number in 0..100u8 {
            a.halves().1.push(Link(0), B.parse().unwrap(), &[number]).unwrap();
        }
        a.flush().unwrap();
        b.wait(Wait::default()).unwrap();
        for number in 0..100u8 {
            let arrival = b.halves().0.pop().unwrap();
            assert_eq!((arrival.source, &*arrival.bytes), (A.parse().unwrap(), &[number][..]));
        }
        assert_eq!(b.now_ns(), a.now_ns());
    }

    #[test]
    fn waiting_moves_the_clock_no_further_than_the_next_event_of_anybody() {
        let latency = Duration::from_millis(5);
        let (network, mut a, mut b) = pair(Conditions { latency, ..Conditions::default() }, 1);
        let start_ns = network.now_ns();
        a.halves().1.push(Link(0), B.parse().unwrap(), &[1]).unwrap();
        let long = Wait { timeout: Duration::from_secs(60), ..Wait::default() };
        a.wait(long).unwrap();
        assert_eq!(network.now_ns() - start_ns, 5_000_000, "B has an event there");
        assert!(a.halves().0.is_empty());
        b.wait(long).unwrap();
        assert_eq!(b.halves().0.len(), 1);
        assert_eq!(network.now_ns() - start_ns, 5_000_000);
        while b.halves().0.pop().is_some() {}
        b.wait(long).unwrap();
        assert_eq!(network.now_ns() - start_ns, 60_005_000_000, "nothing else: the timeout");
    }

    #[test]
    fn coalescing_waits_for_more_but_not_longer_than_its_budget() {
        let (network, mut a, mut b) = pair(Conditions::default(), 1);
        let send = |a: &mut Sim, latency_us: u64| {
            let latency = Duration::from_micros(latency_us);
            network.set_conditions(Conditions { latency, ..Conditions::default() });
            a.halves().1.push(Link(0), B.parse().unwrap(), &[0]).unwrap();
            a.flush().unwrap();
        };
        for latency_us in [10, 60, 99, 150] {
            send(&mut a, latency_us);
        }
        let timeout = Duration::from_secs(1);
        b.wait(Wait { timeout, coalesce: Duration::from_micros(100) }).unwrap();
        assert_eq!(b.halves().0.len(), 3);
        assert_eq!(network.now_ns(), 99_000);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_a_closed_link_is_nobody() {
        let settings = NetworkSettings { queue_datagrams_max: 10, ..NetworkSettings::default() };
        let network = Network::new(settings);
        let link = |address: &str| [(address.parse().unwrap(), LinkSettings::default())];
        let mut a = network.engine(&link(A), &Settings::default()).unwrap();
        let mut b = network.engine(&link(B), &Settings::default()).unwrap();
        assert!(network.engine(&link(B), &Settings::default()).is_err(), "the address is taken");
        for _ in 0..25 {
            a.halves().1.push(Link(0), B.parse().unwrap(), &[0; 9]).unwrap();
        }
        a.flush().unwrap();
        assert_eq!(b.link_drops(Link(0)).unwrap(), 15);
        drop(b);
        a.halves().1.push(Link(0), B.parse().unwrap(), &[0; 9]).unwrap();
        a.flush().unwrap();
        assert_eq!(network.statistics().unroutable, 1);
        assert_eq!(network.in_flight(), 0);
    }
}
