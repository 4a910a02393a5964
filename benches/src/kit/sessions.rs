//! The calls that the relay is to believe in: hints, integrity-protected checks, and the shards
//! that answer them through the tunnel. Uses the product's own formats, with a keyring made for
//! the run.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use wire::address::Address;
use wire::credentials::IcePwd;
use wire::demux::PacketClass;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId, Ufrag};
use wire::keyring::{Keyring, KeyringText};
use wire::stun::{Encoder, Kind, Message};
use wire::tunnel::{Bundle, Content, Datagram, Direction, Opener, Sealer, SenderId};

use crate::plan::{SHARDS, client, shard_of};

/// The only cluster.
pub const CLUSTER: u16 = 1;
/// The only transceiver in it.
pub const TRANSCEIVER: u32 = 1;
/// The largest tunnel datagram: Ethernet's 1,500 bytes less IPv4 and UDP headers.
pub const TUNNEL_MTU: usize = 1472;

const HINT_LIFETIME: Duration = Duration::from_hours(12);
const STUN_BYTES_MAX: usize = 256;
/// The header of a tunnel datagram: version and kind, key, sender, counter.
const SENDER_PLACE: std::ops::Range<usize> = 2..10;
const COUNTER_PLACE: std::ops::Range<usize> = 10..16;

/// All sessions of a run, and the shards they are on.
#[derive(Debug)]
pub struct Sessions {
    keyring: Keyring,
    credentials: Vec<(Ufrag, IcePwd)>,
    opener: Opener,
    shards: Vec<Shard>,
}

/// The sending side of one shard.
#[derive(Debug)]
pub struct Shard {
    sealer: Sealer,
    bundle: Bundle,
}

/// How far a relay's worker has counted, leg by leg.
pub type LegCounters = HashMap<[u8; 8], u64>;

impl Sessions {
    /// One session for each of so many clients, spread over all shards, and the text of the keyring
    /// that the relay is to have.
    pub fn generate(clients: u32) -> Result<(Self, KeyringText)> {
        Self::generate_on(clients, shard_of)
    }

