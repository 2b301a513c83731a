//! The pointer of one graphics device: what the guest's commands say of it, read from the
//! guest's memory, and what of it the main thread has not passed on to clients yet.
//!
//! The worker reads and notes; the main thread takes. What waits is one of each kind, so
//! that a guest that moves its pointer a million times a second costs no memory.

#![forbid(unsafe_code)]

use super::limits;
use super::release::Held;
use super::shared::ChangeHook;
use crate::host::guest_memory::{GuestMemory, GuestRange};
use crate::host::memslot::SlotError;
use crate::wire::cursor::{Point, Shape, Trail, picture_bytes};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// What happens to a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Forgotten: as on a new device.
    Reset,
    /// There is a new primary surface, for which clients are told of the pointer anew.
    Begin,
    /// It looks like this from now on.
    Set {
        /// Where.
        place: Point,
        /// Whether it is to be seen.
        visible: bool,
        /// Without its picture.
        shape: Shape,
        /// As many bytes as the shape has.
        picture: Bytes,
    },
    /// It is there, and visible.
    Move(Point),
    /// It is not visible.
    Hide,
    /// What it leaves behind it.
    Trail(Trail),
}

/// What a command of the guest's says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A new picture, at an address of the command's group.
    Set { place: Point, visible: bool, group: u32, shape: u64 },
    /// It is there.
    Move(Point),
    /// Not to be seen.
    Hide,
    /// What it leaves behind it.
    Trail(Trail),
}

/// What can be wrong with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CursorError {
    /// Nothing is known about it.
    #[error("cursor command of unknown type {0}")]
    Order(u8),
    /// A part of the picture is not in guest memory.
    #[error("cursor dropped: {0}")]
    Memory(#[from] SlotError),
    /// There is no such pointer.
    #[error("cursor of unknown type {0} dropped")]
    Type(u16),
    /// No screen has room for it.
    #[error("cursor of {0} by {1} pixels dropped")]
    Size(u16, u16),
    /// Less than its size demands.
    #[error("cursor with {0} of {1} bytes dropped")]
    Short(usize, usize),
    /// It may go round in a circle.
    #[error("cursor in more than {} pieces dropped", limits::CURSOR_CHUNKS)]
    Chunks,
}

impl Order {
    /// Reads a command. Each field once, as the guest may change it meanwhile.
    pub(super) fn parse(command: &GuestRange<'_>, group: u32) -> Result<Self, CursorError> {
        match command.read::<1>(command::TYPE) {
            [command::SET] => Ok(Self::Set {
                place: point(command.read(command::POSITION)),
                visible: command.read::<1>(command::VISIBLE) != [0],
                group,
                shape: command.read_u64(command::SHAPE),
            }),
            [command::MOVE] => Ok(Self::Move(point(command.read(command::POSITION)))),
            [command::HIDE] => Ok(Self::Hide),
            [command::TRAIL] => Ok(Self::Trail(Trail {
                length: u16::from_le_bytes(command.read(command::TRAIL_LENGTH)),
                frequency: u16::from_le_bytes(command.read(command::TRAIL_FREQUENCY)),
            })),
            [other] => Err(CursorError::Order(other)),
        }
    }

    /// What it comes to, with the picture copied out of guest memory.
    pub(super) fn change(self, memory: &GuestMemory) -> Result<Change, CursorError> {
        Ok(match self {
            Self::Set { place, visible, group, shape } => {
                let (shape, picture) = read_shape(memory, group, shape)?;
                Change::Set { place, visible, shape, picture }
            }
            Self::Move(place) => Change::Move(place),
            Self::Hide => Change::Hide,
            Self::Trail(trail) => Change::Trail(trail),
        })
    }
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Pointer {
    news: Arc<News>,
    /// The command with the picture: the guest has it back with the next one, as a saved
    /// guest gives it again when it is loaded.
    held: Option<Held>,
}

impl Pointer {
    pub(super) fn new(news: Arc<News>) -> Self {
        Self { news, held: None }
    }

    /// Carries out a command.
    pub(super) fn obey(
        &mut self,
        memory: &GuestMemory,
        order: Order,
        command: Held,
    ) -> Result<(), CursorError> {
        let change = order.change(memory)?;
        if matches!(change, Change::Set { .. }) {
            self.held = Some(command);
        }
        self.news.note(change);
        Ok(())
    }

    /// There is a new primary surface.
    pub(super) fn begin(&self) {
        self.news.note(Change::Begin);
    }

    /// Forgets the pointer.
    pub(super) fn reset(&mut self) {
        self.held = None;
        self.news.note(Change::Reset);
    }
}

/// What the main thread has not taken yet.
#[derive(Default)]
pub struct News {
    waiting: Mutex<Vec<Change>>,
    hook: OnceLock<ChangeHook>,
}

impl News {
    /// Says what to call, on the worker's thread, when there is something to take.
    pub fn tell(&self, hook: ChangeHook) {
        // Told once, when the device is added.
        let _ = self.hook.set(hook);
    }

