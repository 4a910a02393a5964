//! Sealing and opening, from both ends.

use super::*;
use crate::address::Address;
use crate::frame::{Client, FrameError, ListenerId, Transport};
use crate::keyring::Keyring;
use proptest::prelude::*;

const KEYRING: &str = include_str!("../../tests/keyrings/both.toml");
const ACCEPTED: u8 = 1;
const USED: u8 = 2;

fn keyring() -> Keyring {
    Keyring::parse(KEYRING).unwrap()
}

fn sealer(sender: u8) -> Sealer {
    keyring().sealer(Direction::ToShard, SenderId([sender; 8]))
}

fn opener() -> Opener {
    Opener::new(Direction::ToShard, &keyring(), 4)
}

fn client(last: u8) -> Client {
    Client {
        address: Address::new([192, 0, 2, last].into(), 5000),
        listener: ListenerId(0),
        transport: Transport::Udp,
    }
}

fn data(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut bundle = Bundle::new(1472, 2048);
    bundle.append(&client(1), payload).unwrap();
    sealer.seal_data(&mut bundle).unwrap().to_vec()
}

/// The payloads in a data datagram, or why it was not taken.
fn payloads(opener: &mut Opener, datagram: &[u8]) -> Result<Vec<Vec<u8>>, OpenError> {
    let mut datagram = datagram.to_vec();
    match opener.open(&mut datagram)?.content {
        Content::Data(frames) => Ok(frames.map(|frame| frame.payload.to_vec()).collect()),
        other => panic!("not data: {other:?}"),
    }
}

#[test]
fn the_header_is_the_documented_one() {
    let mut sealer = sealer(7);
    data(&mut sealer, b"first");
    let second = data(&mut sealer, b"second");
    assert_eq!(second[..2], [0x10, USED]);
    assert_eq!(second[2..10], [7; 8]);
    assert_eq!(second[10..16], [0, 0, 0, 0, 0, 1]);
    assert_eq!(second.len(), OVERHEAD_BYTES + 10 + b"second".len());
}

#[test]
fn every_kind_arrives_as_what_it_is() {
    let (mut sealer, mut opener) = (sealer(7), opener());
    assert_eq!(payloads(&mut opener, &data(&mut sealer, b"hello")).unwrap(), [b"hello"]);

    let mut ping = sealer.seal_ping(u64::MAX).unwrap();
    assert!(matches!(opener.open(&mut ping).unwrap().content, Content::Ping(u64::MAX)));
    let mut pong = sealer.seal_pong(1).unwrap();
    assert!(matches!(opener.open(&mut pong).unwrap().content, Content::Pong(1)));

    let about = About { boot: 77, draining: true };
    let mut ping = sealer.seal_ping_about(2, about).unwrap();
    assert_eq!(opener.open(&mut ping).unwrap().about, about);
    let mut pong = sealer.seal_pong_about(2, about).unwrap();
    assert_eq!(opener.open(&mut pong).unwrap().about, about);

    let mut bundle = Bundle::new(1472, 0);
    bundle.append(&client(1), b"").unwrap();
    bundle.append(&client(2), b"").unwrap();
    let mut gone = sealer.seal_gone(&mut bundle).unwrap().to_vec();
    let Content::Gone(frames) = opener.open(&mut gone).unwrap().content else { panic!() };
    assert_eq!(frames.map(|frame| frame.client).collect::<Vec<_>>(), [client(1), client(2)]);
}

#[test]
fn a_sender_is_new_once() {
    let (mut sealer, mut opener) = (sealer(7), opener());
    for first_contact in [true, false, false] {
        let mut datagram = data(&mut sealer, b"x");
        let opened = opener.open(&mut datagram).unwrap();
        assert_eq!(opened.first_contact, first_contact);
        assert_eq!(opened.sender, SenderId([7; 8]));
    }
}

#[test]
fn each_changed_bit_is_noticed() {
    let datagram = data(&mut sealer(7), b"payload");
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = payloads(&mut opener(), &changed).unwrap_err();
        let want = match bit {
            4..8 => OpenError::UnknownVersion,
            2 | 3 => OpenError::UnknownKind,
            // Key 2 with its lowest two bits flipped is 3 or 0; no other id is in the keyring.
            8..16 => OpenError::UnknownKey,
            _ => OpenError::Forged,
        };
        assert_eq!(refused, want, "bit {bit}");
    }
}

#[test]
fn each_length_but_the_right_one_is_refused() {
    let datagram = data(&mut sealer(7), b"payload");
    for length in 0..datagram.len() {
        let refused = payloads(&mut opener(), &datagram[..length]).unwrap_err();
        let short = length < OVERHEAD_BYTES;
        let want = if short { OpenError::TooShort } else { OpenError::Forged };
        assert_eq!(refused, want, "{length} bytes");
    }
    let longer = [&datagram[..], &[0]].concat();
    assert_eq!(payloads(&mut opener(), &longer), Err(OpenError::Forged));
}

