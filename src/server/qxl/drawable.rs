//! Drawables: what the guest wants drawn, read from its memory and drawn.
//!
//! Each field is read once and judged then; what is read is a value that borrows the
//! table of memory slots only, except for pixels, which are copied when they are drawn.
//! The layouts are in docs/protocol/qxl.md. Used by the worker.

#![forbid(unsafe_code)]

use super::command::Place;
use super::limits;
use super::surface::{SurfaceError, Surfaces};
use crate::canvas::{Bitmap, BitmapFormat, Bytes, DrawError, Drawing, Operation, Rect, Region};
use crate::host::abi::QXL_COMMAND_FLAG_COMPAT;
use crate::host::guest_memory::{GuestMemory, GuestRange};
use crate::host::memslot::SlotError;

/// Why a drawable was not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DrawableError {
    /// It leads out of the guest's memory.
    #[error("drawable dropped: {0}")]
    Address(#[from] SlotError),
    /// Its surface is not there.
    #[error("drawable dropped: {0}")]
    Surface(#[from] SurfaceError),
    /// It cannot be drawn.
    #[error("drawable dropped: {0}")]
    Draw(#[from] DrawError),
    /// A field has a value that has no meaning.
    #[error("drawable dropped: {what} {value}")]
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Draws a drawable; says to which surface, and what may have changed there.
pub(super) fn draw(
    memory: &GuestMemory,
    surfaces: &Surfaces,
    place: &Place,
) -> Result<(u32, Region), DrawableError> {
    let reader = Reader { memory, group: place.group };
    if place.flags & QXL_COMMAND_FLAG_COMPAT != 0 {
        return Err(DrawError::Unsupported.into());
    }
    let command = reader.at(place.address, SIZE)?;
    let surface = command.read_u32(SURFACE);
    let target = surfaces.get(surface)?.pixels(memory)?;
    let drawing = Drawing {
        bounds: rect(&command, BOX),
        clip: reader.clip(&command, CLIP)?,
        operation: match command.read::<1>(TYPE) {
            [3] => reader.copy(&command, DETAILS)?,
            _ => return Err(DrawError::Unsupported.into()),
        },
    };
    Ok((surface, drawing.draw(&target)?))
}

/// Reads structures of one group's memory.
struct Reader<'memory> {
    memory: &'memory GuestMemory,
    group: u32,
}

/// Stretches of guest memory, one after the other.
struct Pieces<'memory>(Vec<GuestRange<'memory>>);

impl<'memory> Reader<'memory> {
    fn at(&self, address: u64, size: usize) -> Result<GuestRange<'memory>, DrawableError> {
        Ok(self.memory.range(self.group, address, size)?)
    }

    /// What may change besides the box: nothing more, or only what is in a region.
    fn clip(
        &self,
        command: &GuestRange<'_>,
        offset: usize,
    ) -> Result<Option<Region>, DrawableError> {
        match command.read_u32(offset) {
            CLIP_NONE => Ok(None),
            CLIP_RECTS => {
                let header = command.read_u64(offset + 4);
                let count = self.at(header, 4)?.read_u32(0);
                let data = self.chunks(header.wrapping_add(4))?;
                if count as usize > limits::CLIP_RECTS || data.len() as u64 != u64::from(count) * 16
                {
                    return Err(value("clip rectangles", count));
                }
                let mut bytes = vec![0; data.len()];
                data.read(0, &mut bytes);
                Ok(Some(bytes.as_chunks::<16>().0.iter().map(rect_of).collect()))
            }
            other => Err(value("clip type", other)),
        }
    }

    fn copy(
        &self,
        command: &GuestRange<'_>,
        offset: usize,
    ) -> Result<Operation<'memory>, DrawableError> {
        let rop = u16::from_le_bytes(command.read(offset + 24));
        if rop != 8 || command.read_u64(offset + 36) != 0 {
            return Err(DrawError::Unsupported.into());
        }
        let source = self.image(command.read_u64(offset))?;
        Ok(Operation::Copy { source, area: rect(command, offset + 8) })
    }

    fn image(&self, address: u64) -> Result<Bitmap<'memory>, DrawableError> {
        let image = self.at(address, IMAGE)?;
        if image.read::<1>(8) != [0] {
            return Err(DrawError::Unsupported.into());
        }
        let [number, flags] = image.read(18);
        let format =
            BitmapFormat::from_number(number).ok_or_else(|| value("bitmap format", number))?;
        let (width, height) = (image.read_u32(20), image.read_u32(24));
        let stride = image.read_u32(28);
        let line = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
        let bytes = u64::from(stride) * u64::from(height);
        if width == 0 || height == 0 || width.max(height) > limits::SURFACE_SIDE {
            return Err(value("bitmap side", width.max(height)));
        }
        if u64::from(stride) < line || bytes > limits::SURFACE_BYTES {
            return Err(value("bitmap stride", stride));
        }
        let address = image.read_u64(40);
        let data = if flags & DIRECT != 0 {
            Pieces(vec![self.at(address, bytes as usize)?])
        } else {
            self.chunks(address)?
        };
        if data.len() as u64 != bytes {
            return Err(value("bitmap data size", data.len() as u64));
        }
        let (palette, data) = (Vec::new(), Box::new(data));
        Ok(Bitmap { format, width, height, stride, top_down: flags & TOP_DOWN != 0, palette, data })
    }

    /// The data of a list of chunks that begins at an address.
    fn chunks(&self, mut address: u64) -> Result<Pieces<'memory>, DrawableError> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for _ in 0..limits::DATA_CHUNKS {
            let chunk = self.at(address, CHUNK)?;
            let size = chunk.read_u32(0);
            bytes += u64::from(size);
            if bytes > limits::SURFACE_BYTES {
                return Err(value("bytes in chunks", bytes));
            }
            if size > 0 {
                pieces.push(self.at(address.wrapping_add(CHUNK as u64), size as usize)?);
            }
            address = chunk.read_u64(12);
            if address == 0 {
                return Ok(Pieces(pieces));
            }
        }
        Err(value("more chunks than", limits::DATA_CHUNKS as u64))
    }
}

