//! Images that Debian's library has made (c-tests/test-quic.c, tests/data/quic), and bytes
//! that are none.

use proptest::prelude::*;

use super::*;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 100;

const RGB16: &[u8] = include_bytes!("../../../tests/data/quic/rgb16.quic");
const RGB24: &[u8] = include_bytes!("../../../tests/data/quic/rgb24.quic");
const RGB32: &[u8] = include_bytes!("../../../tests/data/quic/rgb32.quic");
const RGBA: &[u8] = include_bytes!("../../../tests/data/quic/rgba.quic");

/// The picture of c-tests/test-quic.c.
fn shade(x: u32, y: u32, channel: u32) -> u32 {
    if (x / 16 + y / 8).is_multiple_of(3) {
        return 40 * (channel + 1);
    }
    (x * (channel + 2) + y * 3 + (((x * 7) ^ (y * 13)) & 7)) & 0xff
}

fn check(data: &[u8], format: Format, pixel: impl Fn(u32, u32) -> u32) {
    let picture = Picture::from_quic(data, WIDTH, HEIGHT).expect("a good image");
    let wanted = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let pixels = wanted.map(|(x, y)| pixel(x, y)).collect();
    assert_eq!(picture, Picture::new(format, WIDTH, HEIGHT, pixels));
}

#[test]
fn images_of_the_reference_come_back() {
    let rgb = |x, y| shade(x, y, 2) << 16 | shade(x, y, 1) << 8 | shade(x, y, 0);
    check(RGB24, Format::Xrgb, rgb);
    check(RGB32, Format::Xrgb, rgb);
    check(RGBA, Format::Argb, |x, y| shade(x, y, 3) << 24 | rgb(x, y));
    check(RGB16, Format::X555, |x, y| {
        shade(x, y, 2) >> 3 << 10 | shade(x, y, 1) >> 3 << 5 | shade(x, y, 0) >> 3
    });
}

#[test]
fn an_image_that_ends_early_is_refused() {
    for data in [RGB16, RGBA] {
        // The last three words say nothing; the reader has looked at one more.
        for length in (0..data.len() - 12).step_by(97) {
            let refused = Picture::from_quic(&data[..length], WIDTH, HEIGHT).expect_err("short");
            assert!(matches!(refused, QuicError::Short | QuicError::Magic), "{length}: {refused}");
        }
    }
}

#[test]
fn heads_are_judged() {
    let with = |word: usize, value: u32| {
        let mut data = RGB32.to_vec();
        data[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        Picture::from_quic(&data, WIDTH, HEIGHT).map(|_| ()).expect_err("a wrong head")
    };
    assert_eq!(with(0, 0), QuicError::Magic);
    assert_eq!(with(1, 1), QuicError::Version(1));
    for kind in [0, 1, 6, u32::MAX] {
        assert_eq!(with(2, kind), QuicError::Kind(kind));
    }
    assert_eq!(with(3, 161), QuicError::Size(161, HEIGHT));
    assert_eq!(with(4, u32::MAX), QuicError::Size(WIDTH, u32::MAX));
}

#[test]
fn no_size_takes_memory_that_is_not_there() {
    for (width, height) in [(0, 1), (1, 0), (65_536, 1), (65_535, 65_535), (u32::MAX, u32::MAX)] {
        let refused = Picture::from_quic(&image(4, width, height, &[]), width, height);
        assert_eq!(refused.map(|_| ()), Err(QuicError::TooLarge(width, height)));
    }
}

#[test]
fn a_run_ends_with_its_line() {
    let refusals = (20..RGB32.len()).step_by(61).filter_map(|at| {
        let mut data = RGB32.to_vec();
        data[at] ^= 0x55;
        Picture::from_quic(&data, WIDTH, HEIGHT).err()
    });
    assert!(refusals.into_iter().any(|refused| refused == QuicError::Run));
}

fn image(kind: u32, width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
    let words = [MAGIC, 0, kind, width, height];
    let mut data: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    data.extend_from_slice(rest);
    data
}

proptest! {
    #[test]
    fn any_bytes_are_an_image_or_refused(
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        kind in 2_u32..6,
        width in 1_u32..80,
        height in 1_u32..80,
    ) {
        let _ = Picture::from_quic(&image(kind, width, height, &rest), width, height);
    }

    #[test]
    fn a_damaged_image_is_an_image_or_refused(at in 20_usize..RGBA.len(), bits in 1_u8..) {
        let mut data = RGBA.to_vec();
        data[at] ^= bits;
        let _ = Picture::from_quic(&data, WIDTH, HEIGHT);
    }
}
