//! Builds a message out of parts: a part's bytes, and pointers in it to further parts
//! that are filled in when the message is put together.
//!
//! Bytes never move once they are in: callers keep pointers to them while they add
//! more. They are therefore kept in shared pieces of cells.

use std::cell::Cell;
use std::rc::Rc;

/// A message that is being built.
#[derive(Debug)]
pub struct Marshaller {
    /// Part 0 is the message's own; the others are those made since the last reset.
    parts: Vec<Part>,
    /// Parts that were made before the last reset; their names are not used again.
    retired: u32,
    size: usize,
}

/// Names a part of one marshaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartId(pub u32);

/// The width of a pointer to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Four bytes.
    Four,
    /// Eight bytes.
    Eight,
}

/// Why something was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such part, or no longer.
    #[error("the part is not in the message")]
    NoPart,
    /// Pointers could not reach all of it.
    #[error("the message would become too large")]
    TooLarge,
    /// Names have run out.
    #[error("the message has too many parts")]
    TooManyParts,
}

#[derive(Debug, Default)]
struct Part {
    chunks: Vec<Chunk>,
    pointers: Vec<Pointer>,
    size: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Rc<[Cell<u8>]>,
    used: usize,
}

/// A pointer to a part, in the part that holds it.
#[derive(Debug)]
struct Pointer {
    chunk: usize,
    at: usize,
    width: Width,
    to: PartId,
}

impl PartId {
    /// The message itself.
    pub const ROOT: Self = Self(0);
    /// The last name that may be given; small enough to be put into a handle.
    pub const LAST: Self = Self((1 << 20) - 1);
}

impl Marshaller {
    /// Largest message: what a pointer of four bytes reaches.
    pub const MAX_SIZE: usize = u32::MAX as usize;
    /// Largest run of bytes to be added at once.
    pub const MAX_RUN: usize = 64 * 1024 * 1024;
    /// Room taken when more is needed.
    const CHUNK: usize = 1024;

    /// An empty message.
    pub fn new() -> Self {
        Self { parts: vec![Part::default()], retired: 0, size: 0 }
    }

    /// Empties the message; its parts are gone.
    pub fn reset(&mut self) {
        self.retired += self.parts.len() as u32 - 1;
        self.parts = vec![Part::default()];
        self.size = 0;
    }

    /// Bytes in all parts together.
    pub fn total_size(&self) -> usize {
        self.size
    }

    /// Whether there is such a part.
    pub fn has(&self, part: PartId) -> bool {
        self.index(part).is_ok()
    }

    /// Appends bytes to a part; returns where they are.
    pub fn add(&mut self, part: PartId, bytes: &[u8]) -> Result<&[Cell<u8>], Refusal> {
        let place = self.reserve(part, bytes.len())?;
        for (cell, byte) in place.iter().zip(bytes) {
            cell.set(*byte);
        }
        Ok(place)
    }

    /// Appends zeroed bytes to a part, in one piece.
    pub fn reserve(&mut self, part: PartId, size: usize) -> Result<&[Cell<u8>], Refusal> {
        let index = self.index(part)?;
        if size > Self::MAX_RUN || self.size + size > Self::MAX_SIZE {
            return Err(Refusal::TooLarge);
        }
        self.size += size;
        let part = &mut self.parts[index];
        part.size += size;
        if part.chunks.last().is_none_or(|chunk| chunk.bytes.len() - chunk.used < size) {
            let room = size.max(Self::CHUNK);
            let bytes = std::iter::repeat_with(Cell::default).take(room).collect();
            part.chunks.push(Chunk { bytes, used: 0 });
        }
        let last = part.chunks.len() - 1;
        let chunk = &mut part.chunks[last];
        let from = chunk.used;
        chunk.used += size;
        Ok(&chunk.bytes[from..chunk.used])
    }

