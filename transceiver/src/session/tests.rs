//! A session against a real client, in simulated time.
//!
//! Each trap that str0m sets for a server behind a relay has a test that fails without its handling.

use super::testing::{INGRESS, credentials, keyring, opening, path};
use super::*;
use crate::backend::echo::Echoes;
use crate::backend::{Heard, Message};
use crate::negotiation::Role;
use crate::shard::Limits;
use loadgen::call::{Call, Event as ClientEvent};
use std::sync::Arc;
use wire::demux::PacketClass;
use wire::stun::{Encoder, Kind};

const MS: Duration = Duration::from_millis(1);
const LIMITS: Limits = Limits {
    calls_max: 10,
    call_time_max: Duration::from_secs(3_600),
    lost_after: Duration::from_secs(30),
};

#[derive(Default)]
struct Sent {
    packets: Vec<(Path, Vec<u8>)>,
    tallies: Vec<Tally>,
}

impl Outlet for Sent {
    fn send(&mut self, path: &Path, packet: &[u8]) {
        self.packets.push((*path, packet.to_vec()));
    }

    fn count(&mut self, tally: Tally) {
        self.tallies.push(tally);
    }
}

/// A client and its session, with a network between that loses what it is told to.
struct Scene {
    call: Call,
    session: Session,
    now: Instant,
    began: Instant,
    /// Where the client is.
    path: Path,
    sent: Sent,
    /// Frames that came back: number, and after how long.
    frames: Vec<(u64, Duration)>,
    events: Vec<ClientEvent>,
    /// Packets to an address where the client is no more.
    into_the_void: usize,
    next_frame: u64,
    on_times: usize,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let (mut call, offer) = Call::new(now).unwrap();
        let (opening, answer) = opening(&offer, 7, &Echoes, now);
        let mut sent = Sent::default();
        let session = Session::new(opening, &LIMITS, now, &mut sent);
        call.accept_answer(&answer, now).unwrap();
        Self {
            call,
            session,
            now,
            began: now,
            path: path(1),
            sent,
            frames: vec![],
            events: vec![],
            into_the_void: 0,
            next_frame: 0,
            on_times: 0,
        }
    }

    fn connected() -> Self {
        let mut scene = Self::new();
        scene.pass(500 * MS);
        assert!(scene.events.contains(&ClientEvent::Connected), "{:?}", scene.events);
        assert_eq!(scene.session.state(), CallState::Connected);
        scene
    }

    /// Carries packets both ways until nobody has anything more to say at this moment.
    fn exchange(&mut self, lose: &mut dyn FnMut(&[u8]) -> bool) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.call.poll_transmit() {
                quiet = false;
                assert_eq!(transmit.destination, INGRESS.parse().unwrap());
                if !lose(&transmit.bytes) {
                    self.deliver(&transmit.bytes);
                }
            }
            for (path, packet) in std::mem::take(&mut self.sent.packets) {
                quiet = false;
                if path == self.path {
                    let source = INGRESS.parse().unwrap();
                    self.call.handle_packet(source, &packet, self.now).unwrap();
                } else {
                    self.into_the_void += 1;
                }
            }
            while let Some(event) = self.call.poll_event() {
                if let ClientEvent::Frame(frame) = &event {
                    self.frames.push((frame.number, frame.received_at - frame.sent_at));
                }
                self.events.push(event);
            }
            if quiet {
                return;
            }
        }
    }

    fn deliver(&mut self, packet: &[u8]) {
        let (path, now) = (self.path, self.now);
        match stun::Message::parse(packet) {
            Ok(message) if message.kind() == Kind::BindingRequest => {
                self.session.on_check(path, packet, &message, now, &mut self.sent);
            }
            _ => self.session.on_packet(path, packet, now, &mut self.sent),
        }
    }

    /// Lets time pass, in steps of a millisecond.
    fn pass(&mut self, time: Duration) {
        self.pass_losing(time, &mut |_| false);
    }

    fn pass_losing(&mut self, time: Duration, lose: &mut dyn FnMut(&[u8]) -> bool) {
        let end = self.now + time;
        self.exchange(lose);
        while self.now < end {
            self.now += MS;
            if self.call.deadline() <= self.now {
                // A client that nobody answers fails in the end.
                let _ = self.call.handle_timeout(self.now);
            }
            if self.session.deadline() <= self.now {
                self.on_times += 1;
                self.session.on_time(self.now, false, &mut self.sent);
            }
            self.exchange(lose);
        }
    }

    fn talk(&mut self) {
        assert!(
            self.call.send_frame(self.next_frame, self.now).unwrap(),
            "the client is connected"
        );
        self.next_frame += 1;
    }

    /// A voice for so many frames.
    fn talk_on(&mut self, frames: u64) {
        for _ in 0..frames {
            self.talk();
            self.pass(20 * MS);
        }
    }

    fn count(&self, tally: Tally) -> usize {
        self.sent.tallies.iter().filter(|counted| **counted == tally).count()
    }
}

