//! Pictures as clients take them: `DRAW_COPY` and the forms of its image
//! (docs/protocol/display.md, "Images").
//!
//! Pure: pixels in, bytes out. All pictures have 32-bit pixels of which 24 are used.

mod jpeg;
mod lz;
mod lz4;

use bytes::{BufMut, Bytes};

pub use jpeg::{JpegError, jpeg_frame};
pub use lz::LzEncoder;

/// Pixels to be sent: `0x00RRGGBB` each, line by line from the top, without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// All pixels.
    pub pixels: &'a [u32],
    /// Pixels of one line; never 0.
    pub width: u32,
}

/// A form that a picture can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Raw,
    /// SPICE's LZ.
    Lz,
    /// Blocks of LZ4.
    Lz4,
    /// JPEG of this quality, 1 to 100; not the same pixels.
    Jpeg(u8),
}

/// An image behind a `DRAW_COPY`'s fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The type that is announced.
    pub kind: u8,
    /// Everything behind type, flags, width and height.
    pub data: Bytes,
}

/// Makes images of pixels; keeps what the next one can use again.
#[derive(Debug, Default)]
pub struct Encoder {
    lz: LzEncoder,
}

/// Image types.
pub mod image_type {
    /// Pixels as they are.
    pub const BITMAP: u8 = 0;
    /// LZ with three bytes for a pixel.
    pub const LZ_RGB: u8 = 101;
    /// A JPEG file.
    pub const JPEG: u8 = 105;
    /// Blocks of LZ4.
    pub const LZ4: u8 = 109;
}

/// Bitmap format: 32 bits for a pixel, of which 24 are used.
const FORMAT_32BIT: u8 = 8;
/// Bitmap flag: the first line is the top one.
const TOP_DOWN: u8 = 4;

impl Pixels<'_> {
    /// Number of lines.
    pub fn height(&self) -> u32 {
        self.pixels.len() as u32 / self.width
    }

    /// Whether this looks like a photograph, of which JPEG makes little without much harm:
    /// large, and its colours change often and by little.
    pub fn is_photo(&self) -> bool {
        const LARGE: usize = 64 * 64;
        /// Pairs of neighbours that are looked at.
        const SAMPLES: usize = 2048;
        if self.pixels.len() < LARGE {
            return false;
        }
        let step = (self.pixels.len() / SAMPLES).max(1) | 1;
        let (mut equal, mut near, mut far) = (0, 0, 0);
        for at in (0..self.pixels.len() - 1).step_by(step) {
            match distance(self.pixels[at], self.pixels[at + 1]) {
                0 => equal += 1,
                1..=24 => near += 1,
                _ => far += 1,
            }
        }
        near > 2 * far && near > equal / 2
    }

    /// Bytes of a line when each pixel has four.
    fn stride(&self) -> u32 {
        self.width * 4
    }

    fn put_bytes(&self, to: &mut Vec<u8>) {
        to.reserve(self.pixels.len() * 4);
        for pixel in self.pixels {
            to.extend_from_slice(&pixel.to_le_bytes());
        }
    }
}

impl Encoder {
    /// The image in the wanted form, or raw if that is not smaller.
    pub fn encode(&mut self, pixels: Pixels<'_>, form: Form) -> Encoded {
        let (kind, payload) = match form {
            Form::Raw => return raw(pixels),
            Form::Lz => (image_type::LZ_RGB, self.lz.encode(pixels)),
            Form::Lz4 => (image_type::LZ4, lz4::encode(pixels)),
            Form::Jpeg(quality) => match jpeg_frame(pixels, quality) {
                Ok(payload) => (image_type::JPEG, payload),
                Err(_) => return raw(pixels),
            },
        };
        if payload.len() >= pixels.pixels.len() * 4 {
            return raw(pixels);
        }
        let mut data = Vec::with_capacity(payload.len() + 4);
        data.put_u32_le(payload.len() as u32);
        data.extend_from_slice(&payload);
        Encoded { kind, data: data.into() }
    }
}

