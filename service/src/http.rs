//! The process's own small HTTP listener: `/metrics`, `/live`, `/ready`.
//!
//! It stands beside whatever else the process serves and shares nothing with it but the code of
//! [`Listener`], so that a flood elsewhere cannot make a healthy process look dead. Connections are
//! bounded in number and age; a prober or scraper that needs more is broken.
//!
//! What the answers mean: `/live` fails only when the process is stuck and should be killed, never
//! for the health of anything behind it. `/ready` fails while it should get no new work, such as
//! when draining.

mod listener;
mod ticking;

pub use listener::{Bounds, Connections, Listener, Peer, counted_as};
pub use ticking::ticking;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// Connections at a time; those above wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// A request's head must have arrived by then.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// The longest life of a connection, however busy. Scrapers reconnect.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// A request's head is shorter.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The content type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Good, or the reason why not.
pub type Health = Result<(), String>;

/// What the pages show. Each is asked anew for every request, and must answer fast.
pub trait Pages: Send + Sync + 'static {
    /// The metrics, in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Whether the process works at all.
    fn live(&self) -> Health;
    /// Whether it should be given new work.
    fn ready(&self) -> Health;
}

/// A listener that is bound.
#[derive(Debug)]
pub struct Server(Listener);

impl Server {
    /// Binds. Port 0 means any.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = Listener::bind(address, bounds()).await.with_context(|| {
            format!("Failed to listen on http://{address} (http.listen), for metrics and health")
        })?;
        Ok(Self(listener))
    }

    /// Takes over a listener, such as that of the process before. What waits in its queue is served.
    pub fn take_over(listener: std::net::TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true).context("Failed to take over the HTTP listener")?;
        let listener = tokio::net::TcpListener::from_std(listener)
            .context("Failed to take over the HTTP listener")?;
        Ok(Self(Listener::new(listener, bounds())))
    }

    /// The listening socket once more, for a process that is to take over.
    pub fn listener(&self) -> anyhow::Result<OwnedFd> {
        self.0.socket().context("Failed to keep the HTTP listener")
    }

    /// The address, with the port that was chosen.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until the future is dropped, which is how to stop.
    pub async fn serve<P: Pages>(self, pages: Arc<P>) {
        self.0.serve(router(pages)).await;
    }
}

fn bounds() -> Bounds {
    Bounds {
        connections_max: CONNECTIONS_MAX,
        // A scraper and its probers often have one address.
        connections_per_address_max: CONNECTIONS_MAX,
        proxies: Arc::default(),
        header_time: HEADER_TIME,
        head_bytes_max: HEAD_BYTES_MAX,
        connection_time: CONNECTION_TIME,
    }
}

/// The pages as a router, for a process that already serves HTTP and wants them there too.
pub fn router<P: Pages>(pages: Arc<P>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<P>))
        .route("/live", get(live::<P>))
        .route("/ready", get(ready::<P>))
        .fallback(absent)
        .with_state(pages)
}

fn metrics<P: Pages>(State(pages): State<Arc<P>>) -> impl Future<Output = impl IntoResponse> {
    std::future::ready(([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], pages.metrics()))
}

fn live<P: Pages>(State(pages): State<Arc<P>>) -> impl Future<Output = impl IntoResponse> {
    std::future::ready(health("live", pages.live()))
}

fn ready<P: Pages>(State(pages): State<Arc<P>>) -> impl Future<Output = impl IntoResponse> {
    std::future::ready(health("ready", pages.ready()))
}

fn health(what: &str, health: Health) -> impl IntoResponse {
    // A cached answer about health is a wrong one.
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    match health {
        Ok(()) => (StatusCode::OK, uncached, format!("{what}\n")),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, uncached, format!("not {what}: {reason}\n"))
        }
    }
}

async fn absent(uri: Uri) -> impl IntoResponse {
    let path: String = uri.path().chars().take(100).collect();
    let text = format!("There is no {path} here. There are /metrics, /live and /ready.\n");
    (StatusCode::NOT_FOUND, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[derive(Default)]
    struct Sample {
        draining: Mutex<bool>,
    }

    impl Pages for Sample {
        fn metrics(&self) -> String {
            "ringway_up 1\n".to_owned()
        }

        fn live(&self) -> Health {
            Ok(())
        }

        fn ready(&self) -> Health {
            if *self.draining.lock().unwrap() { Err("draining".to_owned()) } else { Ok(()) }
        }
    }

    async fn run(limits: impl FnOnce(&mut Bounds)) -> (SocketAddr, Arc<Sample>) {
        let mut server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        limits(server.0.bounds_mut());
        let address = server.local_addr().unwrap();
        let pages = Arc::new(Sample::default());
        tokio::spawn(server.serve(Arc::clone(&pages)));
        (address, pages)
    }

    /// Sends raw bytes and reads until the server closes.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(5), read).await.expect("must close").unwrap();
        answer
    }

    async fn page(address: SocketAddr, method: &str, path: &str) -> (String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = ask(address, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn pages_answer_and_anything_else_says_what_there_is() {
        let (address, pages) = run(|_| {}).await;
        let (head, body) = page(address, "GET", "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(body, "ringway_up 1\n");
        let table = [
            ("GET", "/live", 200, "live\n"),
            ("GET", "/ready", 200, "ready\n"),
            ("HEAD", "/ready", 200, ""),
            ("POST", "/ready", 405, ""),
            ("GET", "/", 404, "There is no / here. There are /metrics, /live and /ready.\n"),
            (
                "GET",
                "/ready/?x=1",
                404,
                "There is no /ready/ here. There are /metrics, /live and /ready.\n",
            ),
        ];
        for (method, path, status, expected) in table {
            let (head, body) = page(address, method, path).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {head}");
            assert_eq!(body, expected, "{method} {path}");
        }
        *pages.draining.lock().unwrap() = true;
        let (head, body) = page(address, "GET", "/ready").await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert_eq!(body, "not ready: draining\n");
        let (head, _) = page(address, "GET", "/live").await;
        assert!(head.starts_with("HTTP/1.1 200"), "draining is no reason to be killed: {head}");
    }

    #[tokio::test]
    async fn who_dawdles_or_talks_nonsense_is_cut_off() {
        let (address, _) = run(|limits| limits.header_time = Duration::from_millis(50)).await;
        ask(address, "GET /live HTTP/1.1\r\nhost:").await;
        let answer = ask(address, "\u{16}\u{3}\u{1} no http at all\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        // Its answer may be lost with the connection when more is sent than was read.
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(15 << 10));
        let answer = ask(address, &long).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let (head, _) = page(address, "GET", "/live").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }

    #[tokio::test]
    async fn one_connection_too_many_waits_and_is_served() {
        let (address, _) = run(|limits| {
            limits.connections_max = 1;
            limits.connection_time = Duration::from_millis(100);
        })
        .await;
        let _idle = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let (head, _) = page(address, "GET", "/live").await;
        assert!(head.starts_with("HTTP/1.1 200"), "after the idle one was cut off: {head}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = format!("{:#}", Server::bind(address).await.unwrap_err());
        assert!(error.contains(&format!("http://{address} (http.listen)")), "{error}");
        assert!(error.contains("in use"), "{error}");
    }
}
