//! The route hint: where a session lives, encrypted into the ufrag that its transceiver chose.
//!
//! ```text
//! ufrag = key_char · base62(AES-128(block))                 1 + 22 characters
//!
//!          0               4       6                      10  11      13          16
//!         +---------------+-------+----------------------+---+-------+-----------+
//! block = | check: zeros  |cluster| transceiver          |sh.|expires| session   |
//!         +---------------+-------+----------------------+---+-------+-----------+
//! ```
//!
//! One AES block of a full 16 bytes is a pseudo-random permutation: the text tells nothing about
//! the fields, and a text that nobody minted decrypts to a random block, whose check is zero once
//! in 2^32 tries. QUIC-LB encrypts server ids in connection ids the same way
//! (draft-ietf-quic-load-balancers, single-pass encryption). A forged hint that passes still names
//! only ids, never an address, and creates no flow without the session's password.

use crate::base62;
use crate::secret::Secret;
use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Characters of a ufrag with a hint in it.
pub const UFRAG_CHARS: usize = 1 + base62::CHARS;

/// Which routing table: the transceivers that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u16);

/// Which transceiver of a cluster. An id, never trusted as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(pub u32);

/// Which of a transceiver's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// The shard's session counter, 24 bits. It makes every ufrag unique and tags the session's flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionTag(u32);

impl SessionTag {
    /// How many tags there are.
    pub const COUNT: u32 = 1 << 24;

    /// The tag of a counter's value, which wraps.
    pub const fn new(counter: u32) -> Self {
        Self(counter % Self::COUNT)
    }

    /// The tag as a number below [`SessionTag::COUNT`].
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// A point in time in units of 64 seconds since 1970, modulo 2^16: it wraps every 48.5 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HintTime(pub u16);

impl HintTime {
    /// Seconds of one unit.
    pub const UNIT_SECONDS: u64 = 64;
    /// How far the clocks of a transceiver and a relay may be apart: 5 units, 320 s.
    pub const SKEW_UNITS: u16 = 5;
    /// The longest lifetime: a quarter of the wrap less the skew, so that "past" and "future" can
    /// never be confused. More than twelve days.
    pub const LIFETIME_UNITS_MAX: u16 = (1 << 14) - Self::SKEW_UNITS;

    /// The unit that contains this moment.
    pub const fn at(unix_time: Duration) -> Self {
        Self::of_units(unix_time.as_secs() / Self::UNIT_SECONDS)
    }

    /// The end of a lifetime that begins now: rounded up, so that it is never cut short.
    pub fn after(unix_time: Duration, lifetime: Duration) -> Self {
        let end = unix_time.saturating_add(lifetime);
        Self::of_units(end.as_secs().div_ceil(Self::UNIT_SECONDS))
    }

    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^16 is the format")]
    const fn of_units(units: u64) -> Self {
        Self(units as u16)
    }

    /// Units from `now` to this time; negative if it has passed. Serial-number arithmetic (RFC
    /// 1982): right whenever the two are less than half the wrap (24 days) apart.
    #[expect(clippy::cast_possible_wrap, reason = "serial-number arithmetic")]
    const fn units_from(self, now: Self) -> i16 {
        self.0.wrapping_sub(now.0) as i16
    }
}

/// Whether a hint may still make a new flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Validity {
    /// It may.
    Valid,
    /// Its time is over.
    Expired,
    /// It ends later than any transceiver may ask for: a clock is wrong, or the hint is so old
    /// that its time seems to lie ahead again.
    TooFarAhead,
}

/// Where a session lives and until when its ufrag makes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hint {
    /// Which routing table.
    pub cluster: ClusterId,
    /// Which transceiver in it.
    pub transceiver: TransceiverId,
    /// Which of the transceiver's threads.
    pub shard: ShardId,
    /// The hint makes new flows up to and including this unit.
    pub expires: HintTime,
    /// Which of the shard's sessions.
    pub session: SessionTag,
}

