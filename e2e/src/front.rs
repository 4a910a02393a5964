//! The way of signaling, past the relay: what is a load balancer with a certificate elsewhere. It
//! listens on the client's own loopback address, which browsers trust with a microphone.

use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::net::{self, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Passes connections on until it is dropped.
#[derive(Debug)]
pub struct Front {
    stop: Arc<AtomicBool>,
    listener: TcpListener,
}

impl Front {
    /// Passes what comes to the listener on to a server. To be called on the server's host; the
    /// listener may be on another.
    pub fn start(listener: TcpListener, server: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let front = Self { stop: Arc::clone(&stop), listener: listener.try_clone().unwrap() };
        thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is not there is to the client what it is without us: a connection
                // that ends.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else {
                    continue;
                };
                // A proxy that waits to fill its segments adds 40 ms to a request with a body.
                client.set_nodelay(true).and(server.set_nodelay(true)).unwrap();
                let (client_too, server_too) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass_on(client, server));
                thread::spawn(move || pass_on(server_too, client_too));
            }
        });
        front
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Ends `accept` with an error, which takes no address of the listener's host.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    // Whatever ends it, the other side is told.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(net::Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn both_directions_go_through_and_ends_are_told() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _front = Front::start(listener, server.local_addr().unwrap());
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(net::Shutdown::Write).unwrap();
        let (mut there, _) = server.accept().unwrap();
        let mut heard = String::new();
        there.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        there.write_all(b"answer").unwrap();
        drop(there);
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
    }
}
