//! Pixels in memory that somebody else may write at the same time: always copied, row by
//! row, never borrowed.

use super::region::Rect;

/// Bytes that hold pixels.
pub trait Memory {
    /// Copies bytes out. The caller keeps to the memory's size.
    fn read(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes in. The caller keeps to the memory's size.
    fn write(&self, offset: usize, from: &[u8]);
}

/// How a surface lays out a pixel: `SPICE_SURFACE_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One bit, the first pixel in the lowest bit.
    A1,
    /// One byte of alpha.
    A8,
    /// 16 bits: 1 unused, 5 red, 5 green, 5 blue.
    X555,
    /// 16 bits: 5 red, 6 green, 5 blue.
    X565,
    /// 32 bits: 8 unused, red, green, blue.
    Xrgb,
    /// 32 bits: alpha, red, green, blue, the colours multiplied by alpha.
    Argb,
}

/// A surface's pixels: where they are and how they lie there.
///
/// A pixel is passed as a `u32` with its bits where the format has them, so a mask of one
/// bit is 0 or 1.
pub struct Raster<'memory> {
    memory: Box<dyn Memory + 'memory>,
    format: Format,
    width: u32,
    height: u32,
    stride: i32,
}

impl Format {
    /// The format of a protocol number.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::A1),
            8 => Some(Self::A8),
            16 => Some(Self::X555),
            80 => Some(Self::X565),
            32 => Some(Self::Xrgb),
            96 => Some(Self::Argb),
            _ => None,
        }
    }

    /// Its protocol number.
    pub fn number(self) -> u32 {
        match self {
            Self::A1 => 1,
            Self::A8 => 8,
            Self::X555 => 16,
            Self::X565 => 80,
            Self::Xrgb => 32,
            Self::Argb => 96,
        }
    }

    /// Bits of a pixel.
    pub fn bits(self) -> u32 {
        match self {
            Self::A1 => 1,
            Self::A8 => 8,
            Self::X555 | Self::X565 => 16,
            Self::Xrgb | Self::Argb => 32,
        }
    }

    /// All bits that a pixel has in memory.
    pub fn mask(self) -> u32 {
        u32::MAX >> (32 - self.bits())
    }
}

impl<'memory> Raster<'memory> {
    /// Pixels in memory that has `height` times `stride` bytes for them. A negative
    /// stride means that the bottom line comes first.
    pub fn new(
        memory: Box<dyn Memory + 'memory>,
        format: Format,
        (width, height): (u32, u32),
        stride: i32,
    ) -> Self {
        Self { memory, format, width, height, stride }
    }

    /// How a pixel lies in memory.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All pixels.
    pub fn bounds(&self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Copies the bytes of the pixels from column `x` of line `y` on, as they lie in
    /// memory. The format must have whole bytes.
    ///
    /// # Panics
    /// When the pixels are not those of the surface, a bug of the caller's.
    pub fn read_bytes(&self, x: u32, y: u32, into: &mut [u8]) {
        self.memory.read(self.offset(x, y, into.len()), into);
    }

    /// As [`Self::read_bytes`], the other way.
    ///
    /// # Panics
    /// As there.
    pub fn write_bytes(&self, x: u32, y: u32, from: &[u8]) {
        self.memory.write(self.offset(x, y, from.len()), from);
    }

    /// Copies pixels out, from column `x` of line `y` on.
    ///
    /// # Panics
    /// When the pixels are not those of the surface, a bug of the caller's.
    pub fn read_row(&self, x: u32, y: u32, into: &mut [u32]) {
        if self.format == Format::A1 {
            return self.read_bits(x, y, into);
        }
        let size = self.format.bits() as usize / 8;
        let mut buffer = [0; BUFFER];
        let mut at = x;
        for part in into.chunks_mut(BUFFER / size) {
            let bytes = &mut buffer[..part.len() * size];
            self.read_bytes(at, y, bytes);
            unpack(bytes, part);
            at += part.len() as u32;
        }
    }

    /// Copies pixels in, from column `x` of line `y` on.
    ///
    /// # Panics
    /// When the pixels are not those of the surface, a bug of the caller's.
    pub fn write_row(&self, x: u32, y: u32, from: &[u32]) {
        if self.format == Format::A1 {
            return self.write_bits(x, y, from);
        }
        let size = self.format.bits() as usize / 8;
        let mut buffer = [0; BUFFER];
        let mut at = x;
        for part in from.chunks(BUFFER / size) {
            let bytes = &mut buffer[..part.len() * size];
            pack(part, bytes);
            self.write_bytes(at, y, bytes);
            at += part.len() as u32;
        }
    }

    /// Makes all pixels of a rectangle the same.
    ///
    /// # Panics
    /// When the pixels are not those of the surface, a bug of the caller's.
    pub fn fill(&self, rect: &Rect, pixel: u32) {
        let (left, width) = (rect.left as u32, rect.width() as usize);
        let pixels = vec![pixel; width];
        let mut bytes = Vec::new();
        if self.format != Format::A1 && width > 0 {
            bytes.resize(width * self.format.bits() as usize / 8, 0);
            pack(&pixels, &mut bytes);
        }
        for y in rect.top as u32..rect.bottom as u32 {
            if bytes.is_empty() {
                self.write_row(left, y, &pixels);
            } else {
                self.write_bytes(left, y, &bytes);
            }
        }
    }

    fn read_bits(&self, x: u32, y: u32, into: &mut [u32]) {
        let (line, x) = (self.line(x, y, into.len()), x as usize);
        let mut buffer = [0; BUFFER];
        for (part, pixels) in into.chunks_mut(BUFFER_BITS).enumerate() {
            let x = x + part * BUFFER_BITS;
            let bytes = &mut buffer[..(x % 8 + pixels.len()).div_ceil(8)];
            self.memory.read(line + x / 8, bytes);
            for (pixel, at) in pixels.iter_mut().zip(x % 8..) {
                *pixel = u32::from(bytes[at / 8] >> (at % 8) & 1);
            }
        }
    }

    fn write_bits(&self, x: u32, y: u32, from: &[u32]) {
        let (line, x) = (self.line(x, y, from.len()), x as usize);
        let mut buffer = [0; BUFFER];
        for (part, pixels) in from.chunks(BUFFER_BITS).enumerate() {
            let x = x + part * BUFFER_BITS;
            let bytes = &mut buffer[..(x % 8 + pixels.len()).div_ceil(8)];
            // What stands beside the pixels in their first and last byte stays.
            self.memory.read(line + x / 8, bytes);
            for (pixel, at) in pixels.iter().zip(x % 8..) {
                let bit = 1 << (at % 8);
                let byte = &mut bytes[at / 8];
                *byte = if pixel & 1 == 0 { *byte & !bit } else { *byte | bit };
            }
            self.memory.write(line + x / 8, bytes);
        }
    }

    fn offset(&self, x: u32, y: u32, bytes: usize) -> usize {
        let size = self.format.bits() as usize / 8;
        self.line(x, y, bytes / size) + x as usize * size
    }

    /// Where a line begins.
    fn line(&self, x: u32, y: u32, pixels: usize) -> usize {
        let inside = x as usize + pixels <= self.width as usize && y < self.height;
        assert!(inside, "pixels outside a surface");
        let line = if self.stride < 0 { self.height - 1 - y } else { y };
        line as usize * self.stride.unsigned_abs() as usize
    }
}

impl std::fmt::Debug for Raster<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raster")
            .field("format", &self.format)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("stride", &self.stride)
            .finish_non_exhaustive()
    }
}

