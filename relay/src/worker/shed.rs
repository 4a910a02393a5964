//! Who gives way when a worker cannot keep up: connectivity checks, to everything else.
//!
//! A worker that is flooded with checks finds its receive buffers full, and the kernel drops media of
//! established calls with the rest. Media cannot be told from strangers' before it is received, but
//! checks can be told from media: of those the kernel is asked to admit one in two, in four, and so
//! on, until the buffers do not fill up any more ([`engine::Engine::shed`]). Only while checks are
//! what fills them: in a call they are one packet in a hundred.
//!
//! Admitting more again is a trial. As long as the flood lasts it fails at once, so each failure
//! doubles the time to the next.

/// One check in 2^10: what a worker does not notice of a flood that a network card can bring.
const HALVINGS_MAX: u8 = 10;
/// A receive buffer as full as this is about to overflow: the rest is what comes within some
/// thousandths of a second.
const FULL_PERCENT: u64 = 50;
/// Ticks without a full buffer after which more is admitted: two seconds, and at most a minute.
const CALM_TICKS_MIN: u32 = 20;
const CALM_TICKS_MAX: u32 = 600;

/// What a tick has seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    /// The fullest of the public receive buffers.
    pub(super) fill_percent: u64,
    /// Datagrams dropped by the kernel at public sockets so far, for whatever reason.
    pub(super) kernel_drops: u64,
    /// STUN received from clients so far.
    pub(super) stun: u64,
    /// All received from clients so far.
    pub(super) packets: u64,
}

/// Decides how many checks are admitted.
#[derive(Debug)]
pub(super) struct Shedder {
    halvings: u8,
    /// What the tick before has seen. A socket may have dropped long before the first.
    before: Option<Signs>,
    calm_ticks: u32,
    /// How long it must be calm for the next trial.
    patience_ticks: u32,
    shed: u64,
}

impl Shedder {
    pub(super) const fn new() -> Self {
        let patience_ticks = CALM_TICKS_MIN;
        Self { halvings: 0, before: None, calm_ticks: 0, patience_ticks, shed: 0 }
    }

    /// One check in two to the power of this is admitted.
    pub(super) const fn halvings(&self) -> u8 {
        self.halvings
    }

    /// Datagrams that were shed, as far as that can be told from those that found no room.
    pub(super) const fn shed(&self) -> u64 {
        self.shed
    }

    /// Takes note of a tick. True if the number of halvings has changed.
    pub(super) fn after_tick(&mut self, signs: Signs) -> bool {
        let Some(before) = self.before.replace(signs) else { return false };
        let dropped = signs.kernel_drops.saturating_sub(before.kernel_drops);
        let stun = signs.stun.saturating_sub(before.stun);
        let packets = signs.packets.saturating_sub(before.packets);
        // What is shed counts as dropped too: while there is shedding, drops say nothing.
        let overflows = self.halvings == 0 && dropped > 0;
        let full = signs.fill_percent >= FULL_PERCENT || overflows;
        if self.halvings > 0 && !full {
            self.shed += dropped;
        }
        if full && stun * 2 > packets && self.halvings < HALVINGS_MAX {
            // It was a trial, and has failed.
            if self.calm_ticks < CALM_TICKS_MIN && self.halvings > 0 {
                self.patience_ticks = (self.patience_ticks * 2).min(CALM_TICKS_MAX);
            }
            self.halvings += 1;
            self.calm_ticks = 0;
            return true;
        }
        self.calm_ticks = if full { 0 } else { self.calm_ticks.saturating_add(1) };
        if self.halvings > 0 && self.calm_ticks >= self.patience_ticks {
            self.halvings -= 1;
            self.calm_ticks = 0;
            if self.halvings == 0 {
                self.patience_ticks = CALM_TICKS_MIN;
            }
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that takes so many packets a tick, under a flood of checks beside its calls.
    struct Flood {
        shedder: Shedder,
        signs: Signs,
        capacity: u64,
        media: u64,
    }

    impl Flood {
        fn new(media: u64) -> Self {
            let shedder = Shedder::new();
            Self { shedder, signs: Signs::default(), capacity: 30_000, media }
        }

        /// Tells how much media was lost in a tick with so many checks.
        fn tick(&mut self, checks: u64) -> u64 {
            let admitted = checks >> self.shedder.halvings();
            let arrived = admitted + self.media;
            let taken = arrived.min(self.capacity);
            let lost = self.media - self.media * taken / arrived.max(1);
            self.signs.fill_percent = if arrived > self.capacity { 100 } else { 5 };
            self.signs.kernel_drops += checks - admitted + (arrived - taken);
            self.signs.packets += taken;
            self.signs.stun += taken * admitted / arrived.max(1);
            self.shedder.after_tick(self.signs);
            lost
        }
    }

    #[test]
    fn media_is_lost_for_some_ticks_and_then_only_in_trials_that_become_rare() {
        let mut flood = Flood::new(5_000);
        let lost: Vec<_> = (0..6_000).map(|_| flood.tick(200_000)).collect();
        assert!(lost[0] > 4_000, "without shedding six in seven are lost");
        assert_eq!(lost[4..20].iter().sum::<u64>(), 0);
        assert!(lost.iter().filter(|lost| **lost > 0).count() < 30, "ten minutes");
        assert!(lost.iter().sum::<u64>() * 500 < 5_000 * 6_000, "less than 0.2 %");
        assert!(flood.shedder.shed() > 900_000_000);
        // It ends some time after the flood.
        let ended = (0..5 * CALM_TICKS_MAX).position(|_| {
            flood.tick(50);
            flood.shedder.halvings() == 0
        });
        assert!(ended.is_some());
        assert_eq!(flood.shedder.patience_ticks, CALM_TICKS_MIN);
    }

    #[test]
    fn calls_that_are_too_many_shed_nothing() {
        let mut flood = Flood::new(100_000);
        for _ in 0..100 {
            flood.tick(1_000);
            assert_eq!(flood.shedder.halvings(), 0);
        }
    }

    #[test]
    fn a_flood_that_fits_sheds_nothing_and_there_is_a_most() {
        let mut flood = Flood::new(5_000);
        for _ in 0..100 {
            flood.tick(24_000);
        }
        assert_eq!(flood.shedder.halvings(), 0);
        let signs = |tick| Signs { fill_percent: 100, stun: tick, packets: tick, kernel_drops: 0 };
        for tick in 1..100 {
            flood.shedder.after_tick(signs(tick));
        }
        assert_eq!(flood.shedder.halvings(), HALVINGS_MAX);
    }
}