impl Hint {
    /// Judges the expiry at `now`, for hints that live for `lifetime_units_max` at most.
    pub const fn validity(&self, now: HintTime, lifetime_units_max: u16) -> Validity {
        let left = self.expires.units_from(now);
        if left < 0 {
            return Validity::Expired;
        }
        // The unit in which the lifetime ends is rounded up: one more than the lifetime.
        let most = lifetime_units_max as i32 + 1 + HintTime::SKEW_UNITS as i32;
        if left as i32 > most { Validity::TooFarAhead } else { Validity::Valid }
    }

    fn to_block(self) -> [u8; 16] {
        let mut block = [0; 16];
        block[4..6].copy_from_slice(&self.cluster.0.to_be_bytes());
        block[6..10].copy_from_slice(&self.transceiver.0.to_be_bytes());
        block[10] = self.shard.0;
        block[11..13].copy_from_slice(&self.expires.0.to_be_bytes());
        block[13..].copy_from_slice(&self.session.0.to_be_bytes()[1..]);
        block
    }

    const fn from_block(block: &[u8; 16]) -> Option<Self> {
        let &[c0, c1, c2, c3, cl0, cl1, t0, t1, t2, t3, shard, e0, e1, s0, s1, s2] = block;
        if c0 | c1 | c2 | c3 != 0 {
            return None;
        }
        Some(Self {
            cluster: ClusterId(u16::from_be_bytes([cl0, cl1])),
            transceiver: TransceiverId(u32::from_be_bytes([t0, t1, t2, t3])),
            shard: ShardId(shard),
            expires: HintTime(u16::from_be_bytes([e0, e1])),
            session: SessionTag(u32::from_be_bytes([0, s0, s1, s2])),
        })
    }
}

/// What `decode` shows an operator. An id that is an IPv4 address in `resolve = "ipv4"` clusters is
/// shown both ways, since the hint alone does not tell.
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cluster {} transceiver {} ({}) shard {} expires {} session {:#08x}",
            self.cluster.0,
            self.transceiver.0,
            std::net::Ipv4Addr::from(self.transceiver.0),
            self.shard.0,
            self.expires.0,
            self.session.0,
        )
    }
}

/// The name of a routing key: the first character of every ufrag minted with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyChar(u8);

impl KeyChar {
    /// How many there are.
    pub const COUNT: usize = 62;

    /// From one of `0-9A-Za-z`.
    pub fn new(character: char) -> Option<Self> {
        base62::digit(u8::try_from(character).ok()?).map(Self)
    }

    /// From a number below [`KeyChar::COUNT`].
    pub(crate) const fn from_index(index: u8) -> Option<Self> {
        if (index as usize) < Self::COUNT { Some(Self(index)) } else { None }
    }

    /// The character.
    pub const fn as_char(self) -> char {
        base62::character(self.0) as char
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for KeyChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyChar({})", self.as_char())
    }
}

impl fmt::Display for KeyChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// Why a ufrag carries no hint for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum HintError {
    /// Not as long as ours are.
    #[error("a ufrag of another length than ours")]
    Length,
    /// A character outside `[0-9A-Za-z]`, or a text that stands for no 128-bit value.
    #[error("not the text of a hint")]
    Text,
    /// The key that its first character names is not in the keyring.
    #[error("minted with a key that is not in the keyring")]
    UnknownKey,
    /// It decrypts to a block with a wrong check: not minted with this key.
    #[error("not minted with the key it names")]
    Forged,
}

/// A ufrag of ours: characters of `[0-9A-Za-z]` only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ufrag([u8; UFRAG_CHARS]);

impl Ufrag {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Only base62 characters are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text as bytes.
    pub const fn as_bytes(&self) -> &[u8; UFRAG_CHARS] {
        &self.0
    }
}

impl fmt::Display for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ufrag's two parts, before any key is tried: the first character names the key.
#[inline]
pub(crate) fn split(ufrag: &[u8]) -> Result<(KeyChar, &[u8; base62::CHARS]), HintError> {
    let (&[first], text) = ufrag.split_first_chunk::<1>().ok_or(HintError::Length)?;
    let text: &[u8; base62::CHARS] = text.try_into().map_err(|_| HintError::Length)?;
    let key = base62::digit(first).map(KeyChar).ok_or(HintError::Text)?;
    Ok((key, text))
}

/// The AES key that hints are minted with.
#[derive(Clone)]
pub struct RoutingKey {
    secret: Secret<16>,
    /// The expanded key. It wipes itself when dropped.
    cipher: Aes128,
}

