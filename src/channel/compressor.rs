//! Compresses a device's data on their way to a client (docs/protocol/spicevmc.md,
//! "Compression").
//!
//! Sans-IO, on whichever thread sends. A stream that does not shrink (pictures, video,
//! encrypted or compressed files) is soon sent as it is, and tried again from time to
//! time: looking for repetitions that are not there is what compression costs most for.

use std::fmt;
use std::sync::Arc;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::packer::Packer;
use crate::config::limits;
use crate::stats::Counters;
use crate::wire::spicevmc::{COMPRESSED_DATA, COMPRESSED_HEADER, DATA, compressed_header};

/// One channel's compression.
pub struct Compressor {
    table: CompressTable,
    /// The body of the last message that shrank.
    body: Vec<u8>,
    counters: Arc<Counters>,
    /// Blocks in a row that did not shrink.
    futile: u32,
    /// Bytes that are still to pass before the next attempt.
    pause_left: usize,
    /// How many bytes the next pause lets pass.
    next_pause: usize,
}

impl Compressor {
    /// A new channel's, which is tried at once.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            table: CompressTable::default(),
            body: Vec::new(),
            counters,
            futile: 0,
            pause_left: 0,
            next_pause: limits::COMPRESSION_PAUSE,
        }
    }

    /// Whether [`Self::squeeze`] would look at a block of this length.
    pub fn would_try(&self, length: usize) -> bool {
        self.pause_left == 0 && length > limits::COMPRESSION_THRESHOLD
    }

    /// The body of a COMPRESSED_DATA message with this block in it; `None` when the
    /// block is to be sent as it is.
    pub fn squeeze(&mut self, block: &[u8]) -> Option<&[u8]> {
        if !self.would_try(block.len()) {
            self.pass(block.len());
            return None;
        }
        let room = COMPRESSED_HEADER + get_maximum_output_size(block.len());
        if self.body.len() < room {
            self.body.resize(room, 0);
        }
        let (head, rest) = self.body.split_at_mut(COMPRESSED_HEADER);
        let packed = compress_into_with_table(block, rest, &mut self.table).ok()?;
        head.copy_from_slice(&compressed_header(block.len() as u32));
        let total = COMPRESSED_HEADER + packed;
        self.learn(block.len(), total);
        if total >= block.len() {
            return None;
        }
        self.counters.compressed(block.len(), packed);
        Some(&self.body[..total])
    }

    /// A block of this length leaves as it is.
    pub fn pass(&mut self, length: usize) {
        self.pause_left = self.pause_left.saturating_sub(length);
    }

    fn learn(&mut self, before: usize, after: usize) {
        // A few per cent are not worth the work, on either end.
        let worthwhile = after + before / limits::COMPRESSION_GAIN < before;
        if worthwhile {
            self.futile = 0;
            self.next_pause = limits::COMPRESSION_PAUSE;
            return;
        }
        self.futile += 1;
        if self.futile >= limits::COMPRESSION_ATTEMPTS {
            self.pause_left = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(limits::COMPRESSION_LONGEST_PAUSE);
        }
    }
}

impl Packer for Compressor {
    fn would_try(&self, kind: u16, length: usize) -> bool {
        kind == DATA && Self::would_try(self, length)
    }

    fn pack(&mut self, kind: u16, body: &[u8]) -> Option<(u16, &[u8])> {
        if kind != DATA {
            return None;
        }
        self.squeeze(body).map(|packed| (COMPRESSED_DATA, packed))
    }

    fn pass(&mut self, kind: u16, length: usize) {
        if kind == DATA {
            Self::pass(self, length);
        }
    }

    fn another(&self) -> Option<Box<dyn Packer>> {
        Some(Box::new(Self::new(Arc::clone(&self.counters))))
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("futile", &self.futile)
            .field("pause_left", &self.pause_left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::spicevmc::COMPRESSION_LZ4;

    const BLOCK: usize = 64 * 1024;

    fn compressor() -> Compressor {
        Compressor::new(Arc::default())
    }

    /// Bytes without repetitions, others for each seed.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn what_shrinks_comes_back_whole() {
        let mut compressor = compressor();
        let block = b"one and one and one and two ".repeat(200);
        let body = compressor.squeeze(&block).expect("it shrinks");
        assert!(body.len() < block.len() / 10);
        assert_eq!(body[0], COMPRESSION_LZ4);
        assert_eq!(body[1..5], (block.len() as u32).to_le_bytes());
        let unpacked = lz4_flex::block::decompress(&body[5..], block.len());
        assert_eq!(unpacked.ok().as_ref(), Some(&block));
        let totals = compressor.counters.totals(0);
        assert_eq!(totals.out_uncompressed, block.len() as u64);
        assert!(totals.out_compressed > 0);
    }

    #[test]
    fn short_blocks_are_left_alone() {
        let mut compressor = compressor();
        assert!(compressor.squeeze(&[0; limits::COMPRESSION_THRESHOLD]).is_none());
        assert!(compressor.squeeze(&[0; limits::COMPRESSION_THRESHOLD + 1]).is_some());
    }

    #[test]
    fn noise_is_soon_left_alone_and_tried_ever_more_seldom() {
        let mut compressor = compressor();
        let block = noise(BLOCK, 1);
        let mut attempts = Vec::new();
        for number in 0..4096 {
            if compressor.would_try(BLOCK) {
                attempts.push(number);
            }
            assert!(compressor.squeeze(&block).is_none());
        }
        assert_eq!(attempts[..4], [0, 1, 2, 3]);
        let gaps: Vec<_> = attempts[3..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] >= 4, "a pause at once: {gaps:?}");
        assert!(gaps.is_sorted(), "each no shorter than the one before: {gaps:?}");
        let longest = (limits::COMPRESSION_LONGEST_PAUSE / BLOCK) as u64;
        assert!(gaps.iter().all(|gap| *gap <= longest + 1), "it is tried again: {gaps:?}");
        assert!(attempts.len() < 40, "{} attempts", attempts.len());
    }

    #[test]
    fn one_attempt_is_enough_to_begin_again() {
        let mut compressor = compressor();
        let block = noise(BLOCK, 1);
        for _ in 0..100 {
            compressor.squeeze(&block);
        }
        let text = b"the same line again\n".repeat(3000);
        let passed = (0..4096).take_while(|_| compressor.squeeze(&text).is_none()).count();
        assert!(passed <= limits::COMPRESSION_LONGEST_PAUSE / text.len() + 1, "{passed} blocks");
        for _ in 0..100 {
            assert!(compressor.squeeze(&text).is_some());
        }
    }

    #[test]
    fn a_single_bad_block_stops_nothing() {
        let mut compressor = compressor();
        let text = b"the same line again\n".repeat(3000);
        for number in 0..20 {
            assert!(compressor.squeeze(&noise(BLOCK, number)).is_none());
            assert!(compressor.squeeze(&text).is_some(), "round {number}");
        }
    }
}
