//! Makes UDP sockets the way the engines' users need them.
//!
//! Engines take sockets, not addresses: a process that takes over from another one gets its
//! sockets handed over and skips this.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, setsockopt, sockopt,
};

use crate::kernel;
use crate::options;

/// How long an address that is taken is waited for, and how often it is tried.
const IN_USE_PATIENCE: Duration = Duration::from_secs(2);
const IN_USE_LOOK: Duration = Duration::from_millis(2);

/// What the kernel does with a datagram that is longer than the MTU of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmentation {
    /// It may be fragmented on the way: DF off. For the tunnel, where a frame that fits no bundle
    /// goes alone rather than not at all.
    Allowed,
    /// DF off, and what ICMP says about the path's MTU is ignored, which anybody can forge to make
    /// us send in tiny fragments. For public sockets, whose datagrams are small by design.
    Local,
    /// DF on, and what ICMP says is ignored: a datagram that is too long for the path is lost, one too
    /// long for the device is refused. Cheapest, as the kernel need not number what stays whole.
    Never,
}

/// One UDP socket to be made. IPv6 sockets never take IPv4: the two are separate listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// Where to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Joins the group of sockets of this process (and user) on the same address, among which the
    /// kernel distributes datagrams by a hash of the four-tuple.
    pub reuse_port: bool,
    /// Receive buffer; about 10 ms of traffic at capacity. A huge one that really fills costs more
    /// per datagram than it saves.
    pub receive_buffer_bytes: Option<u32>,
    /// Send buffer.
    pub send_buffer_bytes: Option<u32>,
    /// What happens to long datagrams.
    pub fragmentation: Fragmentation,
    /// Has the kernel report ICMP errors, which engines count. Off, an unconnected socket hears of
    /// none, which is right where strangers can send them.
    pub icmp_errors: bool,
}

impl SocketSettings {
    /// A public socket: `SO_REUSEPORT`, deaf to ICMP.
    pub fn public(address: SocketAddr) -> SocketSettings {
        SocketSettings {
            address,
            reuse_port: true,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            fragmentation: Fragmentation::Local,
            icmp_errors: false,
        }
    }

    /// A socket of the tunnel: alone on its port, DF off, ICMP errors counted.
    pub fn tunnel(address: SocketAddr) -> SocketSettings {
        SocketSettings {
            reuse_port: false,
            fragmentation: Fragmentation::Allowed,
            icmp_errors: true,
            ..SocketSettings::public(address)
        }
    }
}

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a UDP socket on {address}: {what}: {source}{hint}")]
pub struct SocketError {
    address: SocketAddr,
    what: &'static str,
    hint: &'static str,
    #[source]
    source: io::Error,
}

impl SocketError {
    /// Somebody else has the address.
    fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// One buffer size as it was wanted and as it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSize {
    /// What was asked for, if anything.
    pub wanted_bytes: Option<u32>,
    /// What the kernel granted, without the doubling it does for its own bookkeeping.
    pub granted_bytes: u32,
}

impl BufferSize {
    /// The kernel gave less than was asked for.
    pub fn is_clamped(&self) -> bool {
        self.wanted_bytes.is_some_and(|wanted| self.granted_bytes < wanted)
    }
}

/// How large a socket's buffers came out, for the log. [`fmt::Display`] says what to do if the
/// kernel gave less than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferReport {
    /// `SO_RCVBUF`.
    pub receive: BufferSize,
    /// `SO_SNDBUF`.
    pub send: BufferSize,
}

impl BufferReport {
    /// The kernel gave less than was asked for, somewhere.
    pub fn is_clamped(&self) -> bool {
        self.receive.is_clamped() || self.send.is_clamped()
    }
}

