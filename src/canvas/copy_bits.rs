//! Moving pixels within a surface.

use super::pixels::Raster;
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
    for band in bands {
        let lines = band[0].top..band[0].bottom;
        let mut copy_line = |y: i32| {
            let rows: Vec<Vec<u32>> =
                band.iter().map(|rect| read(target, rect, y, dx, dy)).collect();
            for (rect, row) in band.iter().zip(&rows) {
                target.write_row(rect.left as u32, y as u32, row);
            }
        };
        if downwards {
            lines.for_each(&mut copy_line);
        } else {
            lines.rev().for_each(&mut copy_line);
        }
    }
}

fn read(target: &Raster<'_>, rect: &Rect, y: i32, dx: i64, dy: i64) -> Vec<u32> {
    let mut row = vec![0; rect.width() as usize];
    target.read_row((i64::from(rect.left) + dx) as u32, (i64::from(y) + dy) as u32, &mut row);
    row
}