#[test]
fn a_call_echoes_audio_and_messages() {
    let mut scene = Scene::connected();
    scene.talk_on(100);
    let numbers: Vec<_> = scene.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    scene.call.send_message("hello", scene.now).unwrap();
    scene.pass(50 * MS);
    assert!(scene.events.contains(&ClientEvent::Message("hello".into())), "{:?}", scene.events);
    let report = scene.session.report(&keyring(), scene.now);
    assert_eq!((report.media.packets_in, report.media.packets_out), (100, 100));
    assert_eq!((report.state, report.media.lost_in), (CallState::Connected, 0));
    let setup = report.setup_ms;
    for step in [setup.offer, setup.first_check, setup.ice, setup.dtls, setup.first_audio_in] {
        assert!(step.is_some(), "{setup:?}");
    }
    assert_eq!(report.path.unwrap().client, "198.51.100.7:1");
}

/// `Writer::write` only queues. Without asking str0m once more each frame would wait for the next
/// timer.
#[test]
fn a_frame_leaves_in_the_moment_it_is_written() {
    let mut scene = Scene::connected();
    for _ in 0..50 {
        scene.talk();
        let before = scene.frames.len();
        scene.exchange(&mut |_| false);
        assert_eq!(scene.frames.len(), before + 1, "no time has passed");
        scene.pass(20 * MS);
    }
}

/// By default str0m waits for 15 more packets when one is missing.
#[test]
fn one_lost_packet_does_not_hold_up_the_others() {
    let mut scene = Scene::connected();
    scene.talk_on(50);
    scene.talk();
    let mut lost = 0;
    scene.exchange(&mut |packet| {
        let media = PacketClass::of(packet) == PacketClass::Rtp;
        lost += u32::from(media);
        media
    });
    assert_eq!(lost, 1);
    scene.pass(20 * MS);
    scene.talk_on(50);
    let numbers: Vec<_> = scene.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers.len(), 100, "all but one: {numbers:?}");
    assert!(!numbers.contains(&50));
    let worst = scene.frames.iter().map(|frame| frame.1).max().unwrap();
    assert!(worst <= 81 * MS, "{worst:?}");
    assert_eq!(scene.count(Tally::AudioLost(1)), 1);
    assert_eq!(scene.session.report(&keyring(), scene.now).media.lost_in, 1);
}

/// str0m by itself goes on sending to the old address for a quarter of a minute.
#[test]
fn media_follows_a_client_whose_address_has_changed() {
    let mut scene = Scene::connected();
    scene.talk_on(100);
    scene.path = path(2);
    let mut gap = 0;
    while scene.frames.last().unwrap().0 < scene.next_frame - 1 || gap == 0 {
        // A relay would not even let media through before a check has come from there.
        scene.talk();
        scene.pass(20 * MS);
        gap += 20;
        assert!(gap <= 3_000, "{gap} ms");
    }
    let void = scene.into_the_void;
    scene.talk_on(50);
    assert_eq!(scene.into_the_void, void, "nothing goes to the old address any more");
    assert_eq!(scene.count(Tally::AddressChange), 1);
}

/// str0m makes up credentials of its own, by which no relay could route.
#[test]
fn an_ice_restart_keeps_the_call_under_a_name_that_relays_know() {
    let mut scene = Scene::connected();
    scene.talk_on(10);
    let offer = scene.call.restart_ice(scene.now).unwrap();
    let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
    let fresh = credentials(8);
    let ingress = [INGRESS.parse().unwrap()];
    let (now, sent) = (scene.now, &mut scene.sent);
    let done = scene.session.renegotiate(offer, fresh.clone(), &ingress, now, sent).unwrap();
    assert!(done.restarted);
    assert_eq!(scene.session.credentials().ufrag, fresh.ufrag);
    scene.call.accept_answer(&done.answer, scene.now).unwrap();
    let mut names = Vec::new();
    scene.pass_losing(3_000 * MS, &mut |packet| {
        let message = stun::Message::parse(packet).ok();
        names.extend(message.and_then(|message| message.ufrag().map(<[u8]>::to_vec)));
        false
    });
    assert!(!names.is_empty());
    assert!(names.iter().all(|name| name == fresh.ufrag.as_bytes()), "checks carry the new route");
    scene.talk_on(100);
    assert_eq!(scene.frames.last().unwrap().0, scene.next_frame - 1);
    assert_eq!(scene.session.state(), CallState::Connected);
    assert_eq!(scene.session.report(&keyring(), scene.now).ice_restarts, 1);
}

