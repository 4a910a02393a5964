//! How long an Opus packet lasts (RFC 6716, section 3.1). Nothing else of it is looked at.

use std::time::Duration;

/// The longest packet there is (section 3.2.5).
const LONGEST: Duration = Duration::from_millis(120);

/// The duration of a packet; nothing if this is none.
pub fn duration(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        // The low six bits of the second byte count the frames.
        _ => u32::from(*packet.get(1)? & 0b11_1111),
    };
    let duration = frame_duration(toc >> 3) * frames;
    (duration > Duration::ZERO && duration <= LONGEST).then_some(duration)
}

/// The table of section 3.1.
const fn frame_duration(config: u8) -> Duration {
    let micros = match config {
        // SILK only.
        0..12 => [10_000, 20_000, 40_000, 60_000][(config % 4) as usize],
        // Hybrid.
        12..16 => [10_000, 20_000][(config % 2) as usize],
        // CELT only.
        _ => [2_500, 5_000, 10_000, 20_000][(config % 4) as usize],
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_table() {
        let toc = |config: u8, code: u8| config << 3 | code;
        for (name, packet, micros) in [
            ("SILK 10 ms", vec![toc(0, 0)], Some(10_000)),
            ("SILK 60 ms", vec![toc(11, 0)], Some(60_000)),
            ("hybrid 20 ms, as browsers send it", vec![toc(13, 0), 1, 2], Some(20_000)),
            ("CELT 2.5 ms", vec![toc(16, 0)], Some(2_500)),
            ("CELT 20 ms", vec![toc(31, 0)], Some(20_000)),
            ("two frames", vec![toc(31, 1)], Some(40_000)),
            ("two frames of other sizes", vec![toc(31, 2)], Some(40_000)),
            ("six frames", vec![toc(31, 3), 6], Some(120_000)),
            ("seven: longer than allowed", vec![toc(31, 3), 7], None),
            ("48 of the shortest", vec![toc(16, 3), 0xc0 | 48], Some(120_000)),
            ("no frames", vec![toc(31, 3), 0], None),
            ("no count", vec![toc(31, 3)], None),
            ("nothing", vec![], None),
        ] {
            assert_eq!(duration(&packet), micros.map(Duration::from_micros), "{name}");
        }
    }
}
