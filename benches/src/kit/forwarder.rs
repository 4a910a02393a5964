//! The baselines: what a relay costs that does nothing but forward.
//!
//! `naive` takes and sends one packet a call, `mmsg` up to 64. Both keep a flow table, put an
//! 8-byte header (client's IPv4 address and port, length) in front of what goes to a shard, and read
//! it off what comes back. No hints, no integrity, no sealing, no expiry, no bundles. Each direction
//! has a thread of its own that sleeps in its receive call, so there is no epoll to pay for either,
//! and the shards are reached by connected sockets: the cheapest honest form of each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, SockaddrLike, recvmmsg, sendmmsg, setsockopt, sockopt,
};

use crate::plan::{PUBLIC, SHARDS, TUNNEL, shard};

/// Bytes of the header ahead of each payload between forwarder and shards.
pub const HEADER_BYTES: usize = 8;
/// As large as the relay's by default.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
const DATAGRAM_BYTES_MAX: usize = 2048;
const BATCH: usize = 64;

/// Which baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// recvfrom and sendto.
    Naive,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

/// Forwards until it is killed.
pub fn run(style: Style) -> Result<()> {
    let public = bind(PUBLIC)?;
    let tunnel = bind(TUNNEL)?;
    let mut shards = Vec::new();
    for index in 0..SHARDS {
        let socket = bind(SocketAddrV4::new(*TUNNEL.ip(), 0))?;
        socket.connect(shard(index)).context("Failed to connect to a shard")?;
        shards.push(socket);
    }
    let back = public.try_clone().context("Failed to share the public socket")?;
    std::thread::scope(|scope| {
        let returns = scope.spawn(|| match style {
            Style::Naive => naive_to_clients(&tunnel, &back),
            Style::Mmsg => mmsg_to_clients(&tunnel, &back),
        });
        match style {
            Style::Naive => naive_to_shards(&public, &shards),
            Style::Mmsg => mmsg_to_shards(&public, &shards),
        }?;
        returns.join().map_err(|_| anyhow::anyhow!("the return thread panicked"))?
    })
}

fn bind(address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address).with_context(|| format!("Failed to bind {address}"))?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
        .context("Failed to enlarge a receive buffer")?;
    Ok(socket)
}

fn naive_to_shards(public: &UdpSocket, shards: &[UdpSocket]) -> Result<()> {
    let mut flows = Flows::default();
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, source) = match public.recv_from(&mut buffer[HEADER_BYTES..]) {
            Ok((length, SocketAddr::V4(source))) => (length, source),
            Ok(_) => continue,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error).context("Failed to receive"),
        };
        let route = flows.route(source);
        buffer[..HEADER_BYTES].copy_from_slice(&header(source, length));
        // A send that fails is a packet lost, as on any network.
        let _ = shards[route].send(&buffer[..HEADER_BYTES + length]);
    }
}

fn naive_to_clients(tunnel: &UdpSocket, public: &UdpSocket) -> Result<()> {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let length = match tunnel.recv_from(&mut buffer) {
            Ok((length, _)) => length,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error).context("Failed to receive"),
        };
        if let Some((client, payload)) = read(&buffer[..length]) {
            let _ = public.send_to(payload, client);
        }
    }
}

fn mmsg_to_shards(public: &UdpSocket, shards: &[UdpSocket]) -> Result<()> {
    let mut flows = Flows::default();
    let mut buffers = vec![[0; DATAGRAM_BYTES_MAX]; BATCH];
    let mut received = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut sending = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut batch: Vec<(usize, usize)> = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        let mut sources = [None; BATCH];
        receive(public, &mut received, &mut buffers, HEADER_BYTES, |index, length, source| {
            sources[index] = source;
            batch.push((index, length));
        })?;
        let mut by_shard = [const { Vec::<usize>::new() }; SHARDS as usize];
        for &(index, length) in &batch {
            let Some(source) = sources[index] else { continue };
            buffers[index][..HEADER_BYTES].copy_from_slice(&header(source, length));
            by_shard[flows.route(source)].push(index);
        }
        for (socket, indices) in shards.iter().zip(&by_shard) {
            let slices: Vec<[IoSlice<'_>; 1]> = indices
                .iter()
                .map(|&index| [IoSlice::new(&buffers[index][..HEADER_BYTES + batch[index].1])])
                .collect();
            if !slices.is_empty() {
                let to = [None::<SockaddrIn>; BATCH];
                let socket = socket.as_raw_fd();
                let _ = sendmmsg(socket, &mut sending, &slices, to, [], MsgFlags::empty());
            }
        }
    }
}

