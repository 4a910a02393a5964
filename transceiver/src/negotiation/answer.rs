//! str0m's answer, made ours: our credentials, the relays' addresses, nothing about this process.

use super::{Credentials, Role};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// RFC 8445 section 5.1.2: "2^24 * type preference + 2^8 * local preference + 256 - component".
const HOST_PREFERENCE: u32 = 126;
const COMPONENT: u32 = 1;

pub(super) struct Answer<'a> {
    /// As str0m made it.
    pub(super) text: &'a str,
    pub(super) credentials: &'a Credentials,
    /// The relays, the best one first.
    pub(super) ingress: &'a [SocketAddr],
    pub(super) role: Role,
}

impl Answer<'_> {
    pub(super) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.text.len() + 128 * self.ingress.len());
        let mut sections = 0;
        for line in self.text.lines() {
            if line.starts_with("m=") {
                if sections == 1 {
                    self.write_candidates(&mut text);
                }
                sections += 1;
            }
            self.write_line(&mut text, line);
        }
        if sections == 1 {
            self.write_candidates(&mut text);
        }
        text
    }

    fn write_line(&self, text: &mut String, line: &str) {
        let Credentials { ufrag, pwd } = self.credentials;
        let _ = match line {
            // All in one bundle: the first section has them for all.
            _ if line.starts_with("a=candidate:") || line == "a=end-of-candidates" => Ok(()),
            _ if line.starts_with("a=ice-ufrag:") => {
                write!(text, "a=ice-ufrag:{}\r\n", ufrag.as_str())
            }
            _ if line.starts_with("a=ice-pwd:") => write!(text, "a=ice-pwd:{}\r\n", pwd.as_str()),
            // Everything there is has been said: nothing trickles.
            _ if line.starts_with("a=ice-options:") => Ok(()),
            // Which library this is helps nobody but an attacker.
            _ if line.starts_with("o=") => {
                let rest = line.split_once(' ').map_or("0 0 IN IP4 0.0.0.0", |(_, rest)| rest);
                write!(text, "o=- {rest}\r\n")
            }
            "a=rtcp-mux" => write!(text, "a=rtcp-mux\r\na=rtcp-mux-only\r\n"),
            "a=sendrecv" if self.role == Role::Ingest => write!(text, "a=recvonly\r\n"),
            _ => write!(text, "{line}\r\n"),
        };
    }

    fn write_candidates(&self, text: &mut String) {
        for (place, address) in self.ingress.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX).min(65_535);
            let priority = HOST_PREFERENCE << 24 | (65_535 - place) << 8 | (256 - COMPONENT);
            let (ip, port) = (address.ip(), address.port());
            let foundation = place + 1;
            let _ = write!(
                text,
                "a=candidate:{foundation} {COMPONENT} udp {priority} {ip} {port} typ host\r\n"
            );
        }
        text.push_str("a=end-of-candidates\r\n");
    }
}
