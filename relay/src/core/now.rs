//! Time as a value. The core has no clock: the worker reads its own once per batch and passes it in.

use wire::hint::HintTime;

/// One reading of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since any fixed moment; never goes back.
    pub monotonic_us: u64,
    /// Wall-clock time in the unit of hints.
    pub hint_time: HintTime,
}

impl Now {
    /// The short form that flows keep.
    #[expect(clippy::cast_possible_truncation, reason = "Millis wraps")]
    pub(super) const fn millis(self) -> Millis {
        Millis((self.monotonic_us / 1_000) as u32)
    }
}

/// Milliseconds, modulo 2^32: 49 days. The sweep visits every flow within seconds, so no two times
/// that are compared are further apart than an idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Millis(pub(super) u32);

impl Millis {
    /// The moment so many milliseconds before.
    pub(super) const fn before(self, milliseconds: u32) -> Self {
        Self(self.0.wrapping_sub(milliseconds))
    }

    /// Milliseconds from `earlier` to here. Zero if `earlier` is later: a command may carry a reading
    /// of the clock from just before the batch, and must not make every flow 49 days old.
    pub(super) const fn since(self, earlier: Self) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier.0);
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap() {
        let at = |monotonic_us| Now { monotonic_us, hint_time: HintTime(0) }.millis();
        let wrap_us = (1 << 32) * 1_000;
        assert_eq!(at(wrap_us + 5_000).since(at(wrap_us - 5_000)), 10);
        assert_eq!(at(1_999).since(at(1_000)), 0);
        assert_eq!(at(1_000).since(at(2_000)), 0, "a little late is no age");
    }
}
