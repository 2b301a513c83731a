//! LZ4 images: u8 1 for top-down, u8 bitmap format, then blocks of LZ4, each with its
//! length before it as a big-endian u32. Ours have one block.

use super::{FORMAT_32BIT, Pixels};

/// The payload of an LZ4 image.
pub(super) fn encode(pixels: Pixels<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    pixels.put_bytes(&mut bytes);
    let block = lz4_flex::block::compress(&bytes);
    let mut payload = Vec::with_capacity(block.len() + 6);
    payload.extend([1, FORMAT_32BIT]);
    payload.extend((block.len() as u32).to_be_bytes());
    payload.extend(block);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_gives_the_pixels_back() {
        let pixels: Vec<u32> = (0..100).map(|n| n / 7 * 0x0001_0203).collect();
        let payload = encode(Pixels { pixels: &pixels, width: 10 });
        assert_eq!(payload[..2], [1, 8]);
        let length = u32::from_be_bytes(payload[2..6].try_into().expect("four bytes"));
        assert_eq!(length as usize, payload.len() - 6);
        let back = lz4_flex::block::decompress(&payload[6..], 400).expect("a good block");
        let expected: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        assert_eq!(back, expected);
    }
}