    /// The same, with each client's session on the shard that `shard_of` says.
    pub fn generate_on(clients: u32, shard_of: fn(u32) -> u16) -> Result<(Self, KeyringText)> {
        let text = wire::keyring::generate(getrandom::fill).context("Failed to make a keyring")?;
        let keyring = Keyring::parse(&text).context("Failed to read the keyring just made")?;
        let credentials = (0..clients).map(|index| keyring.mint(hint(index, shard_of))).collect();
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
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The ufrag of one more session.
    pub fn fresh_ufrag(&self, session: u32) -> Ufrag {
        self.keyring.mint(hint(session, shard_of)).0
    }

    /// A client's check, as its browser would send it first.
    pub fn check(&self, index: u32, out: &mut [u8]) -> usize {
        let (ufrag, pwd) = &self.credentials[index as usize];
        check(out, index, ufrag.as_bytes(), pwd.as_bytes())
    }

    /// Opens a datagram from the relay and shows `each` its frames' payloads; says whose counter
    /// stood where. Anything else than authentic data is passed over.
    pub fn open(
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
    pub fn answer(&mut self, shard: u16, client: &Client, check: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; STUN_BYTES_MAX];
        let answer = answer(&self.credentials, client, check, &mut buffer)?;
        let shard = &mut self.shards[usize::from(shard)];
        shard.bundle.append(client, answer).ok()?;
        shard.sealer.seal_data(&mut shard.bundle).ok().map(<[u8]>::to_vec)
    }

    /// Sends every packet of a datagram back to its client, in bundles of the same shard; a check is
    /// answered. Shows `send` each bundle that is full; [`Sessions::flush`] the rest. Says how many
    /// packets of media there were.
    pub fn echo(&mut self, shard: u16, datagram: &mut [u8], send: &mut impl FnMut(&[u8])) -> u64 {
        let Ok(Datagram { content: Content::Data(frames), .. }) = self.opener.open(datagram) else {
            return 0;
        };
        let shard = &mut self.shards[usize::from(shard)];
        let mut media = 0;
        for frame in frames {
            if PacketClass::of(frame.payload) == PacketClass::Stun {
                let mut buffer = [0; STUN_BYTES_MAX];
                if let Some(answer) =
                    answer(&self.credentials, &frame.client, frame.payload, &mut buffer)
                {
                    shard.append(&frame.client, answer, send);
                }
                continue;
            }
            media += 1;
            shard.append(&frame.client, frame.payload, send);
        }
        media
    }

    /// Sends what a shard has bundled.
    pub fn flush(&mut self, shard: u16, send: &mut impl FnMut(&[u8])) {
        self.shards[usize::from(shard)].flush(send);
    }

    /// Hands out the shards, to send in bulk.
    pub fn shard(&mut self, index: u16) -> &mut Shard {
        &mut self.shards[usize::from(index)]
    }
}

impl Shard {
    /// Seals one datagram with a packet for each of these clients into `out`; returns its length.
    pub fn seal<const BYTES: usize>(
        &mut self,
        clients: impl Iterator<Item = (u32, [u8; BYTES])>,
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

impl Shard {
    fn append(&mut self, client: &Client, payload: &[u8], send: &mut impl FnMut(&[u8])) {
        if self.bundle.append(client, payload).is_err() {
            self.flush(send);
            // A packet that came in one tunnel datagram fits into another.
            let _ = self.bundle.append(client, payload);
        }
    }

    fn flush(&mut self, send: &mut impl FnMut(&[u8])) {
        if !self.bundle.is_empty()
            && let Ok(datagram) = self.sealer.seal_data(&mut self.bundle)
        {
            send(datagram);
        }
    }
}

/// A shard's answer to a check of one of these sessions.
fn answer<'b>(
    credentials: &[(Ufrag, IcePwd)],
    client: &Client,
    check: &[u8],
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    let check = Message::parse(check).ok()?;
    let (_, pwd) = credentials.get(client_of(&check)? as usize)?;
    let answer = Encoder::new(buffer, Kind::BindingSuccess, check.transaction())
        .and_then(|answer| answer.xor_mapped_address(client.address))
        .and_then(|answer| answer.integrity(pwd.as_bytes()))
        .and_then(Encoder::fingerprint)
        .ok()?;
    Some(answer.finish())
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
fn hint(index: u32, shard_of: fn(u32) -> u16) -> Hint {
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
pub fn check(out: &mut [u8], client: u32, ufrag: &[u8], password: &[u8]) -> usize {
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
pub fn client_of(message: &Message<'_>) -> Option<u32> {
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
        let (sessions, _) = Sessions::generate(2_000).unwrap();
        let mut buffer = [0; STUN_BYTES_MAX];
        for index in [0, 1, 1_999] {
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
        let (mut sessions, _) = Sessions::generate(2_000).unwrap();
        let mut relay = Opener::new(Direction::ToRelay, sessions.keyring(), 64);
        let mut out = [0; TUNNEL_MTU];
        let packets = (0..11).map(|index| (index, [7; 120]));
        let length = sessions.shard(0).seal(packets, &mut out);
        let opened = relay.open(&mut out[..length]).unwrap();
        let Content::Data(frames) = opened.content else { panic!("not data") };
        let clients: Vec<_> = frames.map(|frame| frame.client).collect();
        assert_eq!(clients, (0..11).map(identity).collect::<Vec<_>>());
    }

    #[test]
    fn an_echo_is_bundled_and_goes_back_to_its_clients() {
        let (mut sessions, _) = Sessions::generate(40).unwrap();
        let mut sealer = sessions.keyring().sealer(Direction::ToShard, SenderId([9; 8]));
        let mut relay = Opener::new(Direction::ToRelay, sessions.keyring(), 64);
        let mut bundle = Bundle::new(TUNNEL_MTU, TUNNEL_MTU);
        let mut sent = Vec::new();
        for index in 0..20 {
            bundle.append(&identity(index), &[0x80; 160]).unwrap();
            let mut datagram = sealer.seal_data(&mut bundle).unwrap().to_vec();
            let media = sessions.echo(1, &mut datagram, &mut |back| sent.push(back.to_vec()));
            assert_eq!(media, 1);
        }
        let length = sessions.check(3, &mut [0; 256]);
        let mut check = vec![0; length];
        sessions.check(3, &mut check);
        bundle.append(&identity(3), &check).unwrap();
        let mut datagram = sealer.seal_data(&mut bundle).unwrap().to_vec();
        assert_eq!(sessions.echo(1, &mut datagram, &mut |back| sent.push(back.to_vec())), 0);
        sessions.flush(1, &mut |back| sent.push(back.to_vec()));
        let mut clients = Vec::new();
        for datagram in &mut sent {
            let opened = relay.open(datagram).unwrap();
            let Content::Data(frames) = opened.content else { panic!("not data") };
            clients.extend(frames.map(|frame| frame.client));
        }
        let wanted: Vec<_> = (0..20).chain([3]).map(identity).collect();
        assert_eq!(clients, wanted);
        assert_eq!(sent.len(), 3, "eight packets of 160 bytes fit into a datagram");
    }

    #[test]
    fn a_datagrams_counter_is_read_and_its_frames_are_shown() {
        let (mut sessions, _) = Sessions::generate(2_000).unwrap();
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
