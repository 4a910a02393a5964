use super::*;
use crate::testing::Answerer;

/// A client and a server, an ideal network of 10 ms each way, and a clock.
struct Pair {
    now: Instant,
    call: Call,
    server: Answerer,
    events: Vec<Event>,
    to_server: VecDeque<(Instant, Vec<u8>)>,
    to_client: VecDeque<(Instant, Vec<u8>)>,
}

const DELAY: Duration = Duration::from_millis(10);
const SERVER: &str = "203.0.113.5:3478";

impl Pair {
    fn new() -> Pair {
        let now = Instant::now();
        let (mut call, offer) = Call::new(now).unwrap();
        let mut server = Answerer::new(SERVER.parse().unwrap(), now);
        let answer = server.answer(&offer, now);
        call.accept_answer(&answer, now).unwrap();
        let empty = VecDeque::new;
        Pair { now, call, server, events: Vec::new(), to_server: empty(), to_client: empty() }
    }

    /// Moves all packets and timers up to a moment.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(transmit) = self.call.poll_transmit() {
                assert_eq!(transmit.destination, SERVER.parse().unwrap());
                self.to_server.push_back((self.now + DELAY, transmit.bytes));
            }
            while let Some((_, bytes)) = self.server.poll_transmit() {
                self.to_client.push_back((self.now + DELAY, bytes));
            }
            while let Some(event) = self.call.poll_event() {
                self.events.push(event);
            }
            let arrival = |queue: &VecDeque<(Instant, Vec<u8>)>| queue.front().map(|front| front.0);
            let next = [
                Some(self.call.deadline().max(self.now + Duration::from_micros(1))),
                Some(self.server.deadline().max(self.now + Duration::from_micros(1))),
                arrival(&self.to_server),
                arrival(&self.to_client),
            ];
            let next = next.into_iter().flatten().min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival(&self.to_server) == Some(next) {
                let (_, bytes) = self.to_server.pop_front().unwrap();
                self.server.handle("198.51.100.7:4000".parse().unwrap(), &bytes, next);
            } else if arrival(&self.to_client) == Some(next) {
                let (_, bytes) = self.to_client.pop_front().unwrap();
                self.call.handle_packet(SERVER.parse().unwrap(), &bytes, next).unwrap();
            } else {
                self.call.handle_timeout(next).unwrap();
                self.server.handle_timeout(next);
            }
        }
    }

    fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }
}

#[test]
fn a_call_connects_and_its_frames_come_back_with_number_and_time() {
    let mut pair = Pair::new();
    assert!(!pair.call.send_frame(0, pair.now).unwrap() || !pair.has(&Event::Connected));
    pair.run_for(Duration::from_secs(2));
    for wanted in [Event::IceConnected, Event::Connected, Event::ChannelOpen] {
        assert!(pair.has(&wanted), "{wanted:?} in {:?}", pair.events);
    }
    pair.events.clear();
    for number in 1..=50 {
        assert!(pair.call.send_frame(number, pair.now).unwrap());
        pair.run_for(FRAME_INTERVAL);
    }
    pair.run_for(Duration::from_secs(1));
    let frames: Vec<Frame> = pair
        .events
        .iter()
        .filter_map(|event| if let Event::Frame(frame) = event { Some(*frame) } else { None })
        .collect();
    let numbers: Vec<u64> = frames.iter().map(|frame| frame.number).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    for frame in frames {
        let round_trip = frame.received_at - frame.sent_at;
        assert!((2 * DELAY..2 * DELAY + Duration::from_millis(2)).contains(&round_trip));
    }
}

#[test]
fn a_message_comes_back_on_the_data_channel() {
    let mut pair = Pair::new();
    assert!(!pair.call.send_message("too early", pair.now).unwrap());
    pair.run_for(Duration::from_secs(2));
    assert!(pair.call.send_message("{\"type\":\"ping\"}", pair.now).unwrap());
    pair.run_for(Duration::from_secs(1));
    assert!(pair.has(&Event::Message("{\"type\":\"ping\"}".to_owned())), "{:?}", pair.events);
}

#[test]
fn an_ice_restart_goes_on_with_the_same_call() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_secs(2));
    let offer = pair.call.restart_ice(pair.now).unwrap();
    let answer = pair.server.answer(&offer, pair.now);
    pair.call.accept_answer(&answer, pair.now).unwrap();
    pair.events.clear();
    pair.run_for(Duration::from_secs(2));
    assert!(pair.call.send_frame(9, pair.now).unwrap());
    pair.run_for(Duration::from_secs(1));
    let back = |event: &Event| matches!(event, Event::Frame(frame) if frame.number == 9);
    assert!(pair.events.iter().any(back), "{:?}", pair.events);
}

#[test]
fn hanging_up_ends_both_sides_and_is_said_once() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_secs(2));
    pair.call.close(pair.now).unwrap();
    pair.run_for(Duration::from_secs(5));
    assert!(pair.call.is_closed());
    assert!(pair.server.is_closed());
    assert_eq!(pair.events.iter().filter(|event| **event == Event::Closed).count(), 1);
}

#[test]
fn a_server_that_hangs_up_ends_the_call() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_secs(2));
    pair.server.close(pair.now);
    pair.run_for(Duration::from_secs(2));
    assert!(pair.has(&Event::Closed), "{:?}", pair.events);
}

#[test]
fn answers_that_cannot_be_used_are_refused_with_a_reason() {
    let now = Instant::now();
    for (answer, reason) in [
        ("", "no UDP candidate"),
        ("v=0", "no UDP candidate"),
        ("a=candidate:1 1 tcp 1 192.0.2.1 443 typ host tcptype passive", "no UDP candidate"),
        ("a=candidate:1 1 udp 1 192.0.2.1 443 typ host", "cannot be used"),
    ] {
        let (mut call, _) = Call::new(now).unwrap();
        let error = call.accept_answer(answer, now).unwrap_err().to_string();
        assert!(error.contains(reason), "{answer:?}: {error}");
        assert!(matches!(call.accept_answer(answer, now), Err(CallError::NoOffer)));
    }
}

#[test]
fn candidates_of_an_answer() {
    let answer = "v=0\r\na=candidate:1 1 udp 2130706431 192.0.2.9 3478 typ host\r\n\
                  a=candidate:2 1 TCP 1 192.0.2.9 443 typ host tcptype passive\r\n\
                  a=candidate:3 1 UDP 5 2001:db8::9 3478 typ host ufrag x\r\n\
                  a=candidate:4 1 udp 5 name.local 3478 typ host\r\na=candidate:\r\n";
    let wanted: Vec<SocketAddr> =
        ["192.0.2.9:3478", "[2001:db8::9]:3478"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(udp_candidates(answer), wanted);
}
