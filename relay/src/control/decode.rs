//! What a ufrag says: for `decode` on a terminal with the key file, and for `ctl decode` with the
//! running relay's keys.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;
use wire::hint::{HintError, HintTime, Ufrag, Validity};
use wire::keyring::{Keyring, RoutingEntry, State};

/// A decoded ufrag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded {
    /// The routing key that it was minted with.
    pub key: char,
    /// Whether that key mints new ufrags (`use`), or is only recognised (`accept`).
    pub key_state: String,
    /// Which cluster, by number.
    pub cluster: u16,
    /// Which transceiver, by number.
    pub transceiver: u32,
    /// The same number as an address, for clusters in which it is one.
    pub transceiver_as_address: Ipv4Addr,
    /// Which of the transceiver's threads.
    pub shard: u8,
    /// Which of the shard's sessions.
    pub session: u32,
    /// The moment after which it makes no new flows, in seconds since 1970.
    pub expires_at: u64,
    /// Seconds from now until then; negative if it has passed.
    pub expires_in: i64,
    /// Whether it makes new flows now.
    pub validity: Judgement,
}

/// Whether a hint makes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It does.
    Valid,
    /// Its time is over.
    Expired,
    /// It ends later than any hint may.
    TooFarAhead,
}

/// Why a ufrag was not decoded, in words for whoever typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable(pub String);

impl std::error::Error for Undecodable {}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a ufrag at a moment, given as the time since 1970.
pub fn decode(keyring: &Keyring, ufrag: &str, now: Duration) -> Result<Decoded, Undecodable> {
    let hint = keyring
        .decode(ufrag.as_bytes())
        .map_err(|error| Undecodable(explain(keyring, ufrag, error)))?;
    let entry = entry_of(keyring, ufrag)
        .ok_or_else(|| Undecodable("the keyring changed meanwhile".to_owned()))?;
    let units_now = now.as_secs() / HintTime::UNIT_SECONDS;
    // Serial-number arithmetic, as the hint's own validity: right within 24 days.
    let left = hint.expires.0.wrapping_sub(HintTime::at(now).0).cast_signed();
    // The unit that it names is the last in which it is good.
    let units = units_now.saturating_add_signed(i64::from(left) + 1);
    let expires_at = units * HintTime::UNIT_SECONDS;
    Ok(Decoded {
        key: entry.id.as_char(),
        key_state: match entry.state {
            State::Use => "use".to_owned(),
            State::Accept => "accept".to_owned(),
        },
        cluster: hint.cluster.0,
        transceiver: hint.transceiver.0,
        transceiver_as_address: hint.transceiver.0.into(),
        shard: hint.shard.0,
        session: hint.session.value(),
        expires_at,
        expires_in: expires_at.cast_signed() - now.as_secs().cast_signed(),
        validity: match hint.validity(HintTime::at(now), HintTime::LIFETIME_UNITS_MAX) {
            Validity::Valid => Judgement::Valid,
            Validity::Expired => Judgement::Expired,
            Validity::TooFarAhead => Judgement::TooFarAhead,
        },
    })
}

/// The routing entry that a ufrag names.
pub(super) fn entry_of<'a>(keyring: &'a Keyring, ufrag: &str) -> Option<&'a RoutingEntry> {
    let name = ufrag.chars().next()?;
    keyring.routing_entries().iter().find(|entry| entry.id.as_char() == name)
}

/// The ufrag as the type that passwords are derived from, if it is one of ours.
pub(super) fn minted(keyring: &Keyring, ufrag: &str) -> Option<(Ufrag, RoutingEntry)> {
    let hint = keyring.decode(ufrag.as_bytes()).ok()?;
    let entry = entry_of(keyring, ufrag)?;
    // A hint's text is a permutation of its fields: encoding again gives the very same text.
    Some((entry.key.encode(entry.id, hint), entry.clone()))
}