impl fmt::Display for BufferReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [("receive", self.receive, "rmem_max"), ("send", self.send, "wmem_max")];
        for (index, (name, size, sysctl)) in rows.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{name} buffer {} bytes", size.granted_bytes)?;
            if let (true, Some(wanted)) = (size.is_clamped(), size.wanted_bytes) {
                write!(
                    formatter,
                    " of {wanted} wanted (raise it: sysctl -w net.core.{sysctl}={wanted}, \
                     or grant CAP_NET_ADMIN)"
                )?;
            }
        }
        Ok(())
    }
}

/// A socket, bound and ready for any engine.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it is bound; names the port that was taken if none was asked for.
    pub address: SocketAddr,
    /// How large its buffers came out.
    pub buffers: BufferReport,
}

/// Makes a socket and binds it.
pub fn bind(settings: &SocketSettings) -> Result<BoundSocket, SocketError> {
    let address = settings.address;
    let fail = |what: &'static str, hint: &'static str| {
        move |source: io::Error| SocketError { address, what, hint, source }
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(family, SockType::Datagram, flags, SockProtocol::Udp)
        .map_err(|error| fail("socket", family_hint(error))(error.into()))?;
    configure(&socket, settings).map_err(fail("options", ""))?;
    let buffers = size_buffers(&socket, settings).map_err(fail("buffer sizes", ""))?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
        .map_err(|error| fail("bind", bind_hint(error))(error.into()))?;
    let address = local_address(&socket).map_err(fail("local address", ""))?;
    Ok(BoundSocket { socket, address, buffers })
}

/// Binds, and waits a moment for an address that somebody else has: that may be a process that has
/// ended, since the kernel takes io_uring apart, and the sockets with it, after the process has gone.
pub fn bind_patiently(settings: &SocketSettings) -> Result<BoundSocket, SocketError> {
    let deadline = Instant::now() + IN_USE_PATIENCE;
    loop {
        match bind(settings) {
            Err(error) if error.is_in_use() && Instant::now() < deadline => {
                thread::sleep(IN_USE_LOOK);
            }
            result => return result,
        }
    }
}

/// Takes a socket that another process has bound with such settings, and sizes its buffers anew.
/// What cannot be changed on a bound socket is as that process left it.
pub fn adopt(socket: OwnedFd, settings: &SocketSettings) -> Result<BoundSocket, SocketError> {
    let address = settings.address;
    let fail = |what: &'static str| {
        move |source: io::Error| SocketError { address, what, hint: "", source }
    };
    suits(&socket, settings).map_err(fail("a socket that was handed over"))?;
    // Whoever kept it meanwhile may have changed that.
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|error| fail("options")(error.into()))?;
    let buffers = size_buffers(&socket, settings).map_err(fail("buffer sizes"))?;
    Ok(BoundSocket { socket, address, buffers })
}

/// Whether a socket is what [`bind`] would make with these settings, but for its buffers.
pub fn suits(socket: &OwnedFd, settings: &SocketSettings) -> io::Result<()> {
    let bound = local_address(socket)?;
    if bound != settings.address {
        return Err(io::Error::other(format!("it is bound to {bound}")));
    }
    if options::read(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)? != libc::IPPROTO_UDP {
        return Err(io::Error::other("it is no UDP socket"));
    }
    let shares = options::read(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT)? != 0;
    match (shares, settings.reuse_port) {
        (false, true) => Err(io::Error::other("it does not share its port (SO_REUSEPORT)")),
        (true, false) => Err(io::Error::other("it shares its port (SO_REUSEPORT)")),
        _ => Ok(()),
    }
}

/// Makes the sockets of a `SO_REUSEPORT` group, one per worker, in order: the kernel numbers them
/// in the order in which they were bound. If the port is 0, all take the first one's.
pub fn bind_group(
    settings: &SocketSettings,
    count: usize,
) -> Result<Vec<BoundSocket>, SocketError> {
    let mut settings = SocketSettings { reuse_port: true, ..settings.clone() };
    let mut group: Vec<BoundSocket> = Vec::with_capacity(count);
    for _ in 0..count {
        let bound = bind(&settings)?;
        settings.address = bound.address;
        group.push(bound);
    }
    Ok(group)
}

