//! A flow as Redis has it.
//!
//! ```text
//!   <prefix>192.0.2.7:51004   →   1 <cluster> <transceiver> <shard> <session or ->
//! ```
//!
//! The leading 1 is the version. All are ids, which mean something only to a relay whose clusters
//! have them. The listener is not in the key: of several relays with one Redis, and of several
//! addresses of one relay, a client's port has one session wherever it comes in.

use crate::core::{Recalled, Route};
use std::str::FromStr;
use wire::frame::Client;
use wire::hint::{ClusterId, SessionTag, ShardId, TransceiverId};

/// No record is longer.
pub(super) const BYTES_MAX: usize = 40;
const VERSION: &str = "1";

pub(super) fn key(prefix: &str, client: &Client) -> String {
    format!("{prefix}{}", client.address)
}

pub(super) fn write(flow: &Recalled) -> String {
    let Route { cluster, transceiver, shard } = flow.route;
    let ids = format!("{VERSION} {} {} {}", cluster.0, transceiver.0, shard.0);
    match flow.session {
        Some(session) => format!("{ids} {}", session.value()),
        None => format!("{ids} -"),
    }
}

/// None if it is none of ours: nothing but what [`write`] writes is read.
pub(super) fn parse(text: &[u8], client: Client) -> Option<Recalled> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    if words.next()? != VERSION {
        return None;
    }
    let route = Route {
        cluster: ClusterId(number(words.next()?)?),
        transceiver: TransceiverId(number(words.next()?)?),
        shard: ShardId(number(words.next()?)?),
    };
    let session = match words.next()? {
        "-" => None,
        word => Some(number::<u32>(word).filter(|tag| *tag < 1 << 24).map(SessionTag::new)?),
    };
    words.next().is_none().then_some(Recalled { client, route, session })
}

fn number<T: FromStr + ToString>(word: &str) -> Option<T> {
    let number: T = word.parse().ok()?;
    // One way to write a number: no plus, no zeros in front.
    (number.to_string() == word).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::address::Address;
    use wire::frame::{ListenerId, Transport};

    fn client() -> Client {
        let address = Address::new([192, 0, 2, 7].into(), 51_004);
        Client { address, listener: ListenerId(3), transport: Transport::Udp }
    }

    #[test]
    fn as_documented() {
        let route = Route {
            cluster: ClusterId(u16::MAX),
            transceiver: TransceiverId(u32::MAX),
            shard: ShardId(255),
        };
        let session = Some(SessionTag::new((1 << 24) - 1));
        let longest = write(&Recalled { client: client(), route, session });
        assert_eq!(longest, "1 65535 4294967295 255 16777215");
        assert!(longest.len() <= BYTES_MAX);
        assert_eq!(key("ringway:flow:", &client()), "ringway:flow:192.0.2.7:51004");
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "1",
            "1 1 1 1",
            "2 1 1 1 -",
            "1 1 1 1 - ",
            "1 1 1 1 - -",
            " 1 1 1 1 -",
            "1  1 1 1 -",
            "1 65536 1 1 -",
            "1 1 4294967296 1 -",
            "1 1 1 256 -",
            "1 1 1 1 16777216",
            "1 1 1 1 --",
            "1 01 1 1 -",
            "1 +1 1 1 -",
            "1 -1 1 1 -",
            "1 1 1 1 x",
            "1 1 1 1 -\n",
            "\u{0}",
        ] {
            assert_eq!(parse(text.as_bytes(), client()), None, "{text:?}");
        }
        assert_eq!(parse(&[0xff; 30], client()), None);
    }

    proptest! {
        #[test]
        fn round_trip(ids: (u16, u32, u8), tag in prop::option::of(0u32..1 << 24)) {
            let route = Route {
                cluster: ClusterId(ids.0),
                transceiver: TransceiverId(ids.1),
                shard: ShardId(ids.2),
            };
            let flow = Recalled { client: client(), route, session: tag.map(SessionTag::new) };
            prop_assert_eq!(parse(write(&flow).as_bytes(), client()), Some(flow));
        }

        #[test]
        fn only_what_is_written_is_read(text: Vec<u8>) {
            if let Some(flow) = parse(&text, client()) {
                prop_assert_eq!(write(&flow).into_bytes(), text);
            }
        }
    }
}
