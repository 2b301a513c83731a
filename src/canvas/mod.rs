//! The software canvas: what drawing commands do to pixels.
//!
//! Nothing here knows guest memory or clients: sources and surfaces are seen through
//! traits that copy bytes, drawings are values that somebody parsed. Pure; used by the
//! workers of graphics devices. docs/protocol/qxl.md says what each command means.

#![forbid(unsafe_code)]

mod bitmap;
mod colour;
mod composite;
mod copy_bits;
mod draw;
mod image;
pub mod limits;
mod operation;
mod pixels;
mod placed;
mod quic;
mod region;
mod rop;
mod stroke;
mod text;

pub use bitmap::{Bitmap, BitmapFormat, Bytes};
pub use composite::{Composite, Factor, Mode, Operator, Repeat, Turned};
pub use image::{Image, Picture};
pub use operation::{
    Blend, Brush, DrawError, Drawing, Mask, MaskBits, Operation, Part, TextBrushes,
};
pub use pixels::{Format, Memory, Raster};
pub use placed::ScaleMode;
pub use quic::QuicError;
pub use region::{Rect, Region};
pub use rop::{Operand, Rop, Rop3};
pub use stroke::{Path, Segment};
pub use text::{Glyph, GlyphDepth, Text};
