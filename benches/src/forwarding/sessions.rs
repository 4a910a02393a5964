//! The calls that the relay is to believe in: hints, integrity-protected checks, and the shards
//! that answer them through the tunnel. Uses the product's own formats, with a keyring made for
//! the run.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use wire::address::Address;
use wire::credentials::IcePwd;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId, Ufrag};
use wire::keyring::{Keyring, KeyringText};
use wire::stun::{Encoder, Kind, Message};
use wire::tunnel::{Bundle, Content, Direction, Opener, Sealer, SenderId};

use crate::plan::{CLIENTS, SHARDS, client, shard_of};

/// The only cluster.
pub(crate) const CLUSTER: u16 = 1;
/// The only transceiver in it.
pub(crate) const TRANSCEIVER: u32 = 1;
/// The largest tunnel datagram: Ethernet's 1,500 bytes less IPv4 and UDP headers.
pub(crate) const TUNNEL_MTU: usize = 1472;

const HINT_LIFETIME: Duration = Duration::from_hours(12);
const STUN_BYTES_MAX: usize = 256;
/// The header of a tunnel datagram: version and kind, key, sender, counter.
const SENDER_PLACE: std::ops::Range<usize> = 2..10;
const COUNTER_PLACE: std::ops::Range<usize> = 10..16;

/// All sessions of a run, and the shards they are on.
#[derive(Debug)]
pub(crate) struct Sessions {
    keyring: Keyring,
    credentials: Vec<(Ufrag, IcePwd)>,
    opener: Opener,
    shards: Vec<Shard>,
}

/// The sending side of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    sealer: Sealer,
    bundle: Bundle,
}

/// How far a relay's worker has counted, leg by leg.
pub(crate) type LegCounters = HashMap<[u8; 8], u64>;

impl Sessions {
    /// One session for each client, and the text of the keyring that the relay is to have.
    pub(crate) fn generate() -> Result<(Self, KeyringText)> {
        let text = wire::keyring::generate(getrandom::fill).context("Failed to make a keyring")?;
        let keyring = Keyring::parse(&text).context("Failed to read the keyring just made")?;
        let credentials = (0..CLIENTS).map(|index| keyring.mint(hint(index))).collect();
        let mut shards = Vec::new();
        for _ in 0..SHARDS {
            let mut sender = [0; 8];
            getrandom::fill(&mut sender).context("Failed to draw a sender id")?;
            let sealer = keyring.sealer(Direction::ToRelay, SenderId(sender));
            shards.push(Shard { sealer, bundle: Bundle::new(TUNNEL_MTU, TUNNEL_MTU) });
        }
        let opener = Opener::new(Direction::ToShard, &keyring, 64);
        Ok((Self { keyring, credentials, opener, shards }, text))
    }

    /// The keyring.
    #[cfg(test)]
    pub(crate) const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The ufrag of one more session.
    pub(crate) fn fresh_ufrag(&self, session: u32) -> Ufrag {
        self.keyring.mint(hint(session)).0
    }

    /// A client's check, as its browser would send it first.
    pub(crate) fn check(&self, index: u32, out: &mut [u8]) -> usize {
        let (ufrag, pwd) = &self.credentials[index as usize];
        check(out, index, ufrag.as_bytes(), pwd.as_bytes())
    }

    /// Opens a datagram from the relay and shows `each` its frames' payloads; says whose counter
    /// stood where. Anything else than authentic data is passed over.
    pub(crate) fn open(
        &mut self,
        datagram: &mut [u8],
        mut each: impl FnMut(&Client, &[u8]),
    ) -> Option<([u8; 8], u64)> {
        let sender = datagram.get(SENDER_PLACE)?.try_into().ok()?;
        let counter = datagram.get(COUNTER_PLACE)?;
        let counter = counter.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let Content::Data(frames) = self.opener.open(datagram).ok()?.content else { return None };
        for frame in frames {
            each(&frame.client, frame.payload);
        }
        Some((sender, counter))
    }

    /// A shard's answer to a check, sealed; `None` if it is no check of a session of ours.
    pub(crate) fn answer(&mut self, shard: u16, client: &Client, check: &[u8]) -> Option<Vec<u8>> {
        let check = Message::parse(check).ok()?;
        let (_, pwd) = self.credentials.get(client_of(&check)? as usize)?;
        let mut buffer = [0; STUN_BYTES_MAX];
        let answer = Encoder::new(&mut buffer, Kind::BindingSuccess, check.transaction())
            .and_then(|answer| answer.xor_mapped_address(client.address))
            .and_then(|answer| answer.integrity(pwd.as_bytes()))
            .and_then(Encoder::fingerprint)
            .ok()?
            .finish();
        let shard = &mut self.shards[usize::from(shard)];
        shard.bundle.append(client, answer).ok()?;
        shard.sealer.seal_data(&mut shard.bundle).ok().map(<[u8]>::to_vec)
    }

    /// Hands out the shards, to send in bulk.
    pub(crate) fn shard(&mut self, index: u16) -> &mut Shard {
        &mut self.shards[usize::from(index)]
    }
}

