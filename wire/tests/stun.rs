//! STUN against what others made: the vectors of RFC 5769 and packets of real clients.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod captures;

use captures::captures;
use wire::address::Address;
use wire::demux::PacketClass;
use wire::stun::{Encoder, HEADER_BYTES, IntegrityError, Kind, Message, StunError};

/// The ufrag of the answer that all captured clients had seen.
const UFRAG: &[u8] = b"ARq7Xk2mT9vB4cL8wZ3nH6p";
/// The password that stood with it.
const PASSWORD: &[u8] = b"d0Yc7uV1sQ5eJ8rK2hG6fM4bN9tA";

const RFC5769_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const RFC5769_TRANSACTION: [u8; 12] = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

/// RFC 5769 section 2.1.
const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\
    \xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\
    \x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\
    \xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

/// RFC 5769 section 2.2.
const RESPONSE_IPV4: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
    \xfa\x87\xdf\xae\x80\x22\x00\x0btest vector \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\
    \xd7\x80\x28\x00\x04\xc0\x7d\x4c\x96";

/// RFC 5769 section 2.3.
const RESPONSE_IPV6: &[u8] = b"\x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
    \xfa\x87\xdf\xae\x80\x22\x00\x0btest vector \x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\
    \xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\
    \xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\x80\x28\x00\x04\xc8\xfb\x0b\x4c";

fn address(text: &str) -> Address {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

#[test]
fn rfc_5769_vectors() {
    let mapped_v6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
    for (name, bytes, kind, username, mapped) in [
        ("request", REQUEST, Kind::BindingRequest, Some(&b"evtj:h6vY"[..]), None),
        ("IPv4 response", RESPONSE_IPV4, Kind::BindingSuccess, None, Some("192.0.2.1:32853")),
        ("IPv6 response", RESPONSE_IPV6, Kind::BindingSuccess, None, Some(mapped_v6)),
    ] {
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.kind(), kind, "{name}");
        assert_eq!(message.transaction(), RFC5769_TRANSACTION, "{name}");
        assert_eq!(message.username(), username, "{name}");
        assert_eq!(message.xor_mapped_address(), mapped.map(address), "{name}");
        assert_eq!(message.verify_integrity(RFC5769_PASSWORD), Ok(()), "{name}");
        assert_eq!(message.fingerprint(), Some(true), "{name}");
        assert_eq!(message.verify_integrity(b"another"), Err(IntegrityError::Wrong), "{name}");
    }
    assert_eq!(Message::parse(REQUEST).unwrap().ufrag(), Some(&b"evtj"[..]));
}

