//! A network address translator that forgets: from one moment to the next, its clients have other
//! addresses and ports, and what is sent to the old ones is lost. That is what a call sees when a
//! phone changes from wifi to cellular, or a router's table expires.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a thread that listens takes to see that it should stop.
const LOOK: Duration = Duration::from_millis(20);
const PACKET_BYTES_MAX: usize = 9000;

/// Translates until it is dropped.
#[derive(Debug)]
pub struct Nat {
    shared: Arc<Shared>,
    inside: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    inside: UdpSocket,
    outsides: Vec<IpAddr>,
    server: SocketAddr,
    table: Mutex<Table>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    /// How often it was rebound; chooses the outside address.
    generation: usize,
    mappings: HashMap<SocketAddr, Arc<Mapping>>,
}

#[derive(Debug)]
struct Mapping {
    outside: UdpSocket,
    dead: AtomicBool,
}

impl Nat {
    /// Stands between clients that send to `inside` and a server. Its sockets and threads are on
    /// the caller's host.
    pub fn start(inside: SocketAddr, outsides: &[IpAddr], server: SocketAddr) -> Self {
        let inside = UdpSocket::bind(inside).unwrap();
        inside.set_read_timeout(Some(LOOK)).unwrap();
        let address = inside.local_addr().unwrap();
        let shared = Arc::new(Shared {
            inside,
            outsides: outsides.to_vec(),
            server,
            table: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let outward = Arc::clone(&shared);
        thread::spawn(move || outward.carry_outward());
        Self { shared, inside: address }
    }

    /// Where clients send to.
    pub fn inside(&self) -> SocketAddr {
        self.inside
    }

    /// Forgets every client: the next packet of each leaves from another address and port.
    pub fn rebind(&self) {
        let mut table = self.shared.table.lock().unwrap();
        table.generation += 1;
        for (_, mapping) in table.mappings.drain() {
            mapping.dead.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.rebind();
    }
}

impl Shared {
    fn carry_outward(self: Arc<Self>) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((length, client)) = self.inside.recv_from(&mut packet) else { continue };
            // Lost, as on any network, if it cannot be sent.
            let _ = self.mapping(client).outside.send(&packet[..length]);
        }
    }

    fn mapping(self: &Arc<Self>, client: SocketAddr) -> Arc<Mapping> {
        let mut table = self.table.lock().unwrap();
        if let Some(mapping) = table.mappings.get(&client) {
            return Arc::clone(mapping);
        }
        let outside = self.outsides[table.generation % self.outsides.len()];
        let outside = UdpSocket::bind(SocketAddr::new(outside, 0)).unwrap();
        outside.connect(self.server).unwrap();
        outside.set_read_timeout(Some(LOOK)).unwrap();
        let mapping = Arc::new(Mapping { outside, dead: AtomicBool::new(false) });
        table.mappings.insert(client, Arc::clone(&mapping));
        let (shared, inward) = (Arc::clone(self), Arc::clone(&mapping));
        thread::spawn(move || shared.carry_inward(&inward, client));
        mapping
    }

    fn carry_inward(&self, mapping: &Mapping, client: SocketAddr) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while !(mapping.dead.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)) {
            let Ok(length) = mapping.outside.recv(&mut packet) else { continue };
            if !mapping.dead.load(Ordering::Relaxed) {
                let _ = self.inside.send_to(&packet[..length], client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_another_address_after_rebinding_and_the_old_one_is_dead() {
        let patience = Some(Duration::from_secs(5));
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(patience).unwrap();
        let outsides = ["127.0.0.2", "127.0.0.3"].map(|address| address.parse().unwrap());
        let nat =
            Nat::start("127.0.0.1:0".parse().unwrap(), &outsides, server.local_addr().unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(patience).unwrap();
        client.connect(nat.inside()).unwrap();

        let mut packet = [0; 16];
        let mut round = || {
            client.send(b"out").unwrap();
            let (length, from) = server.recv_from(&mut packet).unwrap();
            assert_eq!(&packet[..length], b"out");
            server.send_to(b"back", from).unwrap();
            let length = client.recv(&mut packet).unwrap();
            assert_eq!(&packet[..length], b"back");
            from
        };
        let first = round();
        assert_eq!(round(), first, "a mapping stays");
        nat.rebind();
        let second = round();
        assert_ne!(first.ip(), second.ip());

        // The old socket is closed once its thread has looked; from then on, and before, nothing
        // that comes to it gets to the client.
        server.send_to(b"late", first).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(client.recv(&mut packet).is_err());
    }
}