/// Fixes the peer: nothing else is received from then on, and sending is cheaper (by a fifth, one
/// datagram at a time).
pub fn connect(socket: &impl AsFd, peer: SocketAddr) -> io::Result<()> {
    Ok(socket::connect(socket.as_fd().as_raw_fd(), &SockaddrStorage::from(peer))?)
}

/// Where a socket is bound.
pub fn local_address(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let address = socket::getsockname::<SockaddrStorage>(socket.as_fd().as_raw_fd())?;
    kernel::socket_address(&address).ok_or_else(|| io::Error::other("not a socket of IPv4 or IPv6"))
}

fn configure(socket: &OwnedFd, settings: &SocketSettings) -> io::Result<()> {
    if settings.reuse_port {
        setsockopt(socket, sockopt::ReusePort, &true)?;
    }
    let errors = libc::c_int::from(settings.icmp_errors);
    match settings.address {
        SocketAddr::V4(_) => {
            let discovery = match settings.fragmentation {
                Fragmentation::Allowed => libc::IP_PMTUDISC_DONT,
                Fragmentation::Local => libc::IP_PMTUDISC_OMIT,
                Fragmentation::Never => libc::IP_PMTUDISC_PROBE,
            };
            options::set(socket, libc::SOL_IP, libc::IP_MTU_DISCOVER, discovery)?;
            options::set(socket, libc::SOL_IP, libc::IP_RECVERR, errors)
        }
        SocketAddr::V6(_) => {
            let discovery = match settings.fragmentation {
                Fragmentation::Allowed => libc::IPV6_PMTUDISC_DONT,
                Fragmentation::Local => libc::IPV6_PMTUDISC_OMIT,
                Fragmentation::Never => libc::IPV6_PMTUDISC_PROBE,
            };
            setsockopt(socket, sockopt::Ipv6V6Only, &true)?;
            options::set(socket, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, discovery)?;
            options::set(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, errors)
        }
    }
}

