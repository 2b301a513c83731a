//! QUIC images of guests, decoded (docs/protocol/quic.md).
//!
//! Pure. Nothing is believed of what a guest sends: a size is compared with the limit before
//! memory is taken, and data that end early or make no sense are refused.

mod bits;
mod code;
mod group;
#[cfg(test)]
mod tests;

use bits::BitReader;
use code::{EIGHT, FIVE};
use group::Group;

use super::image::Picture;
use super::limits::{SOURCE_SIDE, TURNED_PIXELS};
use super::pixels::Format;

/// Why an image is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuicError {
    /// It does not begin like one.
    #[error("no QUIC image")]
    Magic,
    /// A version other than 0.0.
    #[error("QUIC image of version {0:#x}")]
    Version(u32),
    /// A type that no guest has; gray ones among them.
    #[error("QUIC image of type {0}")]
    Kind(u32),
    /// Not the size that the guest says it is.
    #[error("QUIC image of another size, {0} by {1}")]
    Size(u32, u32),
    /// More pixels than are drawn.
    #[error("QUIC image too large, {0} by {1}")]
    TooLarge(u32, u32),
    /// The data end before the image does.
    #[error("QUIC image that ends early")]
    Short,
    /// A run beyond its line.
    #[error("QUIC image with a run that is too long")]
    Run,
}

impl Picture {
    /// Decodes an image that is said to be `width` by `height` pixels.
    pub fn from_quic(data: &[u8], width: u32, height: u32) -> Result<Self, QuicError> {
        let mut bits = BitReader::new(data);
        let format = head(&mut bits, width, height)?;
        let count = u64::from(width) * u64::from(height);
        if count == 0 || count > TURNED_PIXELS || width.max(height) > SOURCE_SIDE {
            return Err(QuicError::TooLarge(width, height));
        }
        let family = if format == Format::X555 { &FIVE } else { &EIGHT };
        let alpha = (format == Format::Argb).then(|| Group::new(family, width));
        let pixels = rows(Group::new(family, width), alpha, &mut bits, height)?;
        Ok(Self::new(format, width, height, pixels))
    }
}

/// The five words in front; says what the pixels are made of.
fn head(bits: &mut BitReader<'_>, width: u32, height: u32) -> Result<Format, QuicError> {
    if bits.take_word() != MAGIC {
        return Err(QuicError::Magic);
    }
    let version = bits.take_word();
    if version != 0 {
        return Err(QuicError::Version(version));
    }
    let format = match bits.take_word() {
        2 => Format::X555,
        3 | 4 => Format::Xrgb,
        5 => Format::Argb,
        other => return Err(QuicError::Kind(other)),
    };
    let (own_width, own_height) = (bits.take_word(), bits.take_word());
    if bits.is_overdrawn() {
        return Err(QuicError::Short);
    }
    if (own_width, own_height) != (width, height) {
        return Err(QuicError::Size(own_width, own_height));
    }
    Ok(format)
}

/// All pixels, put together line by line.
fn rows(
    mut colours: Group<3>,
    mut alpha: Option<Group<1>>,
    bits: &mut BitReader<'_>,
    height: u32,
) -> Result<Vec<u32>, QuicError> {
    let depth = colours.depth();
    let mut pixels = Vec::new();
    for _ in 0..height {
        let line = colours.line(bits)?;
        let colour = |[red, green, blue]: [u8; 3]| {
            u32::from(red) << (2 * depth) | u32::from(green) << depth | u32::from(blue)
        };
        match &mut alpha {
            None => pixels.extend(line.iter().copied().map(colour)),
            Some(alpha) => {
                let alpha = alpha.line(bits)?.iter().map(|[alpha]| u32::from(*alpha) << 24);
                let both = line.iter().zip(alpha);
                pixels.extend(both.map(|(pixel, alpha)| colour(*pixel) | alpha));
            }
        }
        // Looked at once a line: until then a line of zeros is made up, no more.
        if bits.is_overdrawn() {
            return Err(QuicError::Short);
        }
    }
    Ok(pixels)
}

/// "QUIC" as a little-endian word.
const MAGIC: u32 = u32::from_le_bytes(*b"QUIC");
