//! The sessions that synthetic flows pretend to have: minted with the deployment's own keyring, as
//! a transceiver would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::credentials::IcePwd;
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId, Ufrag};
use wire::keyring::Keyring;

/// The longest test, with room to spare.
const LIFETIME: Duration = Duration::from_hours(48);

/// Where the sessions are: which shards of which transceiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// How many shards it has.
    pub shards: u8,
}

/// What a client knows of its session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its ufrag.
    pub ufrag: Ufrag,
    /// Its password.
    pub password: IcePwd,
}

/// Mints sessions, shard by shard in turn.
#[derive(Debug, Clone)]
pub struct Sessions {
    keyring: Keyring,
    place: Place,
    next: u32,
}

impl Sessions {
    /// Sessions at a place, numbered from some number on: two minters start far apart.
    #[must_use]
    pub fn new(keyring: Keyring, place: Place, first: u32) -> Self {
        Self { keyring, place, next: first }
    }

    /// One more session.
    pub fn mint(&mut self) -> Session {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shard = self.next % u32::from(self.place.shards.max(1));
        let hint = Hint {
            cluster: self.place.cluster,
            transceiver: self.place.transceiver,
            // A remainder of a u8.
            shard: ShardId(u8::try_from(shard).unwrap_or(0)),
            expires: HintTime::after(now, LIFETIME),
            session: SessionTag::new(self.next),
        };
        self.next = self.next.wrapping_add(1);
        let (ufrag, password) = self.keyring.mint(hint);
        Session { ufrag, password }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_go_round_the_shards_and_none_is_like_another() {
        let text = wire::keyring::generate(|bytes| -> Result<(), ()> {
            bytes.fill(7);
            Ok(())
        });
        let keyring = Keyring::parse(&text.unwrap()).unwrap();
        let place = Place { cluster: ClusterId(3), transceiver: TransceiverId(9), shards: 2 };
        let mut sessions = Sessions::new(keyring.clone(), place, 0xff_fffe);
        let mut seen = std::collections::HashSet::new();
        for index in 0..10u8 {
            let session = sessions.mint();
            let hint = keyring.decode(session.ufrag.as_bytes()).unwrap();
            assert_eq!((hint.cluster, hint.transceiver), (place.cluster, place.transceiver));
            assert_eq!(hint.shard, ShardId(index % 2));
            assert!(seen.insert(session.ufrag.to_string()));
        }
    }
}