/// Firefox's consent checks have no USE-CANDIDATE; calls die where those are not answered. And the
/// answer goes where the check came from, wherever media goes.
#[test]
fn every_authentic_check_is_answered_where_it_came_from() {
    let mut scene = Scene::connected();
    let credentials = credentials(7);
    let mut client_name = None;
    scene.pass_losing(3_000 * MS, &mut |packet| {
        let message = stun::Message::parse(packet).ok();
        let name = message.and_then(|message| message.username());
        client_name = name.map(|name| name.split(|byte| *byte == b':').nth(1).unwrap().to_vec());
        false
    });
    let client_name = client_name.expect("the client checks every few seconds");
    for (place, elsewhere) in [path(1), path(50), path(51)].into_iter().enumerate() {
        let mut buffer = [0; 256];
        let transaction = [u8::try_from(place).unwrap(); 12];
        let check = Encoder::new(&mut buffer, Kind::BindingRequest, transaction)
            .and_then(|check| check.username(credentials.ufrag.as_bytes(), &client_name))
            .and_then(|check| check.priority(1))
            .and_then(|check| check.ice_controlling(1))
            .and_then(|check| check.integrity(credentials.pwd.as_bytes()))
            .and_then(Encoder::fingerprint)
            .unwrap()
            .finish()
            .to_vec();
        let message = stun::Message::parse(&check).unwrap();
        let now = scene.now;
        let checked = scene.session.on_check(elsewhere, &check, &message, now, &mut scene.sent);
        assert!(matches!(checked, Checked::Authentic { .. }));
        let answers = std::mem::take(&mut scene.sent.packets);
        let answer =
            answers.iter().find(|(_, packet)| PacketClass::of(packet) == PacketClass::Stun);
        let (to, answer) = answer.expect("an answer");
        assert_eq!(*to, elsewhere);
        let answer = stun::Message::parse(answer).unwrap();
        assert_eq!((answer.kind(), answer.transaction()), (Kind::BindingSuccess, transaction));
        assert_eq!(answer.xor_mapped_address(), Some(elsewhere.client.address));
        assert_eq!(scene.session.paths.egress(), Some(path(1)), "and media stays");
    }
}

#[test]
fn nothing_is_bound_or_answered_without_the_password() {
    let mut scene = Scene::connected();
    let paths = scene.session.paths().count();
    let credentials = credentials(7);
    for key in [&b"wrong password, wrong password"[..], &credentials.pwd.as_bytes()[1..]] {
        let mut buffer = [0; 256];
        let check = Encoder::new(&mut buffer, Kind::BindingRequest, [9; 12])
            .and_then(|check| check.username(credentials.ufrag.as_bytes(), b"abcd"))
            .and_then(Encoder::use_candidate)
            .and_then(|check| check.integrity(key))
            .unwrap()
            .finish();
        let message = stun::Message::parse(check).unwrap();
        let (now, sent) = (scene.now, &mut scene.sent);
        assert_eq!(scene.session.on_check(path(66), check, &message, now, sent), Checked::Forged);
    }
    assert!(scene.sent.packets.is_empty());
    assert_eq!(scene.session.paths().count(), paths);
    assert!(!scene.session.has_path(&path(66)));
}

#[test]
fn an_idle_session_wakes_every_three_seconds_at_most() {
    let mut scene = Scene::connected();
    scene.pass(10_000 * MS);
    scene.on_times = 0;
    scene.pass(60_000 * MS);
    assert!(scene.on_times <= 20, "{} wake-ups in a minute", scene.on_times);
}

#[test]
fn garbage_ends_nothing() {
    let mut scene = Scene::connected();
    scene.talk_on(10);
    let before = scene.frames.len();
    for round in 0..2_000_u32 {
        let mut packet = vec![0_u8; 60];
        packet[0] = [20, 22, 23, 62, 128, 144, 191][round as usize % 7];
        packet[1..5].copy_from_slice(&round.wrapping_mul(2_654_435_761).to_be_bytes());
        let (path, now) = (scene.path, scene.now);
        scene.session.on_packet(path, &packet, now, &mut scene.sent);
    }
    scene.talk_on(10);
    assert_eq!(scene.frames.len(), before + 10);
    assert_eq!(scene.session.ended(), None);
}

