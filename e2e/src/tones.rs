//! What clients say: five tones, one after the other, over and over. Heard again in the same order,
//! they are the very audio that was sent; a counter of packets could not tell.

/// The tones, in their order. Apart enough for a block of 20 ms to tell them from each other, and
/// from each other's harmonics.
pub const HERTZ: [u32; 5] = [400, 550, 750, 1000, 1350];
/// How long each lasts.
pub const TONE_MS: u32 = 300;

const SAMPLE_RATE: u32 = 48_000;
const AMPLITUDE: f64 = 9_000.0;
/// Each tone swells and fades for so long, so that no click between two is a tone of its own.
const EDGE_MS: u32 = 10;

/// A sound file (WAV, mono, 48 kHz, 16 bit) with all tones, and silence behind them.
pub fn wav(silence_ms: u32) -> Vec<u8> {
    let tones = HERTZ.iter().flat_map(|hertz| tone(*hertz));
    let silence = std::iter::repeat_n(0, samples(silence_ms));
    let sound: Vec<u8> = tones.chain(silence).flat_map(i16::to_le_bytes).collect();
    let bytes = u32::try_from(sound.len()).unwrap();
    let mut file = Vec::new();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    file.extend_from_slice(&(SAMPLE_RATE * 2).to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&bytes.to_le_bytes());
    file.extend_from_slice(&sound);
    file
}

fn samples(ms: u32) -> usize {
    usize::try_from(SAMPLE_RATE / 1000 * ms).unwrap()
}

fn tone(hertz: u32) -> impl Iterator<Item = i16> {
    let count = samples(TONE_MS);
    let edge = samples(EDGE_MS);
    (0..count).map(move |at| {
        let (near, edge) = (at.min(count - at).min(edge), edge);
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let (swell, seconds) = (near as f64 / edge as f64, at as f64 / f64::from(SAMPLE_RATE));
        let angle = std::f64::consts::TAU * f64::from(hertz) * seconds;
        #[expect(clippy::cast_possible_truncation, reason = "the amplitude is below 2^15")]
        let sample = (AMPLITUDE * swell * angle.sin()) as i16;
        sample
    })
}

/// How many tones in a row were heard in their order, at best.
pub fn longest_run(heard: &[u32]) -> usize {
    let follows = |earlier: u32, later: u32| {
        let place = HERTZ.iter().position(|hertz| *hertz == earlier);
        place.is_some_and(|place| HERTZ[(place + 1) % HERTZ.len()] == later)
    };
    let mut best = 0;
    let mut run = 0;
    let mut last = None;
    for hertz in heard.iter().copied() {
        run = if last.is_some_and(|last| follows(last, hertz)) { run + 1 } else { 1 };
        if !HERTZ.contains(&hertz) {
            run = 0;
        }
        best = best.max(run);
        last = Some(hertz);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tones_in_their_order_are_a_run() {
        for (heard, run) in [
            (&[][..], 0),
            (&[750], 1),
            (&[400, 550, 750, 1000, 1350, 400], 6),
            (&[1000, 1350, 400, 750, 1000], 3),
            (&[400, 550, 0, 750, 1000], 2),
            (&[550, 400], 1),
            (&[440, 440], 0),
        ] {
            assert_eq!(longest_run(heard), run, "{heard:?}");
        }
    }

    #[test]
    fn the_file_is_as_long_as_its_header_says() {
        let file = wav(500);
        let data = u32::from_le_bytes(file[40..44].try_into().unwrap());
        assert_eq!(file.len(), 44 + usize::try_from(data).unwrap());
        assert_eq!(data, 96 * (5 * TONE_MS + 500));
        assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()), data + 36);
    }
}
