//! What a flow sends: packet sizes and times of a kind of call.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::packet::{MEDIA_BYTES_MIN, PACKET_BYTES_MAX};

/// Time is cut into slots; each slot has one packet or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    name: Name,
    slot: Duration,
    bytes: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Voice,
    VoiceDtx,
    Music,
    Video,
    Custom,
}

/// Two seconds of talk and three of silence: a conversation, in which each side talks 40 %.
const TALK: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_secs(5);
/// While silent, Opus sends a comfort noise update every 400 ms.
const COMFORT: Duration = Duration::from_millis(400);
const COMFORT_BYTES: u16 = 96;

impl Profile {
    /// 50 packets a second of 160 bytes: Opus at some 48 kbit/s, or G.711.
    pub const VOICE: Self = Self::of(Name::Voice, 20, 160);
    const VOICE_DTX: Self = Self::of(Name::VoiceDtx, 20, 160);
    const MUSIC: Self = Self::of(Name::Music, 20, 400);
    const VIDEO: Self = Self::of(Name::Video, 10, 1150);

    const fn of(name: Name, slot_ms: u64, bytes: u16) -> Self {
        Self { name, slot: Duration::from_millis(slot_ms), bytes }
    }

    /// The names that there are, with what they mean.
    pub const HELP: &'static str = "voice (50/s of 160 bytes), voice-dtx (the same, silent 60 % of \
        the time), music (50/s of 400 bytes), video (100/s of 1150 bytes), or RATExBYTES such as \
        200x300";

    /// Time between two slots.
    #[must_use]
    pub const fn slot(&self) -> Duration {
        self.slot
    }

    /// Packets per second at most.
    #[must_use]
    pub fn rate(&self) -> f64 {
        1.0 / self.slot.as_secs_f64()
    }

    /// How long the packet of a slot is; `None` if there is none. `turn` shifts the turns of talk,
    /// so that not everybody talks at once.
    #[must_use]
    pub fn bytes(&self, slot: u64, turn: u64) -> Option<u16> {
        if self.name != Name::VoiceDtx {
            return Some(self.bytes);
        }
        let slots = |time: Duration| (time.as_millis() / self.slot.as_millis()).max(1);
        let place = (u128::from(slot) + u128::from(turn)) % slots(TURN);
        if place < slots(TALK) {
            return Some(self.bytes);
        }
        place.is_multiple_of(slots(COMFORT)).then_some(COMFORT_BYTES)
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("there is no profile \"{text}\": use {}", Self::HELP);
        Ok(match text {
            "voice" => Self::VOICE,
            "voice-dtx" => Self::VOICE_DTX,
            "music" => Self::MUSIC,
            "video" => Self::VIDEO,
            _ => {
                let (rate, bytes) = text.split_once('x').ok_or_else(refuse)?;
                let rate: u32 = rate.parse().map_err(|_| refuse())?;
                let bytes: u16 = bytes.parse().map_err(|_| refuse())?;
                if !(1..=10_000).contains(&rate) {
                    return Err(format!("\"{text}\": the rate is from 1 to 10000 a second"));
                }
                if !(MEDIA_BYTES_MIN..=PACKET_BYTES_MAX).contains(&usize::from(bytes)) {
                    return Err(format!(
                        "\"{text}\": packets have from {MEDIA_BYTES_MIN} to {PACKET_BYTES_MAX} bytes"
                    ));
                }
                Self { name: Name::Custom, slot: Duration::from_secs(1) / rate, bytes }
            }
        })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Name::Voice => f.write_str("voice"),
            Name::VoiceDtx => f.write_str("voice-dtx"),
            Name::Music => f.write_str("music"),
            Name::Video => f.write_str("video"),
            Name::Custom => write!(f, "{:.0}x{}", self.rate(), self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_their_rates() {
        for (text, rate, share) in [
            ("voice", 50.0, 1.0),
            ("voice-dtx", 50.0, 0.43),
            ("music", 50.0, 1.0),
            ("video", 100.0, 1.0),
            ("200x300", 200.0, 1.0),
        ] {
            let profile: Profile = text.parse().unwrap();
            assert_eq!(profile.to_string(), text);
            assert!((profile.rate() - rate).abs() < 0.01, "{text}");
            let slots = 5_000u32;
            let sent = (0..u64::from(slots)).filter(|slot| profile.bytes(*slot, 3).is_some());
            let is = f64::from(u32::try_from(sent.count()).unwrap()) / f64::from(slots);
            assert!((is - share).abs() < 0.01, "{text}: {is}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("opera", "there is no profile"),
            ("0x160", "the rate"),
            ("99999x160", "the rate"),
            ("50x10", "packets have"),
            ("50x9000", "packets have"),
            ("50x", "there is no profile"),
        ] {
            let error = text.parse::<Profile>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
