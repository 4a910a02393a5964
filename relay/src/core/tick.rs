//! What time brings about: idle flows end, peers are pinged, unused peers are forgotten. Each tick
//! does a bounded part of it and goes on where the last one ended.

use super::flow::FlowSlot;
use super::limits::{PEER_IDLE_US, PEERS_PER_TICK, SWEEP_SLOTS_PER_TICK};
use super::now::Now;
use super::peers::PeerIndex;
use super::router::{Freed, Router};
use wire::address::Address;

impl Router {
    /// Time has passed. To be called about every [`TICK_INTERVAL_US`](super::limits::TICK_INTERVAL_US);
    /// `send` gets the pings.
    pub fn on_tick(&mut self, now: Now, send: &mut impl FnMut(Address, &[u8])) {
        self.sweep(now);
        self.flows.release(now.millis(), self.settings.new_flow_idle_ms);
        for _ in 0..PEERS_PER_TICK.min(self.peers.max()) {
            self.visit(PeerIndex(self.ping_at), now, send);
            self.ping_at += 1;
            if self.ping_at == self.peers.max() {
                self.ping_at = 0;
                self.counters.peers_up = std::mem::take(&mut self.up_so_far);
            }
        }
    }

    fn sweep(&mut self, now: Now) {
        for _ in 0..SWEEP_SLOTS_PER_TICK.min(self.flows.slots()) {
            let slot = FlowSlot(self.sweep_at);
            self.sweep_at = (self.sweep_at + 1) % self.flows.slots();
            if self.flows.at(slot).is_some_and(|flow| self.is_stale(flow, now)) {
                self.free(slot, Freed::Expired, now);
            }
        }
    }

    fn visit(&mut self, index: PeerIndex, now: Now, send: &mut impl FnMut(Address, &[u8])) {
        let about = self.about();
        let Some(peer) = self.peers.peer_mut(index) else { return };
        if peer.is_unused(now.monotonic_us, PEER_IDLE_US) && self.legs.is_idle(index) {
            return self.drop_peer(index);
        }
        if peer.health.ping_is_due(now.monotonic_us) {
            self.counters.pings_missed += u64::from(peer.health.pinged(now.monotonic_us));
            self.counters.pings_sent += 1;
            if let Some((to, ping)) = self.legs.ping(index, now.monotonic_us, about, &self.keyring)
            {
                send(to, &ping);
            }
        }
        self.up_so_far += u64::from(peer.health.is_up() == Some(true));
    }
}
