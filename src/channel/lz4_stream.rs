//! Decodes an LZ4 block piece by piece, in bounded memory.
//!
//! `lz4_flex` decodes a block into memory for all of it. A message may announce two
//! gigabytes and come to them, so long ones are decoded here: no faster than their
//! receiver takes the bytes, with 64 KiB behind and one piece ahead. The format is the
//! LZ4 project's "LZ4 Block Format Description"; `lz4_flex` is the judge in the tests.

use bytes::Bytes;

/// How far back a match may reach, and a byte more.
const WINDOW: usize = 64 * 1024;

/// The block cannot be what a compressor wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A block on its way.
#[derive(Debug)]
pub(super) struct Lz4Stream {
    step: Step,
    input: Bytes,
    /// What was decoded last: up to [`WINDOW`] bytes that were taken, and new ones.
    out: Vec<u8>,
    /// How many of `out` were taken.
    taken: usize,
    /// Bytes that may still come out.
    left: usize,
}

/// What the next input byte is, or what is being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Four bits each: the number of literals, and the length of the match minus 4.
    Token,
    /// One more byte of a length that 15 did not suffice for.
    LiteralLength { so_far: usize, match_bits: u8 },
    /// Bytes to be copied from the input.
    Literals { left: usize, match_bits: u8 },
    /// The lower byte of how far back the match is. Here the block may end.
    OffsetLow { match_bits: u8 },
    /// The upper byte.
    OffsetHigh { low: u8, match_bits: u8 },
    /// As for the literals.
    MatchLength { so_far: usize, offset: usize },
    /// Bytes to be copied from what came out before.
    Match { left: usize, offset: usize },
}

/// A length of 15 goes on in further bytes.
const MORE: u8 = 15;
/// The shortest match.
const MATCH_MIN: usize = 4;

impl Lz4Stream {
    /// A block that comes to `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        let step = Step::Token;
        Self { step, input: Bytes::new(), out: Vec::new(), taken: 0, left: length }
    }

    /// More of the block. What was fed before must have been used up.
    pub(super) fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.input.is_empty(), "the last piece is used up");
        self.input = piece;
    }

    /// Whether more input is needed.
    pub(super) fn is_hungry(&self) -> bool {
        self.input.is_empty() && !matches!(self.step, Step::Match { .. })
    }

    /// Whether this is where a block of this length ends.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0 && self.input.is_empty() && matches!(self.step, Step::OffsetLow { .. })
    }

    /// Decodes until the input is used up or `most` bytes have come out, and takes those.
    pub(super) fn take(&mut self, most: usize) -> Result<Bytes, Broken> {
        self.forget_old();
        while self.out.len() - self.taken < most && !self.is_hungry() {
            let room = most - (self.out.len() - self.taken);
            self.step = self.advance(room)?;
        }
        let data = Bytes::copy_from_slice(&self.out[self.taken..]);
        self.taken = self.out.len();
        Ok(data)
    }

    fn advance(&mut self, room: usize) -> Result<Step, Broken> {
        Ok(match self.step {
            Step::Token => {
                let token = self.byte();
                let match_bits = token & MORE;
                match token >> 4 {
                    MORE => Step::LiteralLength { so_far: MORE.into(), match_bits },
                    count => literals(count.into(), match_bits),
                }
            }
            Step::LiteralLength { so_far, match_bits } => match self.byte() {
                u8::MAX => Step::LiteralLength { so_far: so_far + 255, match_bits },
                last => literals(so_far + usize::from(last), match_bits),
            },
            Step::Literals { left, match_bits } => {
                let count = left.min(room).min(self.input.len());
                self.reserve(count)?;
                self.out.extend_from_slice(&self.input.split_to(count));
                literals(left - count, match_bits)
            }
            Step::OffsetLow { match_bits } => Step::OffsetHigh { low: self.byte(), match_bits },
            Step::OffsetHigh { low, match_bits } => {
                let offset = usize::from(u16::from_le_bytes([low, self.byte()]));
                if offset == 0 || offset > self.out.len() {
                    return Err(Broken);
                }
                match match_bits {
                    MORE => Step::MatchLength { so_far: MATCH_MIN + usize::from(MORE), offset },
                    bits => Step::Match { left: MATCH_MIN + usize::from(bits), offset },
                }
            }
            Step::MatchLength { so_far, offset } => match self.byte() {
                u8::MAX => Step::MatchLength { so_far: so_far + 255, offset },
                last => Step::Match { left: so_far + usize::from(last), offset },
            },
            Step::Match { left, offset } => {
                // A match may reach into itself: then it repeats its own beginning.
                let count = left.min(room).min(offset);
                self.reserve(count)?;
                let from = self.out.len() - offset;
                self.out.extend_from_within(from..from + count);
                match left - count {
                    0 => Step::Token,
                    // What repeats once repeats twice: a run of one byte is not copied
                    // byte by byte.
                    left if count == offset && 2 * offset <= WINDOW => {
                        Step::Match { left, offset: 2 * offset }
                    }
                    left => Step::Match { left, offset },
                }
            }
        })
    }

    /// The next input byte; only called while there is one.
    fn byte(&mut self) -> u8 {
        let byte = self.input[0];
        let _used = self.input.split_to(1);
        byte
    }

    /// Counts bytes that are about to come out.
    fn reserve(&mut self, count: usize) -> Result<(), Broken> {
        self.left = self.left.checked_sub(count).ok_or(Broken)?;
        Ok(())
    }

    /// Keeps what matches may still reach.
    fn forget_old(&mut self) {
        let keep = self.taken.min(WINDOW);
        self.out.drain(..self.taken - keep);
        self.taken = keep;
    }
}

