//! `trace`: what would become of a packet, found out by the very code that routes packets.

use super::flows::{mismatch, refuse};
use super::protocol::{Traced, TracedPacket};
use crate::control::decode::minted;
use crate::control::fleet::Fleet;
use crate::core::{Command, Reply};
use service::admin::Refusal;
use std::net::SocketAddr;
use wire::frame::ListenerId;
use wire::keyring::Keyring;
use wire::stun::{Encoder, Full, Kind};

/// More than any packet that a client sends.
const PACKET_BYTES_MAX: usize = 2_048;
/// What a browser would choose for itself; no relay looks at it.
const CLIENT_UFRAG: &[u8] = b"trace";
const TRANSACTION: [u8; 12] = *b"ringwaytrace";

/// Asks the router of a worker that has a flow of this client, or else the first.
pub(super) async fn trace(
    fleet: &Fleet,
    listener: ListenerId,
    client: SocketAddr,
    packet: Vec<u8>,
) -> Result<Traced, Refusal> {
    let mut worker = 0;
    let flows = fleet.ask_all(Command::Flow(listener, client.into())).await.map_err(refuse)?;
    if let Some(owner) = flows.iter().position(|reply| matches!(reply, Reply::Flow(Some(_)))) {
        worker = owner;
    }
    let packet_bytes = packet.len();
    let reply = fleet.ask(worker, Command::Trace(listener, client.into(), packet)).await;
    let Reply::Trace(trace) = reply.map_err(refuse)? else { return Err(mismatch()) };
    Ok(Traced {
        worker,
        listener: listener.0,
        packet_bytes,
        steps: trace.steps.iter().map(ToString::to_string).collect(),
        outcome: trace.outcome,
        forwarded: trace.forwarded,
    })
}

/// The listener that a client's packet would come by.
pub(super) fn listener(
    listen: &[SocketAddr],
    client: SocketAddr,
    wanted: Option<u8>,
) -> Result<ListenerId, Refusal> {
    // A mapped IPv4 client is an IPv4 client, and comes by an IPv4 socket.
    let is_ipv4 = client.ip().to_canonical().is_ipv4();
    let position = match wanted {
        Some(listener) => Some(usize::from(listener)).filter(|place| *place < listen.len()),
        None => listen.iter().position(|address| address.is_ipv4() == is_ipv4),
    };
    position.and_then(|position| u8::try_from(position).ok()).map(ListenerId).ok_or_else(|| {
        Refusal(match wanted {
            Some(listener) => {
                format!("there is no listener {listener}: they are 0 to {}", listen.len() - 1)
            }
            None => format!("no listener is of the family of {client}"),
        })
    })
}

/// The bytes of the packet.
pub(super) fn packet(keyring: &Keyring, packet: &TracedPacket) -> Result<Vec<u8>, Refusal> {
    match packet {
        TracedPacket::Ufrag(ufrag) => check(keyring, ufrag)
            .map_err(|Full| Refusal("this ufrag is too long for a STUN message".to_owned())),
        TracedPacket::Hex(hex) => bytes(hex).map_err(Refusal),
    }
}

/// The connectivity check of a client that saw this ufrag in an SDP answer, and its password.
/// A foreign ufrag has no password that we know, so its check has no integrity.
fn check(keyring: &Keyring, ufrag: &str) -> Result<Vec<u8>, Full> {
    let mut buffer = [0; PACKET_BYTES_MAX];
    let encoder = Encoder::new(&mut buffer, Kind::BindingRequest, TRANSACTION)?
        .username(ufrag.as_bytes(), CLIENT_UFRAG)?
        .priority(1)?
        .ice_controlling(1)?;
    let encoder = match minted(keyring, ufrag) {
        Some((ufrag, entry)) => encoder.integrity(entry.credential.ice_pwd(&ufrag).as_bytes())?,
        None => encoder,
    };
    Ok(encoder.fingerprint()?.finish().to_vec())
}

/// Bytes from hex digits; spaces and colons between bytes are fine, as packet dumps have them.
fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> =
        hex.chars().filter(|character| !matches!(character, ' ' | ':' | '\n')).collect();
    if !digits.len().is_multiple_of(2) {
        return Err("the hex digits of a packet come in pairs; one is missing".to_owned());
    }
    if digits.len() / 2 > PACKET_BYTES_MAX {
        return Err(format!("a packet to be traced has at most {PACKET_BYTES_MAX} bytes"));
    }
    let byte = |pair: &[char]| {
        let value = pair.iter().try_fold(0, |value, digit| Some(value * 16 + digit.to_digit(16)?));
        value.and_then(|value| u8::try_from(value).ok())
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| "a packet is given in hex digits: 0-9, a-f".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
    use wire::stun::Message;

    fn keyring() -> Keyring {
        let text = wire::keyring::generate(|bytes: &mut [u8]| {
            bytes.fill(7);
            Ok::<_, ()>(())
        });
        Keyring::parse(&text.unwrap()).unwrap()
    }

    #[test]
    fn hex_as_packet_dumps_have_it() {
        assert_eq!(bytes("80 6f:00ff").unwrap(), [0x80, 0x6f, 0, 0xff]);
        assert!(bytes("").unwrap().is_empty());
        for (hex, reason) in [("8", "pairs"), ("8g", "hex digits"), ("0x80", "hex digits")] {
            assert!(bytes(hex).unwrap_err().contains(reason), "{hex}");
        }
        assert!(bytes(&"00".repeat(PACKET_BYTES_MAX + 1)).unwrap_err().contains("at most"));
    }

    #[test]
    fn the_check_of_our_ufrag_proves_itself_and_a_foreign_one_does_not() {
        let keyring = keyring();
        let (ufrag, _) = keyring.mint(Hint {
            cluster: ClusterId(1),
            transceiver: TransceiverId(2),
            shard: ShardId(3),
            expires: HintTime(4),
            session: SessionTag::new(5),
        });
        let bytes = check(&keyring, ufrag.as_str()).unwrap();
        let message = Message::parse(&bytes).unwrap();
        keyring.proves_answer_seen(ufrag.as_bytes(), &message).unwrap();

        let bytes = check(&keyring, "foreign").unwrap();
        assert!(!Message::parse(&bytes).unwrap().has_integrity());
        let long = TracedPacket::Ufrag("x".repeat(3_000));
        assert!(packet(&keyring, &long).unwrap_err().0.contains("too long"));
    }

    #[test]
    fn the_listener_suits_the_client() {
        let listen: Vec<SocketAddr> =
            ["0.0.0.0:3478", "[::]:3478"].map(|text| text.parse().unwrap()).to_vec();
        let of = |client: &str, wanted| listener(&listen, client.parse().unwrap(), wanted);
        assert_eq!(of("192.0.2.1:1", None), Ok(ListenerId(0)));
        assert_eq!(of("[2001:db8::1]:1", None), Ok(ListenerId(1)));
        assert_eq!(of("[::ffff:192.0.2.1]:1", None), Ok(ListenerId(0)));
        assert_eq!(of("192.0.2.1:1", Some(1)), Ok(ListenerId(1)), "whatever is asked for");
        assert!(of("192.0.2.1:1", Some(2)).unwrap_err().0.contains("they are 0 to 1"));
        assert!(
            listener(&listen[..1], "[::1]:1".parse().unwrap(), None)
                .unwrap_err()
                .0
                .contains("no listener is of the family")
        );
    }
}
