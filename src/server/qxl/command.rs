//! Commands of the rings: what the guest wrote, parsed.
//!
//! A command exists for us when its address is good; from then on it is given back
//! to the guest exactly once, whatever else is wrong with it. Used by the worker.

#![forbid(unsafe_code)]

use super::cursor::{CursorError, Order};
use super::drawable;
use super::release::Held;
use super::surface::{Geometry, SurfaceError};
use crate::host::abi::{
    QXL_CMD_CURSOR, QXL_CMD_DRAW, QXL_CMD_MESSAGE, QXL_CMD_SURFACE, QXL_CMD_UPDATE,
    QXL_COMMAND_FLAG_COMPAT, QXLCommandExt,
};
use crate::host::guest_memory::{GuestMemory, GuestRange};
use crate::host::memslot::SlotError;
use crate::host::qxl::QxlDevice;

/// Which ring a command came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ring {
    /// Drawing, surfaces, updates.
    Display,
    /// The pointer's picture and place.
    Cursor,
}

/// A command with a good address.
#[derive(Debug)]
pub(super) struct Command {
    /// Gives the command back.
    pub(super) held: Held,
    /// What it says, or what is wrong with it.
    pub(super) body: Result<Body, CommandError>,
}

/// What a command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// A text for the log, which nobody wants.
    Ignored,
    /// Draw something.
    Draw(Place),
    /// Make an area visible, then tell the guest.
    Update { surface: u32, id: u32 },
    /// Make an off-screen surface, at an address of its pixels.
    CreateSurface { surface: u32, geometry: Geometry, keep: bool, group: u32, pixels: u64 },
    /// Destroy an off-screen surface.
    DestroySurface { surface: u32 },
    /// Something about the pointer.
    Cursor(Order),
}

/// Where a drawable is, and in which layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The group that its addresses are of.
    pub(super) group: u32,
    /// Its address, which is good.
    pub(super) address: u64,
    /// `QXL_COMMAND_FLAG_*`.
    pub(super) flags: u32,
}

/// What can be wrong with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    /// Nothing more is known about it.
    #[error("unknown command type {kind} on the {ring} ring")]
    Type { kind: u32, ring: Ring },
    /// Its address is bad.
    #[error("command dropped: {0}")]
    Address(#[from] SlotError),
    /// The surface that it makes is bad.
    #[error("surface command dropped: {0}")]
    Surface(#[from] SurfaceError),
    /// What it says of the pointer.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// Neither create nor destroy.
    #[error("surface command of unknown type {0}")]
    SurfaceType(u8),
}

impl Command {
    /// Reads a command that was fetched from a ring.
    pub(super) fn parse(
        device: &QxlDevice,
        memory: &GuestMemory,
        ring: Ring,
        ext: QXLCommandExt,
    ) -> Result<Self, CommandError> {
        let (kind, group, compat) =
            (ext.cmd.type_, ext.group_id, ext.flags & QXL_COMMAND_FLAG_COMPAT != 0);
        let size = match (ring, kind) {
            (Ring::Display, QXL_CMD_DRAW) if compat => drawable::COMPAT_SIZE,
            (Ring::Display, QXL_CMD_DRAW) => drawable::SIZE,
            (Ring::Display, QXL_CMD_UPDATE) if compat => update::COMPAT_SIZE,
            (Ring::Display, QXL_CMD_UPDATE) => update::SIZE,
            (Ring::Display, QXL_CMD_SURFACE) => surface::SIZE,
            (Ring::Cursor, QXL_CMD_CURSOR) => cursor::SIZE,
            // A message, of which nothing more is read, or one that we do not know. Every
            // command begins with release information: not to give this one back would
            // leak the memory of a guest with a newer driver.
            _ => RELEASE_INFO,
        };
        let command = memory.range(group, ext.cmd.data, size)?;
        let held = Held::new(device, &command, group);
        let body = match (ring, kind) {
            (Ring::Display, QXL_CMD_MESSAGE) => Ok(Body::Ignored),
            (Ring::Display, QXL_CMD_DRAW) => {
                Ok(Body::Draw(Place { group, address: ext.cmd.data, flags: ext.flags }))
            }
            (Ring::Display, QXL_CMD_UPDATE) => Ok(Body::Update {
                surface: if compat { 0 } else { command.read_u32(update::SURFACE) },
                id: command.read_u32(update::ID),
            }),
            (Ring::Display, QXL_CMD_SURFACE) => surface_body(memory, &command, group),
            (Ring::Cursor, QXL_CMD_CURSOR) => {
                Order::parse(&command, group).map(Body::Cursor).map_err(CommandError::from)
            }
            _ => Err(CommandError::Type { kind, ring }),
        };
        Ok(Self { held, body })
    }
}

fn surface_body(
    memory: &GuestMemory,
    command: &GuestRange<'_>,
    group: u32,
) -> Result<Body, CommandError> {
    let surface = command.read_u32(surface::ID);
    match command.read::<1>(surface::TYPE) {
        [surface::CREATE] => {
            let geometry = Geometry::new(
                command.read_u32(surface::WIDTH),
                command.read_u32(surface::HEIGHT),
                command.read_u32(surface::STRIDE).cast_signed(),
                command.read_u32(surface::FORMAT),
            )?;
            let pixels = command.read_u64(surface::DATA);
            memory.range(group, pixels, geometry.bytes).map_err(SurfaceError::Pixels)?;
            let [flags] = command.read(surface::FLAGS);
            let keep = flags & surface::KEEP_DATA != 0;
            Ok(Body::CreateSurface { surface, geometry, keep, group, pixels })
        }
        [surface::DESTROY] => Ok(Body::DestroySurface { surface }),
        [other] => Err(CommandError::SurfaceType(other)),
    }
}

impl std::fmt::Display for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Display => "display",
            Self::Cursor => "cursor",
        })
    }
}

// Sizes and offsets of the guest's structures, packed, little-endian. All begin
// with eight bytes of release information.
const RELEASE_INFO: usize = 8;

mod update {
    pub(super) const SIZE: usize = 32;
    pub(super) const COMPAT_SIZE: usize = 28;
    pub(super) const ID: usize = 24;
    pub(super) const SURFACE: usize = 28;
}

mod surface {
    pub(super) const SIZE: usize = 41;
    pub(super) const ID: usize = 8;
    pub(super) const TYPE: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const FORMAT: usize = 17;
    pub(super) const WIDTH: usize = 21;
    pub(super) const HEIGHT: usize = 25;
    pub(super) const STRIDE: usize = 29;
    pub(super) const DATA: usize = 33;
    pub(super) const CREATE: u8 = 0;
    pub(super) const DESTROY: u8 = 1;
    pub(super) const KEEP_DATA: u8 = 1;
}

mod cursor {
    pub(super) const SIZE: usize = 150;
}
