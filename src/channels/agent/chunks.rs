//! The guest's bytes to pieces of messages, however they are split.

use bytes::{Bytes, BytesMut};

use crate::config::limits;
use crate::wire::agent::{ChunkHeader, port};

/// Cuts what the device gives into pieces: a chunk of the client's port becomes one
/// piece for each 2048 bytes of it, and one for the rest.
#[derive(Debug)]
pub struct Chunks(State);

#[derive(Debug)]
enum State {
    /// So many bytes of the next header are here.
    Header { bytes: [u8; ChunkHeader::BYTES], have: usize },
    /// Inside a chunk for the client: the piece so far, and what is left of the chunk
    /// behind what is in the piece.
    Piece { piece: BytesMut, rest: u32 },
    /// Inside a chunk that is not for the client.
    Skipped { rest: u32 },
}

/// The guest broke the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk for port {0}, which does not exist")]
pub struct UnknownPort(pub u32);

impl Default for Chunks {
    fn default() -> Self {
        Self(State::Header { bytes: [0; ChunkHeader::BYTES], have: 0 })
    }
}

impl Chunks {
    /// How many bytes [`Chunks::handle`] can take now; at least one.
    pub fn wanted(&self) -> usize {
        match &self.0 {
            State::Header { have, .. } => ChunkHeader::BYTES - have,
            State::Piece { piece, rest } => (limits::AGENT_PIECE - piece.len()).min(*rest as usize),
            State::Skipped { rest } => limits::AGENT_PIECE.min(*rest as usize),
        }
    }

    /// Takes bytes, at most as many as are wanted. Returns a piece when one is whole.
    pub fn handle(&mut self, input: &[u8]) -> Result<Option<Bytes>, UnknownPort> {
        let input = &input[..input.len().min(self.wanted())];
        match &mut self.0 {
            State::Header { bytes, have } => {
                bytes[*have..*have + input.len()].copy_from_slice(input);
                *have += input.len();
                if *have < bytes.len() {
                    return Ok(None);
                }
                let ChunkHeader { port, size } = ChunkHeader::parse(*bytes);
                self.0 = match port {
                    // An empty chunk is nothing.
                    port::CLIENT | port::SERVER if size == 0 => Self::default().0,
                    port::CLIENT => State::Piece { piece: BytesMut::new(), rest: size },
                    port::SERVER => State::Skipped { rest: size },
                    _ => return Err(UnknownPort(port)),
                };
                Ok(None)
            }
            State::Piece { piece, rest } => {
                piece.extend_from_slice(input);
                *rest -= input.len() as u32;
                if *rest > 0 && piece.len() < limits::AGENT_PIECE {
                    return Ok(None);
                }
                let whole = std::mem::take(piece).freeze();
                if *rest == 0 {
                    *self = Self::default();
                }
                Ok(Some(whole))
            }
            State::Skipped { rest } => {
                *rest -= input.len() as u32;
                if *rest == 0 {
                    *self = Self::default();
                }
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(chunks: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (port, data) in chunks {
            ChunkHeader { port: *port, size: data.len() as u32 }.put(&mut bytes);
            bytes.extend_from_slice(data);
        }
        bytes
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// Feeds reads of these lengths, the last one again and again.
    fn pieces(bytes: &[u8], reads: &[usize]) -> Result<Vec<Bytes>, UnknownPort> {
        let (mut chunks, mut pieces, mut at) = (Chunks::default(), Vec::new(), 0);
        let mut reads = reads.iter().copied().chain(std::iter::repeat(usize::MAX));
        while at < bytes.len() {
            let read = reads.next().unwrap_or(usize::MAX).max(1);
            let end = at + read.min(chunks.wanted()).min(bytes.len() - at);
            pieces.extend(chunks.handle(&bytes[at..end])?);
            at = end;
        }
        Ok(pieces)
    }

    #[test]
    fn a_chunk_becomes_pieces_of_2048_bytes() {
        for (size, lengths) in
            [(1, &[1][..]), (2048, &[2048]), (2049, &[2048, 1]), (6000, &[2048, 2048, 1904])]
        {
            let bytes = framed(&[(1, vec![7; size])]);
            let pieces = pieces(&bytes, &[]).expect("good chunks");
            assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
        }
    }

    #[test]
    fn only_the_clients_port_gives_pieces() {
        let bytes = framed(&[(2, vec![1; 5000]), (1, vec![]), (2, vec![]), (1, b"x".into())]);
        assert_eq!(pieces(&bytes, &[]), Ok(vec![Bytes::from_static(b"x")]));
    }

    #[test]
    fn another_port_is_an_error_when_its_header_is_there() {
        for port in [0, 3, u32::MAX] {
            let bytes = framed(&[(1, b"x".into()), (port, b"y".into())]);
            assert_eq!(pieces(&bytes, &[]), Err(UnknownPort(port)));
            assert_eq!(pieces(&framed(&[(port, vec![])]), &[]), Err(UnknownPort(port)));
        }
    }

    #[test]
    fn bytes_that_are_not_wanted_are_not_taken() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.handle(&[1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9]), Ok(None));
        assert_eq!(chunks.wanted(), 1);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_pieces(
            chunks in prop::collection::vec(
                (prop_oneof![4 => 1..=2_u32, 1 => 0..4_u32], (0..5000_usize).prop_map(pattern)),
                0..6,
            ),
            reads in prop::collection::vec(1..3000_usize, 0..60),
            ones in any::<bool>(),
        ) {
            let bytes = framed(&chunks);
            let reads = if ones { vec![1; bytes.len()] } else { reads };
            prop_assert_eq!(pieces(&bytes, &reads), pieces(&bytes, &[]));
        }

        #[test]
        fn the_pieces_are_the_clients_chunks(
            chunks in prop::collection::vec(
                (1..=2_u32, (0..5000_usize).prop_map(pattern)), 0..6),
        ) {
            let expected: Vec<u8> =
                chunks.iter().filter(|(port, _)| *port == 1).flat_map(|(_, data)| data.clone()).collect();
            let got = pieces(&framed(&chunks), &[]).expect("good chunks").concat();
            prop_assert_eq!(got, expected);
        }
    }
}
