//! The bodies of the fuzz targets. The targets themselves, in `/fuzz`, only call these; so the
//! bodies compile with every build, and tests replay the committed corpora through them.

use crate::demux::PacketClass;
use crate::frame::Frames;
use crate::hint::{HintTime, KeyChar};
use crate::keyring::Keyring;
use crate::stun::Message;
use crate::tunnel::{Content, Direction, OVERHEAD_BYTES, Opener, SenderId};
use std::sync::OnceLock;

fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| {
        Keyring::parse(include_str!("../tests/keyrings/both.toml"))
            .expect("the test keyring parses")
    })
}

/// Any datagram on the public port: classified, parsed, its hint read, its integrity checked.
pub fn stun(bytes: &[u8]) {
    let _ = PacketClass::of(bytes);
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let _ = message.kind();
    let _ = message.fingerprint();
    let _ = message.xor_mapped_address();
    let _ = message.verify_integrity(b"password");
    if let Some(username) = message.username() {
        let range = bytes.as_ptr_range();
        assert!(range.contains(&username.as_ptr()) || username.is_empty());
    }
    if let Some(ufrag) = message.ufrag() {
        assert!(!ufrag.contains(&b':'));
        let _ = keyring().decode(ufrag);
        let _ = keyring().proves_answer_seen(ufrag, &message);
    }
}

/// Any text as a ufrag. What decodes must be what encodes to it.
pub fn hint(bytes: &[u8]) {
    if let Ok(hint) = keyring().decode(bytes) {
        let _ = hint.to_string();
        let _ = hint.validity(HintTime(0), HintTime::LIFETIME_UNITS_MAX);
        let name = KeyChar::new(char::from(bytes[0])).expect("it was decoded with that key");
        let entry = keyring().routing_entries().iter().find(|entry| entry.id == name);
        let key = &entry.expect("it was decoded with that key").key;
        assert_eq!(key.encode(name, hint).as_bytes().as_slice(), bytes);
    }
}

/// Any datagram on the tunnel's port; and any content that an authentic sender may have sealed.
pub fn tunnel(bytes: &[u8]) {
    let mut opener = Opener::new(Direction::ToShard, keyring(), 2);
    let mut stranger = bytes.to_vec();
    assert!(opener.open(&mut stranger).is_err(), "authentic without the secret");

    for payloads in [true, false] {
        if let Ok(frames) = Frames::check(bytes, payloads) {
            let mut covered = 0;
            for frame in frames {
                assert_eq!(frame.payload.is_empty(), !payloads);
                covered += crate::frame::bytes(&frame.client, frame.payload);
            }
            // An IPv4-mapped address is written shorter than it came.
            assert!(covered > 0 && covered <= bytes.len());
        }
    }

    let Some((&kind, content)) = bytes.split_first() else {
        return;
    };
    let mut sealer = keyring().sealer(Direction::ToShard, SenderId([1; 8]));
    let mut datagram = vec![0; OVERHEAD_BYTES + content.len()];
    let end = datagram.len() - crate::tunnel::TAG_BYTES;
    datagram[crate::tunnel::HEADER_BYTES..end].copy_from_slice(content);
    sealer.seal_raw(kind, &mut datagram, end);
    let mut replayed = datagram.clone();
    if let Ok(opened) = opener.open(&mut datagram) {
        assert!(opened.first_contact);
        match opened.content {
            Content::Data(frames) => assert!(frames.count() > 0),
            Content::Gone(frames) => assert!(frames.count() > 0),
            Content::Ping(token) | Content::Pong(token) => {
                assert_eq!(content, token.to_be_bytes());
            }
        }
    }
    assert!(opener.open(&mut replayed).is_err(), "taken twice");
}

/// Any text as a keyring.
pub fn keyring_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Keyring::parse(text) {
        Ok(keyring) => {
            let _ = format!("{keyring:?}");
            assert!(!keyring.routing_entries().is_empty());
            assert!(!keyring.tunnel_entries().is_empty());
        }
        Err(error) => {
            assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1);
            assert!(!error.reason.is_empty());
        }
    }
}