    /// Takes all of it, in order.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.waiting.lock())
    }

    fn note(&self, change: Change) {
        let mut waiting = self.waiting.lock();
        if change == Change::Reset {
            waiting.clear();
        }
        let kind = std::mem::discriminant(&change);
        waiting.retain(|other| std::mem::discriminant(other) != kind);
        waiting.push(change);
        let first = waiting.len() == 1;
        drop(waiting);
        if first && let Some(hook) = self.hook.get() {
            hook();
        }
    }
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("News").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Reads a picture with its header.
fn read_shape(
    memory: &GuestMemory,
    group: u32,
    address: u64,
) -> Result<(Shape, Bytes), CursorError> {
    let header = memory.range(group, address, shape::SIZE)?;
    let field = |offset| u16::from_le_bytes(header.read(offset));
    let (width, height) = (field(shape::WIDTH), field(shape::HEIGHT));
    if width > limits::CURSOR_SIDE || height > limits::CURSOR_SIDE {
        return Err(CursorError::Size(width, height));
    }
    let unknown = CursorError::Type(field(shape::TYPE));
    let kind = u8::try_from(field(shape::TYPE)).map_err(|_| unknown)?;
    let wanted = picture_bytes(kind, width, height).ok_or(unknown)?;
    let announced = header.read_u32(shape::DATA_SIZE) as usize;
    if announced < wanted {
        return Err(CursorError::Short(announced, wanted));
    }
    let first = Chunk::of(&header, shape::CHUNK);
    let data = address.wrapping_add((shape::CHUNK + chunk::DATA) as u64);
    let picture = read_chunks(memory, group, first, data, wanted)?;
    let (hot_x, hot_y) = (field(shape::HOT_X), field(shape::HOT_Y));
    Ok((Shape { kind, width, height, hot_x, hot_y }, picture.into()))
}

/// A piece of a picture: how long it is, and the address of the next one.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    size: usize,
    next: u64,
}

impl Chunk {
    fn of(range: &GuestRange<'_>, offset: usize) -> Self {
        let size = range.read_u32(offset + chunk::DATA_SIZE) as usize;
        Self { size, next: range.read_u64(offset + chunk::NEXT) }
    }
}

/// Gathers `wanted` bytes of a list of pieces. What is behind them has no meaning.
fn read_chunks(
    memory: &GuestMemory,
    group: u32,
    mut piece: Chunk,
    mut data: u64,
    wanted: usize,
) -> Result<Vec<u8>, CursorError> {
    let mut bytes = Vec::new();
    for _ in 0..limits::CURSOR_CHUNKS {
        let length = piece.size.min(wanted - bytes.len());
        if length > 0 {
            let begin = bytes.len();
            let range = memory.range(group, data, length)?;
            bytes.resize(begin + length, 0);
            range.copy_out(0, &mut bytes[begin..]);
        }
        if bytes.len() == wanted {
            return Ok(bytes);
        }
        if piece.next == 0 {
            return Err(CursorError::Short(bytes.len(), wanted));
        }
        let header = memory.range(group, piece.next, chunk::DATA)?;
        data = piece.next.wrapping_add(chunk::DATA as u64);
        piece = Chunk::of(&header, 0);
    }
    Err(CursorError::Chunks)
}

fn point(bytes: [u8; 4]) -> Point {
    let [x0, x1, y0, y1] = bytes;
    Point { x: i16::from_le_bytes([x0, x1]), y: i16::from_le_bytes([y0, y1]) }
}

// Offsets in the guest's structures, packed, little-endian.

mod command {
    pub(super) const TYPE: usize = 8;
    pub(super) const POSITION: usize = 9;
    pub(super) const VISIBLE: usize = 13;
    pub(super) const SHAPE: usize = 14;
    pub(super) const TRAIL_LENGTH: usize = 9;
    pub(super) const TRAIL_FREQUENCY: usize = 11;
    pub(super) const SET: u8 = 0;
    pub(super) const MOVE: u8 = 1;
    pub(super) const HIDE: u8 = 2;
    pub(super) const TRAIL: u8 = 3;
}

mod shape {
    pub(super) const TYPE: usize = 8;
    pub(super) const WIDTH: usize = 10;
    pub(super) const HEIGHT: usize = 12;
    pub(super) const HOT_X: usize = 14;
    pub(super) const HOT_Y: usize = 16;
    pub(super) const DATA_SIZE: usize = 18;
    pub(super) const CHUNK: usize = 22;
    pub(super) const SIZE: usize = CHUNK + super::chunk::DATA;
}

