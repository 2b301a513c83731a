//! Moving pixels within a surface.

use super::pixels::{Format, Raster};
use super::region::{Rect, Region};

/// Copies to a region what lies as far from it as `from` from the first pixel of
/// `bounds`, as if all were read before anything is written.
pub(super) fn copy(target: &Raster<'_>, region: &Region, bounds: &Rect, from: (i32, i32)) {
    let dx = i64::from(from.0) - i64::from(bounds.left);
    let dy = i64::from(from.1) - i64::from(bounds.top);
    let mut region = region.clone();
    // What would come from outside the surface stays.
    let all = target.bounds();
    let shifted = |edge: i32, by: i64| (i64::from(edge) - by).clamp(0, i64::from(i32::MAX)) as i32;
    region.intersect(&Rect::new(
        shifted(0, dx),
        shifted(0, dy),
        shifted(all.right, dx),
        shifted(all.bottom, dy),
    ));
    let rects: Vec<Rect> = region.iter().collect();
    let mut bands: Vec<&[Rect]> = rects.chunk_by(|a, b| a.top == b.top).collect();
    // Lines are read before they are overwritten: from the side that they come from.
    let downwards = dy >= 0;
    if !downwards {
        bands.reverse();
    }
    let mut bytes = Vec::new();
    for band in bands {
        let lines = band[0].top..band[0].bottom;
        let mut copy_line = |y: i32| {
            let from =
                |rect: &Rect| ((i64::from(rect.left) + dx) as u32, (i64::from(y) + dy) as u32);
            if target.format() == Format::A1 {
                copy_bits(target, band, y as u32, from);
            } else {
                copy_bytes(target, band, y as u32, from, &mut bytes);
            }
        };
        if downwards {
            lines.for_each(&mut copy_line);
        } else {
            lines.rev().for_each(&mut copy_line);
        }
    }
}

/// Copies a line of each rectangle, from where `from` says. All are read before one is
/// written.
fn copy_bytes(
    target: &Raster<'_>,
    rects: &[Rect],
    y: u32,
    from: impl Fn(&Rect) -> (u32, u32),
    buffer: &mut Vec<u8>,
) {
    let size = target.format().bits() as usize / 8;
    let parts = || rects.iter().map(|rect| (rect, rect.width() as usize * size));
    buffer.resize(parts().map(|(_, bytes)| bytes).sum(), 0);
    let mut rest = &mut buffer[..];
    for (rect, bytes) in parts() {
        let (part, behind) = rest.split_at_mut(bytes);
        let (x, y) = from(rect);
        target.read_bytes(x, y, part);
        rest = behind;
    }
    let mut rest = &buffer[..];
    for (rect, bytes) in parts() {
        let (part, behind) = rest.split_at(bytes);
        target.write_bytes(rect.left as u32, y, part);
        rest = behind;
    }
}

/// The same for pixels of one bit.
fn copy_bits(target: &Raster<'_>, rects: &[Rect], y: u32, from: impl Fn(&Rect) -> (u32, u32)) {
    let read = |rect| {
        let ((x, y), mut row) = (from(rect), vec![0; rect.width() as usize]);
        target.read_row(x, y, &mut row);
        row
    };
    let rows: Vec<Vec<u32>> = rects.iter().map(read).collect();
    for (rect, row) in rects.iter().zip(&rows) {
        target.write_row(rect.left as u32, y, row);
    }
}
