//! Offers against a real str0m client.

use super::*;
use proptest::prelude::*;
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;

fn credentials(session: u32) -> Credentials {
    let keyring = Keyring::parse(include_str!("../../../wire/tests/keyrings/new.toml")).unwrap();
    let (ufrag, pwd) = keyring.mint(Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(2),
        shard: ShardId(0),
        expires: HintTime(1),
        session: SessionTag::new(session),
    });
    Credentials { ufrag, pwd }
}

fn client_offer(direction: str0m::media::Direction) -> String {
    let mut rtc = Rtc::builder().clear_codecs().enable_opus(true, false).build(Instant::now());
    rtc.add_local_candidate(Candidate::host("192.0.2.77:5000".parse().unwrap(), "udp").unwrap());
    let mut change = rtc.sdp_api();
    change.add_media(str0m::media::MediaKind::Audio, direction, None, None, None);
    if direction == str0m::media::Direction::SendRecv {
        change.add_channel("oai-events".into());
    }
    change.apply().unwrap().0.to_sdp_string()
}

fn accept(offer: &Offer) -> Result<Negotiated, OfferError> {
    let ingress: [SocketAddr; 3] = [
        "192.0.2.1:3478".parse().unwrap(),
        "[2001:db8::1]:3478".parse().unwrap(),
        "198.51.100.1:3478".parse().unwrap(),
    ];
    Negotiator::new().unwrap().accept(offer, &credentials(7), &ingress, Instant::now())
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn an_answer_names_the_relays_and_never_us() {
    let offer = client_offer(str0m::media::Direction::SendRecv);
    let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
    assert!(!offer.text().contains("192.0.2.77"), "the client's addresses are not kept");
    let answer = accept(&offer).unwrap().answer;
    let candidates = lines(&answer, "a=candidate:");
    assert_eq!(candidates.len(), 3, "{answer}");
    assert!(candidates[0].ends_with(" 192.0.2.1 3478 typ host"), "{answer}");
    assert!(candidates[1].ends_with(" 2001:db8::1 3478 typ host"), "{answer}");
    let priority = |line: &str| line.split(' ').nth(3).unwrap().parse::<u32>().unwrap();
    assert!(candidates.is_sorted_by_key(|line| std::cmp::Reverse(priority(line))), "{answer}");
    assert!(!answer.contains("192.0.0.8") && !answer.contains("str0m"), "{answer}");
    let Credentials { ufrag, pwd } = credentials(7);
    for line in lines(&answer, "a=ice-ufrag:") {
        assert_eq!(line, format!("a=ice-ufrag:{ufrag}"));
    }
    for line in lines(&answer, "a=ice-pwd:") {
        assert_eq!(line, format!("a=ice-pwd:{}", pwd.as_str()));
    }
    for want in ["a=ice-lite", "a=rtcp-mux-only", "a=end-of-candidates", "a=setup:passive"] {
        assert!(answer.lines().any(|line| line == want), "{want} in {answer}");
    }
    assert!(!answer.contains("transport-wide-cc") && !answer.contains("trickle"), "{answer}");
    assert_eq!(answer.matches("\r\n").count(), answer.lines().count(), "every line ends right");
}

#[test]
fn an_ingest_listens_only() {
    for direction in [str0m::media::Direction::SendOnly, str0m::media::Direction::SendRecv] {
        let offer = client_offer(direction);
        // Without the data channel, which an ingest refuses.
        let offer = offer.split("m=application").next().unwrap();
        let offer = Offer::parse(offer.replace("BUNDLE 0 1", "BUNDLE 0").as_bytes(), Role::Ingest);
        // The mid is random in str0m: take whichever came.
        let Ok(offer) = offer else { continue };
        if let Ok(negotiated) = accept(&offer) {
            assert!(negotiated.answer.contains("a=recvonly"), "{}", negotiated.answer);
        }
    }
    let offer = client_offer(str0m::media::Direction::SendOnly);
    let answer = accept(&Offer::parse(offer.as_bytes(), Role::Ingest).unwrap()).unwrap().answer;
    assert!(answer.contains("a=recvonly") && !answer.contains("a=sendrecv"), "{answer}");
}

#[test]
fn what_cannot_be_a_call_says_what_to_change() {
    let good = client_offer(str0m::media::Direction::SendRecv);
    let call = |text: &str| Offer::parse(text.as_bytes(), Role::Call).map(|_| ());
    let ingest = |text: &str| Offer::parse(text.as_bytes(), Role::Ingest).map(|_| ());
    assert_eq!(call(&good), Ok(()));
    assert_eq!(call("garbage"), Err(OfferError::NotSdp));
    assert_eq!(call(""), Err(OfferError::NotSdp));
    assert_eq!(call(&"x".repeat(70_000)), Err(OfferError::TooLong));
    assert_eq!(Offer::parse(b"v=0\xff", Role::Call), Err(OfferError::NotText));
    assert_eq!(call("v=0\r\n"), Err(OfferError::NoAudio));
    assert_eq!(call(&good.replace("m=audio", "m=video")), Err(OfferError::NoAudio));
    assert_eq!(call(&good.replace("opus/", "other/")), Err(OfferError::NoOpus));
    assert_eq!(
        call(&good.replace("Opus/", "other/").replace("opus/", "o/")),
        Err(OfferError::NoOpus)
    );
    let many = format!("{good}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(100));
    assert_eq!(call(&many), Err(OfferError::TooManySections));
    let long = format!("{good}{}", "a=x\r\n".repeat(LINES));
    assert_eq!(call(&long), Err(OfferError::TooManySections));
    let inactive = good.replace("a=sendrecv", "a=inactive");
    assert_eq!(call(&inactive), Err(OfferError::WrongDirection("inactive")));
    let recvonly = good.replace("a=sendrecv", "a=recvonly");
    assert_eq!(call(&recvonly), Ok(()), "somebody who only listens");
    assert_eq!(ingest(&recvonly), Err(OfferError::WrongDirection("recvonly")));
    assert!(matches!(ingest(&good), Err(OfferError::NotForIngest(_))), "it offers data");
    let no_fingerprint: String =
        good.split_inclusive("\r\n").filter(|line| !line.starts_with("a=fingerprint")).collect();
    let offer = Offer::parse(no_fingerprint.as_bytes(), Role::Call).unwrap();
    assert!(matches!(
        accept(&offer).err(),
        Some(OfferError::Unacceptable(_) | OfferError::Unreadable(_))
    ));
}

const LINES: usize = 2_000;

#[test]
fn an_ice_restart_gets_credentials_that_relays_can_route() {
    let offer = client_offer(str0m::media::Direction::SendRecv);
    let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
    let mut negotiated = accept(&offer).unwrap();
    let (current, fresh) = (credentials(7), credentials(8));
    let ingress = ["192.0.2.1:3478".parse().unwrap()];

    let again = renegotiate(&mut negotiated.rtc, &offer, &current, &fresh, &ingress).unwrap();
    assert!(!again.restarted);
    assert!(again.answer.contains(current.ufrag.as_str()));

    let restart = offer.with_ice("newname", "newpasswordnewpassword22");
    let again = renegotiate(&mut negotiated.rtc, &restart, &current, &fresh, &ingress).unwrap();
    assert!(again.restarted);
    assert!(again.answer.contains(fresh.ufrag.as_str()));
    assert!(!again.answer.contains(current.ufrag.as_str()));
    let known = negotiated.rtc.direct_api().local_ice_credentials();
    assert_eq!(known.ufrag, fresh.ufrag.as_str(), "str0m expects what the answer promises");
    assert_eq!(known.pass, fresh.pwd.as_str());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Anything between garbage and a damaged offer is answered or refused.
    #[test]
    fn no_offer_panics(cut in 0_usize..4000, insert in ".{0,40}", at in 0_usize..4000) {
        let mut text = client_offer(str0m::media::Direction::SendRecv);
        let at = text.floor_char_boundary(at.min(text.len()));
        text.insert_str(at, &insert);
        text.truncate(text.floor_char_boundary(text.len().saturating_sub(cut)));
        if let Ok(offer) = Offer::parse(text.as_bytes(), Role::Call) {
            prop_assert_ne!(accept(&offer).err(), Some(OfferError::Internal));
        }
    }
}
