//! What drawings take pixels from: bitmaps, surfaces, and copies of a surface's part.

use super::bitmap::{Bitmap, BitmapFormat};
use super::colour::{OPAQUE, convert, from_argb, to_argb};
use super::limits::TURNED_PIXELS;
use super::pixels::{Format, Raster};
use super::region::Rect;

/// A source of pixels.
#[derive(Debug)]
pub enum Image<'memory> {
    /// A guest's bitmap. The flag says that its unused high bits count as set.
    Bitmap(Bitmap<'memory>, bool),
    /// A surface.
    Surface(Raster<'memory>),
    /// A copy.
    Picture(Picture),
}

/// Pixels of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    format: Format,
    width: u32,
    height: u32,
    pixels: Vec<u32>,
}

impl Picture {
    /// Pixels of a format, line by line.
    pub(super) fn new(format: Format, width: u32, height: u32, pixels: Vec<u32>) -> Self {
        Self { format, width, height, pixels }
    }

    /// The same as a compressed image is drawn on a surface of a format: 16 bits become 32
    /// there, without alpha.
    #[must_use]
    pub fn for_surface(mut self, target: Format) -> Self {
        if self.format == Format::X555 && target.bits() == 32 {
            for pixel in &mut self.pixels {
                *pixel = to_argb(Format::X555, *pixel) & !OPAQUE;
            }
            self.format = Format::Xrgb;
        }
        self
    }

    /// The same with what are unused high bits set, as a guest may want them.
    #[must_use]
    pub fn with_high_bits(mut self) -> Self {
        if self.format == Format::Xrgb {
            self.pixels.iter_mut().for_each(|pixel| *pixel |= OPAQUE);
        }
        self
    }

    /// A copy of a part of a surface, if it is one and not too large.
    pub fn of(raster: &Raster<'_>, area: &Rect) -> Option<Self> {
        let (width, height) = (area.width(), area.height());
        let count = u64::from(width) * u64::from(height);
        if count == 0 || count > TURNED_PIXELS || !raster.bounds().contains(area) {
            return None;
        }
        let mut pixels = vec![0; count as usize];
        for (y, row) in (area.top..).zip(pixels.chunks_mut(width as usize)) {
            raster.read_row(area.left as u32, y as u32, row);
        }
        Some(Self { format: raster.format(), width, height, pixels })
    }
}

impl Image<'_> {
    /// All pixels.
    pub fn bounds(&self) -> Rect {
        match self {
            Self::Bitmap(bitmap, _) => bitmap.bounds(),
            Self::Surface(raster) => raster.bounds(),
            Self::Picture(picture) => Rect::of_size(picture.width, picture.height),
        }
    }

    /// The format that [`Self::read`] yields for a surface of a format: its own bits,
    /// but with alpha or without as the image has it.
    pub(super) fn format_on(&self, target: Format) -> Format {
        let own = match self {
            Self::Bitmap(bitmap, _) => match (bitmap.format, target.bits()) {
                (BitmapFormat::Argb, 32) => Format::Argb,
                (_, 32) => Format::Xrgb,
                _ => target,
            },
            Self::Surface(raster) => raster.format(),
            Self::Picture(picture) => picture.format,
        };
        if own.bits() == target.bits() { own } else { target }
    }

    /// The format that [`Self::read_own`] yields: a surface's own, and otherwise as
    /// [`Self::format_on`].
    pub(super) fn own_format(&self, target: Format) -> Format {
        match self {
            Self::Bitmap(..) => self.format_on(target),
            Self::Surface(raster) => raster.format(),
            Self::Picture(picture) => picture.format,
        }
    }

    /// As [`Self::read`], but a surface's pixels stay in its format.
    pub(super) fn read_own(&self, target: Format, x: u32, y: u32, into: &mut [u32]) {
        let format = match self {
            Self::Bitmap(..) => target,
            Self::Surface(_) | Self::Picture(_) => self.own_format(target),
        };
        self.read(format, x, y, into);
    }

    /// Whether its bits can be copied to a surface of a format as they are.
    pub(super) fn is_plain_on(&self, target: Format) -> bool {
        match self {
            Self::Bitmap(bitmap, high_bits) => {
                !high_bits
                    && match bitmap.format {
                        BitmapFormat::Xrgb | BitmapFormat::Argb => target.bits() == 32,
                        BitmapFormat::X555 => target == Format::X555,
                        BitmapFormat::A8 => target == Format::A8,
                        _ => false,
                    }
            }
            Self::Surface(raster) => raster.format().bits() == target.bits() && target.bits() >= 8,
            Self::Picture(_) => false,
        }
    }

    /// Copies the bytes of a plain image's pixels, from column `x` of line `y` on.
    pub(super) fn read_bytes(&self, x: u32, y: u32, into: &mut [u8]) {
        match self {
            Self::Bitmap(bitmap, _) => {
                bitmap.read_line(y, x as usize * bitmap.format.bits() as usize / 8, into);
            }
            Self::Surface(raster) => raster.read_bytes(x, y, into),
            Self::Picture(_) => unreachable!("pictures are not plain"),
        }
    }

    /// Reads pixels for a surface of a format, from column `x` of line `y` on, all of
    /// them inside the image.
    pub(super) fn read(&self, target: Format, x: u32, y: u32, into: &mut [u32]) {
        match self {
            Self::Bitmap(bitmap, high_bits) => {
                read_bitmap(bitmap, target, x, y, into);
                if *high_bits && self.format_on(target) == Format::Xrgb {
                    for pixel in into.iter_mut() {
                        *pixel |= OPAQUE;
                    }
                }
            }
            Self::Surface(raster) => {
                raster.read_row(x, y, into);
                convert(into, raster.format(), target);
            }
            Self::Picture(picture) => {
                let at = y as usize * picture.width as usize + x as usize;
                into.copy_from_slice(&picture.pixels[at..at + into.len()]);
                convert(into, picture.format, target);
            }
        }
    }

    /// The format that [`Self::read_original`] yields: that of the image, where palettes
    /// are taken for colours of a surface's format.
    pub(super) fn original_format(&self, target: Format) -> Format {
        match self {
            Self::Bitmap(bitmap, high_bits) => match bitmap.format {
                BitmapFormat::Argb => Format::Argb,
                BitmapFormat::Xrgb | BitmapFormat::Rgb24 if *high_bits => Format::Argb,
                BitmapFormat::Xrgb | BitmapFormat::Rgb24 => Format::Xrgb,
                BitmapFormat::X555 => Format::X555,
                BitmapFormat::A8 => Format::A8,
                _ => target,
            },
            Self::Surface(raster) => raster.format(),
            Self::Picture(picture) => picture.format,
        }
    }

    /// As [`Self::read`], without loss of what the surface's format has no room for.
    pub(super) fn read_original(&self, target: Format, x: u32, y: u32, into: &mut [u32]) {
        self.read(self.original_format(target), x, y, into);
    }
}

