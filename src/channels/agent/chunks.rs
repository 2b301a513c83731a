//! The guest's bytes to pieces of messages, however they are split.

use bytes::{Bytes, BytesMut};

use crate::config::limits;
use crate::wire::Reader;
use crate::wire::agent::{ChunkHeader, Head, port};
use crate::wire::migration::main::{ChunkRest, FromAgent, Rest};

/// Cuts what the device gives into pieces: a chunk of the client's port becomes one
/// piece for each 2048 bytes of it, and one for the rest.
#[derive(Debug)]
pub struct Chunks(State);

#[derive(Debug)]
enum State {
    /// So many bytes of the next header are here.
    Header { bytes: [u8; ChunkHeader::BYTES], have: usize },
    /// Inside a chunk for the client: the piece so far, and what is left of the chunk
    /// behind what is in the piece. `open`: another host did not say what is left; it will
    /// be known by the head of the message that the piece begins with.
    Piece { piece: BytesMut, rest: u32, open: bool },
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
            State::Piece { piece, rest, .. } => {
                (limits::AGENT_PIECE - piece.len()).min(*rest as usize)
            }
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
                    port::CLIENT => {
                        State::Piece { piece: BytesMut::new(), rest: size, open: false }
                    }
                    port::SERVER => State::Skipped { rest: size },
                    _ => return Err(UnknownPort(port)),
                };
                Ok(None)
            }
            State::Piece { piece, rest, open } => {
                piece.extend_from_slice(input);
                *rest -= input.len() as u32;
                if *open && *rest == 0 {
                    *open = false;
                    *rest = first_piece(piece) - piece.len() as u32;
                }
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

    /// The piece so far, if it is not whole: a piece may end anywhere but in a head.
    pub fn flush(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            State::Piece { piece, open: false, .. } if !piece.is_empty() => {
                Some(std::mem::take(piece).freeze())
            }
            _ => None,
        }
    }

    /// How many bytes of a piece are here.
    pub fn begun(&self) -> usize {
        match &self.0 {
            State::Piece { piece, .. } => piece.len(),
            _ => 0,
        }
    }

    /// Where the guest's bytes stop, for another host, inside this `message`.
    pub fn position(&self, message: Rest) -> FromAgent<'_> {
        match &self.0 {
            State::Header { bytes, have } => FromAgent::Header { begun: &bytes[..*have], message },
            State::Piece { piece, rest, open } => FromAgent::Chunk {
                port: port::CLIENT,
                rest: if *open { ChunkRest::BehindPiece(0) } else { ChunkRest::Exact(*rest) },
                begun: piece,
                message,
            },
            State::Skipped { rest } => FromAgent::Chunk {
                port: port::SERVER,
                rest: ChunkRest::Exact(*rest),
                begun: &[],
                message,
            },
        }
    }

    /// Goes on where another host stopped.
    pub fn resume(from: &FromAgent<'_>) -> Result<Self, UnknownPort> {
        Ok(match *from {
            FromAgent::Header { begun, .. } => {
                let (mut bytes, have) = ([0; ChunkHeader::BYTES], begun.len());
                bytes[..have].copy_from_slice(begun);
                Self(State::Header { bytes, have })
            }
            FromAgent::Chunk {
                port: port @ (port::CLIENT | port::SERVER), rest, begun, ..
            } => {
                let (rest, open) = match rest {
                    ChunkRest::Exact(rest) => (rest, false),
                    // The chunk has more than one piece, so that this one is full.
                    ChunkRest::BehindPiece(behind @ 1..) => {
                        (behind.saturating_add((limits::AGENT_PIECE - begun.len()) as u32), false)
                    }
                    ChunkRest::BehindPiece(0) => ((Head::BYTES - begun.len()) as u32, true),
                };
                match port {
                    _ if rest == 0 => Self::default(),
                    port::CLIENT => Self(State::Piece { piece: begun.into(), rest, open }),
                    _ => Self(State::Skipped { rest }),
                }
            }
            FromAgent::Chunk { port, .. } => return Err(UnknownPort(port)),
        })
    }
}

/// The length of the piece that begins with this head, if its chunk has no more than the
/// one message: that is how agents write them.
fn first_piece(head: &[u8]) -> u32 {
    let head = Head::read(&mut Reader::new(head)).map_or(0, |head| head.size);
    head.saturating_add(Head::BYTES as u32).min(limits::AGENT_PIECE as u32)
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

    fn feed(chunks: &mut Chunks, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(chunks.wanted().min(bytes.len()));
            out.extend(chunks.handle(now).expect("good chunks").unwrap_or_default());
            bytes = later;
        }
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

    /// The piece that upstream moves without saying how long it is.
    #[test]
    fn an_open_chunk_ends_with_its_message() {
        let message = crate::wire::agent::message(4, b"hello");
        for begun in 1..Head::BYTES {
            let from = FromAgent::Chunk {
                port: port::CLIENT,
                rest: ChunkRest::BehindPiece(0),
                begun: &message[..begun],
                message: Rest::default(),
            };
            let mut chunks = Chunks::resume(&from).expect("a port that is there");
            assert_eq!(chunks.position(Rest::default()), from);
            assert_eq!(chunks.flush(), None);
            let next = framed(&[(1, b"next".into())]);
            let rest = [&message[begun..], &next].concat();
            let mut out = Vec::new();
            for byte in rest {
                out.extend(chunks.handle(&[byte]).expect("good chunks"));
            }
            assert_eq!(out, [&message[..], b"next"]);
        }
        let behind = FromAgent::Chunk {
            port: port::CLIENT,
            rest: ChunkRest::BehindPiece(100),
            begun: &message[..5],
            message: Rest::default(),
        };
        assert_eq!(Chunks::resume(&behind).expect("a good port").wanted(), 2043);
    }

    #[test]
    fn a_chunk_of_another_port_does_not_go_on() {
        let (rest, message) = (ChunkRest::Exact(1), Rest::default());
        let from = FromAgent::Chunk { port: 3, rest, begun: &[], message };
        assert_eq!(Chunks::resume(&from).err(), Some(UnknownPort(3)));
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

        /// Cut anywhere and moved, the same bytes come out.
        #[test]
        fn a_move_changes_nothing(
            chunks in prop::collection::vec(
                (1..=2_u32, (0..5000_usize).prop_map(pattern)), 0..5),
            cut: prop::sample::Index,
            flush: bool,
        ) {
            let bytes = framed(&chunks);
            let cut = cut.index(bytes.len() + 1);
            let mut out = Vec::new();
            let mut here = Chunks::default();
            feed(&mut here, &bytes[..cut], &mut out);
            if flush || here.begun() >= Head::BYTES {
                out.extend(here.flush().unwrap_or_default());
            }
            let mut there = Chunks::resume(&here.position(Rest::default())).expect("a good port");
            feed(&mut there, &bytes[cut..], &mut out);
            let expected: Vec<u8> =
                chunks.iter().filter(|(port, _)| *port == 1).flat_map(|(_, data)| data.clone()).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
