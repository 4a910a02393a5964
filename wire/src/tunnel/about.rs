//! What a ping or pong says of its sender, beside its token.

/// Bytes of it.
pub const ABOUT_BYTES: usize = 9;
/// The lowest bit of the state; the others are for later versions, and ignored.
const DRAINING: u8 = 1;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct About {
    /// Drawn at random when the sender's process starts, so that another one at the same address is
    /// told from it. Zero: it does not say.
    pub boot: u64,
    /// It takes no new sessions: who has the choice sends clients elsewhere.
    pub draining: bool,
}

impl About {
    pub(super) fn to_bytes(self) -> [u8; ABOUT_BYTES] {
        let mut bytes = [0; ABOUT_BYTES];
        bytes[..8].copy_from_slice(&self.boot.to_be_bytes());
        bytes[8] = if self.draining { DRAINING } else { 0 };
        bytes
    }

    pub(super) const fn from_bytes(bytes: [u8; ABOUT_BYTES]) -> Self {
        let [boot @ .., state] = bytes;
        Self { boot: u64::from_be_bytes(boot), draining: state & DRAINING != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_what_later_versions_may_add() {
        for boot in [0, 1, u64::MAX] {
            for draining in [false, true] {
                let about = About { boot, draining };
                assert_eq!(About::from_bytes(about.to_bytes()), about);
            }
        }
        let mut bytes = About::default().to_bytes();
        bytes[8] = 0xfe;
        assert_eq!(About::from_bytes(bytes), About::default());
    }
}