/// Reads pixels of a bitmap as those of a surface's format.
fn read_bitmap(bitmap: &Bitmap<'_>, target: Format, x: u32, y: u32, into: &mut [u32]) {
    let colour = |index: usize| {
        // An index beyond the palette is black, as a colour that was never set.
        bitmap.palette.get(index).copied().unwrap_or(0) & target.mask()
    };
    if bitmap.format.bits() == 1 {
        bitmap.read_bits(x, y, into);
        for pixel in into.iter_mut() {
            *pixel = colour(*pixel as usize);
        }
        return;
    }
    let bits = bitmap.format.bits() as usize;
    let first = x as usize * bits / 8;
    let mut bytes = vec![0; ((x as usize + into.len()) * bits).div_ceil(8) - first];
    bitmap.read_line(y, first, &mut bytes);
    let own = match bitmap.format {
        BitmapFormat::Indexed4Low | BitmapFormat::Indexed4High => {
            let low = bitmap.format == BitmapFormat::Indexed4Low;
            for (pixel, at) in into.iter_mut().zip(x as usize % 2..) {
                let shift = if low == at.is_multiple_of(2) { 0 } else { 4 };
                *pixel = colour(usize::from(bytes[at / 2] >> shift & 15));
            }
            return;
        }
        BitmapFormat::Indexed8 => {
            into.iter_mut().zip(&bytes).for_each(|(pixel, byte)| *pixel = colour((*byte).into()));
            return;
        }
        BitmapFormat::Indexed1Low | BitmapFormat::Indexed1High => unreachable!("read above"),
        BitmapFormat::A8 => {
            into.iter_mut().zip(&bytes).for_each(|(pixel, byte)| *pixel = u32::from(*byte));
            Format::A8
        }
        BitmapFormat::X555 => {
            let pixels = bytes.as_chunks::<2>().0;
            into.iter_mut().zip(pixels).for_each(|(pixel, bytes)| {
                *pixel = u32::from(u16::from_le_bytes(*bytes));
            });
            Format::X555
        }
        BitmapFormat::Rgb24 => {
            let pixels = bytes.as_chunks::<3>().0;
            into.iter_mut().zip(pixels).for_each(|(pixel, [blue, green, red])| {
                *pixel = u32::from_le_bytes([*blue, *green, *red, 0]);
            });
            Format::Xrgb
        }
        BitmapFormat::Xrgb | BitmapFormat::Argb => {
            let pixels = bytes.as_chunks::<4>().0;
            into.iter_mut().zip(pixels).for_each(|(pixel, bytes)| {
                *pixel = u32::from_le_bytes(*bytes);
            });
            if bitmap.format == BitmapFormat::Argb { Format::Argb } else { Format::Xrgb }
        }
    };
    if own.bits() != target.bits() || (own.bits() == 16 && own != target) {
        // Where there is room for alpha it stays, as the reference has it.
        let target = if target.bits() == 32 { Format::Argb } else { target };
        for pixel in into.iter_mut() {
            *pixel = from_argb(target, to_argb(own, *pixel));
        }
    }
}