impl Pieces<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(GuestRange::len).sum()
    }
}

impl Bytes for Pieces<'_> {
    fn read(&self, mut offset: usize, mut into: &mut [u8]) {
        for piece in &self.0 {
            if offset >= piece.len() {
                offset -= piece.len();
                continue;
            }
            let now = into.len().min(piece.len() - offset);
            let (part, rest) = into.split_at_mut(now);
            piece.copy_out(offset, part);
            (offset, into) = (0, rest);
            if into.is_empty() {
                return;
            }
        }
    }
}

fn value(what: &'static str, value: impl Into<u64>) -> DrawableError {
    DrawableError::Value { what, value: value.into() }
}

/// A rectangle in the order of guests: top, left, bottom, right.
fn rect(structure: &GuestRange<'_>, offset: usize) -> Rect {
    rect_of(&structure.read(offset))
}

fn rect_of(bytes: &[u8; 16]) -> Rect {
    let [top, left, bottom, right] =
        std::array::from_fn(|at| i32::from_le_bytes(bytes.as_chunks().0[at]));
    Rect { left, top, right, bottom }
}

/// Bytes of a drawable.
pub(super) const SIZE: usize = 191;
/// Bytes of a drawable of old drivers.
pub(super) const COMPAT_SIZE: usize = 128;
const SURFACE: usize = 8;
const TYPE: usize = 13;
const BOX: usize = 31;
const CLIP: usize = 47;
const DETAILS: usize = 123;

const CLIP_NONE: u32 = 0;
const CLIP_RECTS: u32 = 1;

const IMAGE: usize = 48;
const DIRECT: u8 = 1;
const TOP_DOWN: u8 = 4;

const CHUNK: usize = 20;
