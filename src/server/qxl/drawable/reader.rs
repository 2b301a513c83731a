//! Structures of one group's memory, and data in chunks.

use super::super::limits;
use super::{DrawableError, value};
use crate::canvas::{Bytes, Rect};
use crate::host::guest_memory::{GuestMemory, GuestRange};

/// Reads structures of one group's memory.
pub(super) struct Reader<'memory> {
    pub(super) memory: &'memory GuestMemory,
    pub(super) group: u32,
}

/// Stretches of guest memory, one after the other, each with where it begins.
pub(super) struct Pieces<'memory> {
    pieces: Vec<(usize, GuestRange<'memory>)>,
    len: usize,
}

impl<'memory> Reader<'memory> {
    /// A structure of a size.
    pub(super) fn at(
        &self,
        address: u64,
        size: usize,
    ) -> Result<GuestRange<'memory>, DrawableError> {
        Ok(self.memory.range(self.group, address, size)?)
    }

    /// Data that are in one piece.
    pub(super) fn flat(&self, address: u64, size: usize) -> Result<Pieces<'memory>, DrawableError> {
        let mut pieces = Pieces { pieces: Vec::new(), len: 0 };
        pieces.push(self.at(address, size)?);
        Ok(pieces)
    }

    /// The data of a list of chunks that begins at an address.
    pub(super) fn chunks(&self, mut address: u64) -> Result<Pieces<'memory>, DrawableError> {
        let mut pieces = Pieces { pieces: Vec::new(), len: 0 };
        for _ in 0..limits::DATA_CHUNKS {
            let chunk = self.at(address, CHUNK)?;
            let size = chunk.read_u32(0);
            let total = pieces.len as u64 + u64::from(size);
            if total > limits::SURFACE_BYTES {
                return Err(value("data in chunks, bytes:", total));
            }
            if size > 0 {
                pieces.push(self.at(address.wrapping_add(CHUNK as u64), size as usize)?);
            }
            address = chunk.read_u64(NEXT);
            if address == 0 {
                return Ok(pieces);
            }
        }
        Err(value("data in more chunks than", limits::DATA_CHUNKS as u64))
    }

    /// As [`Self::chunks`], copied out; for what is small beside pixels.
    pub(super) fn small_chunks(&self, address: u64) -> Result<Vec<u8>, DrawableError> {
        let data = self.chunks(address)?;
        if data.len() > limits::DETAIL_BYTES {
            return Err(value("data other than pixels, bytes:", data.len() as u64));
        }
        let mut bytes = vec![0; data.len()];
        data.read(0, &mut bytes);
        Ok(bytes)
    }

    /// What may change besides the box: nothing less, or only what is in rectangles.
    pub(super) fn clip(
        &self,
        command: &GuestRange<'_>,
        at: usize,
    ) -> Result<Option<Vec<Rect>>, DrawableError> {
        match command.read_u32(at) {
            CLIP_NONE => Ok(None),
            CLIP_RECTS => {
                let address = command.read_u64(at + 4);
                let count = self.at(address, 4)?.read_u32(0);
                let bytes = self.small_chunks(address.wrapping_add(4))?;
                if count as usize > limits::CLIP_RECTS
                    || bytes.len() as u64 != u64::from(count) * 16
                {
                    return Err(value("clip rectangles, number:", count));
                }
                Ok(Some(bytes.as_chunks::<16>().0.iter().map(rect_of).collect()))
            }
            other => Err(value("clip of unknown type", other)),
        }
    }
}

impl<'memory> Pieces<'memory> {
    fn push(&mut self, piece: GuestRange<'memory>) {
        self.pieces.push((self.len, piece));
        self.len += piece.len();
    }

    /// Bytes of all of them.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Bytes for Pieces<'_> {
    fn read(&self, mut offset: usize, mut into: &mut [u8]) {
        let first = self.pieces.partition_point(|(start, piece)| start + piece.len() <= offset);
        for (start, piece) in &self.pieces[first..] {
            let inside = offset - start;
            let (part, rest) = into.split_at_mut(into.len().min(piece.len() - inside));
            piece.copy_out(inside, part);
            offset += part.len();
            into = rest;
            if into.is_empty() {
                break;
            }
        }
    }
}

/// A rectangle, which guests give as top, left, bottom, right.
pub(super) fn rect(structure: &GuestRange<'_>, at: usize) -> Rect {
    rect_of(&structure.read(at))
}

fn rect_of(bytes: &[u8; 16]) -> Rect {
    let [top, left, bottom, right] =
        std::array::from_fn(|at| i32::from_le_bytes(bytes.as_chunks().0[at]));
    Rect { left, top, right, bottom }
}

/// A point: column and line.
pub(super) fn point(structure: &GuestRange<'_>, at: usize) -> (i32, i32) {
    (structure.read_u32(at).cast_signed(), structure.read_u32(at + 4).cast_signed())
}

const CLIP_NONE: u32 = 0;
const CLIP_RECTS: u32 = 1;

/// A chunk's header, and where the address of the next one is in it.
const CHUNK: usize = 20;
const NEXT: usize = 12;
