//! SPICE's LZ for 32-bit pixels, written from its format (docs/protocol/display.md,
//! "LZ"): literal pixels and references to pixels that came before.

use super::Pixels;

/// Keeps its table from image to image.
#[derive(Debug)]
pub struct LzEncoder {
    /// Where a pair of pixels with this hash was seen last: its number and
    /// [`LzEncoder::base`] added; less means never in this image.
    seen: Box<[u32]>,
    base: u32,
}

/// Entries of the table. What it forgets is only not found.
const TABLE: usize = 1 << 14;
/// Most pixels in one run of literals.
const LITERALS: usize = 32;
/// The nearest distance that takes two more bytes.
const FAR: usize = 8192;
/// Beyond this distance nothing can be referred to.
const FARTHEST: usize = FAR + 65_535;
/// "LZ  ", read as a big-endian number.
const MAGIC: u32 = 0x2020_5a4c;
/// 1.1.
const VERSION: u32 = 0x0001_0001;
/// Three bytes for a pixel of four.
const TYPE_RGB32: u32 = 8;

impl Default for LzEncoder {
    fn default() -> Self {
        Self { seen: vec![0; TABLE].into_boxed_slice(), base: 1 }
    }
}

impl LzEncoder {
    /// The payload of an LZ image. Its header has big-endian u32s: magic, version, type,
    /// width, height, stride, whether the top line comes first.
    pub fn encode(&mut self, pixels: Pixels<'_>) -> Vec<u8> {
        let (width, height) = (pixels.width, pixels.height());
        let mut out = Vec::with_capacity(64 + pixels.pixels.len());
        for word in [MAGIC, VERSION, TYPE_RGB32, width, height, pixels.stride(), 1] {
            out.extend(word.to_be_bytes());
        }
        self.encode_pixels(pixels.pixels, &mut out);
        out
    }

    fn encode_pixels(&mut self, pixels: &[u32], out: &mut Vec<u8>) {
        if self.base.checked_add(pixels.len() as u32).is_none() {
            *self = Self::default();
        }
        let (mut at, mut literals) = (0, 0);
        while at < pixels.len() {
            let found = self.find(pixels, at).filter(|_| at > 0);
            if let Some((distance, length)) = found {
                put_literals(&pixels[literals..at], out);
                put_reference(distance, length, out);
                // The ends of a long run are enough to find its like again.
                for inner in [at + 1, at + length - 1] {
                    self.note(pixels, inner);
                }
                at += length;
                literals = at;
            } else {
                at += 1;
            }
        }
        put_literals(&pixels[literals..], out);
        self.base += pixels.len() as u32;
    }

    /// Distance and length of something like what begins here, if that is worth it; notes
    /// that this is here.
    fn find(&mut self, pixels: &[u32], at: usize) -> Option<(usize, usize)> {
        let rest = &pixels[at..];
        // One that is too far is not compared: that could be all the rest, for each pixel.
        let candidate = self.note(pixels, at).filter(|from| at - from <= FARTHEST);
        let run = at.checked_sub(1).map_or(0, |before| matching(&pixels[before..], rest));
        let other = candidate.map_or(0, |from| matching(&pixels[from..], rest));
        if run >= SHORTEST && run >= other {
            return Some((1, run));
        }
        let distance = at - candidate?;
        let shortest = if distance < FAR { SHORTEST } else { SHORTEST_FAR };
        (other >= shortest).then_some((distance, other))
    }

    /// Notes the pair of pixels at `at`; returns where its like was before.
    fn note(&mut self, pixels: &[u32], at: usize) -> Option<usize> {
        let pair = pixels.get(at..at + 2)?;
        let mixed = pair[0].wrapping_mul(0x9e37_79b1) ^ pair[1].wrapping_mul(0x85eb_ca6b);
        let slot = &mut self.seen[(mixed >> 18) as usize % TABLE];
        let before = std::mem::replace(slot, self.base + at as u32);
        before.checked_sub(self.base).map(|before| before as usize).filter(|&before| before < at)
    }
}

/// A reference takes two bytes or a few more, a pixel three.
const SHORTEST: usize = 2;
/// A far one takes four at least.
const SHORTEST_FAR: usize = 3;

