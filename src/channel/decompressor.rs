//! Turns a client's compressed messages back into data (docs/protocol/spicevmc.md,
//! "Compression").
//!
//! Sans-IO, on whichever thread reads. A message that is short on both ends is decoded
//! at once and refused whole if it is wrong; a long one comes out in pieces, as long
//! plain messages do, so that no announced length decides how much memory is taken.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::lz4_stream::{Broken, Lz4Stream};
use crate::config::limits;
use crate::stats::Counters;
use crate::wire::spicevmc::{COMPRESSED_HEADER, COMPRESSION_LZ4, parse_compressed_header};

/// Why a compressed message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// There is no room for a header and a byte.
    #[error("a compressed message without contents")]
    Empty,
    /// Only LZ4 is known.
    #[error("compression type {0} is unknown")]
    Kind(u8),
    /// LZ4 makes at most 255 bytes of one.
    #[error("{packed} compressed bytes cannot come to {length}")]
    Impossible {
        /// Length of the block.
        packed: u32,
        /// Announced length of what is in it.
        length: u32,
    },
    /// The block is damaged, or does not have the announced length.
    #[error("compressed data that cannot be decompressed")]
    Block,
}

impl From<Broken> for Corrupt {
    fn from(Broken: Broken) -> Self {
        Self::Block
    }
}

/// One connection's compressed messages.
#[derive(Debug)]
pub struct Decompressor {
    counters: Arc<Counters>,
    state: State,
    /// Decoded short messages that wait to be fetched.
    ready: BytesMut,
    /// The message after those is wrong.
    wrong: Option<Corrupt>,
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Idle,
    /// The header, as far as it has come, and the length of the block behind it.
    Header { bytes: [u8; COMPRESSED_HEADER], have: usize, packed: u32 },
    /// A long block; `last` when all of it is here.
    Long { stream: Box<Lz4Stream>, last: bool },
}

