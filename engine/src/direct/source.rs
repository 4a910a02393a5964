//! Asks the kernel for routes and neighbours, and hears of changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, SockaddrStorage, bind, recvfrom, send};
use nix::sys::time::{TimeVal, TimeValLike};

use super::netlink::{self, Message};
use super::next_hop::{Facts, NEIGHBOURS_MAX, NextHops, ROUTES_MAX};

/// The kernel fills at most 32 KiB at a time.
const RECEIVE_BYTES: usize = 64 << 10;
/// A table that changes while it is read is read again, so often.
const ATTEMPTS: u32 = 3;
/// An answer comes at once or not at all.
const PATIENCE_SECONDS: i64 = 2;
const CHANGES: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_NEIGH
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV4_RULE
    | libc::RTMGRP_IPV6_ROUTE) as u32
    // IPv6 has a group for rules, too, which has no name of this kind.
    | 1 << (RTNLGRP_IPV6_RULE - 1);
const RTNLGRP_IPV6_RULE: u32 = 19;

/// Hears of changes to routes and neighbours. Its descriptor is readable when there were some.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
}

impl Changes {
    /// Hears of all that change from now on.
    pub fn listen() -> io::Result<Changes> {
        let socket = socket(libc::SOCK_NONBLOCK)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
        Ok(Changes { socket })
    }

    /// Reads what there is to read, and tells whether anything may have changed. What was lost
    /// because the socket was full counts as a change.
    pub fn take(&self) -> io::Result<bool> {
        let mut buffer = [0; 8 << 10];
        let mut changed = false;
        loop {
            match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer) {
                // Only as a sign: what is the case is asked for.
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl NextHops {
    /// The next hops of this host as the kernel knows them now. An error is one of asking; what
    /// cannot be used is left out.
    pub fn of_this_host() -> io::Result<NextHops> {
        Ok(NextHops::of(&facts()?))
    }
}

fn facts() -> io::Result<Facts> {
    let (v4, v6) = (family(libc::AF_INET), family(libc::AF_INET6));
    let mut facts = Facts { usual_rules: [true; 2], ..Facts::default() };
    let links = |bytes: &[u8]| netlink::link(bytes);
    facts.links = dump(libc::RTM_GETLINK, 0, NEIGHBOURS_MAX, links)?;
    for family in [v4, v6] {
        // A kernel without IPv6 has no routes of it.
        let routes = |bytes: &[u8]| netlink::route(bytes);
        facts.routes.extend(dump_if_known(libc::RTM_GETROUTE, family, ROUTES_MAX, routes)?);
        let neighbours = |bytes: &[u8]| netlink::neighbour(bytes);
        let neighbours = dump_if_known(libc::RTM_GETNEIGH, family, NEIGHBOURS_MAX, neighbours)?;
        facts.neighbours.extend(neighbours);
        // Nor has one without policy routing rules.
        let rules = |bytes: &[u8]| Some(netlink::is_usual_rule(bytes));
        let rules = dump_if_known(libc::RTM_GETRULE, family, ROUTES_MAX, rules)?;
        facts.usual_rules[usize::from(family == v6)] = rules.iter().all(|usual| *usual);
    }
    Ok(facts)
}

fn family(family: i32) -> u8 {
    u8::try_from(family).unwrap_or(0)
}

fn dump_if_known<T>(
    kind: u16,
    family: u8,
    max: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    match dump(kind, family, max, parse) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        result => result,
    }
}

/// Everything of one kind.
fn dump<T>(
    kind: u16,
    family: u8,
    max: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    for _ in 0..ATTEMPTS {
        if let Some(found) = dump_once(kind, family, max, &parse)? {
            return Ok(found);
        }
    }
    Err(io::Error::other("the kernel's tables change faster than they can be read"))
}

/// `None` if something changed meanwhile.
fn dump_once<T>(
    kind: u16,
    family: u8,
    max: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<Vec<T>>> {
    // One for each question: nothing is left behind if it is given up half-way.
    let socket = socket(0)?;
    let patience = TimeVal::seconds(PATIENCE_SECONDS);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &patience)?;
    send(socket.as_raw_fd(), &netlink::dump_request(kind, family), MsgFlags::empty())?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut found = Vec::new();
    let mut interrupted = false;
    loop {
        let (length, from) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut buffer)?;
        // Others can write to this socket. The kernel is 0.
        if from.is_none_or(|from| from.pid() != 0) {
            continue;
        }
        for Message { kind, flags, body } in netlink::messages(&buffer[..length]) {
            interrupted |= i32::from(flags) & libc::NLM_F_DUMP_INTR != 0;
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok((!interrupted).then_some(found)),
                libc::NLMSG_ERROR => return Err(refusal(body)),
                _ => found.extend(parse(body)),
            }
            if found.len() > max {
                return Err(io::Error::other(format!(
                    "there are more than {max} routes or neighbours: this host is a router"
                )));
            }
        }
    }
}

fn refusal(body: &[u8]) -> io::Error {
    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    io::Error::from_raw_os_error(code.saturating_neg())
}

fn socket(flags: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags;
    // SAFETY: makes a descriptor; there are no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    let descriptor = Errno::result(descriptor)?;
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_here() {
        let facts = facts().unwrap();
        assert!(facts.links.iter().any(|link| link.name == "lo" && !link.ethernet));
        let hops = NextHops::of_this_host().unwrap();
        assert!(hops.lookup([127, 0, 0, 1].into()).is_err());
    }

    #[test]
    fn without_changes_nothing_is_heard() {
        let changes = Changes::listen().unwrap();
        // Other tests may change something in their own namespaces, not here; but the host may.
        changes.take().unwrap();
    }

    #[test]
    fn a_refusal_has_its_errno() {
        let code = (-libc::EPERM).to_ne_bytes();
        assert_eq!(refusal(&code).raw_os_error(), Some(libc::EPERM));
        assert_eq!(refusal(&[]).raw_os_error(), Some(0));
    }
}