mod chunk {
    pub(super) const DATA_SIZE: usize = 0;
    pub(super) const NEXT: usize = 12;
    pub(super) const DATA: usize = 20;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::abi::QXLDevInitInfo;
    use crate::host::fake_qxl::{FakeQxl, GUEST};
    use proptest::prelude::*;

    fn memory(fake: &FakeQxl) -> GuestMemory {
        let info = QXLDevInitInfo {
            num_memslots_groups: 2,
            num_memslots: 8,
            memslot_gen_bits: 8,
            memslot_id_bits: 8,
            ..QXLDevInitInfo::default()
        };
        let mut memory = GuestMemory::new(&info).unwrap();
        memory.add(&fake.guest_slot()).unwrap();
        memory
    }

    fn header(kind: u16, width: u16, height: u16, size: u32, piece: u32, next: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        for field in [kind, width, height, 1, 2] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(size.to_le_bytes());
        bytes.extend(piece.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(next.to_le_bytes());
        bytes
    }

    fn chunk(next: u64, data: &[u8]) -> Vec<u8> {
        let size = (data.len() as u32).to_le_bytes();
        [&size[..], &[0; 8], &next.to_le_bytes(), data].concat()
    }

    #[test]
    fn a_picture_is_gathered_from_its_pieces() {
        let fake = FakeQxl::new();
        let memory = memory(&fake);
        let store = |bytes: &[u8]| fake.address(GUEST, fake.store(bytes));
        let last = store(&chunk(0, &[5, 6, 7, 8, 99]));
        let empty = store(&chunk(last, &[]));
        let first = store(&[header(0, 2, 1, 8, 4, empty), vec![1, 2, 3, 4]].concat());
        let (shape, picture) = read_shape(&memory, GUEST, first).unwrap();
        assert_eq!(shape, Shape { kind: 0, width: 2, height: 1, hot_x: 1, hot_y: 2 });
        assert_eq!(picture, [1, 2, 3, 4, 5, 6, 7, 8][..]);
    }

    #[test]
    fn lies_are_refused() {
        let fake = FakeQxl::new();
        let memory = memory(&fake);
        let store = |bytes: &[u8]| fake.address(GUEST, fake.store(bytes));
        let read = |bytes: &[u8]| read_shape(&memory, GUEST, store(bytes)).unwrap_err();
        assert_eq!(read(&header(7, 1, 1, 4, 4, 0)), CursorError::Type(7));
        assert_eq!(read(&header(256, 1, 1, 4, 4, 0)), CursorError::Type(256));
        assert_eq!(read(&header(0, 1025, 1, 9999, 4, 0)), CursorError::Size(1025, 1));
        assert_eq!(read(&header(0, 2, 2, 15, 15, 0)), CursorError::Short(15, 16));
        assert_eq!(read(&header(0, 2, 2, 16, 0, 0)), CursorError::Short(0, 16));
        assert!(matches!(read(&header(0, 2, 2, 16, 4, 1)), CursorError::Memory(_)));
        let far = header(0, 1024, 1024, u32::MAX, u32::MAX, 0);
        assert!(matches!(read(&far), CursorError::Memory(_)), "the piece leaves its slot");
        // A piece without bytes whose next one is itself.
        let circle = fake.address(GUEST, fake.store(&[0; 8]) + 8);
        store(&chunk(circle, &[]));
        assert_eq!(read(&header(0, 1, 1, 4, 0, circle)), CursorError::Chunks);
        assert!(read_shape(&memory, GUEST, 0).is_err() && read_shape(&memory, 9, 8).is_err());
    }

    #[test]
    fn of_each_kind_the_newest_waits() {
        let news = News::default();
        for x in 0..1000 {
            news.note(Change::Move(Point { x, y: 0 }));
            news.note(Change::Hide);
            news.note(Change::Trail(Trail::default()));
        }
        let waiting =
            [Change::Move(Point { x: 999, y: 0 }), Change::Hide, Change::Trail(Trail::default())];
        assert_eq!(news.take(), waiting);
        assert_eq!(news.take(), []);
        news.note(Change::Hide);
        news.note(Change::Reset);
        news.note(Change::Begin);
        assert_eq!(news.take(), [Change::Reset, Change::Begin]);
    }

    proptest! {
        #[test]
        fn whatever_a_guest_writes_is_read_within_its_memory(
            bytes in prop::collection::vec(any::<u8>(), 42..200), at in 0usize..200,
        ) {
            let fake = FakeQxl::new();
            let memory = memory(&fake);
            let offset = fake.store(&bytes);
            let address = fake.address(GUEST, offset + (at % bytes.len()) as u64);
            if let Ok((shape, picture)) = read_shape(&memory, GUEST, address) {
                let wanted = picture_bytes(shape.kind, shape.width, shape.height);
                prop_assert_eq!(Some(picture.len()), wanted);
            }
        }
    }
}
