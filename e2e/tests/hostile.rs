//! What strangers and broken clients send, through the whole chain: each packet is counted where it
//! ends, and the call beside it loses nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use e2e::stage::{Program, Stage};
use e2e::talker::Talker;
use std::net::UdpSocket;
use std::time::Duration;
use wire::stun::{Encoder, Kind};

const TALK: Duration = Duration::from_secs(3);
const PACKETS: u16 = 200;
const RELAY_DROPS: &str = "relay_drops_total";
const DROPS: &str = "transceiver_drops_total";

/// Lets a call speak while something happens, and sees that it loses nothing. The call goes on.
fn beside_a_call(stage: &Stage, work: impl FnOnce() + Send) -> Talker {
    let mut witness = Talker::call(stage);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            witness.talk(TALK);
            assert_eq!(witness.lost(), 0, "of {} frames", witness.sent());
        });
        work();
    });
    witness
}

/// A check with this name and password.
fn check(ufrag: &[u8], pwd: &[u8], number: u16) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut transaction = [7; 12];
    transaction[..2].copy_from_slice(&number.to_be_bytes());
    Encoder::new(&mut buffer, Kind::BindingRequest, transaction)
        .and_then(|check| check.username(ufrag, b"abcd"))
        .and_then(|check| check.priority(1))
        .and_then(|check| check.integrity(pwd))
        .and_then(Encoder::fingerprint)
        .unwrap()
        .finish()
        .to_vec()
}

fn sum(stage: &Stage, reasons: &[&str]) -> f64 {
    let of = |reason| stage.metric(Program::Relay, RELAY_DROPS, &format!("reason=\"{reason}\""));
    reasons.iter().map(of).sum()
}

/// Waits until the relay has counted so many drops for these reasons.
fn wait_for_drops(stage: &Stage, reasons: &[&str], wanted: f64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while sum(stage, reasons) < wanted {
        assert!(std::time::Instant::now() < deadline, "only {} of {wanted}", sum(stage, reasons));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sum(stage, reasons), wanted);
}

