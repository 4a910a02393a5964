//! The network between simulated engines: who is where, what is under way, and what time it is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to datagrams on the way. Probabilities are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplication: f64,
    /// Probability that it is held back for `reorder_delay`.
    pub reordering: f64,
    /// How long a reordered datagram is held back.
    pub reorder_delay: Duration,
    /// How long every datagram takes.
    pub latency: Duration,
    /// Up to how much longer it takes, evenly distributed.
    pub jitter: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reorder_delay: Duration::from_millis(10),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
        }
    }
}

/// Limits and behaviour of a network. All memory is allocated when it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkSettings {
    /// Of all that is random.
    pub seed: u64,
    /// What happens to datagrams at first.
    pub conditions: Conditions,
    /// Datagrams under way at once, all links together.
    pub datagrams_max: u32,
    /// The longest datagram; a longer one is a send error.
    pub datagram_bytes_max: u32,
    /// Datagrams under way to one link; more are dropped, as by a full receive buffer.
    pub queue_datagrams_max: usize,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            seed: 1,
            conditions: Conditions::default(),
            datagrams_max: 4096,
            datagram_bytes_max: 2048,
            queue_datagrams_max: 2048,
        }
    }
}

/// What the network did to datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkStatistics {
    /// Lost at random.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Sent to an address where nobody is.
    pub unroutable: u64,
    /// Dropped because a queue, or the network, was full.
    pub dropped: u64,
}

/// A network in memory. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Network(Arc<Mutex<Inner>>);

/// Whether a datagram was taken out of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    Keep,
}

/// When it arrives, the number that orders equals, and the slot it lies in.
type UnderWay = Reverse<(u64, u64, u32)>;

#[derive(Debug)]
struct Inner {
    settings: NetworkSettings,
    conditions: Conditions,
    now_ns: u64,
    random: u64,
    sequence: u64,
    addresses: HashMap<SocketAddr, usize>,
    endpoints: Vec<Endpoint>,
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    free: Vec<u32>,
    statistics: NetworkStatistics,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    queue: BinaryHeap<UnderWay>,
    drops: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    source: SocketAddr,
    length: u32,
}

impl Network {
    /// A network nobody has joined yet, at time zero.
    pub fn new(settings: NetworkSettings) -> Network {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let slots = settings.datagrams_max as usize;
        Network(Arc::new(Mutex::new(Inner {
            conditions: settings.conditions,
            now_ns: 0,
            random: settings.seed,
            sequence: 0,
            addresses: HashMap::new(),
            endpoints: Vec::new(),
            slots: vec![Slot { source: nobody, length: 0 }; slots].into(),
            bytes: vec![0; slots * settings.datagram_bytes_max as usize].into(),
            free: (0..settings.datagrams_max).rev().collect(),
            statistics: NetworkStatistics::default(),
            settings,
        })))
    }

    /// Virtual time.
    pub fn now_ns(&self) -> u64 {
        self.inner().now_ns
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut inner = self.inner();
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        inner.now_ns = inner.now_ns.saturating_add(nanoseconds);
    }