/// Copying nothing needs no input, so it is no step of its own.
fn literals(left: usize, match_bits: u8) -> Step {
    match left {
        0 => Step::OffsetLow { match_bits },
        left => Step::Literals { left, match_bits },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes with the input cut into pieces of `cut` and the output of `most` bytes.
    fn decode(block: &[u8], length: usize, cut: usize, most: usize) -> Result<Vec<u8>, Broken> {
        let mut stream = Lz4Stream::new(length);
        let mut all = Vec::new();
        for piece in block.chunks(cut) {
            stream.feed(Bytes::copy_from_slice(piece));
            while !stream.is_hungry() {
                let data = stream.take(most)?;
                assert!(data.len() <= most);
                all.extend_from_slice(&data);
                assert!(stream.out.capacity() <= 4 * (WINDOW + most), "memory is bounded");
            }
        }
        if stream.is_complete() { Ok(all) } else { Err(Broken) }
    }

    /// Text-like, with near and far repetitions.
    fn sample() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::collection::vec(any::<u8>(), 1..40);
        let picks = prop::collection::vec((0usize..50, 1usize..60), 1..400);
        (prop::collection::vec(word, 50), picks).prop_map(|(words, picks)| {
            picks.iter().flat_map(|&(word, times)| words[word].repeat(times)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_lz4_flex_packs_comes_back(
            data in sample(), cut in 1usize..5000, most in 1usize..5000,
        ) {
            let block = lz4_flex::block::compress(&data);
            prop_assert_eq!(decode(&block, data.len(), cut, most), Ok(data));
        }

        #[test]
        fn garbage_is_judged_as_lz4_flex_judges_it(
            mut block in prop::collection::vec(any::<u8>(), 1..300),
            length in 0usize..2000,
            tame in any::<bool>(),
        ) {
            if tame {
                // Offsets that are likely to be good.
                for byte in &mut block {
                    *byte &= 0x13;
                }
            }
            let mut room = vec![0; length];
            let theirs = lz4_flex::block::decompress_into(&block, &mut room);
            let ours = decode(&block, length, 7, 1000);
            if let Ok(data) = ours {
                prop_assert_eq!(theirs.ok(), Some(length));
                prop_assert_eq!(data, room);
            }
        }

        #[test]
        fn a_changed_byte_is_no_panic(data in sample(), at in any::<usize>(), with in any::<u8>()) {
            let mut block = lz4_flex::block::compress(&data);
            let at = at % block.len();
            block[at] = with;
            let _ = decode(&block, data.len(), 100, 1000);
        }
    }

    #[test]
    fn far_matches_are_within_reach() {
        let mut data: Vec<u8> =
            (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        data.extend_from_within(4_500..20_000);
        let block = lz4_flex::block::compress(&data);
        assert_eq!(decode(&block, data.len(), 1000, 300).as_deref(), Ok(&data[..]));
    }

    #[test]
    fn runs_of_any_period_come_back() {
        for period in [1, 2, 3, 7, 255, 1000, 32_768, 32_769, 65_535] {
            let unit: Vec<u8> =
                (0..period as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let data = unit.repeat(200_000 / period + 2);
            let block = lz4_flex::block::compress(&data);
            for most in [1000, 65_537, 300_000] {
                assert!(decode(&block, data.len(), 1000, most).as_ref() == Ok(&data), "{period}");
            }
        }
    }

    #[test]
    fn wrong_lengths_and_cut_blocks_are_refused() {
        let data = b"again and again and again and again and over".repeat(10);
        let block = lz4_flex::block::compress(&data);
        assert_eq!(decode(&block, data.len() - 1, 9, 100), Err(Broken));
        assert_eq!(decode(&block, data.len() + 1, 9, 100), Err(Broken));
        assert_eq!(decode(&block[..block.len() - 1], data.len(), 9, 100), Err(Broken));
        assert_eq!(decode(&[0x10, b'a', 0, 0], 10, 9, 100), Err(Broken), "offset 0");
        assert_eq!(decode(&[0x10, b'a', 2, 0], 10, 9, 100), Err(Broken), "before the beginning");
        assert_eq!(decode(&[0xff; 1000], 10, 9, 100), Err(Broken), "no literals follow");
    }
}
