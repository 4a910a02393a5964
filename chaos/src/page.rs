//! One request to a server of ours, one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The `Location` header.
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

/// Asks; a body comes with its type.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<(&str, &str)>,
) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("Nobody listens")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (kind, body) = body.unwrap_or(("text/plain", ""));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).context("Failed to understand the answer")
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Some(Response { status, location, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = "HTTP/1.1 201 Created\r\nlocation: /calls/1\r\nX: a:b\r\n\r\nv=0\r\n";
        let parsed = parse(answer).unwrap();
        assert_eq!((parsed.status, parsed.location.as_deref()), (201, Some("/calls/1")));
        assert_eq!(parsed.body, "v=0\r\n");
        assert_eq!(parse("HTTP/1.1 201"), None);
    }
}