    /// Appends a pointer to a new part, which comes after the part's own bytes and
    /// after what its earlier pointers lead to.
    pub fn add_part(&mut self, part: PartId, width: Width) -> Result<PartId, Refusal> {
        let name = self.retired + self.parts.len() as u32;
        if name > PartId::LAST.0 {
            return Err(Refusal::TooManyParts);
        }
        self.reserve(part, width.bytes())?;
        let index = self.index(part)?;
        let holder = &mut self.parts[index];
        let chunk = holder.chunks.len() - 1;
        let at = holder.chunks[chunk].used - width.bytes();
        holder.pointers.push(Pointer { chunk, at, width, to: PartId(name) });
        self.parts.push(Part::default());
        Ok(PartId(name))
    }

    /// Fills the pointers in and shows all bytes in order, piece by piece.
    pub fn for_each_piece<'a>(&'a self, mut show: impl FnMut(&'a [Cell<u8>])) {
        for part in self.in_order() {
            for chunk in &part.chunks {
                show(&chunk.bytes[..chunk.used]);
            }
        }
    }

    /// The parts as they follow each other; their pointers are filled in.
    fn in_order(&self) -> Vec<&Part> {
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut offset = 0;
        let mut left = vec![(PartId::ROOT, None)];
        while let Some((name, pointer)) = left.pop() {
            let Ok(index) = self.index(name) else {
                continue;
            };
            let part = &self.parts[index];
            if let Some((place, width)) = pointer {
                set(place, width, if part.size == 0 { 0 } else { offset as u64 });
            }
            offset += part.size;
            parts.push(part);
            left.extend(part.pointers.iter().rev().map(|pointer| {
                let place = &part.chunks[pointer.chunk].bytes[pointer.at..];
                (pointer.to, Some((place, pointer.width)))
            }));
        }
        parts
    }

    fn index(&self, part: PartId) -> Result<usize, Refusal> {
        if part == PartId::ROOT {
            return Ok(0);
        }
        // The first part after the message itself has the name `retired + 1`.
        let index = part.0.checked_sub(self.retired).ok_or(Refusal::NoPart)? as usize;
        if index == 0 || index >= self.parts.len() {
            return Err(Refusal::NoPart);
        }
        Ok(index)
    }
}

