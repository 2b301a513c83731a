//! Strings of glyphs: how much of each pixel they cover.

use super::limits::TEXT_PIXELS;
use super::operation::DrawError;
use super::region::Rect;

/// A string, put together: a weight for each pixel of a rectangle.
#[derive(Debug)]
pub struct Text {
    bounds: Rect,
    weights: Vec<u8>,
}

/// One glyph: where it goes, and its rows from bottom to top, each beginning at a byte.
#[derive(Debug)]
pub struct Glyph<'a> {
    /// The first column and line.
    pub position: (i64, i64),
    /// Columns and lines.
    pub size: (u16, u16),
    /// The rows.
    pub rows: &'a [u8],
}

/// How many bits a glyph has for a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlyphDepth {
    /// One; the first pixel in the highest.
    One,
    /// Four; the first pixel in the upper half.
    Four,
    /// Eight.
    Eight,
}

impl GlyphDepth {
    /// Bytes of a row.
    pub fn row_bytes(self, width: u16) -> usize {
        (usize::from(width) * self.bits()).div_ceil(8)
    }

    fn bits(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    fn weight(self, row: &[u8], x: usize) -> u8 {
        match self {
            Self::One => (row[x / 8] >> (7 - x % 8) & 1) * 0xff,
            Self::Four if x.is_multiple_of(2) => row[x / 2] & 0xf0,
            Self::Four => row[x / 2] << 4,
            Self::Eight => row[x],
        }
    }
}

impl Text {
    /// Puts glyphs together; where they overlap the greater weight counts.
    ///
    /// `rows` of each glyph must have the bytes of all its rows.
    pub fn new(depth: GlyphDepth, glyphs: &[Glyph<'_>]) -> Result<Self, DrawError> {
        let mut bounds = Rect::default();
        for glyph in glyphs {
            let (x, y) = glyph.position;
            let edge = |at: i64| i32::try_from(at).map_err(|_| DrawError::TooLarge);
            bounds = bounds.hull(&Rect::new(
                edge(x)?,
                edge(y)?,
                edge(x + i64::from(glyph.size.0))?,
                edge(y + i64::from(glyph.size.1))?,
            ));
        }
        if u64::from(bounds.width()) * u64::from(bounds.height()) > TEXT_PIXELS {
            return Err(DrawError::TooLarge);
        }
        let width = bounds.width() as usize;
        let mut weights = vec![0; width * bounds.height() as usize];
        for glyph in glyphs {
            let (columns, lines) = (usize::from(glyph.size.0), usize::from(glyph.size.1));
            if columns == 0 || lines == 0 {
                continue;
            }
            let left = (glyph.position.0 - i64::from(bounds.left)) as usize;
            let top = (glyph.position.1 - i64::from(bounds.top)) as usize;
            let rows = glyph.rows.chunks(depth.row_bytes(glyph.size.0)).take(lines);
            for (line, row) in (top..top + lines).rev().zip(rows) {
                let at = line * width + left;
                for (x, weight) in weights[at..at + columns].iter_mut().enumerate() {
                    *weight = depth.weight(row, x).max(*weight);
                }
            }
        }
        Ok(Self { bounds, weights })
    }

    /// The rectangle around all glyphs.
    pub(super) fn bounds(&self) -> Rect {
        self.bounds
    }

    /// The weights of a line's pixels, all of them inside the rectangle.
    pub(super) fn read(&self, x: i32, y: i32, into: &mut [u8]) {
        let (x, y) = (self.bounds.left.abs_diff(x) as usize, self.bounds.top.abs_diff(y) as usize);
        let at = y * self.bounds.width() as usize + x;
        into.copy_from_slice(&self.weights[at..at + into.len()]);
    }
}