impl Decompressor {
    /// Between two messages.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters, state: State::Idle, ready: BytesMut::new(), wrong: None }
    }

    /// Whether another message of `length` bytes may be handed over before what is decoded
    /// has been fetched: short messages come out together.
    pub fn takes_more(&self, length: usize) -> bool {
        matches!(self.state, State::Idle)
            && self.wrong.is_none()
            && self.ready.len() < limits::DECODED_TOGETHER
            && length <= limits::DECODED_TOGETHER
    }

    /// The body of a message, or a piece of it with `left` bytes still to come. Only
    /// called when [`Self::poll_data`] has nothing, or [`Self::takes_more`].
    pub fn handle_piece(&mut self, piece: Bytes, left: u32) -> Result<(), Corrupt> {
        match self.handle(piece, left) {
            // What came before it is good.
            Err(corrupt) if !self.ready.is_empty() => self.wrong = Some(corrupt),
            result => return result,
        }
        Ok(())
    }

    fn handle(&mut self, mut piece: Bytes, left: u32) -> Result<(), Corrupt> {
        if matches!(self.state, State::Idle) {
            let packed = (piece.len() as u32 + left).checked_sub(COMPRESSED_HEADER as u32);
            let packed = packed.filter(|packed| *packed > 0).ok_or(Corrupt::Empty)?;
            self.state = State::Header { bytes: [0; COMPRESSED_HEADER], have: 0, packed };
        }
        if let State::Header { bytes, have, packed } = &mut self.state {
            let count = piece.len().min(COMPRESSED_HEADER - *have);
            bytes[*have..*have + count].copy_from_slice(&piece.split_to(count));
            *have += count;
            if *have < COMPRESSED_HEADER {
                return Ok(());
            }
            let (bytes, packed) = (*bytes, *packed);
            self.begin(bytes, packed, &piece)?;
        }
        self.counters.received_compressed(piece.len());
        if let State::Long { stream, last } = &mut self.state {
            stream.feed(piece);
            *last = left == 0;
        }
        Ok(())
    }

    /// The header is complete; `piece` is what came with it of the block.
    fn begin(
        &mut self,
        header: [u8; COMPRESSED_HEADER],
        packed: u32,
        piece: &[u8],
    ) -> Result<(), Corrupt> {
        let (kind, length) = parse_compressed_header(header);
        if kind != COMPRESSION_LZ4 {
            return Err(Corrupt::Kind(kind));
        }
        if length == 0 {
            return Err(Corrupt::Empty);
        }
        if u64::from(length) > u64::from(packed) * 255 {
            return Err(Corrupt::Impossible { packed, length });
        }
        let length = length as usize;
        let fits = self.ready.len() + length <= limits::WHOLE_MESSAGE;
        if piece.len() == packed as usize && fits {
            self.state = State::Idle;
            return self.decode(piece, length);
        }
        self.state = State::Long { stream: Box::new(Lz4Stream::new(length)), last: false };
        Ok(())
    }

    /// Decodes a block behind what is there already.
    fn decode(&mut self, block: &[u8], length: usize) -> Result<(), Corrupt> {
        let before = self.ready.len();
        if self.ready.capacity() < before + length {
            self.ready.reserve(length.max(limits::DECODED_TOGETHER));
        }
        self.ready.resize(before + length, 0);
        match lz4_flex::block::decompress_into(block, &mut self.ready[before..]) {
            Ok(count) if count == length => Ok(()),
            Ok(_) | Err(_) => {
                self.ready.truncate(before);
                Err(Corrupt::Block)
            }
        }
    }

    /// Whether a compressed message is under way.
    pub fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle) || !self.ready.is_empty() || self.wrong.is_some()
    }

    /// The next run of data; `None` when the next piece is needed.
    pub fn poll_data(&mut self) -> Result<Option<Bytes>, Corrupt> {
        if !self.ready.is_empty() {
            let data = self.ready.split().freeze();
            self.counters.decompressed(data.len());
            return Ok(Some(data));
        }
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let data = match &mut self.state {
            State::Idle | State::Header { .. } => return Ok(None),
            State::Long { stream, last } => {
                let data = stream.take(limits::WHOLE_MESSAGE)?;
                if *last && stream.is_hungry() {
                    if !stream.is_complete() {
                        return Err(Corrupt::Block);
                    }
                    self.state = State::Idle;
                }
                data
            }
        };
        self.counters.decompressed(data.len());
        Ok(Some(data).filter(|data| !data.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::spicevmc::compressed_header;

    fn decompressor() -> Decompressor {
        Decompressor::new(Arc::default())
    }

    fn body(data: &[u8]) -> Vec<u8> {
        let mut body = compressed_header(data.len() as u32).to_vec();
        body.extend(lz4_flex::block::compress(data));
        body
    }

    /// Hands a body over in pieces of `cut` and fetches what comes out, as a list of runs.
    fn run(
        decompressor: &mut Decompressor,
        body: &[u8],
        cut: usize,
    ) -> Result<Vec<Bytes>, Corrupt> {
        let (mut runs, mut left) = (Vec::new(), body.len());
        if body.is_empty() {
            decompressor.handle_piece(Bytes::new(), 0)?;
        }
        for piece in body.chunks(cut) {
            left -= piece.len();
            decompressor.handle_piece(Bytes::copy_from_slice(piece), left as u32)?;
            while let Some(data) = decompressor.poll_data()? {
                runs.push(data);
            }
        }
        Ok(runs)
    }

    fn refusal(body: &[u8]) -> Corrupt {
        run(&mut decompressor(), body, usize::MAX).expect_err("refused")
    }

    #[test]
    fn a_short_message_comes_out_in_one_run() {
        let data = b"abcabcabcabc".repeat(1000);
        let mut decompressor = decompressor();
        for _ in 0..2 {
            assert_eq!(
                run(&mut decompressor, &body(&data), usize::MAX),
                Ok(vec![data.clone().into()])
            );
        }
        let totals = decompressor.counters.totals(0);
        assert_eq!(totals.in_decompressed, 2 * data.len() as u64);
        assert_eq!(totals.in_compressed, 2 * (body(&data).len() - 5) as u64);
    }

    #[test]
    fn short_messages_come_out_together_and_before_a_wrong_one() {
        let mut decompressor = decompressor();
        let mut wrong = body(&[7; 300]);
        wrong[1] ^= 1;
        for good in [&[1; 100][..], &[2; 200]] {
            assert!(decompressor.takes_more(100));
            assert_eq!(decompressor.handle_piece(body(good).into(), 0), Ok(()));
        }
        assert_eq!(decompressor.handle_piece(wrong.into(), 0), Ok(()), "not yet");
        assert!(!decompressor.takes_more(100) && decompressor.is_busy());
        let together = [&[1; 100][..], &[2; 200]].concat();
        assert_eq!(decompressor.poll_data(), Ok(Some(together.into())));
        assert_eq!(decompressor.poll_data(), Err(Corrupt::Block));
    }

    #[test]
    fn a_long_message_comes_out_in_bounded_pieces() {
        let data = vec![7; 4 << 20];
        let body = body(&data);
        assert!(body.len() < limits::WHOLE_MESSAGE, "one piece of input");
        for cut in [usize::MAX, 1000, 3] {
            let runs = run(&mut decompressor(), &body, cut).expect("good");
            assert!(runs.iter().all(|run| run.len() <= limits::WHOLE_MESSAGE));
            assert_eq!(runs.iter().map(Bytes::len).sum::<usize>(), data.len());
        }
    }

    #[test]
    fn a_short_message_may_come_byte_by_byte() {
        let data = b"abcabcabcabcabcabcabcabcabcabcabc";
        let runs = run(&mut decompressor(), &body(data), 1).expect("good");
        assert_eq!(runs.concat(), data);
    }

    #[test]
    fn nothing_of_a_wrong_short_message_comes_out() {
        let mut wrong = body(&b"abcabcabcabc".repeat(1000));
        wrong[1] ^= 1;
        assert_eq!(refusal(&wrong), Corrupt::Block);
        let end = wrong.len() - 1;
        assert_eq!(refusal(&wrong[..end]), Corrupt::Block);
    }

    #[test]
    fn bombs_are_refused_before_memory_is_taken() {
        let mut bomb = compressed_header(u32::MAX).to_vec();
        bomb.extend([0x1f; 100]);
        assert_eq!(refusal(&bomb), Corrupt::Impossible { packed: 100, length: u32::MAX });
        let mut largest = compressed_header(25_500).to_vec();
        largest.extend([0x1f; 100]);
        assert_eq!(refusal(&largest), Corrupt::Block);
    }

    #[test]
    fn empty_and_foreign_messages_are_refused() {
        for length in 0..=5 {
            assert_eq!(refusal(&vec![1; length]), Corrupt::Empty, "{length} bytes");
        }
        assert_eq!(refusal(&[1, 0, 0, 0, 0, 0]), Corrupt::Empty, "comes to nothing");
        for kind in (0..=255).filter(|kind| *kind != COMPRESSION_LZ4) {
            assert_eq!(refusal(&[kind, 1, 0, 0, 0, 0x10, b'a']), Corrupt::Kind(kind));
        }
        assert_eq!(
            run(&mut decompressor(), &[1, 1, 0, 0, 0, 0x10, b'a'], 99),
            Ok(vec!["a".into()])
        );
    }

    #[test]
    fn a_long_message_with_a_wrong_length_ends_in_an_error() {
        let data = vec![7; 1 << 20];
        for length in [data.len() - 1, data.len() + 1] {
            let mut wrong = body(&data);
            wrong[1..5].copy_from_slice(&(length as u32).to_le_bytes());
            assert_eq!(refusal(&wrong), Corrupt::Block);
        }
    }
}
