//! A page or an answer from a server on a host: one request, one connection.

use crate::hosts::Host;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers' text.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = |line: &'_ str| line.split_once(':').map(|(name, _)| name.to_owned());
        let line = self
            .head
            .lines()
            .find(|line| header(line).is_some_and(|found| found.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

/// Asks for a page. `None` if nobody answers.
pub fn get(host: &Host, server: SocketAddr, path: &str) -> Option<Response> {
    request(host, server, "GET", path, &[], b"")
}

/// Sends a request from a host. `None` if nobody answers.
pub fn request(
    host: &Host,
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Response> {
    let mut stream = host.run(|| TcpStream::connect(server).ok())?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    // In one piece: head and body apart would wait for each other's acknowledgements.
    stream.write_all(&[text.as_bytes(), body].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Response { status, head: head.to_owned(), body: body.to_owned() })
}

/// The sum of a metric over all series whose labels contain this; `None` if there is no such series.
pub fn metric(page: &str, name: &str, label: &str) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_series() {
        let page = "# HELP flows Flows\nflows{state=\"new\",worker=\"0\"} 3\n\
                    flows{state=\"new\",worker=\"1\"} 4\nflows{state=\"old\"} 9\nflows_other 1\n";
        assert_eq!(metric(page, "flows", "state=\"new\""), Some(7.0));
        assert_eq!(metric(page, "flows", ""), Some(16.0));
        assert_eq!(metric(page, "flow", ""), None);
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = "HTTP/1.1 201 Created\r\nlocation: /calls/1\r\nX: a:b".to_owned();
        let response = Response { status: 201, head, body: String::new() };
        assert_eq!(response.header("Location"), Some("/calls/1"));
        assert_eq!(response.header("x"), Some("a:b"));
        assert_eq!(response.header("y"), None);
    }
}
