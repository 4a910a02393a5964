//! What the formats cost for each packet: nanoseconds on one core, everything in cache.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wire::address::Address;
use wire::demux::PacketClass;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId, Ufrag};
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind, Message};
use wire::tunnel::{Bundle, Content, Direction, Opener, SenderId};

const KEYRING: &str = include_str!("../../wire/tests/keyrings/both.toml");

fn keyring() -> Keyring {
    Keyring::parse(KEYRING).unwrap()
}

fn hint() -> Hint {
    Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(0x0a00_0007),
        shard: ShardId(3),
        expires: HintTime(40_000),
        session: SessionTag::new(0x00ab_cdef),
    }
}

fn client() -> Client {
    Client {
        address: Address::new([192, 0, 2, 1].into(), 5000),
        listener: ListenerId(0),
        transport: Transport::Udp,
    }
}

/// A check as Chromium sends it: 24 characters more than its captured ones have, for our ufrag.
fn check(keyring: &Keyring) -> (Ufrag, Vec<u8>) {
    let (ufrag, pwd) = keyring.mint(hint());
    let mut buffer = [0; 256];
    let check = Encoder::new(&mut buffer, Kind::BindingRequest, [7; 12])
        .and_then(|check| check.username(ufrag.as_bytes(), b"abcd"))
        .and_then(|check| check.other(0xc057, &[0, 0, 3, 231]))
        .and_then(|check| check.ice_controlling(1))
        .and_then(Encoder::use_candidate)
        .and_then(|check| check.priority(1))
        .and_then(|check| check.integrity(pwd.as_bytes()))
        .and_then(Encoder::fingerprint)
        .unwrap();
    (ufrag, check.finish().to_vec())
}

fn first_packet(c: &mut Criterion) {
    let keyring = keyring();
    let (ufrag, check) = check(&keyring);
    let message = Message::parse(&check).unwrap();
    let wrong = [b'x'; 23];
    c.bench_function("demux", |b| b.iter(|| PacketClass::of(black_box(&check))));
    c.bench_function("stun/peek", |b| {
        b.iter(|| Message::parse(black_box(&check)).unwrap().ufrag());
    });
    c.bench_function("hint/decode", |b| b.iter(|| keyring.decode(black_box(ufrag.as_bytes()))));
    c.bench_function("hint/decode a foreign ufrag", |b| {
        b.iter(|| keyring.decode(black_box(&wrong)).is_err());
    });
    c.bench_function("hint/mint with password", |b| b.iter(|| keyring.mint(black_box(hint()))));
    c.bench_function("credentials/verify", |b| {
        b.iter(|| keyring.proves_answer_seen(ufrag.as_bytes(), black_box(&message)).unwrap());
    });
}

fn tunnel(c: &mut Criterion) {
    let keyring = keyring();
    for bytes in [160, 1400, 8900] {
        let mut sealer = keyring.sealer(Direction::ToShard, SenderId([1; 8]));
        let mut opener = Opener::new(Direction::ToShard, &keyring, 64);
        let mut bundle = Bundle::new(9000, 9000);
        let payload = vec![0; bytes - 10];
        let mut group = c.benchmark_group("tunnel");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("append and seal/{bytes} B"), |b| {
            b.iter(|| {
                bundle.append(&client(), black_box(&payload)).unwrap();
                sealer.seal_data(&mut bundle).unwrap().len()
            });
        });
        group.bench_function(format!("open/{bytes} B"), |b| {
            b.iter_batched_ref(
                || {
                    bundle.append(&client(), &payload).unwrap();
                    sealer.seal_data(&mut bundle).unwrap().to_vec()
                },
                |datagram| opener.open(datagram).is_ok(),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
    let mut sealer = keyring.sealer(Direction::ToShard, SenderId([2; 8]));
    let mut bundle = Bundle::new(1472, 2048);
    let payload = [0; 120];
    c.bench_function("frame/append, of a bundle of ten", |b| {
        b.iter(|| {
            bundle.clear();
            for _ in 0..10 {
                bundle.append(&client(), black_box(&payload)).unwrap();
            }
        });
    });
    bundle.clear();
    for _ in 0..10 {
        bundle.append(&client(), &payload).unwrap();
    }
    let mut datagram = sealer.seal_data(&mut bundle).unwrap().to_vec();
    let mut opener = Opener::new(Direction::ToShard, &keyring, 64);
    let Ok(Content::Data(frames)) = opener.open(&mut datagram).map(|opened| opened.content) else {
        unreachable!("sealed just now");
    };
    c.bench_function("frame/iterate, a bundle of ten", |b| {
        b.iter(|| black_box(&frames).clone().map(|frame| frame.payload.len()).sum::<usize>());
    });
}

criterion_group!(benches, first_packet, tunnel);
criterion_main!(benches);
