//! Round trips of authenticated connectivity checks: the cheapest question that a relay and the
//! transceiver behind it answer together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::time::timeout_at;
use wire::stun::{Encoder, Kind, Message};

use crate::measure::{Nanoseconds, nanoseconds};

/// An answer later than this is none.
const PATIENCE: Duration = Duration::from_secs(1);
const PACKET_BYTES_MAX: usize = 2048;
const CHECK_BYTES_MAX: usize = 1024;

/// What both sides of a session call themselves, and the server's password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The server's ufrag: what relays route by.
    pub ufrag: String,
    /// The client's ufrag.
    pub client_ufrag: String,
    /// The server's password.
    pub password: String,
}

impl Credentials {
    /// Those of an offer and its answer; `None` if one has none.
    #[must_use]
    pub fn of(offer: &str, answer: &str) -> Option<Self> {
        let value = |text: &str, name: &str| {
            text.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.to_owned()))
        };
        Some(Self {
            ufrag: value(answer, "a=ice-ufrag:")?,
            client_ufrag: value(offer, "a=ice-ufrag:")?,
            password: value(answer, "a=ice-pwd:")?,
        })
    }
}

/// What came of the checks to one address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Whom.
    pub address: SocketAddr,
    /// Checks sent.
    pub sent: u32,
    /// Checks answered in time, with the right integrity.
    pub answered: u32,
    /// Round trips, in order.
    #[serde(skip)]
    pub round_trips: Vec<Nanoseconds>,
    /// The shortest, in milliseconds.
    pub min_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// Why nothing could be sent.
    pub error: Option<String>,
}

/// Sends checks to one address, one at a time.
pub async fn ping(
    address: SocketAddr,
    credentials: &Credentials,
    count: u32,
    interval: Duration,
) -> Row {
    let mut row = Row {
        address,
        sent: 0,
        answered: 0,
        round_trips: Vec::new(),
        min_ms: None,
        p50_ms: None,
        max_ms: None,
        error: None,
    };
    if let Err(error) = ask(address, credentials, count, interval, &mut row).await {
        row.error = Some(error.to_string());
    }
    let mut sorted = row.round_trips.clone();
    sorted.sort_unstable();
    let at = |index: usize| sorted.get(index).copied().map(crate::measure::milliseconds);
    row.min_ms = at(0);
    row.p50_ms = at(sorted.len().saturating_sub(1) / 2);
    row.max_ms = at(sorted.len().saturating_sub(1));
    row
}

async fn ask(
    address: SocketAddr,
    credentials: &Credentials,
    count: u32,
    interval: Duration,
    row: &mut Row,
) -> std::io::Result<()> {
    let unspecified: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(unspecified).await?;
    socket.connect(address).await?;
    let mut packet = [0; PACKET_BYTES_MAX];
    for number in 0..count {
        let mut transaction = [0; 12];
        getrandom::fill(&mut transaction).map_err(std::io::Error::other)?;
        let began = tokio::time::Instant::now();
        let length = check(credentials, transaction, &mut packet[..CHECK_BYTES_MAX]);
        row.sent += 1;
        // An ICMP error comes back as an error of the next call; it is as good as no answer.
        let _ = socket.send(&packet[..length]).await;
        let sent = Instant::now();
        while let Ok(received) = timeout_at(began + PATIENCE, socket.recv(&mut packet)).await {
            let Ok(length) = received else { break };
            if is_answer(&packet[..length], transaction, credentials) {
                row.answered += 1;
                row.round_trips.push(nanoseconds(sent.elapsed()));
                break;
            }
        }
        if number + 1 < count {
            tokio::time::sleep_until(began + interval).await;
        }
    }
    Ok(())
}

fn check(credentials: &Credentials, transaction: [u8; 12], out: &mut [u8]) -> usize {
    Encoder::new(out, Kind::BindingRequest, transaction)
        .and_then(|check| {
            check.username(credentials.ufrag.as_bytes(), credentials.client_ufrag.as_bytes())
        })
        .and_then(|check| check.ice_controlling(1))
        .and_then(|check| check.priority(0x6e7f_1eff))
        .and_then(|check| check.integrity(credentials.password.as_bytes()))
        .and_then(Encoder::fingerprint)
        .map_or(0, |check| check.finish().len())
}

fn is_answer(packet: &[u8], transaction: [u8; 12], credentials: &Credentials) -> bool {
    Message::parse(packet).is_ok_and(|message| {
        message.kind() == Kind::BindingSuccess
            && message.transaction() == transaction
            && message.verify_integrity(credentials.password.as_bytes()).is_ok()
    })
}

/// A table of rows, the fastest first.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<44} {:>9} {:>9} {:>9} {:>9}\n",
        "relay", "answered", "min ms", "p50 ms", "max ms"
    );
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let order = |row: &Row| row.round_trips.iter().min().copied().unwrap_or(u64::MAX);
    sorted.sort_by_key(|row| order(row));
    for row in sorted {
        let time =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3}"));
        let answered = format!("{}/{}", row.answered, row.sent);
        let address = row.address.to_string();
        let error = row.error.as_ref().map_or_else(String::new, |error| format!("  {error}"));
        text.push_str(&format!(
            "{address:<44} {answered:>9} {:>9} {:>9} {:>9}{error}\n",
            time(row.min_ms),
            time(row.p50_ms),
            time(row.max_ms)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        let answer = "v=0\r\na=ice-ufrag:server\r\na=ice-pwd:0123456789012345678901\r\n";
        Credentials::of("a=ice-ufrag:client\r\n", answer).unwrap()
    }

    /// Answers checks; every other time with another password, and each time with noise before.
    async fn answer(socket: UdpSocket) {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut count = 0u32;
        while let Ok((length, source)) = socket.recv_from(&mut packet).await {
            let check = Message::parse(&packet[..length]).unwrap();
            assert_eq!(check.username(), Some(&b"server:client"[..]));
            let wrong = count % 2 == 1;
            count += 1;
            let password = if wrong { &b"wrong"[..] } else { b"0123456789012345678901" };
            let mut reply = [0; 256];
            let reply = Encoder::new(&mut reply, Kind::BindingSuccess, check.transaction())
                .and_then(|reply| reply.integrity(password))
                .unwrap()
                .finish();
            for packet in [b"noise", reply] {
                socket.send_to(packet, source).await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_authentic_answers_count() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(answer(socket));
        let row = ping(address, &credentials(), 3, Duration::from_millis(1)).await;
        server.abort();
        assert_eq!((row.sent, row.answered, row.error.clone()), (3, 2, None));
        assert!(row.min_ms <= row.p50_ms && row.p50_ms <= row.max_ms);
        let text = table(&[row]);
        assert!(text.contains(&address.to_string()) && text.contains("2/3"), "{text}");
    }

    #[test]
    fn credentials_come_from_offer_and_answer() {
        assert!(Credentials::of("", "a=ice-ufrag:x\r\na=ice-pwd:y\r\n").is_none());
        assert!(Credentials::of("a=ice-ufrag:x\r\n", "").is_none());
    }
}
