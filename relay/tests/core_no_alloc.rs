//! Packets, frames, datagrams and ticks allocate nothing, whatever becomes of them.
//!
//! What counts is Rust's global allocator. AWS-LC, which is C, takes a sender's key schedule from
//! `malloc` when a leg or a sender is new; that is per shard, not per packet.

#![allow(clippy::unwrap_used)]

use engine::heap::{self, Counting};
use relay::core::testing::{
    A, B, Check, DTLS, Integrity, LISTENER, RTP, Stage, client, clusters, settings, shard_a,
    shard_b, source, stun,
};
use relay::core::{Route, Settings, TunnelVerdict, Verdict};
use std::hint::black_box;
use wire::address::Address;
use wire::hint::{ClusterId, ShardId, TransceiverId};
use wire::stun::Kind;

#[global_allocator]
static HEAP: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = heap::allocations();
    work();
    heap::allocations() - before
}

fn ignore(_: Address, datagram: &[u8]) {
    black_box(datagram);
}

/// A client's packet, as a worker handles it.
fn packet(stage: &mut Stage, source: Address, packet: &[u8]) {
    if let Verdict::Forward(peer) = stage.router.on_client(LISTENER, source, packet, stage.now) {
        stage.router.append(peer, &client(source), packet, &mut ignore);
    }
}

/// A tunnel datagram, as a worker handles it.
fn datagram(stage: &mut Stage, shard: Address, datagram: &mut [u8]) {
    match stage.router.on_tunnel(shard, datagram, stage.now) {
        TunnelVerdict::Frames(peer, frames) => {
            for frame in frames {
                black_box(stage.router.on_frame(peer, &frame, stage.now));
            }
        }
        other => drop(black_box(other)),
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let small = Settings { flows_max: 20, new_flows_max: 5, new_flow_rate: 12, ..settings() };
    let mut stage = Stage::new(small, clusters());
    assert!(allocations_of(|| drop(black_box(vec![1]))) == 1, "the counter counts");

    // Everything that a client can send, to every end that it can come to.
    let ipv4 = |last: u8| Route {
        cluster: ClusterId(2),
        transceiver: TransceiverId(u32::from_be_bytes([10, 0, 0, last])),
        shard: ShardId(0),
    };
    let mut packets = vec![
        DTLS.to_vec(),
        RTP.to_vec(),
        Vec::new(),
        vec![255; 40],
        vec![0; 30],
        vec![0x80; 2_500],
        stun(Kind::GoogPing, None, None),
        stun(Kind::BindingRequest, Some(b"foreign"), Some(b"x")),
        stage.check(Check { integrity: Integrity::False, ..Check::of(A, 1) }),
        stage.check(Check { expires_in: -1, ..Check::of(A, 1) }),
    ];
    for session in 0..40 {
        packets.push(stage.check(Check::of(if session % 2 == 0 { A } else { B }, session)));
    }
    // Now there is a flow for these.
    packets.extend([RTP.to_vec(), [RTP, &[0; 1_500]].concat(), DTLS.to_vec()]);
    // More shards than there is room for.
    packets.extend((0..40).map(|last| stage.check(Check::of(ipv4(last), 1))));

    let answers: Vec<Vec<u8>> = (0..200)
        .map(|last| {
            let response = stun(Kind::BindingSuccess, None, None);
            let to = client(source(last));
            let shard = if last % 2 == 0 { shard_a() } else { shard_b() };
            stage.sealed_data(shard, &[(to, &response), (to, RTP), (client(source(0)), DTLS)])
        })
        .collect();
    let mut ping = stage.sealer(shard_a()).seal_ping(1).unwrap();
    let mut pong = stage.sealer(shard_a()).seal_pong(1).unwrap();
    let mut answers: Vec<_> = answers.into_iter().zip(0u8..).collect();

    let allocations = allocations_of(|| {
        for round in 0..3u8 {
            for last in 0..60 {
                for bytes in &packets {
                    packet(&mut stage, source(last * 3 + round), bytes);
                }
                // Its shard answers: these are replays later on.
                if let Some((bytes, number)) = answers.get_mut(usize::from(last * 3 + round)) {
                    let shard = if *number % 2 == 0 { shard_a() } else { shard_b() };
                    datagram(&mut stage, shard, bytes);
                }
                stage.router.flush(&mut ignore);
                stage.pass_ms(40);
                stage.router.on_tick(stage.now, &mut ignore);
            }
            for (bytes, last) in &mut answers {
                let shard = if *last % 2 == 0 { shard_a() } else { shard_b() };
                datagram(&mut stage, shard, bytes);
            }
            stage.pass_ms(20_000);
        }
        datagram(&mut stage, shard_a(), &mut ping);
        datagram(&mut stage, shard_a(), &mut pong);
        while stage.router.next_change().is_some() {}
        while stage.router.next_miss().is_some() {}
        for _ in 0..700 {
            stage.pass_ms(1_000);
            stage.router.on_tick(stage.now, &mut ignore);
        }
    });
    let counters = stage.counters();
    assert_eq!(allocations, 0);
    // It did go everywhere.
    for (what, count) in [
        ("created", counters.flows_created),
        ("answered", counters.flows_answered),
        ("learned", counters.flows_learned),
        ("evicted", counters.flows_evicted),
        ("expired", counters.flows_expired_assured),
        ("under flood", counters.under_flood),
        ("beside", counters.routed_beside),
        ("peers added", counters.peers_added),
        ("peers dropped", counters.peers_dropped),
        ("oversize", counters.tunnel_sent_oversize),
        ("pings", counters.pings_sent),
    ] {
        assert!(count > 0, "{what}");
    }
}
