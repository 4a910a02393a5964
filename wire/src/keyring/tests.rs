//! What a keyring's text may say, and what an operator is told where it may not.

use super::*;
use crate::hint::{ClusterId, HintTime, SessionTag, ShardId, TransceiverId};
use crate::stun::{Encoder, Kind};
use crate::tunnel::{Content, OpenError, Opener};
use std::convert::Infallible;

const OLD: &str = include_str!("../../tests/keyrings/old.toml");
const ADDING: &str = include_str!("../../tests/keyrings/adding.toml");
const BOTH: &str = include_str!("../../tests/keyrings/both.toml");
const NEW: &str = include_str!("../../tests/keyrings/new.toml");

#[expect(clippy::unnecessary_wraps, reason = "the shape of a random source that may fail")]
fn counting(bytes: &mut [u8]) -> Result<(), Infallible> {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = index as u8 ^ 0x5a;
    }
    Ok(())
}

#[test]
fn a_generated_keyring_parses() {
    let text = generate(counting).unwrap();
    let keyring = Keyring::parse(&text).unwrap();
    assert_eq!(keyring.routing_used().id.as_char(), 'A');
    assert_eq!(keyring.tunnel_used().id, TunnelKeyId(1));
    let mut key = [0; 16];
    counting(&mut key).unwrap();
    assert_eq!(
        keyring.routing_used().key,
        RoutingKey::new(key),
        "the secrets are the random bytes"
    );
}

#[test]
fn a_fresh_entry_can_be_added_to_a_keyring() {
    let mut text = generate(counting).unwrap();
    text.push_str(&fresh_routing_entry(KeyChar::new('z').unwrap(), counting).unwrap());
    text.push_str(&fresh_tunnel_entry(TunnelKeyId(255), counting).unwrap());
    let keyring = Keyring::parse(&text).unwrap();
    assert_eq!(keyring.routing_entries()[1].state, State::Accept);
    assert_eq!(keyring.tunnel_entries()[1].state, State::Accept);
    assert_eq!(keyring.routing_used().id.as_char(), 'A');
}

#[test]
fn a_failing_random_source_makes_no_keyring() {
    assert_eq!(generate(|_| Err("no entropy")).unwrap_err(), "no entropy");
}

#[test]
fn errors_name_the_line_and_the_mend() {
    for (name, from, to, line, reason) in [
        ("an unknown key", "state = \"use\"\nkey", "sate = 1\nstate = \"use\"\nkey", 6, "sate"),
        ("an unknown state", "state = \"use\"\nkey", "state = \"used\"\nkey", 6, "\"accept\""),
        ("an id of two characters", "id = \"A\"", "id = \"AB\"", 5, "one character"),
        ("an id with a slash", "id = \"A\"", "id = \"/\"", 5, "one character"),
        ("a tunnel id too large", "id = 1", "id = 256", 11, "0 to 255"),
        ("the wrong kind of entry", "[[routing]]", "[[tunnel]]", 8, "credential"),
        (
            "none used",
            "state = \"use\"\nsecret",
            "state = \"accept\"\nsecret",
            13,
            "no tunnel entry",
        ),
    ] {
        let text = OLD.replace(from, to);
        assert_ne!(text, OLD, "{name}: the replacement missed");
        let error = Keyring::parse(&text).unwrap_err();
        assert_eq!(error.line, line, "{name}: {error}");
        assert!(error.reason.contains(reason), "{name}: {error}");
    }
}

#[test]
fn duplicates_and_second_uses_are_refused_at_the_second() {
    let twice = format!("{OLD}{}", &OLD[OLD.find("[[tunnel]]").unwrap()..]);
    let error = Keyring::parse(&twice).unwrap_err();
    assert_eq!(error.reason, "there are two tunnel entries with id 1");
    assert_eq!(error.line, 14);

    let two_used = ADDING.replace("accept", "use");
    let error = Keyring::parse(&two_used).unwrap_err();
    assert!(error.reason.starts_with("a second routing entry has state = \"use\""), "{error}");
    assert_eq!(error.line, 10);
}

#[test]
fn an_empty_text_says_what_is_needed() {
    let error = Keyring::parse("").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: there is no [[routing]] entry; one with state = \"use\" is needed"
    );
}

/// Whatever an operator gets wrong in a secret, the error must not print what stands there.
#[test]
fn errors_never_quote_a_secret() {
    let start = OLD.find("secret = \"").unwrap() + "secret = \"".len();
    let secret = &OLD[start..start + 64];
    for (name, from, to) in [
        ("one digit short", secret.to_owned(), secret[1..].to_owned()),
        ("one digit long", secret.to_owned(), format!("{secret}0")),
        ("not hexadecimal", secret.to_owned(), format!("x{}", &secret[1..])),
        ("not quoted", format!("\"{secret}\""), secret.to_owned()),
        ("an integer", format!("\"{secret}\""), "123456789012".to_owned()),
        ("a float", format!("\"{secret}\""), "12345678.9012".to_owned()),
        ("a list", format!("\"{secret}\""), format!("[\"{secret}\"]")),
        ("a table", format!("\"{secret}\""), format!("{{ \"{secret}\" = 1 }}")),
        ("a quote missing", format!("{secret}\""), secret.to_owned()),
        ("as the name of a key", format!("secret = \"{secret}\""), format!("{secret} = 1")),
    ] {
        let text = OLD.replace(&from, &to);
        assert_ne!(text, OLD, "{name}: the replacement missed");
        let error = Keyring::parse(&text).unwrap_err();
        let message = error.to_string();
        for quoted in [&secret[1..9], &secret[40..48], "12345678"] {
            assert!(!message.contains(quoted), "{name}: {message}");
        }
        assert!((10..=13).contains(&error.line), "{name}: {message}");
    }
}

