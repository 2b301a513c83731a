//! Images: bitmaps with their palettes, and surfaces.

use super::super::limits;
use super::details::Details;
use super::{DrawableError, source_surface, value};
use crate::canvas::{Bitmap, BitmapFormat, Bytes, DrawError, Image, Mask, MaskBits, Picture};
use crate::host::guest_memory::GuestRange;

impl<'memory> Details<'_, 'memory> {
    /// The image at an address; none means a part of the target, if the drawable says so.
    pub(super) fn image(&self, address: u64) -> Result<Image<'memory>, DrawableError> {
        if address == 0 {
            let area = self.own_picture.ok_or(DrawError::Source)?;
            let picture = Picture::of(self.target, &area).ok_or(DrawError::Source)?;
            return Ok(Image::Picture(picture));
        }
        let image = self.reader.at(address, IMAGE)?;
        let [kind, flags] = image.read(KIND);
        match kind {
            BITMAP => {
                let bitmap = self.bitmap(&image)?;
                if bitmap.format.is_indexed() && bitmap.palette.is_empty() {
                    return Err(value("no palette for bitmap format", bitmap.format.bits()));
                }
                Ok(Image::Bitmap(bitmap, flags & HIGH_BITS_SET != 0))
            }
            QUIC => {
                let picture = self.quic(address, &image)?.for_surface(self.target.format());
                let high_bits = flags & HIGH_BITS_SET != 0;
                Ok(Image::Picture(if high_bits { picture.with_high_bits() } else { picture }))
            }
            SURFACE => {
                let id = image.read_u32(DETAILS);
                Ok(Image::Surface(source_surface(self.reader.memory, self.surfaces, id)?))
            }
            other => Err(value("image of unknown type", other)),
        }
    }

    /// The mask that is described at an offset, if there is one.
    pub(super) fn mask_at(&self, at: usize) -> Result<Option<Mask<'memory>>, DrawableError> {
        let [flags] = self.command.read(at);
        let address = self.command.read_u64(at + 9);
        if address == 0 {
            return Ok(None);
        }
        let image = self.reader.at(address, IMAGE)?;
        let [kind] = image.read(KIND);
        let bits = match kind {
            BITMAP => MaskBits::Bitmap(self.bitmap(&image)?),
            SURFACE => {
                let id = image.read_u32(DETAILS);
                MaskBits::Surface(source_surface(self.reader.memory, self.surfaces, id)?)
            }
            other => return Err(value("mask of unknown type", other)),
        };
        let position = super::reader::point(self.command, at + 1);
        Ok(Some(Mask { bits, inverted: flags & INVERTED != 0, position }))
    }

    /// A compressed image: its size in the head, then the length of its data and the first
    /// chunk of them.
    fn quic(&self, address: u64, image: &GuestRange<'_>) -> Result<Picture, DrawableError> {
        let (width, height) = (image.read_u32(WIDTH), image.read_u32(WIDTH + 4));
        let size = image.read_u32(DETAILS);
        if width.max(height) > limits::SURFACE_SIDE {
            return Err(value("QUIC image with a side of", width.max(height)));
        }
        let data = self.reader.chunks(address.wrapping_add(DETAILS as u64 + 4))?;
        let most = QUIC_HEAD + u64::from(width) * u64::from(height) * limits::QUIC_PIXEL;
        let most = most.min(limits::QUIC_BYTES);
        if data.len() as u64 != u64::from(size) || u64::from(size) > most {
            return Err(value("QUIC image with other than its data, bytes:", data.len() as u64));
        }
        let mut bytes = vec![0; data.len()];
        data.read(0, &mut bytes);
        Ok(Picture::from_quic(&bytes, width, height)?)
    }

    fn bitmap(&self, image: &GuestRange<'_>) -> Result<Bitmap<'memory>, DrawableError> {
        let [number, flags] = image.read(DETAILS);
        let format = BitmapFormat::from_number(number)
            .ok_or_else(|| value("bitmap of unknown format", number))?;
        let (width, height) = (image.read_u32(DETAILS + 2), image.read_u32(DETAILS + 6));
        let stride = image.read_u32(DETAILS + 10);
        let line = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
        let bytes = u64::from(stride) * u64::from(height);
        if width == 0 || height == 0 || width.max(height) > limits::SURFACE_SIDE {
            return Err(value("bitmap with a side of", width.max(height)));
        }
        if u64::from(stride) < line || bytes > limits::SURFACE_BYTES {
            return Err(value("bitmap with a stride of", stride));
        }
        let palette = self.palette(image.read_u64(DETAILS + 14))?;
        let address = image.read_u64(DETAILS + 22);
        let data = if flags & DIRECT != 0 {
            self.reader.flat(address, bytes as usize)?
        } else {
            self.reader.chunks(address)?
        };
        if data.len() as u64 != bytes {
            return Err(value("bitmap with other than its data, bytes:", data.len() as u64));
        }
        let (top_down, data) = (flags & TOP_DOWN != 0, Box::new(data));
        Ok(Bitmap { format, width, height, stride, top_down, palette, data })
    }

    fn palette(&self, address: u64) -> Result<Vec<u32>, DrawableError> {
        if address == 0 {
            return Ok(Vec::new());
        }
        let count = u16::from_le_bytes(self.reader.at(address, PALETTE)?.read(8));
        // No format has indices beyond a byte.
        let count = usize::from(count).min(256);
        let colours = self.reader.at(address.wrapping_add(PALETTE as u64), count * 4)?;
        Ok((0..count).map(|at| self.colour(colours.read_u32(at * 4))).collect())
    }

    /// A colour as the guest writes it: very old drivers have 16 bits a pixel.
    pub(super) fn colour(&self, bits: u32) -> u32 {
        if !self.colours_16 {
            return bits;
        }
        let channel = |shift: u32| {
            let value = bits >> shift & 0x1f;
            value << 3 | value >> 2
        };
        channel(10) << 16 | channel(5) << 8 | channel(0)
    }
}

/// An image: its head, and what is particular to its type.
const IMAGE: usize = 48;
const KIND: usize = 8;
const WIDTH: usize = 10;
const DETAILS: usize = 18;

const BITMAP: u8 = 0;
const QUIC: u8 = 1;
const SURFACE: u8 = 104;

/// Five words in front of a QUIC image, and three at most behind it.
const QUIC_HEAD: u64 = 32;

const HIGH_BITS_SET: u8 = 2;

const DIRECT: u8 = 1;
const TOP_DOWN: u8 = 4;

/// A palette's head.
const PALETTE: usize = 10;

/// Flag of a mask.
const INVERTED: u8 = 1;
