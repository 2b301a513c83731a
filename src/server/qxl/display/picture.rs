//! A copy of what the primary surface showed last: what clients are sent is taken from
//! here, and what the guest drew without changing anything is found out against it.
//!
//! Pure; behind the lock of [`super::Display`].

use crate::canvas::{Format, Rect, Region};
use crate::server::qxl::limits::PIXELS_SHOWN;
use crate::wire::image::Pixels;

/// The copy: `0x00RRGGBB` for each pixel, from the top left.
#[derive(Debug, Default)]
pub(super) struct Picture {
    width: usize,
    pixels: Vec<u32>,
}

/// Lines that are compared together: what changes in them is told in rectangles of equal
/// height, of which fewer are needed.
pub(in crate::server::qxl) const BAND: u32 = 32;
/// Columns that are compared together; rectangles may be narrower.
const TILE: usize = 64;

impl Picture {
    /// Black. `None` if it is larger than what is shown, or memory is short.
    pub(super) fn black((width, height): (u32, u32)) -> Option<Self> {
        let count = u64::from(width) * u64::from(height);
        if count > PIXELS_SHOWN {
            return None;
        }
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(count as usize).ok()?;
        pixels.resize(count as usize, 0);
        Some(Self { width: width as usize, pixels })
    }

    /// Takes over the pixels of an area of at most [`BAND`] lines, which lies in the
    /// picture; adds what they have changed to `changed`.
    pub(super) fn update(&mut self, area: Rect, pixels: &[u32], changed: &mut Region) {
        let (left, top) = (area.left as usize, area.top as usize);
        let width = area.width() as usize;
        let (mut first, mut last) = (None, 0);
        // Of each column of tiles, the columns of pixels that differ.
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; width.div_ceil(TILE)];
        for (line, new) in pixels.chunks_exact(width).enumerate() {
            let at = (top + line) * self.width + left;
            let old = &mut self.pixels[at..at + width];
            if old == new {
                continue;
            }
            first.get_or_insert(line);
            last = line;
            for (n, (old, new)) in old.chunks(TILE).zip(new.chunks(TILE)).enumerate() {
                let differs = |(old, new): (&u32, &u32)| old != new;
                let Some(begin) = old.iter().zip(new).position(differs) else { continue };
                let end = old.iter().zip(new).rposition(differs).map_or(begin, |end| end) + 1;
                let (begin, end) = (n * TILE + begin, n * TILE + end);
                let span = spans[n].get_or_insert((begin, end));
                *span = (span.0.min(begin), span.1.max(end));
            }
            old.copy_from_slice(new);
        }
        let Some(first) = first else { return };
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (begin, end) in spans.into_iter().flatten() {
            match joined.last_mut() {
                Some(before) if begin - before.1 < TILE / 2 => before.1 = end,
                _ => joined.push((begin, end)),
            }
        }
        for (begin, end) in joined {
            let edge = |base: usize, offset: usize| (base + offset) as i32;
            changed.add(Rect::new(
                edge(left, begin),
                edge(top, first),
                edge(left, end),
                edge(top, last + 1),
            ));
        }
    }

    /// Copies an area, which lies in the picture.
    pub(super) fn copy(&self, area: Rect, into: &mut Vec<u32>) {
        self.copy_lines(area, 1, into);
    }

    /// Whether an area, which lies in the picture, looks like a photograph. `buffer` is for
    /// the lines that are looked at.
    pub(super) fn is_photo(&self, area: &Rect, buffer: &mut Vec<u32>) -> bool {
        /// Lines that are enough to tell.
        const LINES: u32 = 64;
        self.copy_lines(*area, (area.height() / LINES).max(1) as usize, buffer);
        Pixels { pixels: buffer, width: area.width() }.is_photo()
    }

    /// Every `step`th line of an area.
    fn copy_lines(&self, area: Rect, step: usize, into: &mut Vec<u32>) {
        into.clear();
        let (left, width) = (area.left as usize, area.width() as usize);
        for line in (area.top as usize..area.bottom as usize).step_by(step) {
            let at = line * self.width + left;
            into.extend_from_slice(&self.pixels[at..at + width]);
        }
    }
}

