//! What goes over the wire with each candidate: how flows are set up, what a client's packet looks
//! like, what the backends send back, and what clients hear.

use std::net::SocketAddrV4;

use anyhow::Result;
use kit::forwarder;
use kit::payload;
use kit::plan::{PUBLIC, TUNNEL, shard, shard_of};
use kit::sessions::{Sessions, check, client_of};
use wire::stun::Message;

use crate::candidate::Dialect;
use crate::turn::{self, CHANNEL_HEADER_BYTES, Done};

/// Bytes of a client's packet: a voice frame of 20 ms over SRTP is about that.
pub(crate) const PAYLOAD_BYTES: usize = 160;

/// What a client has got so far: the number of the step that is next.
pub(crate) type Step = u8;

/// What a client heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A step of its set-up is done.
    Done(u32, Step),
    /// A packet has come back.
    Media {
        /// Whose.
        client: u32,
        /// When it was due to be sent.
        due_ns: u64,
    },
    /// Something else.
    Nothing,
}

/// The conversation with one candidate.
#[derive(Debug)]
pub(crate) struct Speech {
    dialect: Dialect,
    sessions: Option<Box<Sessions>>,
}

impl Speech {
    /// In a dialect that needs no sessions of ours.
    pub(crate) const fn plain(dialect: Dialect) -> Self {
        Self { dialect, sessions: None }
    }

    /// With Ringway.
    pub(crate) fn tunnel(sessions: Sessions) -> Self {
        Self { dialect: Dialect::Tunnel, sessions: Some(Box::new(sessions)) }
    }

    /// Where a client sends to.
    pub(crate) fn destination(&self, client: u32) -> SocketAddrV4 {
        if self.dialect == Dialect::Direct { shard(shard_of(client)) } else { PUBLIC }
    }

    /// How many steps a set-up has; the last is a packet that comes back.
    pub(crate) const fn steps(&self) -> Step {
        match self.dialect {
            Dialect::Direct | Dialect::Plain | Dialect::Header => 1,
            Dialect::Ufrag | Dialect::Tunnel => 2,
            Dialect::Turn => 3,
        }
    }

    /// Writes what a client sends at a step of its set-up; returns its length.
    pub(crate) fn set_up(&self, client: u32, step: Step, out: &mut [u8]) -> usize {
        if step + 1 >= self.steps() {
            return self.media(client, 0, 0, out);
        }
        match (self.dialect, &self.sessions) {
            (Dialect::Turn, _) if step == 0 => turn::allocate(out, client),
            (Dialect::Turn, _) => turn::bind(out, client, shard(shard_of(client))),
            (_, Some(sessions)) => sessions.check(client, out),
            (_, None) => {
                let ufrag = format!("{:02x}{client:06x}", shard_of(client));
                check(out, client, ufrag.as_bytes(), b"gorelay does not look at this")
            }
        }
    }

    /// Writes a client's packet of media; returns its length.
    pub(crate) fn media(&self, client: u32, number: u64, due_ns: u64, out: &mut [u8]) -> usize {
        if self.dialect == Dialect::Turn {
            let packet = &mut out[CHANNEL_HEADER_BYTES..CHANNEL_HEADER_BYTES + PAYLOAD_BYTES];
            payload::write(packet, client, number, due_ns);
            return turn::wrap(out, PAYLOAD_BYTES);
        }
        payload::write(&mut out[..PAYLOAD_BYTES], client, number, due_ns);
        PAYLOAD_BYTES
    }

    /// What a datagram tells the client it came to.
    pub(crate) fn hear(&self, datagram: &[u8]) -> Heard {
        let packet = if self.dialect == Dialect::Turn {
            if let Some((client, done)) = turn::granted(datagram) {
                return Heard::Done(client, if done == Done::Allocated { 1 } else { 2 });
            }
            turn::unwrap(datagram).unwrap_or_default()
        } else {
            datagram
        };
        if let (Some(client), Some(due_ns)) = (payload::client(packet), payload::sent_ns(packet)) {
            return Heard::Media { client, due_ns };
        }
        let checked = Message::parse(packet).ok().and_then(|message| client_of(&message));
        checked.map_or(Heard::Nothing, |client| Heard::Done(client, 1))
    }

    /// What a backend does with a datagram: shows `send` what goes back, and where to. Says how many
    /// packets of clients were in it.
    pub(crate) fn echo(
        &mut self,
        backend: u16,
        datagram: &mut [u8],
        from: SocketAddrV4,
        mut send: impl FnMut(SocketAddrV4, &[u8]),
    ) -> Result<u64> {
        if let Some(sessions) = &mut self.sessions {
            return Ok(sessions.echo(backend, datagram, &mut |back| send(TUNNEL, back)));
        }
        match self.dialect {
            Dialect::Header => {
                send(TUNNEL, datagram);
                Ok(u64::from(forwarder::read(datagram).is_some()))
            }
            _ => {
                send(from, datagram);
                Ok(u64::from(payload::sent_ns(datagram).is_some()))
            }
        }
    }

    /// Sends what a backend has bundled.
    pub(crate) fn flush(&mut self, backend: u16, mut send: impl FnMut(SocketAddrV4, &[u8])) {
        if let Some(sessions) = &mut self.sessions {
            sessions.flush(backend, &mut |back| send(TUNNEL, back));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 76, 2, 1), 1234);

    #[test]
    fn in_every_plain_dialect_a_packet_that_comes_back_is_heard() {
        for dialect in [Dialect::Direct, Dialect::Plain, Dialect::Ufrag, Dialect::Turn] {
            let mut speech = Speech::plain(dialect);
            let direct = speech.destination(42) == shard(shard_of(42));
            assert_eq!(direct, dialect == Dialect::Direct);
            let mut out = [0; 256];
            let length = speech.media(42, 7, 99, &mut out);
            let mut sent = Vec::new();
            // What a TURN server sends its client is framed as what it was sent.
            let echoed = speech.echo(0, &mut out[..length], FROM, |to, back| {
                sent.push((to, back.to_vec()));
            });
            assert_eq!(echoed.unwrap(), u64::from(dialect != Dialect::Turn), "{dialect:?}");
            assert_eq!(sent[0].0, FROM);
            assert_eq!(speech.hear(&sent[0].1), Heard::Media { client: 42, due_ns: 99 });
            assert_eq!(speech.hear(&[]), Heard::Nothing);
        }
    }

    #[test]
    fn every_step_of_a_set_up_is_followed_by_the_next() {
        let mut out = [0; 256];
        let ufrag = Speech::plain(Dialect::Ufrag);
        let length = ufrag.set_up(3, 0, &mut out);
        let message = Message::parse(&out[..length]).unwrap();
        assert!(message.ufrag().unwrap().starts_with(b"03"));
        assert_eq!(ufrag.hear(&out[..length]), Heard::Done(3, 1));
        let last = ufrag.set_up(3, 1, &mut out);
        assert_eq!(ufrag.hear(&out[..last]), Heard::Media { client: 3, due_ns: 0 });

        let turn = Speech::plain(Dialect::Turn);
        for (step, want) in [(0, 1), (1, 2)] {
            let length = turn.set_up(9, step, &mut out);
            out[0] |= 1;
            assert_eq!(turn.hear(&out[..length]), Heard::Done(9, want));
        }
    }
}