#[test]
fn debug_shows_ids_and_states_only() {
    let printed = format!("{:?}", Keyring::parse(BOTH).unwrap());
    assert_eq!(
        printed,
        "Keyring { routing: [(KeyChar(A), Accept), (KeyChar(B), Use)], \
         tunnel: [(TunnelKeyId(1), Accept), (TunnelKeyId(2), Use)], .. }"
    );
}

fn hint() -> Hint {
    Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(2),
        shard: ShardId(3),
        expires: HintTime(4),
        session: SessionTag::new(5),
    }
}

/// A session as its transceiver minted it, and a check that its client sends later on.
fn session(transceiver: &Keyring) -> (Ufrag, Vec<u8>) {
    let (ufrag, pwd) = transceiver.mint(hint());
    let mut buffer = [0; 256];
    let check = Encoder::new(&mut buffer, Kind::BindingRequest, *b"transaction1")
        .and_then(|check| check.username(ufrag.as_bytes(), b"abcd"))
        .and_then(|check| check.integrity(pwd.as_bytes()))
        .unwrap();
    (ufrag, check.finish().to_vec())
}

fn routes(relay: &Keyring, ufrag: &Ufrag, check: &[u8]) -> bool {
    let check = Message::parse(check).unwrap();
    relay.decode(ufrag.as_bytes()) == Ok(hint())
        && relay.proves_answer_seen(ufrag.as_bytes(), &check).is_ok()
}

/// Every order in which a relay and a transceiver can pass through the three steps, as long as no
/// step begins before the last one has reached both.
#[test]
fn a_rotation_refuses_nothing_in_flight() {
    let steps = [OLD, ADDING, BOTH, NEW].map(|text| Keyring::parse(text).unwrap());
    let mut sessions = Vec::new();
    let mut sender = 0;
    let mut to_shard = Opener::new(Direction::ToShard, &steps[0], 16);
    let mut to_relay = Opener::new(Direction::ToRelay, &steps[0], 16);
    for (step, (before, after)) in steps.iter().zip(&steps[1..]).enumerate() {
        let moments = [(before, before), (after, before), (before, after), (after, after)];
        for (relay, transceiver) in moments {
            to_relay.reload(relay);
            to_shard.reload(transceiver);
            // The old entry is dropped only when its last session has ended.
            if step == 2 {
                sessions.retain(|(ufrag, _): &(Ufrag, _)| !ufrag.as_str().starts_with('A'));
            }
            sessions.push(session(transceiver));
            for (ufrag, check) in &sessions {
                assert!(routes(relay, ufrag, check), "step {}: {ufrag}", step + 1);
            }
            for (from, direction, opener) in [
                (relay, Direction::ToShard, &mut to_shard),
                (transceiver, Direction::ToRelay, &mut to_relay),
            ] {
                sender += 1;
                let mut ping = from.sealer(direction, SenderId([sender; 8])).seal_ping(9).unwrap();
                let opened = opener.open(&mut ping).map(|datagram| datagram.content);
                assert!(matches!(opened, Ok(Content::Ping(9))), "step {}: {opened:?}", step + 1);
            }
        }
    }
    // And the end is an end: what was made with the old keys is refused.
    let (ufrag, check) = session(&steps[0]);
    assert_eq!(steps[3].decode(ufrag.as_bytes()), Err(HintError::UnknownKey));
    assert!(!routes(&steps[3], &ufrag, &check));
    let mut old = steps[0].sealer(Direction::ToShard, SenderId([99; 8]));
    let refused = to_shard.open(&mut old.seal_ping(9).unwrap()).map(|_| ());
    assert_eq!(refused, Err(OpenError::UnknownKey));
}

/// A step skipped is what the three are there to prevent.
#[test]
fn a_rotation_in_one_step_would_refuse() {
    let [old, new] = [OLD, NEW].map(|text| Keyring::parse(text).unwrap());
    let (ufrag, check) = session(&new);
    assert!(!routes(&old, &ufrag, &check));
    let mut opener = Opener::new(Direction::ToShard, &old, 4);
    let mut ping = new.sealer(Direction::ToShard, SenderId([1; 8])).seal_ping(1).unwrap();
    assert_eq!(opener.open(&mut ping).map(|_| ()).unwrap_err(), OpenError::UnknownKey);
}