impl Shard {
    /// Seals one datagram with a packet for each of these clients into `out`; returns its length.
    pub(crate) fn seal(
        &mut self,
        clients: impl Iterator<Item = (u32, [u8; crate::plan::PAYLOAD_BYTES])>,
        out: &mut [u8],
    ) -> usize {
        for (index, payload) in clients {
            let appended = self.bundle.append(&identity(index), &payload);
            debug_assert!(appended.is_ok(), "the caller keeps to the tunnel's MTU");
        }
        match self.sealer.seal_data(&mut self.bundle) {
            Ok(datagram) => {
                out[..datagram.len()].copy_from_slice(datagram);
                datagram.len()
            }
            // After 2^48 datagrams.
            Err(_) => 0,
        }
    }
}

/// A client as frames name it.
fn identity(index: u32) -> Client {
    Client {
        address: Address::from(std::net::SocketAddr::V4(client(index))),
        listener: ListenerId(0),
        transport: Transport::Udp,
    }
}

/// Where a client's session lives.
fn hint(index: u32) -> Hint {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Hint {
        cluster: ClusterId(CLUSTER),
        transceiver: TransceiverId(TRANSCEIVER),
        shard: ShardId(u8::try_from(shard_of(index)).unwrap_or(u8::MAX)),
        expires: HintTime::after(now, HINT_LIFETIME),
        session: SessionTag::new(index),
    }
}

/// A check with Chromium's attributes; the transaction names the client.
pub(crate) fn check(out: &mut [u8], client: u32, ufrag: &[u8], password: &[u8]) -> usize {
    let mut transaction = *b"bench\0\0\0----";
    transaction[8..].copy_from_slice(&client.to_be_bytes());
    Encoder::new(out, Kind::BindingRequest, transaction)
        .and_then(|check| check.username(ufrag, b"abcd"))
        .and_then(|check| check.other(0xc057, &[0, 0, 3, 231]))
        .and_then(|check| check.ice_controlling(1))
        .and_then(Encoder::use_candidate)
        .and_then(|check| check.priority(0x6e7f_1eff))
        .and_then(|check| check.integrity(password))
        .and_then(Encoder::fingerprint)
        .map_or(0, |check| check.finish().len())
}

/// The client that a check or its answer names.
pub(crate) fn client_of(message: &Message<'_>) -> Option<u32> {
    let [b'b', b'e', b'n', b'c', b'h', 0, 0, 0, index @ ..] = message.transaction() else {
        return None;
    };
    Some(u32::from_be_bytes(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_rules_hold_for_what_is_made_here() {
        let (sessions, _) = Sessions::generate().unwrap();
        let mut buffer = [0; STUN_BYTES_MAX];
        for index in [0, 1, CLIENTS - 1] {
            let length = sessions.check(index, &mut buffer);
            let message = Message::parse(&buffer[..length]).unwrap();
            let ufrag = message.ufrag().unwrap();
            let hint = sessions.keyring().decode(ufrag).unwrap();
            assert_eq!(u16::from(hint.shard.0), shard_of(index));
            assert_eq!(sessions.keyring().proves_answer_seen(ufrag, &message), Ok(()));
            assert_eq!(client_of(&message), Some(index));
        }
        let ufrag = sessions.fresh_ufrag(5);
        let length = check(&mut buffer, 5, ufrag.as_bytes(), b"wrong");
        let message = Message::parse(&buffer[..length]).unwrap();
        assert!(sessions.keyring().decode(ufrag.as_bytes()).is_ok());
        assert!(sessions.keyring().proves_answer_seen(ufrag.as_bytes(), &message).is_err());
    }

    #[test]
    fn a_relay_opens_what_the_shards_seal() {
        let (mut sessions, _) = Sessions::generate().unwrap();
        let mut relay = Opener::new(Direction::ToRelay, sessions.keyring(), 64);
        let mut out = [0; TUNNEL_MTU];
        let packets = (0..11).map(|index| (index, [7; crate::plan::PAYLOAD_BYTES]));
        let length = sessions.shard(0).seal(packets, &mut out);
        let opened = relay.open(&mut out[..length]).unwrap();
        let Content::Data(frames) = opened.content else { panic!("not data") };
        let clients: Vec<_> = frames.map(|frame| frame.client).collect();
        assert_eq!(clients, (0..11).map(identity).collect::<Vec<_>>());
    }

    #[test]
    fn a_datagrams_counter_is_read_and_its_frames_are_shown() {
        let (mut sessions, _) = Sessions::generate().unwrap();
        let mut sealer = sessions.keyring().sealer(Direction::ToShard, SenderId([9; 8]));
        let mut bundle = Bundle::new(TUNNEL_MTU, TUNNEL_MTU);
        for want in 0..3 {
            bundle.append(&identity(4), b"packet").unwrap();
            let mut datagram = sealer.seal_data(&mut bundle).unwrap().to_vec();
            let mut shown = Vec::new();
            let at = sessions.open(&mut datagram, |_, payload| shown.push(payload.to_vec()));
            assert_eq!(at, Some(([9; 8], want)));
            assert_eq!(shown, [b"packet"]);
        }
    }
}