/// Little-endian pixels of one, two or four bytes, by how many bytes there are for each.
fn unpack(bytes: &[u8], pixels: &mut [u32]) {
    match bytes.len() / pixels.len() {
        1 => pixels.iter_mut().zip(bytes).for_each(|(pixel, byte)| *pixel = u32::from(*byte)),
        2 => pixels.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(pixel, bytes)| {
            *pixel = u32::from(u16::from_le_bytes(*bytes));
        }),
        _ => pixels.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(pixel, bytes)| {
            *pixel = u32::from_le_bytes(*bytes);
        }),
    }
}

fn pack(pixels: &[u32], bytes: &mut [u8]) {
    match bytes.len() / pixels.len() {
        1 => bytes.iter_mut().zip(pixels).for_each(|(byte, pixel)| *byte = *pixel as u8),
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().zip(pixels).for_each(|(bytes, pixel)| {
            *bytes = (*pixel as u16).to_le_bytes();
        }),
        _ => bytes.as_chunks_mut::<4>().0.iter_mut().zip(pixels).for_each(|(bytes, pixel)| {
            *bytes = pixel.to_le_bytes();
        }),
    }
}

/// Bytes copied at a time; a small part of the stack, and enough for copying to be cheap.
const BUFFER: usize = 4096;
/// Pixels of one bit that fit, wherever in a byte the first one is.
const BUFFER_BITS: usize = (BUFFER - 1) * 8;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    struct Shared<'a>(&'a RefCell<Vec<u8>>);

    impl Memory for Shared<'_> {
        fn read(&self, offset: usize, into: &mut [u8]) {
            into.copy_from_slice(&self.0.borrow()[offset..offset + into.len()]);
        }

        fn write(&self, offset: usize, from: &[u8]) {
            self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
        }
    }

    proptest! {
        #[test]
        fn bits_are_written_and_read_where_they_are(
            x in 0u32..70_000, len in 0usize..70_000, seed: u8,
        ) {
            const WIDTH: u32 = 140_000;
            let before: Vec<u8> = (0..WIDTH / 8).map(|n| (n as u8).wrapping_mul(seed)).collect();
            let memory = RefCell::new(before.clone());
            let stride = (WIDTH / 8) as i32;
            let raster =
                Raster::new(Box::new(Shared(&memory)), Format::A1, (WIDTH, 1), stride);
            let pixels: Vec<u32> = (0..len as u32).map(|n| n / 3 % 2).collect();
            raster.write_row(x, 0, &pixels);
            let mut back = vec![7; len];
            raster.read_row(x, 0, &mut back);
            prop_assert_eq!(&back, &pixels);
            let after = memory.borrow();
            let bit = |bytes: &[u8], at: u32| bytes[at as usize / 8] >> (at % 8) & 1;
            let end = x + len as u32;
            prop_assert!((0..x).chain(end..WIDTH).all(|at| bit(&before, at) == bit(&after, at)));
        }
    }
}
