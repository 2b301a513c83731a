//! Drawables: what the guest wants drawn, read from its memory and drawn.
//!
//! Each field is read once and judged then. What comes out is a value for the canvas; it
//! borrows the table of memory slots, and pixels are copied when they are drawn. The
//! layouts are in docs/protocol/qxl.md. Used by the worker.

#![forbid(unsafe_code)]

mod details;
mod image;
mod reader;

use super::command::Place;
use super::surface::{SurfaceError, Surfaces};
use crate::canvas::{DrawError, Drawing, QuicError, Raster, Rect, Region};
use crate::host::abi::{QXL_COMMAND_FLAG_COMPAT, QXL_COMMAND_FLAG_COMPAT_16BPP};
use crate::host::guest_memory::{GuestMemory, GuestRange};
use crate::host::memslot::SlotError;
use details::Details;
use reader::{Reader, rect};

/// Why a drawable was not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DrawableError {
    /// It leads out of the guest's memory.
    #[error("drawable dropped: {0}")]
    Address(#[from] SlotError),
    /// A surface that it draws to or from is not there.
    #[error("drawable dropped: {0}")]
    Surface(#[from] SurfaceError),
    /// It cannot be drawn.
    #[error("drawable dropped: {0}")]
    Draw(#[from] DrawError),
    /// A compressed image of its is wrong.
    #[error("drawable dropped: {0}")]
    Quic(#[from] QuicError),
    /// A field has a value that has no meaning, or one beyond a limit.
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
    let compat = place.flags & QXL_COMMAND_FLAG_COMPAT != 0;
    let (size, layout) = if compat { (COMPAT_SIZE, &COMPAT) } else { (SIZE, &NATIVE) };
    let command = reader.at(place.address, size)?;
    let surface = layout.surface.map_or(0, |at| command.read_u32(at));
    let target = surfaces.get(surface)?.pixels(memory)?;
    layout.check_surfaces(&command, surfaces)?;
    let own_picture = layout.own_picture(&command);
    let [kind] = command.read(layout.kind);
    let details = Details {
        reader: &reader,
        surfaces,
        target: &target,
        command: &command,
        start: layout.details,
        own_picture,
        colours_16: place.flags & QXL_COMMAND_FLAG_COMPAT_16BPP != 0,
        compat,
    };
    let drawing = Drawing {
        bounds: rect(&command, layout.bounds),
        clip: reader.clip(&command, layout.clip)?,
        mask: details.mask(kind)?,
        operation: details.operation(kind)?,
    };
    Ok((surface, drawing.draw(&target)?))
}

/// Where fields are.
struct Layout {
    /// None means the primary surface.
    surface: Option<usize>,
    kind: usize,
    /// A byte in the newer layout, two in the old one; not zero means that the picture is
    /// wanted. Its rectangle comes next.
    own_picture: (usize, usize),
    bounds: usize,
    clip: usize,
    /// Surfaces that it depends on, three.
    depends: Option<usize>,
    details: usize,
}

impl Layout {
    /// The part of the target that takes the place of an image without address.
    fn own_picture(&self, command: &GuestRange<'_>) -> Option<Rect> {
        let (at, size) = self.own_picture;
        let mut flag = [0; 2];
        command.copy_out(at, &mut flag[..size]);
        (flag != [0; 2]).then(|| rect(command, at + size))
    }

    fn check_surfaces(
        &self,
        command: &GuestRange<'_>,
        surfaces: &Surfaces,
    ) -> Result<(), SurfaceError> {
        let Some(start) = self.depends else { return Ok(()) };
        for at in [start, start + 4, start + 8] {
            let id = command.read_u32(at);
            if id != NO_SURFACE {
                surfaces.get(id)?;
            }
        }
        Ok(())
    }
}

/// A surface to draw from.
fn source_surface<'memory>(
    memory: &'memory GuestMemory,
    surfaces: &Surfaces,
    id: u32,
) -> Result<Raster<'memory>, DrawableError> {
    Ok(surfaces.get(id)?.pixels(memory)?)
}

fn value(what: &'static str, value: impl Into<u64>) -> DrawableError {
    DrawableError::Value { what, value: value.into() }
}

/// Bytes of a drawable.
pub(super) const SIZE: usize = 191;
/// Bytes of a drawable of old drivers.
pub(super) const COMPAT_SIZE: usize = 128;

const NATIVE: Layout = Layout {
    surface: Some(8),
    kind: 13,
    own_picture: (14, 1),
    bounds: 31,
    clip: 47,
    depends: Some(63),
    details: 123,
};

const COMPAT: Layout = Layout {
    surface: None,
    kind: 9,
    own_picture: (10, 2),
    bounds: 28,
    clip: 44,
    depends: None,
    details: 60,
};

const NO_SURFACE: u32 = u32::MAX;
