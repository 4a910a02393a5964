//! Forged first packets, among the media of established flows.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use crate::traffic::{FromClients, Source};
use kit::ethernet::{HEADERS_BYTES, Path, wrap};
use kit::plan::{CLIENT_MAC, PUBLIC, PUBLIC_MAC};
use kit::sessions::{Sessions, check};

/// Different forged checks; each leaves from ever new addresses.
const CHECKS: u32 = 4096;
const CHECK_BYTES_MAX: usize = 256;

/// What is wrong with a forged check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// The hint was minted with another key of the same name: one AES block and it is out.
    BadHint,
    /// The hint is true, the integrity is not: what an attacker who has seen a ufrag can make. The
    /// password is derived and the HMAC computed before it is out.
    BadIntegrity,
}

/// Media and forged checks in a fixed ratio, spread evenly through each other.
#[derive(Debug)]
pub(crate) struct Mixed {
    media: FromClients,
    checks: Vec<Vec<u8>>,
    media_share: f64,
    /// Of a media packet; one leaves when it is whole.
    owed: f64,
    random: u64,
    /// Media packets made.
    pub(crate) media_packets: u64,
    /// Forged checks made.
    pub(crate) forged_packets: u64,
}

impl Mixed {
    /// Media of so many clients only.
    pub(crate) fn media(clients: u32) -> Self {
        Self {
            media: FromClients::new(clients),
            checks: Vec::new(),
            media_share: 1.0,
            owed: 0.0,
            // Any start but zero will do.
            random: 0x9e37_79b9_7f4a_7c15,
            media_packets: 0,
            forged_packets: 0,
        }
    }

    /// With forged checks; media has this share of all packets.
    pub(crate) fn forged(
        clients: u32,
        sessions: &Sessions,
        forgery: Forgery,
        media_share: f64,
    ) -> Result<Self> {
        let foreign = Sessions::generate(1)?.0;
        let minting = match forgery {
            Forgery::BadHint => &foreign,
            Forgery::BadIntegrity => sessions,
        };
        let make = |index| {
            let mut bytes = [0; CHECK_BYTES_MAX];
            let ufrag = minting.fresh_ufrag(index);
            let length = check(&mut bytes, index, ufrag.as_bytes(), b"nobody told me the password");
            bytes[..length].to_vec()
        };
        let checks = (0..CHECKS).map(make).collect();
        Ok(Self { checks, media_share, ..Self::media(clients) })
    }

    /// An address that a route leads to and no client has, another each time (xorshift64).
    fn address(&mut self) -> SocketAddrV4 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let [a, b, c, high, low, ..] = self.random.to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(10, 192 | a, b, c), u16::from_be_bytes([high, low]).max(1))
    }
}

impl Source for Mixed {
    fn next(&mut self, frame: &mut [u8], now_ns: u64) -> usize {
        self.owed += self.media_share;
        if self.owed >= 1.0 {
            self.owed -= 1.0;
            self.media_packets += 1;
            return self.media.next(frame, now_ns);
        }
        let path = Path {
            source_mac: CLIENT_MAC,
            destination_mac: PUBLIC_MAC,
            source: self.address(),
            destination: PUBLIC,
        };
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of CHECKS")]
        let check = &self.checks[(self.forged_packets % u64::from(CHECKS)) as usize];
        self.forged_packets += 1;
        frame[HEADERS_BYTES..HEADERS_BYTES + check.len()].copy_from_slice(check);
        wrap(frame, &path, check.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::ethernet::FRAME_BYTES_MAX;
    use wire::hint::HintError;
    use wire::stun::{IntegrityError, Message};

    #[test]
    fn each_forgery_fails_at_its_own_check() {
        let (sessions, _) = Sessions::generate(16).unwrap();
        let keyring = sessions.keyring();
        for forgery in [Forgery::BadHint, Forgery::BadIntegrity] {
            let mut source = Mixed::forged(16, &sessions, forgery, 0.0).unwrap();
            let mut frame = [0; FRAME_BYTES_MAX];
            for _ in 0..8 {
                let length = source.next(&mut frame, 0);
                let message = Message::parse(&frame[HEADERS_BYTES..length]).unwrap();
                let ufrag = message.ufrag().unwrap();
                let hint = keyring.decode(ufrag);
                match forgery {
                    Forgery::BadHint => assert_eq!(hint, Err(HintError::Forged)),
                    Forgery::BadIntegrity => {
                        hint.unwrap();
                        let proof = keyring.proves_answer_seen(ufrag, &message);
                        assert_eq!(proof, Err(IntegrityError::Wrong));
                    }
                }
            }
        }
    }

    #[test]
    fn media_has_its_share_and_forgeries_come_from_everywhere_else() {
        let (sessions, _) = Sessions::generate(16).unwrap();
        let mut source = Mixed::forged(16, &sessions, Forgery::BadHint, 0.25).unwrap();
        let mut frame = [0; FRAME_BYTES_MAX];
        let mut addresses = std::collections::BTreeSet::new();
        for _ in 0..4000 {
            let length = source.next(&mut frame, 7);
            if kit::payload::sent_ns(&frame[HEADERS_BYTES..length]).is_none() {
                assert!(frame[27] >= 192, "no client's address");
                addresses.insert(frame[26..36].to_vec());
            }
        }
        assert_eq!((source.media_packets, source.forged_packets), (1000, 3000));
        assert!(addresses.len() > 2990, "{}", addresses.len());
    }
}
