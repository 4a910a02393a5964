//! Our STUN parser held against the one that terminates the sessions behind us. One property, for
//! the tests and for the fuzz target.

use wire::demux::PacketClass;
use wire::stun::{Kind, Message, StunError, USERNAME_BYTES_MAX};

/// Whatever str0m takes as a check, we must route, and by the same name. Three exceptions, all on
/// purpose: a first byte that is not STUN's, which never reaches a STUN parser; a second USERNAME;
/// and a USERNAME longer than RFC 8489 allows.
///
/// Returns whether str0m took it.
pub(crate) fn agrees_with_str0m(datagram: &[u8]) -> bool {
    if PacketClass::of(datagram) != PacketClass::Stun {
        return false;
    }
    let Ok(theirs) = str0m::ice::StunMessage::parse(datagram) else { return false };
    if !theirs.is_binding_request() {
        return false;
    }
    let Some((ufrag, _)) = theirs.split_username() else { return false };
    match Message::parse(datagram) {
        Ok(ours) => {
            assert_eq!(ours.kind(), Kind::BindingRequest);
            assert_eq!(ours.ufrag(), Some(ufrag.as_bytes()));
            assert_eq!(ours.use_candidate(), theirs.use_candidate());
            assert!(ours.has_integrity());
        }
        Err(StunError::TwoUsernames) => {}
        Err(StunError::AttributeLength) => {
            assert!(theirs.username().is_some_and(|name| name.len() > USERNAME_BYTES_MAX));
        }
        Err(error) => panic!("str0m takes it, we refuse it: {error}"),
    }
    true
}
