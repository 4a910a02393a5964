//! Where flows come from: thousands of client addresses out of few sockets.
//!
//! All of 127.0.0.0/8 is this host, and any local network can be made so (`ip route add local`). A
//! socket bound to no address may send from each of them, packet by packet, and receives for all. So
//! a flow is a pair of a socket (its port) and a source address, and its answers find it by what
//! they carry. Where only one address can be had, each flow needs a socket of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context, ensure};
use engine::sockets::{self, Fragmentation, SocketSettings};
use engine::{Engine, LINKS_MAX, Link, LinkSettings, LinkSocket};
use service::exit::Usage;
use service::network::Cidr;

/// Sockets that share out the source addresses.
const SHARED_SOCKETS: u32 = 4;
/// About 20 ms at the highest rates.
const RECEIVE_BUFFER_BYTES: u32 = 8 << 20;
const OWN_RECEIVE_BUFFER_BYTES: u32 = 512 << 10;

/// The origins of one thread's flows.
#[derive(Debug)]
pub(super) struct Origins {
    target: SocketAddr,
    links: u32,
    sources: Option<Sources>,
}

/// Addresses that share a few sockets.
#[derive(Debug)]
struct Sources {
    first: u32,
    count: u32,
    /// Of each link.
    ports: [u16; SHARED_SOCKETS as usize],
}

/// Where a flow's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The socket.
    pub(super) link: Link,
    /// The address to leave from; if there is none, the socket has it.
    pub(super) source: Option<SocketAddrV4>,
}

/// Sockets for an engine, and how to use them.
#[derive(Debug)]
pub(super) struct Opened {
    /// What sends.
    pub(super) origins: Origins,
    /// For the engine.
    pub(super) links: Vec<LinkSocket>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

/// The network that flows to this host come from unless another is named.
fn usual_sources(target: SocketAddr) -> Option<Cidr> {
    let network = Cidr::new(IpAddr::V4(Ipv4Addr::new(127, 64, 0, 0)), 10);
    network.ok().filter(|_| matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback()))
}

/// Opens sockets for up to this many flows of one thread.
pub(super) fn open(
    target: SocketAddr,
    sources: Option<&Cidr>,
    flows: u32,
) -> anyhow::Result<Opened> {
    let usual = usual_sources(target);
    match (sources.or(usual.as_ref()), target) {
        (Some(network), SocketAddr::V4(v4)) => open_shared(v4, network, flows),
        (Some(network), SocketAddr::V6(_)) => {
            anyhow::bail!("--sources {network} needs an IPv4 target; {target} is not")
        }
        (None, _) => open_own(target, flows),
    }
}

fn open_shared(target: SocketAddrV4, network: &Cidr, flows: u32) -> anyhow::Result<Opened> {
    let IpAddr::V4(base) = network.network() else {
        anyhow::bail!("--sources {network} is not IPv4")
    };
    // Not the network's own address, nor its last.
    let hosts = (1u64 << (32 - u32::from(network.length()))).saturating_sub(2).max(1);
    let count = u32::try_from(hosts).unwrap_or(u32::MAX);
    ensure!(
        u64::from(flows) <= hosts * u64::from(SHARED_SOCKETS),
        Usage(format!(
            "--sources {network} has room for {} flows a thread, not {flows}: name a larger \
             network, or use more --threads",
            hosts * u64::from(SHARED_SOCKETS)
        ))
    );
    let mut links = Vec::new();
    let mut notes = Vec::new();
    let mut ports = [0; SHARED_SOCKETS as usize];
    for port in &mut ports {
        let settings = SocketSettings {
            reuse_port: false,
            receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES),
            send_buffer_bytes: Some(RECEIVE_BUFFER_BYTES),
            fragmentation: Fragmentation::Never,
            ..SocketSettings::public(SocketAddr::from(([0, 0, 0, 0], 0)))
        };
        let bound = sockets::bind(&settings)?;
        if bound.buffers.is_clamped() && notes.is_empty() {
            notes.push(bound.buffers.to_string());
        }
        *port = bound.address.port();
        links.push(LinkSocket { socket: bound.socket, settings: LinkSettings::default() });
    }
    let first = u32::from(base) + u32::from(hosts > 1);
    let sources = Some(Sources { first, count, ports });
    let origins = Origins { target: target.into(), links: SHARED_SOCKETS, sources };
    Ok(Opened { origins, links, notes })
}

fn open_own(target: SocketAddr, flows: u32) -> anyhow::Result<Opened> {
    ensure!(
        flows as usize <= LINKS_MAX,
        Usage(format!(
            "{flows} flows on one thread need as many sockets, and {LINKS_MAX} is the most: use \
             more --threads, or --sources NETWORK with addresses that are all this host's (ip \
             route add local NETWORK dev lo)"
        ))
    );
    let unspecified = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let unspecified: SocketAddr = unspecified.parse().context("an address of ours")?;
    let mut links = Vec::new();
    let mut notes = Vec::new();
    for _ in 0..flows.max(1) {
        let settings = SocketSettings {
            reuse_port: false,
            receive_buffer_bytes: Some(OWN_RECEIVE_BUFFER_BYTES),
            fragmentation: Fragmentation::Never,
            ..SocketSettings::public(unspecified)
        };
        let bound = sockets::bind(&settings)?;
        sockets::connect(&bound.socket, target)
            .with_context(|| format!("Failed to find a way to {target}"))?;
        if bound.buffers.is_clamped() && notes.is_empty() {
            notes.push(bound.buffers.to_string());
        }
        let settings = LinkSettings { buffers: 256, ..LinkSettings::default() };
        links.push(LinkSocket { socket: bound.socket, settings });
    }
    Ok(Opened { origins: Origins { target, links: flows.max(1), sources: None }, links, notes })
}

impl Origins {
    /// Where a flow comes from.
    pub(super) fn of(&self, flow: u32) -> Origin {
        // Those that have left may hold more places than there are links; they are silent.
        let link = Link(u8::try_from(flow % self.links).unwrap_or(0));
        let source = self.sources.as_ref().map(|Sources { first, count, ports }| {
            let ip = Ipv4Addr::from(first + flow / self.links % count);
            SocketAddrV4::new(ip, ports[link.index()])
        });
        Origin { link, source }
    }

    /// Sends a flow's packet by its socket; `false` if it could not be.
    pub(super) fn send(&self, engine: &mut dyn Engine, flow: u32, packet: &[u8]) -> bool {
        let Origin { link, source } = self.of(flow);
        let outbox = engine.halves().1;
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let Ok(mut slot) = outbox.reserve(link, self.target, length) else { return false };
        if let Some(source) = source {
            slot = slot.leaving_from(*source.ip());
        }
        slot.bytes().copy_from_slice(packet);
        slot.commit(packet.len());
        true
    }

    /// Where packets go.
    pub(super) const fn target(&self) -> SocketAddr {
        self.target
    }

    /// Whether a packet came from the target.
    #[must_use]
    pub(super) fn is_target(&self, source: SocketAddr) -> bool {
        source == self.target
    }
}
