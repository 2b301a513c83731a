//! What can be drawn: values that somebody read from a guest.

use super::bitmap::Bitmap;
use super::composite::Composite;
use super::image::Image;
use super::pixels::Raster;
use super::placed::ScaleMode;
use super::region::Rect;
use super::rop::{Rop, Rop3};
use super::stroke::Path;
use super::text::Text;

/// One drawing on a surface.
#[derive(Debug)]
pub struct Drawing<'memory> {
    /// What may change, inside the surface.
    pub bounds: Rect,
    /// Only what is in one of these changes.
    pub clip: Option<Vec<Rect>>,
    /// Only where this has a bit set.
    pub mask: Option<Mask<'memory>>,
    /// What is drawn.
    pub operation: Operation<'memory>,
}

/// What is drawn. "Over the bounds" means scaled to them unless it is of their size.
#[derive(Debug)]
pub enum Operation<'memory> {
    /// Nothing.
    Nothing,
    /// A brush.
    Fill(Brush<'memory>, Rop),
    /// An image over the bounds.
    Copy(Part<'memory>, Rop),
    /// An image over the bounds, and then a brush over that.
    Opaque(Part<'memory>, Brush<'memory>, Rop),
    /// Another part of the same surface, whose first pixel this is.
    CopyBits(i32, i32),
    /// An image over the bounds and a brush.
    Rop3(Part<'memory>, Brush<'memory>, Rop3),
    /// An image over the bounds, without its pixels of one colour.
    Transparent(Part<'memory>, u32),
    /// An image over the bounds, blended.
    Blend(Part<'memory>, Blend),
    /// Porter and Duff's operations.
    Composite(Box<Composite<'memory>>),
    /// Lines of one pixel.
    Stroke(Path, Brush<'memory>, Rop),
    /// Glyphs.
    Text(Text, TextBrushes<'memory>),
}

/// A part of an image.
#[derive(Debug)]
pub struct Part<'memory> {
    /// The image.
    pub image: Image<'memory>,
    /// The part; where it leaves the image, nothing is drawn.
    pub area: Rect,
    /// How it is scaled.
    pub mode: ScaleMode,
}

/// What areas and lines are filled with.
#[derive(Debug)]
pub enum Brush<'memory> {
    /// Nothing: bits that are zero.
    None,
    /// Bits of the surface's format.
    Solid(u32),
    /// An image, repeated, one copy of it with its first pixel there.
    Pattern(Image<'memory>, i32, i32),
}

/// Which of a drawing's pixels change.
#[derive(Debug)]
pub struct Mask<'memory> {
    /// One bit a pixel.
    pub bits: MaskBits<'memory>,
    /// Whether those change whose bit is not set.
    pub inverted: bool,
    /// The mask's pixel for the first of the bounds.
    pub position: (i32, i32),
}

/// The pixels of a mask.
#[derive(Debug)]
pub enum MaskBits<'memory> {
    /// A bitmap of one bit a pixel.
    Bitmap(Bitmap<'memory>),
    /// A surface of one bit a pixel.
    Surface(Raster<'memory>),
}

/// How an image is blended.
#[derive(Debug, Clone, Copy)]
pub struct Blend {
    /// A weight for all of it.
    pub alpha: u8,
    /// Whether the surface's high bits are alpha though its format says no.
    pub target_has_alpha: bool,
    /// The same of a source that is a surface.
    pub source_has_alpha: bool,
}

/// What glyphs and their background are filled with.
#[derive(Debug)]
pub struct TextBrushes<'memory> {
    /// The glyphs.
    pub fore: Brush<'memory>,
    /// The background, and where it is.
    pub back: Option<(Rect, Brush<'memory>)>,
}

/// Why nothing was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The bounds are not those of pixels of the surface.
    #[error("it reaches outside its surface")]
    Outside,
    /// The part of the source is not a part of it, or has no pixels.
    #[error("it takes more than its source has")]
    Source,
    /// A mask has more than one bit a pixel.
    #[error("its mask has more than one bit a pixel")]
    Mask,
    /// An image would take too much memory to be turned.
    #[error("its image is too large")]
    TooLarge,
    /// Not something that can be drawn.
    #[error("it is of a kind that is not drawn")]
    Unsupported,
}