/// Each bit of the request is protected by something: the header checks, the attribute walk,
/// MESSAGE-INTEGRITY, or FINGERPRINT.
#[test]
fn each_changed_bit_of_a_request_is_noticed() {
    for bit in 0..REQUEST.len() * 8 {
        let mut changed = REQUEST.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(message) = Message::parse(&changed) {
            let whole = message.verify_integrity(RFC5769_PASSWORD).is_ok()
                && message.fingerprint() == Some(true);
            assert!(!whole, "bit {bit} changed and nobody noticed");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for length in 0..REQUEST.len() {
        let want =
            if length < HEADER_BYTES { StunError::TooShort } else { StunError::LengthMismatch };
        assert_eq!(Message::parse(&REQUEST[..length]).unwrap_err(), want, "{length} bytes");
    }
    let longer = [REQUEST, &[0]].concat();
    assert_eq!(Message::parse(&longer).unwrap_err(), StunError::LengthMismatch);
}

#[test]
fn each_header_check_has_its_own_error() {
    let with = |at: usize, byte: u8| {
        let mut bytes = REQUEST.to_vec();
        bytes[at] = byte;
        bytes
    };
    for (name, bytes, want) in [
        ("the two high bits", with(0, 0x80), StunError::NotStun),
        ("the cookie", with(4, 0x22), StunError::WrongCookie),
        ("an odd length", with(3, 0x57), StunError::LengthUnaligned),
        ("a shorter length", with(3, 0x54), StunError::LengthMismatch),
        ("an attribute beyond the end", with(23, 0xff), StunError::AttributeOverrun),
        (
            "an attribute one word beyond the end",
            {
                let mut bytes = REQUEST.to_vec();
                let last = bytes.len() - 5;
                bytes[last] = 5;
                bytes
            },
            StunError::AttributeOverrun,
        ),
        ("an integrity of 16 bytes", with(79, 16), StunError::AttributeLength),
    ] {
        assert_eq!(Message::parse(&bytes).unwrap_err(), want, "{name}");
    }
}

#[test]
fn what_is_not_protected_is_not_read() {
    let mut buffer = [0; 256];
    let message = Encoder::new(&mut buffer, Kind::BindingRequest, RFC5769_TRANSACTION)
        .and_then(|message| message.integrity(b"pwd"))
        .and_then(|message| message.username(b"smuggled", b"x"))
        .and_then(Encoder::use_candidate)
        .unwrap()
        .finish();
    let message = Message::parse(message).unwrap();
    assert_eq!(message.username(), None);
    assert!(!message.use_candidate());
    assert_eq!(message.verify_integrity(b"pwd"), Ok(()));
}

#[test]
fn two_usernames_are_refused() {
    let mut buffer = [0; 256];
    let message = Encoder::new(&mut buffer, Kind::BindingRequest, RFC5769_TRANSACTION)
        .and_then(|message| message.username(b"one", b"x"))
        .and_then(|message| message.username(b"two", b"x"))
        .unwrap()
        .finish();
    assert_eq!(Message::parse(message).unwrap_err(), StunError::TwoUsernames);
}

#[test]
fn usernames_at_their_edges() {
    for (name, username, ufrag) in [
        ("empty", &b""[..], None),
        ("no colon", b"abcdef", None),
        ("only a colon", b":", Some(&b""[..])),
        ("nothing behind the colon", b"abcd:", Some(b"abcd")),
        ("two colons: the first counts", b"ab:cd:ef", Some(b"ab")),
        ("not UTF-8", b"\xff\xfe:x", Some(b"\xff\xfe")),
    ] {
        let mut buffer = [0; 256];
        let message = Encoder::new(&mut buffer, Kind::BindingRequest, RFC5769_TRANSACTION)
            .and_then(|message| message.other(0x0006, username))
            .unwrap()
            .finish();
        let message = Message::parse(message).unwrap();
        assert_eq!(message.username(), Some(username), "{name}");
        assert_eq!(message.ufrag(), ufrag, "{name}");
    }
    for (length, want) in [(508, None), (509, Some(StunError::AttributeLength))] {
        let mut buffer = [0; 1024];
        let message = Encoder::new(&mut buffer, Kind::BindingRequest, RFC5769_TRANSACTION)
            .and_then(|message| message.other(0x0006, &vec![b'u'; length]))
            .unwrap()
            .finish();
        assert_eq!(Message::parse(message).err(), want, "{length} bytes");
    }
}

#[test]
fn captured_checks_of_real_clients() {
    let mut checks = 0;
    for capture in captures().iter().filter(|capture| capture.is_check()) {
        let name = &capture.name;
        assert_eq!(PacketClass::of(&capture.bytes), PacketClass::Stun, "{name}");
        let message =
            Message::parse(&capture.bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.kind(), Kind::BindingRequest, "{name}");
        assert_eq!(message.ufrag(), Some(UFRAG), "{name}");
        assert_eq!(message.verify_integrity(PASSWORD), Ok(()), "{name}");
        assert_eq!(message.verify_integrity(&PASSWORD[1..]), Err(IntegrityError::Wrong), "{name}");
        assert_eq!(message.fingerprint(), Some(true), "{name}");
        if name.contains("use-candidate") {
            assert!(message.use_candidate(), "{name}");
        }
        if name.contains("firefox") && name.contains("consent") {
            assert!(!message.use_candidate(), "Firefox checks consent without USE-CANDIDATE");
        }
        checks += 1;
    }
    assert!(checks >= 10, "only {checks} captured checks were found");
}

#[test]
fn a_captured_goog_ping_goes_by_the_flow() {
    let all = captures();
    let ping = all.iter().find(|capture| capture.name.contains("goog-ping")).unwrap();
    let message = Message::parse(&ping.bytes).unwrap();
    assert_eq!(message.kind(), Kind::GoogPing);
    assert_eq!(message.username(), None);
    assert!(!message.has_integrity(), "its integrity is of another type, 32 bits long");
}

#[test]
fn captured_client_hellos_are_dtls() {
    let all = captures();
    let hellos: Vec<_> = all.iter().filter(|c| c.name.contains("client-hello")).collect();
    assert_eq!(hellos.len(), 4);
    for hello in hellos {
        assert_eq!(PacketClass::of(&hello.bytes), PacketClass::Dtls, "{}", hello.name);
        assert!(Message::parse(&hello.bytes).is_err(), "{}", hello.name);
    }
}

mod round_trips {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn requests(
            transaction: [u8; 12],
            receiver in "[0-9A-Za-z]{4,60}",
            sender in "[0-9A-Za-z+/]{4,60}",
            priority: u32,
            tie_breaker: u64,
            nominate: bool,
            password in prop::collection::vec(any::<u8>(), 1..80),
        ) {
            let mut buffer = [0; 512];
            let request = Encoder::new(&mut buffer, Kind::BindingRequest, transaction)
                .and_then(|request| request.username(receiver.as_bytes(), sender.as_bytes()))
                .and_then(|request| request.priority(priority))
                .and_then(|request| request.ice_controlling(tie_breaker))
                .and_then(|request| if nominate { request.use_candidate() } else { Ok(request) })
                .and_then(|request| request.integrity(&password))
                .and_then(Encoder::fingerprint)
                .unwrap()
                .finish();
            let message = Message::parse(request).unwrap();
            prop_assert_eq!(message.kind(), Kind::BindingRequest);
            prop_assert_eq!(message.transaction(), transaction);
            prop_assert_eq!(message.ufrag(), Some(receiver.as_bytes()));
            prop_assert_eq!(message.use_candidate(), nominate);
            prop_assert_eq!(message.verify_integrity(&password), Ok(()));
            prop_assert_eq!(message.fingerprint(), Some(true));

            // What the terminator behind us reads must be the same.
            let theirs = str0m::ice::StunMessage::parse(request).unwrap();
            prop_assert_eq!(theirs.split_username(), Some((&*receiver, &*sender)));
            prop_assert_eq!(theirs.prio(), Some(priority));
            prop_assert_eq!(theirs.use_candidate(), nominate);
        }

        #[test]
        fn responses(transaction: [u8; 12], client: SocketAddr, password: [u8; 24]) {
            let mut buffer = [0; 512];
            let response = Encoder::new(&mut buffer, Kind::BindingSuccess, transaction)
                .and_then(|response| response.xor_mapped_address(client.into()))
                .and_then(|response| response.integrity(&password))
                .and_then(Encoder::fingerprint)
                .unwrap()
                .finish();
            let message = Message::parse(response).unwrap();
            prop_assert_eq!(message.kind(), Kind::BindingSuccess);
            prop_assert_eq!(message.xor_mapped_address(), Some(client.into()));
            prop_assert_eq!(message.verify_integrity(&password), Ok(()));
        }

        #[test]
        fn a_buffer_too_small_is_an_error(room in 0usize..120) {
            let mut buffer = vec![0; room];
            let whole = Encoder::new(&mut buffer, Kind::BindingRequest, [0; 12])
                .and_then(|request| request.username(b"abcdefgh", b"ijkl"))
                .and_then(|request| request.integrity(b"password"))
                .and_then(Encoder::fingerprint);
            prop_assert_eq!(whole.is_ok(), room >= 20 + 20 + 24 + 8);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            wire::fuzz::stun(&bytes);
        }
    }
}
