//! JPEG: images where loss is allowed, and the frames of MJPEG streams.

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use super::Pixels;

/// Why there is no JPEG of a picture.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// JPEG knows sides of up to 65,535 pixels.
    #[error("a picture of {0} by {1} pixels is too large for JPEG")]
    TooLarge(u32, u32),
    /// The encoder's own reason.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

/// From this quality on colours keep their full resolution.
const FULL_COLOUR: u8 = 90;

/// A whole JPEG file with these pixels, quality 1 to 100.
pub fn jpeg_frame(pixels: Pixels<'_>, quality: u8) -> Result<Vec<u8>, JpegError> {
    let (width, height) = (pixels.width, pixels.height());
    let (Ok(w), Ok(h)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(JpegError::TooLarge(width, height));
    };
    let mut bytes = Vec::with_capacity(pixels.pixels.len() * 3);
    for pixel in pixels.pixels {
        let [blue, green, red, _] = pixel.to_le_bytes();
        bytes.extend([red, green, blue]);
    }
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    let sampling =
        if quality < FULL_COLOUR { SamplingFactor::F_2_2 } else { SamplingFactor::F_1_1 };
    encoder.set_sampling_factor(sampling);
    // A fifth less of pictures with little in them, for about as much more time.
    encoder.set_optimized_huffman_tables(true);
    encoder.encode(&bytes, w, h, ColorType::Rgb)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_and_ends_as_jpeg_does() {
        let pixels = vec![0x00ff_8040; 33 * 17];
        for quality in [1, 50, 100] {
            let file = jpeg_frame(Pixels { pixels: &pixels, width: 33 }, quality).expect("a file");
            assert_eq!(file[..2], [0xff, 0xd8]);
            assert_eq!(file[file.len() - 2..], [0xff, 0xd9]);
        }
    }

    #[test]
    fn what_jpeg_cannot_hold_is_refused() {
        let pixels = vec![0; 70_000];
        let refused = jpeg_frame(Pixels { pixels: &pixels, width: 70_000 }, 50);
        assert!(matches!(refused, Err(JpegError::TooLarge(70_000, 1))));
    }
}