#[test]
fn the_wrong_direction_is_not_authentic() {
    let reflected = data(&mut sealer(7), b"x");
    let mut relay = Opener::new(Direction::ToRelay, &keyring(), 4);
    assert_eq!(payloads(&mut relay, &reflected), Err(OpenError::Forged));
}

#[test]
fn an_accepted_key_opens_and_a_dropped_one_does_not() {
    let entry = keyring().tunnel_entries().iter().find(|entry| entry.id.0 == ACCEPTED).cloned();
    let entry = entry.unwrap();
    let mut old = Sealer::new(&entry.secret, entry.id, Direction::ToShard, SenderId([7; 8]));
    let mut opener = opener();
    assert!(payloads(&mut opener, &data(&mut old, b"x")).is_ok());

    let new_only = Keyring::parse(include_str!("../../tests/keyrings/new.toml")).unwrap();
    opener.reload(&new_only);
    assert_eq!(opener.senders(), 0);
    assert_eq!(payloads(&mut opener, &data(&mut old, b"x")), Err(OpenError::UnknownKey));
}

#[test]
fn a_reload_keeps_the_windows_of_senders_whose_key_stays() {
    let (mut sealer, mut opener) = (sealer(7), opener());
    let datagram = data(&mut sealer, b"x");
    payloads(&mut opener, &datagram).unwrap();
    opener.reload(&Keyring::parse(include_str!("../../tests/keyrings/new.toml")).unwrap());
    assert_eq!(payloads(&mut opener, &datagram), Err(OpenError::Replayed));
}

#[test]
fn replays_and_reordering() {
    let (mut sealer, mut opener) = (sealer(7), opener());
    let datagrams: Vec<_> = (0..1500).map(|_| data(&mut sealer, b"x")).collect();
    for (name, index, want) in [
        ("the newest first", 1400, None),
        ("again", 1400, Some(OpenError::Replayed)),
        ("reordered inside the window", 1399, None),
        ("that again", 1399, Some(OpenError::Replayed)),
        ("the oldest inside the window", 1400 - 1023, None),
        ("one older", 1400 - 1024, Some(OpenError::TooOld)),
        ("the very first", 0, Some(OpenError::TooOld)),
        ("a new one", 1499, None),
    ] {
        assert_eq!(payloads(&mut opener, &datagrams[index]).err(), want, "{name}");
    }
}

#[test]
fn a_forgery_does_not_move_the_window() {
    let (mut sealer, mut opener) = (sealer(7), opener());
    let genuine = data(&mut sealer, b"x");
    payloads(&mut opener, &data(&mut sealer, b"x")).unwrap();
    let mut forged = genuine.clone();
    forged[10..16].copy_from_slice(&[0xff; 6]);
    assert_eq!(payloads(&mut opener, &forged), Err(OpenError::Forged));
    assert!(payloads(&mut opener, &genuine).is_ok());
}

/// What keeps a nonce from repeating across a restart: the id differs, hence the key. With the same
/// id the restarted sender would repeat the very keystream, which this shows too.
#[test]
fn a_restarted_sender_never_repeats_a_keystream() {
    let content = |sender: u8| data(&mut sealer(sender), &[0; 64])[HEADER_BYTES..].to_vec();
    assert_ne!(content(7), content(8), "the same plaintext and counter under two sender ids");
    assert_eq!(content(7), content(7), "an id used twice would be fatal: it must be random");

    // And the receiver takes the restarted sender's counter zero, though it has seen that counter.
    let mut opener = opener();
    assert!(payloads(&mut opener, &data(&mut sealer(7), b"before")).is_ok());
    assert!(payloads(&mut opener, &data(&mut sealer(8), b"after")).is_ok());
}

#[test]
fn a_sealer_stops_at_the_end_of_its_counter() {
    let mut sealer = sealer(7);
    sealer.skip_to(COUNTER_MAX);
    let last = sealer.seal_ping(0).unwrap();
    assert_eq!(last[10..16], [0xff; 6]);
    assert_eq!(sealer.seal_ping(0), Err(CounterExhausted));
    assert_eq!(sealer.seal_ping(0), Err(CounterExhausted));
}