    /// Changes what happens to datagrams sent from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.inner().conditions = conditions;
    }

    /// What was done so far.
    pub fn statistics(&self) -> NetworkStatistics {
        self.inner().statistics
    }

    /// Datagrams under way, or arrived and not received.
    pub fn in_flight(&self) -> usize {
        let inner = self.inner();
        inner.slots.len() - inner.free.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked elsewhere has failed already; its network is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, address: SocketAddr) -> io::Result<usize> {
        let mut inner = self.inner();
        if inner.addresses.contains_key(&address) {
            let message = format!("{address} is taken on this network");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        let endpoint = inner.endpoints.len();
        let queue = BinaryHeap::with_capacity(inner.settings.queue_datagrams_max);
        inner.endpoints.push(Endpoint { address, queue, drops: 0 });
        inner.addresses.insert(address, endpoint);
        Ok(endpoint)
    }

    pub(super) fn leave(&self, endpoint: usize) {
        let mut inner = self.inner();
        let Inner { endpoints, addresses, free, .. } = &mut *inner;
        addresses.remove(&endpoints[endpoint].address);
        free.extend(endpoints[endpoint].queue.drain().map(|Reverse((_, _, slot))| slot));
    }

    /// Sends; `false` if the datagram is too long to be one.
    pub(super) fn send(
        &self,
        from: usize,
        source: Option<Ipv4Addr>,
        destination: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        self.inner().send(from, source, destination, bytes)
    }

    /// Offers what is due to `take`, in order, until nothing is or `take` wants no more.
    pub(super) fn take_due(
        &self,
        endpoint: usize,
        mut take: impl FnMut(u64, SocketAddr, &[u8]) -> Verdict,
    ) {
        let mut inner = self.inner();
        let stride = inner.settings.datagram_bytes_max as usize;
        let Inner { endpoints, slots, bytes, free, now_ns, .. } = &mut *inner;
        let queue = &mut endpoints[endpoint].queue;
        while let Some(Reverse((due_ns, _, slot))) = queue.peek().copied() {
            let index = slot as usize;
            let payload = &bytes[index * stride..][..slots[index].length as usize];
            if due_ns > *now_ns || take(due_ns, slots[index].source, payload) == Verdict::Keep {
                break;
            }
            queue.pop();
            free.push(slot);
        }
    }

    pub(super) fn next_due_ns(&self, endpoint: usize) -> Option<u64> {
        self.inner().endpoints[endpoint].queue.peek().map(|Reverse((due_ns, _, _))| *due_ns)
    }

    /// The next arrival at anybody that is still to come. What is due already is theirs to take,
    /// and stops nobody's clock.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        let inner = self.inner();
        let heads = inner.endpoints.iter().filter_map(|endpoint| endpoint.queue.peek());
        heads.map(|Reverse((due_ns, _, _))| *due_ns).filter(|due_ns| *due_ns > inner.now_ns).min()
    }

    pub(super) fn advance_to_ns(&self, time_ns: u64) {
        let mut inner = self.inner();
        inner.now_ns = inner.now_ns.max(time_ns);
    }

    pub(super) fn drops(&self, endpoint: usize) -> u64 {
        self.inner().endpoints[endpoint].drops
    }
}

impl Inner {
    fn send(
        &mut self,
        from: usize,
        source: Option<Ipv4Addr>,
        destination: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        if bytes.len() > self.settings.datagram_bytes_max as usize {
            return false;
        }
        // The same draws whatever happens, so that one condition does not shift the others.
        let conditions = self.conditions;
        let lost = self.chance(conditions.loss);
        let duplicated = self.chance(conditions.duplication);
        let Some(endpoint) = self.addresses.get(&destination).copied() else {
            self.statistics.unroutable += 1;
            return true;
        };
        self.statistics.lost += u64::from(lost);
        if lost {
            return true;
        }
        self.statistics.duplicated += u64::from(duplicated);
        let own = self.endpoints[from].address;
        let source = source.map_or(own, |ip| SocketAddr::new(ip.into(), own.port()));
        for _ in 0..=usize::from(duplicated) {
            self.deliver(endpoint, source, bytes);
        }
        true
    }

    fn deliver(&mut self, endpoint: usize, source: SocketAddr, bytes: &[u8]) {
        let conditions = self.conditions;
        let reordered = self.chance(conditions.reordering);
        let fraction = self.draw();
        let full = self.endpoints[endpoint].queue.len() >= self.settings.queue_datagrams_max;
        let slot = if full { None } else { self.free.pop() };
        let Some(slot) = slot else {
            self.endpoints[endpoint].drops += 1;
            self.statistics.dropped += 1;
            return;
        };
        let mut delay = conditions.latency + conditions.jitter.mul_f64(fraction);
        if reordered {
            self.statistics.reordered += 1;
            delay += conditions.reorder_delay;
        }
        let start = slot as usize * self.settings.datagram_bytes_max as usize;
        self.bytes[start..][..bytes.len()].copy_from_slice(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.slots[slot as usize] = Slot { source, length };
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due_ns = self.now_ns.saturating_add(delay_ns);
        self.sequence += 1;
        self.endpoints[endpoint].queue.push(Reverse((due_ns, self.sequence, slot)));
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.draw() < probability
    }

    /// From 0 to below 1. SplitMix64: every seed, zero too, gives a good sequence.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The 53 bits that a double holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let numerator = (mixed >> 11) as f64;
        numerator / (1u64 << 53) as f64
    }
}