impl RoutingKey {
    /// Bytes of a key.
    pub const BYTES: usize = 16;

    /// Expands a key.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self { cipher: Aes128::new(&bytes.into()), secret: Secret::new(bytes) }
    }

    /// Mints the ufrag of a session.
    pub fn encode(&self, name: KeyChar, hint: Hint) -> Ufrag {
        let mut block = hint.to_block().into();
        self.cipher.encrypt_block(&mut block);
        let mut ufrag = [0; UFRAG_CHARS];
        ufrag[0] = base62::character(name.0);
        ufrag[1..].copy_from_slice(&base62::encode(u128::from_be_bytes(block.into())));
        Ufrag(ufrag)
    }

    /// Reads a hint's text, the ufrag less its first character.
    #[inline]
    pub(crate) fn decode(&self, text: &[u8; base62::CHARS]) -> Result<Hint, HintError> {
        let value = base62::decode(text).ok_or(HintError::Text)?;
        let mut block = value.to_be_bytes().into();
        self.cipher.decrypt_block(&mut block);
        Hint::from_block(&block.into()).ok_or(HintError::Forged)
    }
}

impl PartialEq for RoutingKey {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for RoutingKey {}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutingKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: KeyChar = KeyChar::from_index(10).unwrap();

    fn key() -> RoutingKey {
        RoutingKey::new(*b"0123456789abcdef")
    }

    fn decode(key: &RoutingKey, ufrag: &[u8]) -> Result<(KeyChar, Hint), HintError> {
        let (name, text) = split(ufrag)?;
        Ok((name, key.decode(text)?))
    }

    prop_compose! {
        fn any_hint()(cluster: u16, transceiver: u32, shard: u8, expires: u16, session: u32)
            -> Hint {
            Hint {
                cluster: ClusterId(cluster),
                transceiver: TransceiverId(transceiver),
                shard: ShardId(shard),
                expires: HintTime(expires),
                session: SessionTag::new(session),
            }
        }
    }

