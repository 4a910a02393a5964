//! The receiving end of the tunnel: opens what any sender with an accepted secret has sealed.

use super::replay::{Freshness, ReplayWindow};
use super::{
    About, Direction, HEADER_BYTES, Kind, OVERHEAD_BYTES, SenderId, TunnelKeyId, VERSION, nonce,
};
use crate::frame::{FrameError, Frames};
use crate::keyring::{Keyring, TunnelEntry};
use aws_lc_rs::aead::{Aad, LessSafeKey};
use std::collections::HashMap;
use thiserror::Error;

/// What an authentic datagram says.
#[derive(Debug, Clone)]
pub enum Content<'a> {
    /// Client packets.
    Data(Frames<'a>),
    /// Asks for a `pong` with the same token.
    Ping(u64),
    /// Answers a `ping`.
    Pong(u64),
    /// These clients have no session (any more). Payloads are empty.
    Gone(Frames<'a>),
}

/// An authentic datagram.
#[derive(Debug, Clone)]
pub struct Datagram<'a> {
    /// Who sealed it.
    pub sender: SenderId,
    /// The first from this sender, as far as this receiver remembers.
    pub first_contact: bool,
    /// What it says.
    pub content: Content<'a>,
    /// What a ping or pong says of its sender; of any other kind, nothing.
    pub about: About,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum OpenError {
    /// Fewer bytes than header and tag have.
    #[error("shorter than an empty tunnel datagram")]
    TooShort,
    /// Another version of the format, or something else altogether.
    #[error("unknown tunnel version")]
    UnknownVersion,
    /// A kind that this version does not have.
    #[error("unknown tunnel kind")]
    UnknownKind,
    /// Sealed with a key that is not in the keyring.
    #[error("sealed with a key that is not in the keyring")]
    UnknownKey,
    /// Not sealed with the key it names, for the other direction, or changed on the way.
    #[error("not authentic")]
    Forged,
    /// Taken before.
    #[error("replayed")]
    Replayed,
    /// So far behind the sender's newest that nobody knows whether it was taken before.
    #[error("too old to tell from a replay")]
    TooOld,
    /// Authentic, but the content of a ping or pong has the wrong length.
    #[error("malformed ping or pong")]
    MalformedEcho,
    /// Authentic, but not a list of frames.
    #[error("malformed frames: {0}")]
    MalformedFrames(FrameError),
}

#[derive(Debug)]
struct Sender {
    key: LessSafeKey,
    window: ReplayWindow,
    /// The opener's tick when this sender was last heard.
    last_heard: u64,
}

/// Opens datagrams of one direction.
///
/// The senders it remembers are bounded in number and only authenticated ones enter, so strangers
/// can neither fill nor flush it. What a stranger can cost is one key derivation and one failed
/// opening per datagram. A remembered sender is dropped only for a newer one when the cache is
/// full, the longest silent first; its replay window goes with it.
#[derive(Debug)]
pub struct Opener {
    direction: Direction,
    secrets: Vec<TunnelEntry>,
    senders: HashMap<(TunnelKeyId, SenderId), Sender>,
    senders_max: usize,
    tick: u64,
}

impl Opener {
    /// An opener that accepts all tunnel keys of the keyring and remembers up to `senders_max`
    /// senders. All its memory is taken here.
    pub fn new(direction: Direction, keyring: &Keyring, senders_max: usize) -> Self {
        let senders_max = senders_max.max(1);
        Self {
            direction,
            secrets: keyring.tunnel_entries().to_vec(),
            // Twice the room: a table at most half full rehashes in place and never grows.
            senders: HashMap::with_capacity(2 * senders_max),
            senders_max,
            tick: 0,
        }
    }

    /// Changes the accepted keys. Senders under keys that stay are remembered on.
    pub fn reload(&mut self, keyring: &Keyring) {
        let entries = keyring.tunnel_entries();
        let stays = |id: TunnelKeyId| {
            let same = |entry: &&TunnelEntry| entry.id == id;
            let old = self.secrets.iter().find(same).map(|entry| &entry.secret);
            old.is_some() && old == entries.iter().find(same).map(|entry| &entry.secret)
        };
        self.senders.retain(|(id, _), _| stays(*id));
        self.secrets = entries.to_vec();
    }

    /// How many senders are remembered.
    pub fn senders(&self) -> usize {
        self.senders.len()
    }

    /// Opens a datagram in place. On an error its bytes are of no use any more.
    #[inline]
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<Datagram<'d>, OpenError> {
        if datagram.len() < OVERHEAD_BYTES {
            return Err(OpenError::TooShort);
        }
        let (header, sealed) = datagram.split_at_mut(HEADER_BYTES);
        let header: &[u8; HEADER_BYTES] = (&*header).try_into().map_err(|_| OpenError::TooShort)?;
        if header[0] >> 4 != VERSION {
            return Err(OpenError::UnknownVersion);
        }
        let kind = Kind::from_low_half(header[0]).ok_or(OpenError::UnknownKind)?;
        let (sender, first_contact) = self.authenticate(header, sealed)?;
        let content = &sealed[..sealed.len() - super::TAG_BYTES];
        let content = match kind {
            Kind::Data => Content::Data(frames(content, true)?),
            Kind::Gone => Content::Gone(frames(content, false)?),
            Kind::Ping | Kind::Pong => {
                let (token, about) = echo(content)?;
                let content =
                    if kind == Kind::Ping { Content::Ping(token) } else { Content::Pong(token) };
                return Ok(Datagram { sender, first_contact, content, about });
            }
        };
        Ok(Datagram { sender, first_contact, content, about: About::default() })
    }

    /// Decrypts in place if the datagram is authentic and fresh, and remembers that it came.
    #[inline]
    fn authenticate(
        &mut self,
        header: &[u8; HEADER_BYTES],
        sealed: &mut [u8],
    ) -> Result<(SenderId, bool), OpenError> {
        let &[_, key_id, s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3, c4, c5] = header;
        let key_id = TunnelKeyId(key_id);
        let sender = SenderId([s0, s1, s2, s3, s4, s5, s6, s7]);
        let nonce = nonce([c0, c1, c2, c3, c4, c5]);
        let counter = u64::from_be_bytes([0, 0, c0, c1, c2, c3, c4, c5]);
        self.tick += 1;

        if let Some(known) = self.senders.get_mut(&(key_id, sender)) {
            match known.window.judge(counter) {
                Freshness::Fresh => {}
                Freshness::Replayed => return Err(OpenError::Replayed),
                Freshness::TooOld => return Err(OpenError::TooOld),
            }
            known
                .key
                .open_in_place(nonce, Aad::from(header), sealed)
                .map_err(|_| OpenError::Forged)?;
            known.window.take(counter);
            known.last_heard = self.tick;
            return Ok((sender, false));
        }

        let entry =
            self.secrets.iter().find(|entry| entry.id == key_id).ok_or(OpenError::UnknownKey)?;
        let key = entry.secret.key(self.direction, sender);
        key.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| OpenError::Forged)?;
        let mut window = ReplayWindow::new();
        window.take(counter);
        self.remember((key_id, sender), Sender { key, window, last_heard: self.tick });
        Ok((sender, true))
    }

    fn remember(&mut self, id: (TunnelKeyId, SenderId), sender: Sender) {
        if self.senders.len() >= self.senders_max {
            // Linear, but only an authenticated newcomer at a full cache pays it.
            let silent = self.senders.iter().min_by_key(|(_, sender)| sender.last_heard);
            if let Some((&silent, _)) = silent {
                self.senders.remove(&silent);
            }
        }
        self.senders.insert(id, sender);
    }
}

fn frames(content: &[u8], payloads: bool) -> Result<Frames<'_>, OpenError> {
    Frames::check(content, payloads).map_err(OpenError::MalformedFrames)
}

fn echo(content: &[u8]) -> Result<(u64, About), OpenError> {
    let (token, about) = content.split_first_chunk::<8>().ok_or(OpenError::MalformedEcho)?;
    let about = about.try_into().map_err(|_| OpenError::MalformedEcho)?;
    Ok((u64::from_be_bytes(*token), About::from_bytes(about)))
}
