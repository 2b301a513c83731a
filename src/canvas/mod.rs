//! The software canvas: what drawing commands do to pixels.
//!
//! Nothing here knows guest memory or clients: sources and surfaces are seen through
//! traits that copy bytes, drawings are values that somebody parsed. Pure; used by the
//! workers of graphics devices.

#![forbid(unsafe_code)]

mod bitmap;
mod draw;
pub mod limits;
mod pixels;
mod region;

pub use bitmap::{Bitmap, BitmapFormat, Bytes};
pub use draw::{DrawError, Drawing, Operation};
pub use pixels::{Format, Memory, Raster};
pub use region::{Rect, Region};