fn mmsg_to_clients(tunnel: &UdpSocket, public: &UdpSocket) -> Result<()> {
    let mut buffers = vec![[0; DATAGRAM_BYTES_MAX]; BATCH];
    let mut received = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut sending = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut batch: Vec<(usize, usize)> = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        receive(tunnel, &mut received, &mut buffers, 0, |index, length, _| {
            batch.push((index, length));
        })?;
        let mut clients = [None; BATCH];
        let mut slices: Vec<[IoSlice<'_>; 1]> = Vec::with_capacity(BATCH);
        for &(index, length) in &batch {
            if let Some((client, payload)) = read(&buffers[index][..length]) {
                clients[slices.len()] = Some(SockaddrIn::from(client));
                slices.push([IoSlice::new(payload)]);
            }
        }
        if !slices.is_empty() {
            let public = public.as_raw_fd();
            let _ = sendmmsg(public, &mut sending, &slices, clients, [], MsgFlags::empty());
        }
    }
}

/// Sleeps until something has come, and shows `each` all that has.
fn receive(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffers: &mut [[u8; DATAGRAM_BYTES_MAX]],
    offset: usize,
    mut each: impl FnMut(usize, usize, Option<SocketAddrV4>),
) -> Result<()> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        buffers.iter_mut().map(|buffer| [IoSliceMut::new(&mut buffer[offset..])]).collect();
    let flags = MsgFlags::MSG_WAITFORONE;
    match recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None) {
        Ok(messages) => {
            for (index, message) in messages.enumerate() {
                let source = message.address.filter(|address| address.len() > 0);
                let source = source.map(|it| SocketAddrV4::new(it.ip(), it.port()));
                each(index, message.bytes, source);
            }
            Ok(())
        }
        Err(Errno::EINTR | Errno::ECONNREFUSED) => Ok(()),
        Err(error) => Err(error).context("Failed to receive"),
    }
}

/// Errors that say nothing about this socket's future.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused)
}

/// What goes ahead of a client's payload.
pub fn header(client: SocketAddrV4, payload_bytes: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = client.ip().octets();
    let [port_high, port_low] = client.port().to_be_bytes();
    let [high, low] = u16::try_from(payload_bytes).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d, port_high, port_low, high, low]
}

/// Reads a header: whose payload, and the payload.
pub fn read(datagram: &[u8]) -> Option<(SocketAddrV4, &[u8])> {
    let (&[a, b, c, d, port_high, port_low, high, low], rest) = datagram.split_first_chunk()?;
    let client =
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([port_high, port_low]));
    Some((client, rest.get(..usize::from(u16::from_be_bytes([high, low])))?))
}

/// Which shard each client goes to; a new one goes to the next.
#[derive(Debug, Default)]
struct Flows {
    routes: HashMap<u64, usize, BuildHasherDefault<Multiply>>,
    next: usize,
}

impl Flows {
    fn route(&mut self, client: SocketAddrV4) -> usize {
        let key = u64::from(u32::from(*client.ip())) << 16 | u64::from(client.port());
        *self.routes.entry(key).or_insert_with(|| {
            self.next = (self.next + 1) % usize::from(SHARDS);
            self.next
        })
    }
}

/// A hash of one u64 by one multiplication: the baselines are not to lose on the hash function.
#[derive(Debug, Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_short_datagrams_are_refused() {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 2), 40_000);
        let datagram = [&header(client, 3)[..], b"xyz"].concat();
        assert_eq!(read(&datagram), Some((client, &b"xyz"[..])));
        assert_eq!(read(&datagram[..10]), None);
        assert_eq!(read(&datagram[..7]), None);
    }

    #[test]
    fn a_flow_keeps_its_route_and_flows_are_spread() {
        let mut flows = Flows::default();
        let client = |host| SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, host), 40_000);
        let first: Vec<_> = (0..200).map(|host| flows.route(client(host))).collect();
        let again: Vec<_> = (0..200).map(|host| flows.route(client(host))).collect();
        assert_eq!(first, again);
        for shard in 0..usize::from(SHARDS) {
            assert_eq!(first.iter().filter(|&&route| route == shard).count(), 50);
        }
    }
}
