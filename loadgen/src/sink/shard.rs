//! The far end behind a relay: opens the tunnel's datagrams, answers each frame, and seals the
//! answers into bundles, one per relay worker.

use std::net::SocketAddr;

use wire::keyring::Keyring;
use wire::tunnel::{Bundle, Content, Direction, Opener, Sealer, SenderId};

use super::echo::{Echo, EchoCounts};
use crate::flows::PACKET_BYTES_MAX;
use crate::measure::Nanoseconds;

/// Relay workers remembered at a time.
const SENDERS_MAX: usize = 1024;
/// Relay workers whose answers are bundled at a time; of more, they leave one by one.
const BUNDLES_MAX: usize = 64;

/// What the tunnel brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Datagrams opened.
    pub datagrams: u64,
    /// Frames in them.
    pub frames: u64,
    /// Datagrams that could not be opened.
    pub refused: u64,
    /// Pings answered.
    pub pings: u64,
    /// Datagrams sent.
    pub sent: u64,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    echo: Echo,
    opener: Opener,
    sealer: Sealer,
    mtu: usize,
    bundles: Vec<(SocketAddr, Bundle)>,
    counts: ShardCounts,
}

impl Shard {
    /// A shard that has just started: `sender` is drawn for it.
    #[must_use]
    pub fn new(keyring: &Keyring, sender: SenderId, clock: u64, mtu: usize) -> Self {
        Self {
            echo: Echo::new(keyring.clone(), clock),
            opener: Opener::new(Direction::ToShard, keyring, SENDERS_MAX),
            sealer: keyring.sealer(Direction::ToRelay, sender),
            mtu,
            bundles: Vec::new(),
            counts: ShardCounts::default(),
        }
    }

    /// Takes a datagram from a relay worker, and hands what is full to `send`.
    pub fn on_datagram(
        &mut self,
        relay: SocketAddr,
        datagram: &mut [u8],
        now: Nanoseconds,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        let Ok(opened) = self.opener.open(datagram) else {
            self.counts.refused += 1;
            return;
        };
        self.counts.datagrams += 1;
        match opened.content {
            Content::Data(frames) => {
                let at = bundle_of(&mut self.bundles, relay, self.mtu);
                let (_, bundle) = &mut self.bundles[at];
                let mut answer = [0; PACKET_BYTES_MAX];
                for frame in frames {
                    self.counts.frames += 1;
                    let client = frame.client;
                    let Some(length) =
                        self.echo.answer(client.address, frame.payload, now, &mut answer)
                    else {
                        continue;
                    };
                    if bundle.append(&client, &answer[..length]).is_err() {
                        seal(&mut self.sealer, bundle, relay, &mut self.counts, send);
                        // Into an empty bundle everything of this size goes.
                        let _ = bundle.append(&client, &answer[..length]);
                    }
                }
            }
            Content::Ping(token) => {
                if let Ok(pong) = self.sealer.seal_pong(token) {
                    self.counts.pings += 1;
                    send(relay, &pong);
                }
            }
            Content::Pong(_) | Content::Gone(_) => {}
        }
    }

    /// Sends what is bundled: at the end of a batch, so that nothing waits for company.
    pub fn flush(&mut self, send: &mut impl FnMut(SocketAddr, &[u8])) {
        for (relay, bundle) in &mut self.bundles {
            if !bundle.is_empty() {
                seal(&mut self.sealer, bundle, *relay, &mut self.counts, send);
            }
        }
        if self.bundles.len() > BUNDLES_MAX {
            self.bundles.clear();
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> (&ShardCounts, &EchoCounts) {
        (&self.counts, self.echo.counts())
    }
}

fn bundle_of(bundles: &mut Vec<(SocketAddr, Bundle)>, relay: SocketAddr, mtu: usize) -> usize {
    if let Some(at) = bundles.iter().position(|(of, _)| *of == relay) {
        return at;
    }
    bundles.push((relay, Bundle::new(mtu, PACKET_BYTES_MAX)));
    bundles.len() - 1
}

fn seal(
    sealer: &mut Sealer,
    bundle: &mut Bundle,
    relay: SocketAddr,
    counts: &mut ShardCounts,
    send: &mut impl FnMut(SocketAddr, &[u8]),
) {
    // The counter is exhausted after 2^48 datagrams.
    if let Ok(datagram) = sealer.seal_data(bundle) {
        counts.sent += 1;
        send(relay, datagram);
    }
}
