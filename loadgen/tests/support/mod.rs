//! A stand-in for a deployment, for tests of `calls` and `ping`: signaling over HTTP, and one
//! ICE-lite server with a socket of its own per call, which echoes.
#![allow(dead_code)] // Each test file uses its part.

pub(crate) mod answerer;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use answerer::Answerer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-loadgen");

/// Runs the program with nothing of ours in its environment.
pub(crate) fn program(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_remove("RINGWAY_TOKEN").env_remove("RINGWAY_KEYS");
    command
}

/// How a stand-in behaves, changeable while it runs.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Calls taken.
    pub(crate) calls: AtomicU32,
    /// Calls hung up by signaling.
    pub(crate) hung_up: AtomicU32,
    /// Every so-manyth media packet is dropped; none if zero.
    pub(crate) drop_every: AtomicU32,
    /// Nothing is answered on the media path.
    pub(crate) deaf: AtomicBool,
    stop: AtomicBool,
}

/// A running stand-in.
pub(crate) struct Deployment {
    pub(crate) url: String,
    pub(crate) behaviour: Arc<Behaviour>,
}

/// The bearer token it wants.
pub(crate) const TOKEN: &str = "correct-horse";

impl Deployment {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    /// Behind TLS, as every deployment on the internet is.
    pub(crate) fn start_with_tls(tls: Arc<ServerConfig>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(tls))
    }

    /// On a listener, wherever that is; media are served where it is too.
    pub(crate) fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let behaviour = Arc::<Behaviour>::default();
        let shared = Arc::clone(&behaviour);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    match tls {
                        None => signal(stream, address, &shared),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            signal(StreamOwned::new(connection, stream), address, &shared);
                        }
                    }
                });
            }
        });
        Self { url, behaviour }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.behaviour.stop.store(true, Ordering::Relaxed);
        let address = self.url.rsplit('/').next().unwrap();
        let _ = TcpStream::connect(address);
    }
}

/// Reads one request and answers it.
fn signal(mut stream: impl Read + Write, address: SocketAddr, behaviour: &Arc<Behaviour>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head, body) = loop {
        let Ok(length) = stream.read(&mut chunk) else { return };
        if length == 0 {
            return;
        }
        bytes.extend(&chunk[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let wanted: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() >= wanted {
            break (head, body.to_owned());
        }
    };
    let (status, location, body) = respond(&head, &body, address, behaviour);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/sdp\r\n{location}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.flush();
}

fn respond(
    head: &str,
    body: &str,
    address: SocketAddr,
    behaviour: &Arc<Behaviour>,
) -> (&'static str, String, String) {
    let none = String::new;
    if !head.contains(&format!("authorization: bearer {TOKEN}")) {
        return ("401 Unauthorized", none(), none());
    }
    if head.starts_with("post /v1/realtime/calls/rtc_1/hangup ") {
        behaviour.hung_up.fetch_add(1, Ordering::Relaxed);
        return ("200 OK", none(), none());
    }
    if !head.starts_with("post /v1/realtime/calls ") {
        return ("404 Not Found", none(), none());
    }
    // The offer, out of a form or by itself.
    let from = body.find("v=0").unwrap();
    let offer = &body[from..];
    let offer = offer.split("\r\n--").next().unwrap();
    behaviour.calls.fetch_add(1, Ordering::Relaxed);
    let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
    let mut server = Answerer::new(socket.local_addr().unwrap(), Instant::now());
    let answer = server.answer(&format!("{offer}\r\n"), Instant::now());
    let behaviour = Arc::clone(behaviour);
    thread::spawn(move || serve(&socket, server, &behaviour));
    ("201 Created", "Location: /v1/realtime/calls/rtc_1\r\n".to_owned(), answer)
}

fn serve(socket: &UdpSocket, mut server: Answerer, behaviour: &Behaviour) {
    let mut packet = [0; 2048];
    let mut media = 0u32;
    let began = Instant::now();
    while !behaviour.stop.load(Ordering::Relaxed)
        && !server.is_closed()
        && began.elapsed() < Duration::from_secs(60)
    {
        while let Some((destination, bytes)) = server.poll_transmit() {
            if !behaviour.deaf.load(Ordering::Relaxed) {
                socket.send_to(&bytes, destination).unwrap();
            }
        }
        let wait = server.deadline().saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
        socket.set_read_timeout(Some(wait)).unwrap();
        let received: Option<(usize, SocketAddr)> = socket.recv_from(&mut packet).ok();
        let now = Instant::now();
        match received {
            Some((length, source)) => {
                // RTP, and not RTCP.
                if (128..=191).contains(&packet[0]) && !(192..=223).contains(&packet[1]) {
                    media += 1;
                    let every = behaviour.drop_every.load(Ordering::Relaxed);
                    if every > 0 && media.is_multiple_of(every) {
                        continue;
                    }
                }
                server.handle(source, &packet[..length], now);
            }
            None => server.handle_timeout(now),
        }
    }
}
