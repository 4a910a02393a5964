//! No path that a packet takes allocates: decode, verify, seal, open, iterate.
//!
//! What counts is Rust's global allocator. AWS-LC, which is C, could take memory from `malloc`
//! behind it; its one-shot AES-GCM works in the caller's buffers.

#![allow(clippy::unwrap_used)]

use engine::heap::{self, Counting};
use std::hint::black_box;
use wire::address::Address;
use wire::demux::PacketClass;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind, Message};
use wire::tunnel::{Bundle, Content, Direction, Opener, SenderId};

#[global_allocator]
static HEAP: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = heap::allocations();
    work();
    heap::allocations() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations_of(|| ()), 0);
}

#[test]
fn a_packet_allocates_nothing() {
    let keyring = Keyring::parse(include_str!("keyrings/both.toml")).unwrap();
    let hint = Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(2),
        shard: ShardId(3),
        expires: HintTime(4),
        session: SessionTag::new(5),
    };
    let client = Client {
        address: Address::new([192, 0, 2, 1].into(), 5000),
        listener: ListenerId(0),
        transport: Transport::Udp,
    };
    let mut sealer = keyring.sealer(Direction::ToShard, SenderId([1; 8]));
    let mut opener = Opener::new(Direction::ToShard, &keyring, 64);
    let mut bundle = Bundle::new(1472, 2048);
    let mut check = [0; 256];
    let mut received = [0; 2048];

    let allocated = allocations_of(|| {
        let (ufrag, pwd) = keyring.mint(hint);
        let check = Encoder::new(&mut check, Kind::BindingRequest, [7; 12])
            .and_then(|check| check.username(ufrag.as_bytes(), b"abcd"))
            .and_then(|check| check.integrity(pwd.as_bytes()))
            .and_then(Encoder::fingerprint)
            .unwrap()
            .finish();

        assert_eq!(PacketClass::of(check), PacketClass::Stun);
        let message = Message::parse(check).unwrap();
        let ufrag = message.ufrag().unwrap();
        assert_eq!(keyring.decode(ufrag), Ok(hint));
        assert_eq!(keyring.proves_answer_seen(ufrag, &message), Ok(()));
        assert!(keyring.decode(b"not one of ours").is_err());

        for _ in 0..2000 {
            for _ in 0..8 {
                bundle.append(&client, check).unwrap();
            }
            let datagram = sealer.seal_data(&mut bundle).unwrap();
            let received = &mut received[..datagram.len()];
            received.copy_from_slice(datagram);
            let opened = opener.open(received).unwrap();
            let Content::Data(frames) = opened.content else { panic!("not data") };
            assert_eq!(frames.filter(|frame| frame.payload == check).count(), 8);
        }
    });
    assert_eq!(allocated, 0);
}

/// New senders come and go for as long as the process lives; the cache must not grow for them.
#[test]
fn new_senders_allocate_nothing() {
    let keyring = Keyring::parse(include_str!("keyrings/both.toml")).unwrap();
    let mut opener = Opener::new(Direction::ToShard, &keyring, 64);
    let mut failed = 0;
    let allocated = allocations_of(|| {
        for sender in 0..20_000u64 {
            let id = SenderId(sender.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let mut ping = keyring.sealer(Direction::ToShard, id).seal_ping(sender).unwrap();
            failed += u32::from(opener.open(&mut ping).is_err());
        }
    });
    assert_eq!((allocated, failed, opener.senders()), (0, 0, 64));
}