#[test]
fn checks_with_foreign_names_end_at_the_relay() {
    let Some(stage) = Stage::start() else { return };
    let stranger = stage.hosts.client.run(|| UdpSocket::bind("10.78.1.2:0").unwrap());
    stranger.connect(e2e::stage::PUBLIC[0]).unwrap();
    let received = stage.metric(Program::Transceiver, "transceiver_checks_total", "");
    assert_eq!(received, 0.0);
    let mut witness = beside_a_call(&stage, || {
        for number in 0..PACKETS {
            stranger.send(&check(b"somebodyelsesufragentir", b"password", number)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let reasons = ["hint_unknown_key", "hint_forged", "hint_text", "hint_length"];
    wait_for_drops(&stage, &reasons, f64::from(PACKETS));
    let unknown = "reason=\"check_unknown_session\"";
    assert_eq!(stage.metric(Program::Transceiver, DROPS, unknown), 0.0);
    witness.hang_up(&stage);
    stage.stop();
}

#[test]
fn a_name_without_its_password_neither_moves_nor_ends_a_call() {
    let Some(stage) = Stage::start() else { return };
    let mut victim = Talker::call(&stage);
    let report = stage.report(victim.id()).unwrap();
    let ufrag = report["ufrag"].as_str().unwrap().to_owned();
    let stranger = stage.hosts.client.run(|| UdpSocket::bind("10.78.1.2:0").unwrap());
    stranger.connect(e2e::stage::PUBLIC[0]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| victim.talk(TALK));
        for number in 0..PACKETS {
            stranger.send(&check(ufrag.as_bytes(), b"a guess", number)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(victim.lost(), 0, "of {} frames", victim.sent());
    wait_for_drops(&stage, &["integrity_wrong"], f64::from(PACKETS));
    let after = stage.report(victim.id()).unwrap();
    assert_eq!(after["path"], report["path"]);
    assert_eq!(after["address_changes"], 0);
    victim.hang_up(&stage);
    stage.stop();
}

/// The worst place it can come from: the client's own address, in the middle of a call.
#[test]
fn garbage_that_looks_like_dtls_or_media_harms_no_call_not_even_its_own() {
    let Some(stage) = Stage::start() else { return };
    let mut victim = Talker::call(&stage);
    let stray = victim.stray();
    let witness = beside_a_call(&stage, || {
        std::thread::scope(|scope| {
            scope.spawn(|| victim.talk(TALK));
            for number in 0..PACKETS {
                looks_real(number).iter().for_each(|packet| stray.send(packet));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    });
    assert_eq!(victim.lost(), 0, "of {} frames", victim.sent());
    assert_eq!(stage.report(victim.id()).unwrap()["state"], "connected");

    // All of it went the whole way: it came from where the call comes from.
    let sent = f64::from(PACKETS);
    let received = "relay_client_received_packets_total";
    let dtls = stage.metric(Program::Relay, received, "class=\"dtls\"");
    assert!(dtls >= 3.0 * sent, "{dtls} packets of DTLS");
    let rtp = stage.metric(Program::Relay, received, "class=\"rtp\"");
    let frames = victim.sent() + witness.sent() + u64::from(PACKETS);
    assert_eq!(rtp, f64::from(u32::try_from(frames).unwrap()));
    let heard = victim.sent() + witness.sent();
    let heard = f64::from(u32::try_from(heard).unwrap());
    let audio = "transceiver_audio_received_packets_total";
    assert_eq!(
        stage.metric(Program::Transceiver, audio, ""),
        heard,
        "none of it was taken for audio"
    );
    assert_eq!(stage.metric(Program::Transceiver, "transceiver_panics_total", ""), 0.0);
    for mut call in [victim, witness] {
        call.hang_up(&stage);
    }
    stage.stop();
}

/// Packets of the right kind for a call, and none of them its client's.
fn looks_real(number: u16) -> [Vec<u8>; 4] {
    let [high, low] = number.to_be_bytes();
    // A record that is shorter than it says, of each type in turn.
    let kind = [22, 21, 23, 20][usize::from(number % 4)];
    let mut cut = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, high, low, 0x40, 0];
    cut.extend(std::iter::repeat_n(low, usize::from(number)));
    // One that is whole, in the epoch of the call, and encrypted with no key of the call's.
    let mut foreign = vec![kind, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, high, low, 0, 40];
    foreign.extend([low; 40]);
    // The end of the connection, as anybody can write it who has no key at all.
    let goodbye = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, high, low, 0, 2, 1, 0];
    // Media without authentication.
    let media = vec![0x80, 111, high, low, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa, 0xbb];
    [cut, foreign, goodbye, media]
}

#[test]
fn media_for_a_call_that_has_ended_goes_nowhere() {
    let Some(stage) = Stage::start() else { return };
    let mut ended = Talker::call(&stage);
    ended.talk(Duration::from_millis(500));
    ended.hang_up(&stage);
    stage.wait_for_end_of(ended.id());
    let unknown = "reason=\"flow_unknown\"";
    let no_session = "reason=\"no_session\"";
    let counted = || {
        stage.metric(Program::Relay, RELAY_DROPS, unknown)
            + stage.metric(Program::Transceiver, DROPS, no_session)
    };
    // The last packets of the call that ended are counted too, and published a little later.
    std::thread::sleep(Duration::from_millis(500));
    let before = counted();
    let stray = ended.stray();
    let mut witness = beside_a_call(&stage, || {
        for _ in 0..PACKETS {
            stray.send(&[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa, 0xbb]);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while counted() < before + f64::from(PACKETS) {
        assert!(std::time::Instant::now() < deadline, "only {} of {PACKETS}", counted() - before);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(counted(), before + f64::from(PACKETS));
    witness.hang_up(&stage);
    stage.stop();
}