/// How far the farthest of their three colours are apart.
fn distance(a: u32, b: u32) -> u8 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// BITMAP: u8 format, u8 flags, u32 width, u32 height, u32 stride, u32 palette (none), then
/// the lines.
fn raw(pixels: Pixels<'_>) -> Encoded {
    let mut data = Vec::with_capacity(18 + pixels.pixels.len() * 4);
    data.put_u8(FORMAT_32BIT);
    data.put_u8(TOP_DOWN);
    for word in [pixels.width, pixels.height(), pixels.stride(), 0] {
        data.put_u32_le(word);
    }
    pixels.put_bytes(&mut data);
    Encoded { kind: image_type::BITMAP, data: data.into() }
}

/// Where on its surface an image is drawn: pixels from the left and from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns before it.
    pub left: u32,
    /// Lines above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its lines.
    pub height: u32,
}

/// What stands in `DRAW_COPY` before the image's data, for a whole image that is drawn on a
/// surface as it is: the surface, the area, no clipping, u32 offset of the image, the
/// area of the image, u16 rop, u8 scale mode, a mask without a picture; then the image's
/// u64 id, u8 type, u8 flags, u32 width, u32 height.
pub fn draw_copy(surface: u32, place: Place, id: u64, kind: u8) -> Vec<u8> {
    /// The image's pixels replace what is there.
    const ROP_PUT: u16 = 8;
    /// Bytes before the image.
    const IMAGE_AT: u32 = 57;
    let Place { left, top, width, height } = place;
    let mut body = Vec::with_capacity(75);
    for word in [surface, top, left, top + height, left + width] {
        body.put_u32_le(word);
    }
    body.put_u8(0);
    for word in [IMAGE_AT, 0, 0, height, width] {
        body.put_u32_le(word);
    }
    body.put_u16_le(ROP_PUT);
    body.put_u8(0);
    body.extend([0; 13]);
    body.put_u64_le(id);
    body.put_u8(kind);
    body.put_u8(0);
    body.put_u32_le(width);
    body.put_u32_le(height);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_image_is_its_pixels_behind_their_layout() {
        let pixels = Pixels { pixels: &[0x0001_0203, 0x0004_0506], width: 1 };
        let encoded = Encoder::default().encode(pixels, Form::Raw);
        assert_eq!(encoded.kind, image_type::BITMAP);
        let mut expected = vec![8, 4, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([3, 2, 1, 0, 6, 5, 4, 0]);
        assert_eq!(encoded.data, expected);
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        let pixels = [1, 2, 3, 4];
        for form in [Form::Lz, Form::Lz4, Form::Jpeg(80)] {
            let encoded = Encoder::default().encode(Pixels { pixels: &pixels, width: 2 }, form);
            assert_eq!(encoded.kind, image_type::BITMAP, "{form:?}");
        }
        let grey = [0x0080_8080; 4096];
        for (form, kind) in [(Form::Lz, 101), (Form::Lz4, 109), (Form::Jpeg(80), 105)] {
            let encoded = Encoder::default().encode(Pixels { pixels: &grey, width: 64 }, form);
            assert_eq!(encoded.kind, kind);
            let length = u32::from_le_bytes(encoded.data[..4].try_into().expect("four bytes"));
            assert_eq!(length as usize, encoded.data.len() - 4);
        }
    }

    #[test]
    fn photographs_are_told_from_text() {
        let is_photo = |pixels: &[u32]| Pixels { pixels, width: 128 }.is_photo();
        let gradual: Vec<u32> =
            (0..128 * 128).map(|n| 0x0001_0101 * ((n % 128) + n / 128 % 64)).collect();
        assert!(is_photo(&gradual));
        assert!(!is_photo(&gradual[..1024]), "too small");
        let text: Vec<u32> =
            (0..128 * 128).map(|n| if n * 7 % 11 < 4 { 0x00ff_ffff } else { 0 }).collect();
        assert!(!is_photo(&text));
        assert!(!is_photo(&vec![0x0012_3456; 128 * 128]));
    }

    #[test]
    fn a_copy_says_where_its_image_goes() {
        let place = Place { left: 1, top: 2, width: 3, height: 4 };
        let body = draw_copy(0, place, 7, image_type::LZ_RGB);
        let expected = [
            0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 0, 57, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
            0, 0, 0, 0, 0, 0, 0, 101, 0, 3, 0, 0, 0, 4, 0, 0, 0,
        ];
        assert_eq!(body, expected);
    }
}