fn explain(keyring: &Keyring, ufrag: &str, error: HintError) -> String {
    let known: String = keyring.routing_entries().iter().map(|entry| entry.id.as_char()).collect();
    match error {
        HintError::Length => format!(
            "this text has {} characters; a Ringway ufrag has {}",
            ufrag.chars().count(),
            wire::hint::UFRAG_CHARS
        ),
        HintError::Text => {
            "not the text of a hint: a character other than 0-9, A-Z, a-z, or a number too large"
                .to_owned()
        }
        HintError::UnknownKey => format!(
            "minted with the key {}, which is not in the keyring (it has: {known})",
            ufrag.chars().next().unwrap_or('?')
        ),
        HintError::Forged => format!(
            "not minted with the key {} of this keyring: from another deployment, or made up",
            ufrag.chars().next().unwrap_or('?')
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hint::{ClusterId, Hint, SessionTag, ShardId, TransceiverId};

    fn keyring() -> Keyring {
        let mut next = 0;
        let text = wire::keyring::generate(|bytes: &mut [u8]| {
            next += 1;
            bytes.fill(next);
            Ok::<_, ()>(())
        });
        Keyring::parse(&text.unwrap()).unwrap()
    }

    fn hint(expires: HintTime) -> Hint {
        Hint {
            cluster: ClusterId(4),
            transceiver: TransceiverId(0x0a00_0001),
            shard: ShardId(2),
            expires,
            session: SessionTag::new(77),
        }
    }

    #[test]
    fn fields_and_expiry() {
        let keyring = keyring();
        let now = Duration::from_secs(1_800_000_000);
        let table = [
            (Duration::from_hours(12), Judgement::Valid),
            (Duration::ZERO, Judgement::Valid),
            (Duration::from_hours(24 * 20), Judgement::TooFarAhead),
        ];
        for (lifetime, judgement) in table {
            let expires = HintTime::after(now, lifetime);
            let (ufrag, _) = keyring.mint(hint(expires));
            let decoded = decode(&keyring, ufrag.as_str(), now).unwrap();
            assert_eq!((decoded.key, decoded.key_state.as_str()), ('A', "use"));
            assert_eq!((decoded.cluster, decoded.shard, decoded.session), (4, 2, 77));
            assert_eq!(decoded.transceiver_as_address.to_string(), "10.0.0.1");
            assert_eq!(decoded.validity, judgement);
            let least = i64::try_from(lifetime.as_secs()).unwrap();
            assert!((least..=least + 128).contains(&decoded.expires_in), "{decoded:?}");
            let later = Duration::from_secs(decoded.expires_at);
            let expired = decode(&keyring, ufrag.as_str(), later).unwrap();
            assert_eq!((expired.validity, expired.expires_in), (Judgement::Expired, 0));
            let before = decode(&keyring, ufrag.as_str(), later - Duration::from_secs(1)).unwrap();
            assert_eq!((before.validity, before.expires_in), (Judgement::Valid, 1));
        }
    }

    #[test]
    fn why_not() {
        let keyring = keyring();
        let table = [
            ("short", "this text has 5 characters; a Ringway ufrag has 23"),
            ("A!00000000000000000000", "this text has 22 characters"),
            ("A!000000000000000000000", "not the text of a hint"),
            ("B0000000000000000000000", "with the key B, which is not in the keyring (it has: A)"),
            ("A0000000000000000000000", "not minted with the key A of this keyring"),
        ];
        for (ufrag, reason) in table {
            let error = decode(&keyring, ufrag, Duration::ZERO).unwrap_err().to_string();
            assert!(error.contains(reason), "{ufrag}: {error}");
        }
    }

    #[test]
    fn a_minted_ufrag_is_found_again() {
        let keyring = keyring();
        let (ufrag, pwd) = keyring.mint(hint(HintTime(9)));
        let (found, entry) = minted(&keyring, ufrag.as_str()).unwrap();
        assert_eq!(found, ufrag);
        assert_eq!(entry.credential.ice_pwd(&found).as_str(), pwd.as_str());
        assert!(minted(&keyring, "A0000000000000000000000").is_none());
        assert!(minted(&keyring, "").is_none());
    }
}