#[test]
fn remembered_senders_are_bounded_and_the_longest_silent_goes_first() {
    let mut opener = opener();
    let mut sealers: Vec<_> = (0..5).map(sealer).collect();
    let replay = data(&mut sealers[0], b"x");
    payloads(&mut opener, &replay).unwrap();
    for sealer in &mut sealers[1..4] {
        payloads(&mut opener, &data(sealer, b"x")).unwrap();
    }
    assert_eq!(opener.senders(), 4);
    // The first speaks again, so the second is the longest silent when a fifth comes.
    payloads(&mut opener, &data(&mut sealers[0], b"x")).unwrap();
    payloads(&mut opener, &data(&mut sealers[4], b"x")).unwrap();
    assert_eq!(opener.senders(), 4);
    assert_eq!(payloads(&mut opener, &replay), Err(OpenError::Replayed));
    let mut second = data(&mut sealers[1], b"x");
    assert!(opener.open(&mut second).unwrap().first_contact);
}

#[test]
fn strangers_do_not_enter_the_cache() {
    let stranger = TunnelSecret::new([9; 32]);
    let mut opener = opener();
    for sender in 0..100 {
        let sender = SenderId([sender; 8]);
        let mut sealer = Sealer::new(&stranger, TunnelKeyId(USED), Direction::ToShard, sender);
        assert_eq!(payloads(&mut opener, &data(&mut sealer, b"x")), Err(OpenError::Forged));
    }
    assert_eq!(opener.senders(), 0);
}

#[test]
fn authentic_nonsense_is_refused_whole() {
    let mut opener = opener();
    for (name, kind, content, want) in [
        ("data without frames", Kind::Data, &b""[..], OpenError::MalformedFrames(FrameError::None)),
        (
            "a good frame and a cut one",
            Kind::Data,
            &[0, 0, 0, 1, 1, 2, 3, 4, 0, 9, b'x', 0, 0, 0, 1],
            OpenError::MalformedFrames(FrameError::HeaderCut),
        ),
        (
            "gone with a payload",
            Kind::Gone,
            &[0, 0, 0, 1, 1, 2, 3, 4, 0, 9, b'x'],
            OpenError::MalformedFrames(FrameError::PayloadPresence),
        ),
        ("a ping of seven bytes", Kind::Ping, b"1234567", OpenError::MalformedEcho),
        ("a ping of a token alone", Kind::Ping, b"12345678", OpenError::MalformedEcho),
        ("a pong one too long", Kind::Pong, b"123456789012345678", OpenError::MalformedEcho),
    ] {
        let mut sealer = sealer(7);
        let mut datagram = vec![0; OVERHEAD_BYTES + content.len()];
        let end = HEADER_BYTES + content.len();
        datagram[HEADER_BYTES..end].copy_from_slice(content);
        sealer.seal_raw(kind.first_byte(), &mut datagram, end);
        assert_eq!(opener.open(&mut datagram).unwrap_err(), want, "{name}");
        opener = self::opener();
    }
}

#[test]
fn a_bundle_closes_at_the_mtu_and_lets_one_long_packet_pass() {
    let mut bundle = Bundle::new(200, 500);
    // 200 less 32 of overhead leaves room for two frames of 10 + 74.
    bundle.append(&client(1), &[1; 74]).unwrap();
    bundle.append(&client(2), &[2; 74]).unwrap();
    assert_eq!((bundle.datagram_bytes(), bundle.exceeds_mtu()), (200, false));
    assert_eq!(bundle.append(&client(3), &[3; 1]), Err(AppendError::Full));
    assert_eq!(bundle.frames(), 2, "a refused frame changes nothing");

    let mut sealer = sealer(7);
    assert_eq!(sealer.seal_data(&mut bundle).unwrap().len(), 200);
    assert!(bundle.is_empty());
    bundle.append(&client(3), &[3; 500]).unwrap();
    assert!(bundle.exceeds_mtu());
    assert_eq!(bundle.append(&client(4), &[4; 1]), Err(AppendError::Full));
    bundle.clear();
    assert_eq!(bundle.append(&client(3), &[3; 513]), Err(AppendError::TooLong));
    assert!(bundle.is_empty());
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?}", TunnelSecret::new([1; 32])), "TunnelSecret(secret)");
    let printed = format!("{:?} {:?}", sealer(7), opener());
    assert!(!printed.contains("expand"), "{printed}");
}

proptest! {
    #[test]
    fn round_trip(
        sender: [u8; 8],
        payloads_sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..12),
    ) {
        let mut sealer = keyring().sealer(Direction::ToShard, SenderId(sender));
        let mut bundle = Bundle::new(1472, 2048);
        for payload in &payloads_sent {
            bundle.append(&client(1), payload).unwrap();
        }
        let datagram = sealer.seal_data(&mut bundle).unwrap().to_vec();
        prop_assert_eq!(payloads(&mut opener(), &datagram).unwrap(), payloads_sent);
    }

    #[test]
    fn strangers_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(payloads(&mut opener(), &bytes).is_err());
    }
}