fn size_buffers(socket: &OwnedFd, settings: &SocketSettings) -> io::Result<BufferReport> {
    let size = |wanted: Option<u32>, force, plain| -> io::Result<BufferSize> {
        if let Some(wanted) = wanted {
            let value = libc::c_int::try_from(wanted).unwrap_or(libc::c_int::MAX / 2);
            // The first goes beyond the sysctl but needs CAP_NET_ADMIN; the second is clamped by
            // it without an error, hence the reading back.
            if options::set(socket, libc::SOL_SOCKET, force, value).is_err() {
                options::set(socket, libc::SOL_SOCKET, plain, value)?;
            }
        }
        let doubled = options::read(socket, libc::SOL_SOCKET, plain)?;
        Ok(BufferSize { wanted_bytes: wanted, granted_bytes: doubled.unsigned_abs() / 2 })
    };
    Ok(BufferReport {
        receive: size(settings.receive_buffer_bytes, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?,
        send: size(settings.send_buffer_bytes, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?,
    })
}

fn family_hint(error: nix::errno::Errno) -> &'static str {
    match error {
        nix::errno::Errno::EAFNOSUPPORT => " (is IPv6 disabled on this host?)",
        nix::errno::Errno::EMFILE => " (raise the limit of open files: LimitNOFILE= in systemd)",
        _ => "",
    }
}

fn bind_hint(error: nix::errno::Errno) -> &'static str {
    match error {
        nix::errno::Errno::EADDRINUSE => " (does another process listen there? see ss -lunp)",
        nix::errno::Errno::EADDRNOTAVAIL => " (no interface of this host has that address)",
        nix::errno::Errno::EACCES => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(socket: &BoundSocket, level: i32, name: i32) -> i32 {
        options::read(&socket.socket, level, name).unwrap()
    }

    #[test]
    fn public_and_tunnel_sockets_have_their_options() {
        let v4 = "127.0.0.1:0".parse().unwrap();
        let public = bind(&SocketSettings::public(v4)).unwrap();
        assert_eq!(option(&public, libc::SOL_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_OMIT);
        assert_eq!(option(&public, libc::SOL_IP, libc::IP_RECVERR), 0);
        assert_eq!(option(&public, libc::SOL_SOCKET, libc::SO_REUSEPORT), 1);
        let tunnel = bind(&SocketSettings::tunnel(v4)).unwrap();
        assert_eq!(option(&tunnel, libc::SOL_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_DONT);
        assert_eq!(option(&tunnel, libc::SOL_IP, libc::IP_RECVERR), 1);
        assert_eq!(option(&tunnel, libc::SOL_SOCKET, libc::SO_REUSEPORT), 0);
        let settings =
            SocketSettings { fragmentation: Fragmentation::Never, ..SocketSettings::public(v4) };
        let whole = bind(&settings).unwrap();
        assert_eq!(option(&whole, libc::SOL_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_PROBE);
    }

    #[test]
    fn ipv4_and_ipv6_share_a_port_as_separate_listeners() {
        let v6 = match bind(&SocketSettings::tunnel("[::]:0".parse().unwrap())) {
            Ok(socket) => socket,
            Err(error) => return eprintln!("skipped: no IPv6 here: {error}"),
        };
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.address.port()));
        bind(&SocketSettings::tunnel(v4)).unwrap();
    }

    #[test]
    fn a_group_shares_one_port() {
        let group = bind_group(&SocketSettings::public("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        assert!(group.iter().all(|socket| socket.address == group[0].address));
    }

    #[test]
    fn buffer_sizes_are_read_back_and_clamping_is_said() {
        let settings = SocketSettings {
            receive_buffer_bytes: Some(100_000),
            ..SocketSettings::public("127.0.0.1:0".parse().unwrap())
        };
        let report = bind(&settings).unwrap().buffers;
        assert_eq!(report.receive.granted_bytes, 100_000);
        assert!(!report.is_clamped());
        let clamped = BufferReport {
            receive: BufferSize { wanted_bytes: Some(4_000_000), granted_bytes: 212_992 },
            ..report
        };
        let text = clamped.to_string();
        assert!(text.contains("sysctl -w net.core.rmem_max=4000000"), "{text}");
    }

    #[test]
    fn errors_name_address_cause_and_fix() {
        let first = bind(&SocketSettings::tunnel("127.0.0.1:0".parse().unwrap())).unwrap();
        let text = bind(&SocketSettings::tunnel(first.address)).unwrap_err().to_string();
        assert!(text.contains(&first.address.to_string()), "{text}");
        assert!(text.contains("does another process listen there?"), "{text}");
    }

    #[test]
    fn an_adopted_socket_is_the_very_same_and_its_buffers_are_sized_anew() {
        let bound = bind(&SocketSettings::public("127.0.0.1:0".parse().unwrap())).unwrap();
        let settings = SocketSettings {
            receive_buffer_bytes: Some(100_000),
            ..SocketSettings::public(bound.address)
        };
        let adopted = adopt(bound.socket.try_clone().unwrap(), &settings).unwrap();
        assert_eq!(adopted.address, bound.address);
        assert_eq!(adopted.buffers.receive.granted_bytes, 100_000);
        let elsewhere = SocketSettings::public("127.0.0.1:1".parse().unwrap());
        let refused = |settings: &SocketSettings| {
            adopt(bound.socket.try_clone().unwrap(), settings).unwrap_err().to_string()
        };
        let error = refused(&elsewhere);
        assert!(error.contains(&format!("it is bound to {}", bound.address)), "{error}");
        let error = refused(&SocketSettings::tunnel(bound.address));
        assert!(error.contains("it shares its port"), "{error}");
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = SocketSettings::tunnel(stream.local_addr().unwrap());
        let error = adopt(stream.into(), &settings).unwrap_err().to_string();
        assert!(error.contains("it is no UDP socket"), "{error}");
    }
}
