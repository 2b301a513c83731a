//! Pixels of one format as pixels of another, and the arithmetic of blending.
//!
//! The common form is 32 bits: alpha, red, green, blue, the colours multiplied by alpha.

use super::pixels::Format;

/// A pixel of a format in the common form; formats without alpha are opaque.
pub(super) fn to_argb(format: Format, pixel: u32) -> u32 {
    match format {
        Format::Argb => pixel,
        Format::Xrgb => pixel | OPAQUE,
        Format::X555 => {
            let channel = |shift| widen(pixel >> shift, 5);
            OPAQUE | channel(10) << 16 | channel(5) << 8 | channel(0)
        }
        Format::X565 => {
            OPAQUE | widen(pixel >> 11, 5) << 16 | widen(pixel >> 5, 6) << 8 | widen(pixel, 5)
        }
        Format::A8 => pixel << 24,
        Format::A1 => (pixel & 1) * OPAQUE,
    }
}

/// A pixel of the common form in a format; what the format has no room for is lost.
pub(super) fn from_argb(format: Format, argb: u32) -> u32 {
    let channel = |shift: u32, bits: u32| (argb >> (shift + 8 - bits)) & ((1 << bits) - 1);
    match format {
        Format::Argb => argb,
        Format::Xrgb => argb & !OPAQUE,
        Format::X555 => channel(16, 5) << 10 | channel(8, 5) << 5 | channel(0, 5),
        Format::X565 => channel(16, 5) << 11 | channel(8, 6) << 5 | channel(0, 5),
        Format::A8 => channel(24, 8),
        Format::A1 => channel(24, 1),
    }
}

/// Pixels of one format as those of another, in place.
pub(super) fn convert(pixels: &mut [u32], from: Format, to: Format) {
    if from.bits() != to.bits() {
        for pixel in pixels.iter_mut() {
            *pixel = from_argb(to, to_argb(from, *pixel));
        }
    }
}

/// The product of two bytes that stand for 0 to 1, rounded.
pub(super) fn multiply(a: u32, b: u32) -> u32 {
    let product = a * b + 0x80;
    (product + (product >> 8)) >> 8
}

/// Each channel multiplied by a byte that stands for 0 to 1.
#[inline]
pub(super) fn scale(argb: u32, by: u32) -> u32 {
    let pair = |pair: u32| {
        let product = (pair & PAIR) * by + 0x0080_0080;
        ((product + ((product >> 8) & PAIR)) >> 8) & PAIR
    };
    pair(argb) | pair(argb >> 8) << 8
}

/// A channel of the common form.
pub(super) fn byte(argb: u32, shift: u32) -> u32 {
    (argb >> shift) & 0xff
}

/// A pixel of the common form, made channel by channel; each is cut at 255.
pub(super) fn each(channel: impl Fn(u32) -> u32) -> u32 {
    [24, 16, 8, 0].iter().fold(0, |pixel, shift| pixel | channel(*shift).min(0xff) << shift)
}

/// `source` laid over `target`; each channel is cut at 255.
#[inline]
pub(super) fn over(source: u32, target: u32) -> u32 {
    let target = scale(target, 0xff - byte(source, 24));
    let pair = |source: u32, target: u32| {
        let sum = (source & PAIR) + (target & PAIR);
        // What went beyond eight bits fills them.
        (sum | (((sum >> 8) & 0x0001_0001) * 0xff)) & PAIR
    };
    pair(source, target) | pair(source >> 8, target >> 8) << 8
}

/// The low bits of a channel spread over eight.
fn widen(value: u32, bits: u32) -> u32 {
    let value = value & ((1 << bits) - 1);
    value << (8 - bits) | value >> (2 * bits - 8)
}

/// Every second channel, with as many bits free above each: two are reckoned with at a time.
const PAIR: u32 = 0x00ff_00ff;

/// The alpha of an opaque pixel.
pub(super) const OPAQUE: u32 = 0xff00_0000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_format_can_hold_comes_back_unchanged() {
        for format in [Format::X555, Format::X565, Format::A8, Format::A1] {
            for pixel in 0..=format.mask() & 0xffff {
                let pixel = if format == Format::X555 { pixel & 0x7fff } else { pixel };
                assert_eq!(from_argb(format, to_argb(format, pixel)), pixel, "{format:?}");
            }
        }
    }

    #[test]
    fn full_and_empty_stay_so() {
        assert_eq!(to_argb(Format::X555, 0x7fff), 0xffff_ffff);
        assert_eq!(to_argb(Format::X565, 0), OPAQUE);
        assert_eq!(scale(0x8040_20ff, 0xff), 0x8040_20ff);
        assert_eq!(scale(0x8040_20ff, 0), 0);
        assert_eq!(over(0xff01_0203, 0xffff_ffff), 0xff01_0203);
        assert_eq!(over(0, 0x1234_5678), 0x1234_5678);
        assert_eq!(over(0x8080_8080, 0xffff_ffff), 0xffff_ffff);
    }

    proptest! {
        #[test]
        fn two_channels_at_a_time_are_as_each_alone(source: u32, target: u32, by in 0u32..=255) {
            prop_assert_eq!(scale(source, by), each(|shift| multiply(byte(source, shift), by)));
            let rest = 0xff - byte(source, 24);
            let alone = each(|shift| byte(source, shift) + multiply(byte(target, shift), rest));
            prop_assert_eq!(over(source, target), alone);
        }
    }
}
