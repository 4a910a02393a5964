//! Whatever str0m takes as a check with a USERNAME, ours must route by the same name. The same
//! property as in `wire/tests/corpora.rs`, which replays this target's corpus.
#![no_main]

use wire::stun::{Message, StunError};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(theirs) = str0m::ice::StunMessage::parse(bytes) else {
        return;
    };
    let Some((ufrag, _)) = theirs.split_username() else {
        return;
    };
    if !theirs.is_binding_request() {
        return;
    }
    match Message::parse(bytes) {
        Ok(ours) => {
            assert_eq!(ours.ufrag(), Some(ufrag.as_bytes()));
            assert_eq!(ours.use_candidate(), theirs.use_candidate());
        }
        Err(StunError::TwoUsernames) => {}
        Err(StunError::AttributeLength) => {
            assert!(theirs.username().is_some_and(|name| name.len() > 508));
        }
        Err(error) => panic!("str0m takes it, we refuse it: {error}"),
    }
});
