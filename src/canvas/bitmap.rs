//! Bitmaps as guests describe them.

use super::region::Rect;

/// Bytes that somebody else may change at any time: each is copied when it is needed.
pub trait Bytes {
    /// Copies bytes out. The caller keeps to the size.
    fn read(&self, offset: usize, into: &mut [u8]);
}

/// How a bitmap lays out a pixel: `SPICE_BITMAP_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitmapFormat {
    /// One bit, an index of a palette; the first pixel in the lowest bit.
    Indexed1Low,
    /// One bit; the first pixel in the highest bit.
    Indexed1High,
    /// Four bits; the first pixel in the lower half.
    Indexed4Low,
    /// Four bits; the first pixel in the upper half.
    Indexed4High,
    /// One byte, an index.
    Indexed8,
    /// 16 bits: 1 unused, 5 red, 5 green, 5 blue.
    X555,
    /// 24 bits: blue, green, red.
    Rgb24,
    /// 32 bits: blue, green, red, unused.
    Xrgb,
    /// 32 bits: blue, green, red, alpha; the colours multiplied by alpha.
    Argb,
    /// One byte of alpha.
    A8,
}

/// A bitmap. Its `data` has `stride` times `height` bytes.
pub struct Bitmap<'memory> {
    /// How a pixel is laid out.
    pub format: BitmapFormat,
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next, enough for a line.
    pub stride: u32,
    /// Whether the top line comes first.
    pub top_down: bool,
    /// The colours of an indexed format.
    pub palette: Vec<u32>,
    /// The pixels.
    pub data: Box<dyn Bytes + 'memory>,
}

impl BitmapFormat {
    /// The format of a protocol number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Indexed1Low,
            2 => Self::Indexed1High,
            3 => Self::Indexed4Low,
            4 => Self::Indexed4High,
            5 => Self::Indexed8,
            6 => Self::X555,
            7 => Self::Rgb24,
            8 => Self::Xrgb,
            9 => Self::Argb,
            10 => Self::A8,
            _ => return None,
        })
    }

    /// Bits of a pixel.
    pub fn bits(self) -> u32 {
        match self {
            Self::Indexed1Low | Self::Indexed1High => 1,
            Self::Indexed4Low | Self::Indexed4High => 4,
            Self::Indexed8 | Self::A8 => 8,
            Self::X555 => 16,
            Self::Rgb24 => 24,
            Self::Xrgb | Self::Argb => 32,
        }
    }

    /// Whether pixels are indices of a palette.
    pub fn is_indexed(self) -> bool {
        matches!(
            self,
            Self::Indexed1Low
                | Self::Indexed1High
                | Self::Indexed4Low
                | Self::Indexed4High
                | Self::Indexed8
        )
    }
}

impl Bitmap<'_> {
    /// All pixels.
    pub fn bounds(&self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Copies the bytes of line `y` from byte `offset` on.
    pub fn read_line(&self, y: u32, offset: usize, into: &mut [u8]) {
        let line = if self.top_down { y } else { self.height - 1 - y };
        self.data.read(line as usize * self.stride as usize + offset, into);
    }

    /// Reads pixels of one bit, from column `x` of line `y` on.
    pub(super) fn read_bits(&self, x: u32, y: u32, into: &mut [u32]) {
        let first = x as usize / 8;
        let mut bytes = vec![0; (x as usize + into.len()).div_ceil(8) - first];
        self.read_line(y, first, &mut bytes);
        let low = self.format == BitmapFormat::Indexed1Low;
        for (pixel, at) in into.iter_mut().zip(x as usize % 8..) {
            let shift = if low { at % 8 } else { 7 - at % 8 };
            *pixel = u32::from(bytes[at / 8] >> shift & 1);
        }
    }
}

impl std::fmt::Debug for Bitmap<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bitmap")
            .field("format", &self.format)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("stride", &self.stride)
            .field("top_down", &self.top_down)
            .finish_non_exhaustive()
    }
}
