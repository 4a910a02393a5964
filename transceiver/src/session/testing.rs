//! What tests of sessions and of shards both need.

use super::Path;
use crate::backend::{Backends, Board, Invitation};
use crate::call::CallId;
use crate::negotiation::{Credentials, Negotiator, Offer, Role};
use crate::shard::Opening;
use std::time::Instant;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;

pub(crate) fn keyring() -> Keyring {
    Keyring::parse(include_str!("../../../wire/tests/keyrings/new.toml")).unwrap()
}

pub(crate) fn credentials(session: u32) -> Credentials {
    let (ufrag, pwd) = keyring().mint(Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(2),
        shard: ShardId(0),
        expires: HintTime(1),
        session: SessionTag::new(session),
    });
    Credentials { ufrag, pwd }
}

/// The relay that answers name.
pub(crate) const INGRESS: &str = "203.0.113.1:3478";

/// All that opening a call takes, for an offer.
pub(crate) fn opening(
    offer: &str,
    session: u32,
    backends: &dyn Backends,
    now: Instant,
) -> (Opening, String) {
    let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
    let credentials = credentials(session);
    let ingress = [INGRESS.parse().unwrap()];
    let negotiated =
        Negotiator::new().unwrap().accept(&offer, &credentials, &ingress, now).unwrap();
    let answer = negotiated.answer.clone();
    let tag = SessionTag::new(session);
    let mut random = [0; 14];
    random[..4].copy_from_slice(&session.to_be_bytes());
    let id = CallId::new(ShardId(0), random);
    let bell = Board::new(None).bell(tag);
    let invitation = Invitation { id, session: None, bell, now };
    let opening = Opening {
        id,
        tag,
        credentials,
        expires_at: 0,
        offer,
        negotiated,
        backend: backends.invite(invitation).unwrap(),
        backend_name: backends.name(),
        received: now,
    };
    (opening, answer)
}

/// A client by its port.
pub(crate) fn path(client: u16) -> Path {
    let address = Address::new([198, 51, 100, 7].into(), client);
    let client = Client { address, listener: ListenerId(0), transport: Transport::Udp };
    Path { relay: ([10, 0, 0, 1], 3500).into(), client }
}