impl Default for Marshaller {
    fn default() -> Self {
        Self::new()
    }
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

fn set(place: &[Cell<u8>], width: Width, value: u64) {
    for (cell, byte) in place.iter().zip(value.to_le_bytes()).take(width.bytes()) {
        cell.set(byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(marshaller: &Marshaller) -> Vec<u8> {
        let mut bytes = Vec::new();
        marshaller.for_each_piece(|piece| bytes.extend(piece.iter().map(Cell::get)));
        bytes
    }

    #[test]
    fn a_pointer_leads_to_its_part_behind_the_parents_bytes() {
        let mut marshaller = Marshaller::new();
        marshaller.add(PartId::ROOT, b"ab").expect("room");
        let part = marshaller.add_part(PartId::ROOT, Width::Four).expect("room");
        marshaller.add(part, b"xyz").expect("room");
        marshaller.add(PartId::ROOT, b"c").expect("room");
        assert_eq!(message(&marshaller), b"ab\x07\0\0\0cxyz");
        assert_eq!(marshaller.total_size(), 10);
    }

    #[test]
    fn an_empty_part_is_pointed_to_by_0() {
        let mut marshaller = Marshaller::new();
        marshaller.add_part(PartId::ROOT, Width::Eight).expect("room");
        assert_eq!(message(&marshaller), [0; 8]);
    }

    #[test]
    fn parts_of_parts_follow_their_parent() {
        let mut marshaller = Marshaller::new();
        let first = marshaller.add_part(PartId::ROOT, Width::Four).expect("room");
        let second = marshaller.add_part(PartId::ROOT, Width::Four).expect("room");
        let inner = marshaller.add_part(first, Width::Four).expect("room");
        marshaller.add(second, b"2").expect("room");
        marshaller.add(inner, b"i").expect("room");
        assert_eq!(message(&marshaller), b"\x08\0\0\0\x0d\0\0\0\x0c\0\0\0i2");
    }

    #[test]
    fn a_part_does_not_survive_a_reset_nor_give_its_name_away() {
        let mut marshaller = Marshaller::new();
        let old = marshaller.add_part(PartId::ROOT, Width::Four).expect("room");
        marshaller.reset();
        assert_eq!(marshaller.total_size(), 0);
        assert_eq!(marshaller.add(old, b"x").err(), Some(Refusal::NoPart));
        let new = marshaller.add_part(PartId::ROOT, Width::Four).expect("room");
        assert_ne!(old, new);
        assert_eq!(marshaller.add(old, b"x").err(), Some(Refusal::NoPart));
        marshaller.add(new, b"x").expect("room");
        assert_eq!(message(&marshaller), b"\x04\0\0\0x");
    }

    #[test]
    fn sizes_are_bounded_before_memory_is_taken() {
        let mut marshaller = Marshaller::new();
        let too_much = Marshaller::MAX_RUN + 1;
        assert_eq!(marshaller.reserve(PartId::ROOT, too_much).err(), Some(Refusal::TooLarge));
        assert_eq!(marshaller.reserve(PartId::ROOT, usize::MAX).err(), Some(Refusal::TooLarge));
        assert_eq!(marshaller.total_size(), 0);
    }

    #[test]
    fn names_run_out_instead_of_coming_back() {
        let mut marshaller = Marshaller::new();
        marshaller.retired = PartId::LAST.0;
        assert_eq!(marshaller.add_part(PartId::ROOT, Width::Four), Err(Refusal::TooManyParts),);
        assert_eq!(marshaller.total_size(), 0);
    }

    #[test]
    fn bytes_stay_where_they_are() {
        let mut marshaller = Marshaller::new();
        let first = marshaller.add(PartId::ROOT, b"first").expect("room").as_ptr();
        for _ in 0..1000 {
            marshaller.add(PartId::ROOT, &[7; 100]).expect("room");
        }
        let mut begin = None;
        marshaller.for_each_piece(|piece| {
            begin.get_or_insert(piece.as_ptr());
        });
        assert_eq!(begin, Some(first));
    }

    proptest! {
        /// Against a model that puts trees of byte strings together recursively.
        #[test]
        fn any_tree_comes_out_as_the_model_says(
            steps in prop::collection::vec((0usize..8, 0u8..4, 0usize..3000), 0..40),
        ) {
            let mut marshaller = Marshaller::new();
            let mut names = vec![PartId::ROOT];
            let mut model: Vec<Vec<Piece>> = vec![Vec::new()];
            for (n, (to, what, size)) in steps.into_iter().enumerate() {
                let to = to % names.len();
                if what == 0 {
                    let width = if size % 2 == 0 { Width::Four } else { Width::Eight };
                    names.push(marshaller.add_part(names[to], width).expect("room"));
                    model.push(Vec::new());
                    let last = model.len() - 1;
                    model[to].push(Piece::Part(width, last));
                } else {
                    let bytes = vec![n as u8; size];
                    marshaller.add(names[to], &bytes).expect("room");
                    model[to].push(Piece::Bytes(bytes));
                }
            }
            let mut expected = Vec::new();
            put(&model, 0, &mut expected);
            prop_assert_eq!(message(&marshaller), expected.clone());
            prop_assert_eq!(marshaller.total_size(), expected.len());
        }
    }

    enum Piece {
        Bytes(Vec<u8>),
        Part(Width, usize),
    }

    fn put(model: &[Vec<Piece>], part: usize, to: &mut Vec<u8>) {
        let mut parts = Vec::new();
        for piece in &model[part] {
            match piece {
                Piece::Bytes(bytes) => to.extend(bytes),
                Piece::Part(width, part) => {
                    parts.push((to.len(), *width, *part));
                    to.resize(to.len() + width.bytes(), 0);
                }
            }
        }
        for (at, width, part) in parts {
            let begin = to.len();
            let empty = model[part].iter().all(|piece| match piece {
                Piece::Bytes(bytes) => bytes.is_empty(),
                Piece::Part(..) => false,
            });
            let value = if empty { 0 } else { begin as u64 };
            to[at..at + width.bytes()].copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
            put(model, part, to);
        }
    }
}