#[test]
fn goodbyes_are_heard_both_ways() {
    let mut scene = Scene::connected();
    scene.session.end(EndReason::HungUp, scene.now, &mut scene.sent);
    scene.pass(100 * MS);
    assert!(scene.events.contains(&ClientEvent::Closed), "{:?}", scene.events);
    assert_eq!(scene.session.ended(), Some(EndReason::HungUp));

    let mut scene = Scene::connected();
    scene.call.close(scene.now).unwrap();
    scene.exchange(&mut |_| false);
    assert_eq!(scene.session.ended(), Some(EndReason::ClientClosed));
    assert_eq!(scene.session.state(), CallState::Ended);
}

#[test]
fn who_never_comes_and_who_does_not_come_back_is_given_up() {
    let mut scene = Scene::new();
    scene.pass_losing(SETUP_TIME_MAX + 10 * MS, &mut |_| true);
    assert_eq!(scene.session.ended(), Some(EndReason::ClientLost));

    let mut scene = Scene::connected();
    let mut silence = 0;
    while scene.session.state() == CallState::Connected {
        scene.pass_losing(100 * MS, &mut |_| true);
        silence += 100;
        assert!(silence < 30_000);
    }
    println!("disconnected after {silence} ms");
    assert_eq!(scene.session.state(), CallState::Disconnected);
    assert_eq!(scene.session.ended(), None);
    scene.pass(10_000 * MS);
    assert_eq!(scene.session.state(), CallState::Connected, "it came back");
    scene.pass_losing(60_000 * MS, &mut |_| true);
    assert_eq!(scene.session.ended(), Some(EndReason::ClientLost));
    assert!(scene.now - scene.began < Duration::from_secs(200));
}

#[test]
fn a_call_lasts_no_longer_than_it_may() {
    let mut scene = Scene::connected();
    scene.session.call_time_max = 2_000 * MS;
    scene.pass(2_100 * MS);
    assert_eq!(scene.session.ended(), Some(EndReason::TooLong));
}

/// What the queue holds leaves by the session's clock, not at the speed it was given.
#[test]
fn a_backend_that_is_faster_than_speech_is_paced() {
    struct Burst;
    impl Backend for Burst {
        fn on_connected(&mut self, line: &mut Line) {
            for _ in 0..50 {
                line.play(Arc::from([0x78, 1, 2, 3])).unwrap();
            }
        }
        fn on_audio(&mut self, _: Heard, _: &mut Line) {}
        fn on_message(&mut self, _: Message, line: &mut Line) {
            line.stop_playing();
        }
    }
    let mut scene = Scene::new();
    scene.session.backend = Box::new(Burst);
    scene.pass(500 * MS);
    let heard = |scene: &Scene| {
        scene.events.iter().filter(|event| matches!(event, ClientEvent::Audio(_))).count()
    };
    let before = heard(&scene);
    scene.pass(200 * MS);
    assert!((9..=11).contains(&(heard(&scene) - before)), "{}", heard(&scene) - before);
    scene.call.send_message("stop", scene.now).unwrap();
    scene.pass(5 * MS);
    let stopped = heard(&scene);
    scene.pass(200 * MS);
    assert_eq!(heard(&scene), stopped, "an interruption is heard at once");
}

/// Chromium says hello after its first answered check and nominates 50 ms later; str0m by itself
/// would let it wait until then.
#[test]
fn a_hello_is_answered_before_the_client_has_nominated() {
    let hello: Vec<u8> = include_str!("../../../wire/tests/captures/aiortc-1-client-hello.hex")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|digits| digits[0] << 4 | digits[1])
        .collect();
    let mut scene = Scene::new();
    let mut first = None;
    scene.pass_losing(100 * MS, &mut |packet| {
        first.get_or_insert_with(|| packet.to_vec());
        true
    });
    let first = first.expect("the client checks at once");
    let name = stun::Message::parse(&first).unwrap().username().unwrap().to_vec();
    let its_name = name.split(|byte| *byte == b':').nth(1).unwrap();
    let credentials = credentials(7);
    let mut buffer = [0; 256];
    let check = Encoder::new(&mut buffer, Kind::BindingRequest, [1; 12])
        .and_then(|check| check.username(credentials.ufrag.as_bytes(), its_name))
        .and_then(|check| check.priority(1))
        .and_then(|check| check.ice_controlling(1))
        .and_then(|check| check.integrity(credentials.pwd.as_bytes()))
        .unwrap()
        .finish();
    let message = stun::Message::parse(check).unwrap();
    assert!(!message.use_candidate());
    let now = scene.now;
    scene.session.on_check(path(1), check, &message, now, &mut scene.sent);
    scene.session.on_packet(path(1), &hello, now, &mut scene.sent);
    let answered =
        |class| scene.sent.packets.iter().any(|(_, sent)| PacketClass::of(sent) == class);
    assert!(answered(PacketClass::Stun) && answered(PacketClass::Dtls));
}
