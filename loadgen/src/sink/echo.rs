//! What the far end does with one packet of a client.

use std::collections::HashMap;

use wire::address::Address;
use wire::credentials::IcePwd;
use wire::demux::PacketClass;
use wire::hint::KeyChar;
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind, Message};

use crate::flows::{Media, PACKET_BYTES_MAX, SinkStamp};
use crate::measure::Nanoseconds;

/// Flows remembered at a time; the packets of more are sent back without a stamp.
const FLOWS_MAX: usize = 1 << 20;
/// A flow that has been silent for this long may be forgotten.
const IDLE_NS: Nanoseconds = 30 * crate::measure::SECOND;
/// Packets behind the latest that are still told apart from doubles.
const WINDOW: u64 = 256;

/// What became of what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EchoCounts {
    /// Checks answered.
    pub checks: u64,
    /// Checks without the right hint or integrity.
    pub checks_refused: u64,
    /// Media sent back.
    pub media: u64,
    /// Packets of nobody we know.
    pub foreign: u64,
    /// Flows that found no room.
    pub flows_untracked: u64,
}

/// Answers packets.
#[derive(Debug)]
pub struct Echo {
    keyring: Keyring,
    clock: u64,
    flows: HashMap<(u32, u32, u32), Tracked>,
    counts: EchoCounts,
}

#[derive(Debug, Clone, Copy)]
struct Tracked {
    seen_at: Nanoseconds,
    latest: u64,
    /// Bit i of the window: the packet i before the latest has come.
    window: [u64; 4],
    arrived: u64,
    reordered: u32,
    doubled: u32,
}

impl Echo {
    /// Answers checks made with this keyring. `clock` says whose clock the times are of.
    #[must_use]
    pub fn new(keyring: Keyring, clock: u64) -> Self {
        Self { keyring, clock, flows: HashMap::new(), counts: EchoCounts::default() }
    }

    /// Writes the answer to a packet into `out`, which has room for [`PACKET_BYTES_MAX`]; returns
    /// its length. `None` if there is nothing to be said.
    pub fn answer(
        &mut self,
        client: Address,
        packet: &[u8],
        now: Nanoseconds,
        out: &mut [u8],
    ) -> Option<usize> {
        match PacketClass::of(packet) {
            PacketClass::Stun => {
                let length = self.answer_check(client, packet, out);
                *match length {
                    Some(_) => &mut self.counts.checks,
                    None => &mut self.counts.checks_refused,
                } += 1;
                length
            }
            PacketClass::Rtp if packet.len() <= PACKET_BYTES_MAX => {
                let Some(media) = Media::read(packet) else {
                    self.counts.foreign += 1;
                    return None;
                };
                self.counts.media += 1;
                let out = &mut out[..packet.len()];
                out.copy_from_slice(packet);
                if let Some(stamp) = self.stamp(&media, now) {
                    stamp.write(out);
                }
                Some(packet.len())
            }
            _ => {
                self.counts.foreign += 1;
                None
            }
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> &EchoCounts {
        &self.counts
    }

    fn answer_check(&self, client: Address, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let check = Message::parse(packet).ok()?;
        let ufrag = check.ufrag().filter(|_| check.kind() == Kind::BindingRequest)?;
        let password = self.password(ufrag)?;
        check.verify_integrity(password.as_bytes()).ok()?;
        let answer = Encoder::new(out, Kind::BindingSuccess, check.transaction())
            .and_then(|answer| answer.xor_mapped_address(client))
            .and_then(|answer| answer.integrity(password.as_bytes()))
            .and_then(Encoder::fingerprint)
            .ok()?;
        Some(answer.finish().len())
    }

    /// Any session minted with the keyring is one of ours.
    fn password(&self, ufrag: &[u8]) -> Option<IcePwd> {
        let hint = self.keyring.decode(ufrag).ok()?;
        let name = KeyChar::new(char::from(*ufrag.first()?))?;
        let entry = self.keyring.routing_entries().iter().find(|entry| entry.id == name)?;
        Some(entry.credential.ice_pwd(&entry.key.encode(name, hint)))
    }

    fn stamp(&mut self, media: &Media, now: Nanoseconds) -> Option<SinkStamp> {
        let key = (media.run, media.flow, media.generation);
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&key) {
            self.flows.retain(|_, flow| now.saturating_sub(flow.seen_at) < IDLE_NS);
            if self.flows.len() >= FLOWS_MAX {
                self.counts.flows_untracked += 1;
                return None;
            }
        }
        let flow = self.flows.entry(key).or_insert_with(|| Tracked::new(media.slot));
        flow.take(media.slot, now);
        Some(SinkStamp {
            arrived: flow.arrived,
            reordered: flow.reordered,
            doubled: flow.doubled,
            seen_at: now,
            host: self.clock,
        })
    }
}

impl Tracked {
    fn new(first: u64) -> Self {
        Self { seen_at: 0, latest: first, window: [0; 4], arrived: 0, reordered: 0, doubled: 0 }
    }

    fn take(&mut self, slot: u64, now: Nanoseconds) {
        self.seen_at = now;
        if slot > self.latest {
            self.shift(slot - self.latest);
            self.latest = slot;
        }
        let age = self.latest - slot;
        if age >= WINDOW {
            // Too old to be told apart from a double; counted as the arrival it most likely is.
            self.arrived += 1;
            self.reordered = self.reordered.saturating_add(1);
            return;
        }
        let (word, bit) = ((age / 64) as usize & 3, 1 << (age % 64));
        if self.window[word] & bit != 0 {
            self.doubled = self.doubled.saturating_add(1);
            return;
        }
        self.window[word] |= bit;
        self.arrived += 1;
        self.reordered = self.reordered.saturating_add(u32::from(age > 0));
    }

    fn shift(&mut self, by: u64) {
        if by >= WINDOW {
            self.window = [0; 4];
            return;
        }
        let (words, bits) = ((by / 64) as usize & 3, by % 64);
        for index in (0..4usize).rev() {
            let at = |index: Option<usize>| index.map_or(0, |index| self.window[index]);
            let low = at(index.checked_sub(words));
            let carried = at(index.checked_sub(words + 1));
            self.window[index] = if bits == 0 { low } else { low << bits | carried >> (64 - bits) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set, which remembers everything.
        #[test]
        fn arrivals_and_doubles_are_told_apart(
            slots in proptest::collection::vec(0u64..200, 1..300)
        ) {
            let mut tracked = Tracked::new(slots[0]);
            let mut seen = HashSet::new();
            let (mut doubled, mut reordered, mut latest) = (0, 0, 0);
            for slot in slots {
                if seen.insert(slot) {
                    reordered += u32::from(slot < latest);
                    latest = latest.max(slot);
                } else {
                    doubled += 1;
                }
                tracked.take(slot, 0);
            }
            prop_assert_eq!(tracked.arrived, seen.len() as u64);
            prop_assert_eq!((tracked.doubled, tracked.reordered), (doubled, reordered));
        }
    }

    #[test]
    fn a_jump_ahead_forgets_what_is_far_behind() {
        let mut tracked = Tracked::new(0);
        for slot in [0, 1_000_000, 0, 1_000_000] {
            tracked.take(slot, 0);
        }
        assert_eq!((tracked.arrived, tracked.doubled), (3, 1));
    }
}