/// Pixels of a surface as the copy has them. Masks are not pictures: they stay black.
pub(in crate::server::qxl) fn normalise(format: Format, pixels: &mut [u32]) {
    /// `bits` bits from `shift` on, spread over eight.
    fn spread(pixel: u32, shift: u32, bits: u32) -> u32 {
        let value = pixel >> shift & ((1 << bits) - 1);
        value << (8 - bits) | value >> (2 * bits - 8)
    }
    let convert: fn(u32) -> u32 = match format {
        Format::Xrgb | Format::Argb => |pixel| pixel & 0x00ff_ffff,
        Format::X555 => |p| spread(p, 10, 5) << 16 | spread(p, 5, 5) << 8 | spread(p, 0, 5),
        Format::X565 => |p| spread(p, 11, 5) << 16 | spread(p, 5, 6) << 8 | spread(p, 0, 5),
        Format::A1 | Format::A8 => |_| 0,
    };
    for pixel in pixels {
        *pixel = convert(*pixel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(picture: &mut Picture, area: Rect, pixels: &[u32]) -> Region {
        let mut changed = Region::new();
        picture.update(area, pixels, &mut changed);
        changed
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let mut picture = Picture::black((200, 40)).expect("small");
        let area = Rect::new(0, 0, 200, 32);
        let mut pixels = vec![0; 200 * 32];
        assert!(change(&mut picture, area, &pixels).is_empty());
        pixels[200 * 3 + 5] = 1;
        pixels[200 * 4 + 9] = 1;
        pixels[200 * 4 + 150] = 1;
        let expected: Region =
            [Rect::new(5, 3, 10, 5), Rect::new(150, 3, 151, 5)].into_iter().collect();
        assert_eq!(change(&mut picture, area, &pixels), expected);
        assert!(change(&mut picture, area, &pixels).is_empty());
        let mut copy = Vec::new();
        picture.copy(Rect::new(5, 3, 10, 5), &mut copy);
        assert_eq!(copy, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn sixteen_bits_become_all_of_eight() {
        let mut pixels = [0x7fff, 0x0000, 0x4210];
        normalise(Format::X555, &mut pixels);
        assert_eq!(pixels, [0x00ff_ffff, 0, 0x0084_8484]);
        let mut pixels = [0xffff, 0x07e0];
        normalise(Format::X565, &mut pixels);
        assert_eq!(pixels, [0x00ff_ffff, 0x0000_ff00]);
        let mut pixels = [0xff12_3456];
        normalise(Format::Argb, &mut pixels);
        assert_eq!(pixels, [0x0012_3456]);
    }

    #[test]
    fn a_picture_that_nobody_could_see_takes_no_memory() {
        assert!(Picture::black((32_767, 32_767)).is_none());
    }

    proptest! {
        #[test]
        fn a_change_covers_every_pixel_that_differs(
            steps in prop::collection::vec((0i32..150, 0i32..60, 1i32..150, 1i32..32, any::<u8>()), 1..20),
        ) {
            let mut picture = Picture::black((160, 70)).expect("small");
            for (left, top, width, height, seed) in steps {
                let area = Rect::new(left, top, (left + width).min(160), (top + height).min(70));
                let before = picture.pixels.clone();
                let count = (area.width() * area.height()) as usize;
                let pixels: Vec<u32> =
                    (0..count).map(|n| u32::from(n % 11 == 0) * u32::from(seed)).collect();
                let changed = change(&mut picture, area, &pixels);
                let mut back = Vec::new();
                picture.copy(area, &mut back);
                prop_assert_eq!(&back, &pixels);
                for (at, (old, new)) in before.iter().zip(&picture.pixels).enumerate() {
                    let (x, y) = (at as i32 % 160, at as i32 / 160);
                    let pixel = Rect::new(x, y, x + 1, y + 1);
                    prop_assert!(old == new || changed.iter().any(|rect| rect.contains(&pixel)));
                }
                prop_assert!(changed.iter().all(|rect| area.contains(&rect)));
            }
        }
    }
}