/// How many pixels are equal from the beginning.
fn matching(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A control byte with their number less one, then each as blue, green, red.
fn put_literals(pixels: &[u32], out: &mut Vec<u8>) {
    for run in pixels.chunks(LITERALS) {
        out.push(run.len() as u8 - 1);
        for pixel in run {
            out.extend_from_slice(&pixel.to_le_bytes()[..3]);
        }
    }
}

/// A control byte with the length in its upper three bits and the upper five bits of the
/// distance less one; from 7 on the length goes on in bytes, the last of which is not 255;
/// then the lower eight bits of the distance. If these thirteen bits are all ones, two bytes
/// follow with what the distance is more than 8192.
fn put_reference(distance: usize, length: usize, out: &mut Vec<u8>) {
    let short = (distance - 1).min(FAR - 1);
    out.push((length.min(7) << 5 | short >> 8) as u8);
    if let Some(mut more) = length.checked_sub(7) {
        while more >= 255 {
            out.push(255);
            more -= 255;
        }
        out.push(more as u8);
    }
    out.push(short as u8);
    if let Some(far) = distance.checked_sub(FAR) {
        out.extend((far as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads the format as the page has it.
    fn decode(bytes: &[u8], count: usize) -> Vec<u32> {
        let mut pixels = Vec::new();
        let mut bytes = bytes.iter().map(|byte| usize::from(*byte));
        let mut next = || bytes.next().expect("more bytes");
        while pixels.len() < count {
            let control = next();
            if control < 32 {
                for _ in 0..=control {
                    pixels.push(u32::from_le_bytes([next() as u8, next() as u8, next() as u8, 0]));
                }
                continue;
            }
            let mut length = control >> 5;
            if length == 7 {
                loop {
                    let more = next();
                    length += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let mut distance = (control & 31) << 8 | next();
            if distance == 8191 {
                distance += next() << 8 | next();
            }
            for _ in 0..length {
                pixels.push(pixels[pixels.len() - 1 - distance]);
            }
        }
        assert_eq!(pixels.len(), count);
        assert_eq!(bytes.next(), None, "spice-gtk ends itself if something is left");
        pixels
    }

    fn round_trip(encoder: &mut LzEncoder, pixels: &[u32], width: u32) -> usize {
        let payload = encoder.encode(Pixels { pixels, width });
        assert_eq!(payload[..4], *b"  ZL");
        assert_eq!(decode(&payload[28..], pixels.len()), pixels);
        payload.len()
    }

    #[test]
    fn the_header_says_what_it_is() {
        let payload = LzEncoder::default().encode(Pixels { pixels: &[0; 6], width: 3 });
        let words: Vec<u32> = payload[..28]
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")))
            .collect();
        assert_eq!(words, [0x2020_5a4c, 0x1_0001, 8, 3, 2, 12, 1]);
        assert_eq!(payload[28..], [0, 0, 0, 0, 5 << 5, 0]);
    }

    #[test]
    fn what_repeats_gets_small() {
        let mut encoder = LzEncoder::default();
        assert!(round_trip(&mut encoder, &vec![0x0012_3456; 100_000], 1000) < 500);
        let text: Vec<u32> = (0..100_000).map(|n| n % 97 * 0x0001_0305).collect();
        assert!(round_trip(&mut encoder, &text, 1000) < 2000);
    }

    #[test]
    fn references_reach_as_far_as_they_can_and_no_farther() {
        for distance in [8190, 8191, 8192, 8193, FARTHEST - 1, FARTHEST, FARTHEST + 1] {
            let mut pixels: Vec<u32> = (0..distance as u32).map(|n| n * 77 + 1).collect();
            pixels.extend_from_within(..300.min(distance));
            let width = pixels.len() as u32;
            round_trip(&mut LzEncoder::default(), &pixels, width);
        }
    }

    #[test]
    fn an_encoder_serves_many_images() {
        let mut encoder = LzEncoder { base: u32::MAX - 2500, ..LzEncoder::default() };
        for n in 1..5 {
            let pixels: Vec<u32> = (0..1000).map(|at| at / n % 5).collect();
            round_trip(&mut encoder, &pixels, 10);
        }
    }

    proptest! {
        #[test]
        fn any_pixels_come_back(
            runs in prop::collection::vec((0u32..40, 1usize..900, any::<bool>()), 1..60),
        ) {
            let mut pixels: Vec<u32> = Vec::new();
            for (value, count, back) in runs {
                if back && !pixels.is_empty() {
                    let from = pixels.len() * value as usize / 40;
                    let to = pixels.len().min(from + count);
                    pixels.extend_from_within(from..to);
                } else {
                    pixels.extend((0..count as u32).map(|n| value * (n % 3) * 0x0001_0001));
                }
            }
            let width = pixels.len() as u32;
            round_trip(&mut LzEncoder::default(), &pixels, width);
        }
    }

    /// Without a look at the distance first this takes minutes.
    #[test]
    fn what_repeats_too_far_away_is_not_compared_to_its_end() {
        let period = FARTHEST as u32 + 1000;
        let noise = |at: u32| (at % period).wrapping_mul(0x9e37_79b1) >> 8;
        let pixels: Vec<u32> = (0..1 << 20).map(noise).collect();
        round_trip(&mut LzEncoder::default(), &pixels, 1024);
    }
}