    #[test]
    fn each_field_survives_at_its_extremes() {
        let lowest = Hint {
            cluster: ClusterId(0),
            transceiver: TransceiverId(0),
            shard: ShardId(0),
            expires: HintTime(0),
            session: SessionTag::new(0),
        };
        for (name, hint) in [
            ("all zero", lowest),
            ("cluster", Hint { cluster: ClusterId(u16::MAX), ..lowest }),
            ("transceiver", Hint { transceiver: TransceiverId(u32::MAX), ..lowest }),
            ("shard", Hint { shard: ShardId(u8::MAX), ..lowest }),
            ("expires", Hint { expires: HintTime(u16::MAX), ..lowest }),
            ("session", Hint { session: SessionTag::new(SessionTag::COUNT - 1), ..lowest }),
        ] {
            let ufrag = key().encode(NAME, hint);
            assert_eq!(decode(&key(), ufrag.as_bytes()), Ok((NAME, hint)), "{name}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let hint = Hint {
            cluster: ClusterId(0x0405),
            transceiver: TransceiverId(0x0607_0809),
            shard: ShardId(0x0a),
            expires: HintTime(0x0b0c),
            session: SessionTag::new(0x000d_0e0f),
        };
        assert_eq!(hint.to_block(), [0, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    /// The ufrags in use all over a fleet must not change their meaning with a release. The text was
    /// computed apart from this code, with OpenSSL's AES-128-ECB.
    #[test]
    fn the_format_is_frozen() {
        let hint = Hint {
            cluster: ClusterId(1),
            transceiver: TransceiverId(0x0a00_0007),
            shard: ShardId(3),
            expires: HintTime(40_000),
            session: SessionTag::new(0x00ab_cdef),
        };
        assert_eq!(key().encode(NAME, hint).as_str(), "A4Vkl8lQzXqJTedM3OGBt21");
        assert_eq!(
            hint.to_string(),
            "cluster 1 transceiver 167772167 (10.0.0.7) shard 3 expires 40000 session 0xabcdef"
        );
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let ufrag = key().encode(NAME, Hint::from_block(&[0; 16]).unwrap());
        let text = ufrag.as_str().to_owned();
        let with = |at: usize, character: char| {
            let mut text = text.clone();
            text.replace_range(at..=at, &character.to_string());
            text
        };
        for (name, ufrag, want) in [
            ("empty", String::new(), HintError::Length),
            ("one short", text[..22].to_owned(), HintError::Length),
            ("one long", format!("{text}0"), HintError::Length),
            ("slash", with(5, '/'), HintError::Text),
            ("plus as the key's name", with(0, '+'), HintError::Text),
            ("beyond 128 bits", with(1, 'z'), HintError::Text),
            (
                "one character changed",
                with(22, if text.ends_with('0') { '1' } else { '0' }),
                HintError::Forged,
            ),
        ] {
            assert_eq!(decode(&key(), ufrag.as_bytes()), Err(want), "{name}");
        }
        let other_key = RoutingKey::new([7; 16]);
        assert_eq!(decode(&other_key, ufrag.as_bytes()), Err(HintError::Forged));
    }

    #[test]
    fn expiry_at_its_edges() {
        use Validity::{Expired, TooFarAhead, Valid};
        const LIFETIME: u16 = 675; // 12 h
        let skew = HintTime::SKEW_UNITS;
        for now in [0, 1, 100, 32_767, 32_768, 65_000, u16::MAX] {
            for (name, units_left, want) in [
                ("the last unit", 0, Valid),
                ("one unit over", -1, Expired),
                ("a full lifetime, rounded up", i32::from(LIFETIME) + 1, Valid),
                ("as far as clocks may be apart", i32::from(LIFETIME + 1 + skew), Valid),
                ("one unit more", i32::from(LIFETIME + 2 + skew), TooFarAhead),
                ("a day over", -1350, Expired),
                ("24 days over", -32_768, Expired),
                ("so long over that it seems to lie ahead", -32_769, TooFarAhead),
            ] {
                let expires = HintTime((i32::from(now) + units_left).rem_euclid(1 << 16) as u16);
                let hint = Hint { expires, ..Hint::from_block(&[0; 16]).unwrap() };
                assert_eq!(hint.validity(HintTime(now), LIFETIME), want, "{name}, now {now}");
            }
        }
    }

    #[test]
    fn a_lifetime_is_never_cut_short() {
        let unit = Duration::from_secs(HintTime::UNIT_SECONDS);
        for seconds in [0, 1, 63, 64, 65, 4_194_303, 4_194_304, 1_800_000_000] {
            let now = Duration::from_secs(seconds);
            for lifetime in [unit / 64, unit, unit * 675] {
                let expires = HintTime::after(now, lifetime);
                let end = HintTime::at(now + lifetime);
                assert!(expires.units_from(end) >= 0, "{seconds} s, {lifetime:?}");
                assert!(expires.units_from(end) <= 1, "{seconds} s, {lifetime:?}");
            }
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", key()), "RoutingKey(secret)");
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 16], name in 0u8..62, hint in any_hint()) {
            let (key, name) = (RoutingKey::new(bytes), KeyChar::from_index(name).unwrap());
            let ufrag = key.encode(name, hint);
            prop_assert!(ufrag.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            prop_assert_eq!(ufrag.as_str().len(), UFRAG_CHARS);
            prop_assert_eq!(decode(&key, ufrag.as_bytes()), Ok((name, hint)));
        }

        #[test]
        fn another_key_reads_nothing(a: [u8; 16], b: [u8; 16], hint in any_hint()) {
            prop_assume!(a != b);
            let ufrag = RoutingKey::new(a).encode(NAME, hint);
            prop_assert_eq!(decode(&RoutingKey::new(b), ufrag.as_bytes()), Err(HintError::Forged));
        }

        #[test]
        fn sessions_make_ufrags_that_share_nothing(hint in any_hint()) {
            let next = Hint { session: SessionTag::new(hint.session.value() + 1), ..hint };
            let (a, b) = (key().encode(NAME, hint), key().encode(NAME, next));
            let same = a.as_bytes()[1..].iter().zip(&b.as_bytes()[1..]).filter(|(a, b)| a == b);
            // 22 characters of 62 agree in 0.35 places on average; ten is beyond chance.
            prop_assert!(same.count() < 10);
        }
    }
}
