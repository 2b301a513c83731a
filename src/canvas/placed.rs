//! An image laid over a part of a surface, at its own size or scaled, and a pattern
//! repeated over it.

use super::colour::{each, from_argb, to_argb};
use super::image::Image;
use super::pixels::Format;
use super::region::Rect;
use std::ops::Range;

/// How pixels between those of an image come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleMode {
    /// Mixed of four neighbours.
    Interpolate,
    /// The nearest one.
    Nearest,
}

/// A part of an image that covers a rectangle of a surface.
pub(super) struct Placed<'a, 'memory> {
    image: &'a Image<'memory>,
    /// The format that pixels are read in, and for which surface.
    format: Format,
    target: Format,
    original: bool,
    bounds: Rect,
    area: Rect,
    scaling: Option<Scaling>,
}

/// Steps in the image for one pixel of the surface, in 1/65536.
struct Scaling {
    x: i64,
    y: i64,
    mode: ScaleMode,
}

impl<'a, 'memory> Placed<'a, 'memory> {
    /// Lays `area` of an image over `bounds` of a surface of a format. Pixels come in the
    /// surface's format or, `original`, in the image's.
    pub(super) fn new(
        image: &'a Image<'memory>,
        target: Format,
        original: bool,
        (area, bounds): (&Rect, &Rect),
        mode: ScaleMode,
    ) -> Self {
        let format = if original { image.original_format(target) } else { image.format_on(target) };
        let same = extent(area) == extent(bounds);
        let step = |from: i64, to: i64| (from << 16) / to.max(1);
        let scaling = (!same).then(|| Scaling {
            x: step(extent(area).0, extent(bounds).0),
            y: step(extent(area).1, extent(bounds).1),
            mode,
        });
        Self { image, format, target, original, bounds: *bounds, area: *area, scaling }
    }

    /// The format that pixels come in.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Where the image's bytes for a rectangle's line of the surface are, if they can be
    /// copied as they are and there are enough.
    pub(super) fn plain(&self, rect: &Rect) -> Option<(u32, u32)> {
        if self.scaling.is_some() || !self.image.is_plain_on(self.target) {
            return None;
        }
        let x = i64::from(rect.left) - i64::from(self.bounds.left) + i64::from(self.area.left);
        let y = i64::from(rect.top) - i64::from(self.bounds.top) + i64::from(self.area.top);
        let bounds = self.image.bounds();
        let inside = x >= 0
            && y >= 0
            && x + i64::from(rect.width()) <= i64::from(bounds.right)
            && y + i64::from(rect.height()) <= i64::from(bounds.bottom);
        inside.then_some((x as u32, y as u32))
    }

    /// Reads the pixels that cover a line of the surface, from column `x` of line `y` on,
    /// and says which of them the image has.
    pub(super) fn read(&self, x: i32, y: i32, into: &mut [u32]) -> Range<usize> {
        let x = i64::from(x) - i64::from(self.bounds.left);
        let y = i64::from(y) - i64::from(self.bounds.top);
        let Some(scaling) = &self.scaling else {
            return self.read_clipped(
                x + i64::from(self.area.left),
                y + i64::from(self.area.top),
                into,
            );
        };
        match scaling.mode {
            ScaleMode::Nearest => self.read_nearest(scaling, x, y, into),
            ScaleMode::Interpolate => self.read_mixed(scaling, x, y, into),
        }
        0..into.len()
    }

    fn read_nearest(&self, scaling: &Scaling, x: i64, y: i64, into: &mut [u32]) {
        // A position is the middle of the surface's pixel; one that falls on an edge of
        // the image's pixels belongs to the one before.
        let column = |at: usize| nearest(scaling.x, x + at as i64) + i64::from(self.area.left);
        let line = nearest(scaling.y, y) + i64::from(self.area.top);
        let first = column(0);
        let mut row = vec![0; (column(into.len().saturating_sub(1)) - first + 1) as usize];
        self.read_clipped(first, line, &mut row);
        for (at, pixel) in into.iter_mut().enumerate() {
            *pixel = row[(column(at) - first) as usize];
        }
    }

    fn read_mixed(&self, scaling: &Scaling, x: i64, y: i64, into: &mut [u32]) {
        let column = |at: usize| {
            middle(scaling.x, x + at as i64) + (i64::from(self.area.left) << 16) - 0x8000
        };
        let line = middle(scaling.y, y) + (i64::from(self.area.top) << 16) - 0x8000;
        let first = column(0) >> 16;
        let count = (column(into.len().saturating_sub(1)) >> 16) - first + 2;
        let mut rows = [vec![0; count as usize], vec![0; count as usize]];
        for (row, below) in rows.iter_mut().zip(0..) {
            let valid = self.read_clipped(first, (line >> 16) + below, row);
            row[valid].iter_mut().for_each(|pixel| *pixel = to_argb(self.format, *pixel));
        }
        for (at, pixel) in into.iter_mut().enumerate() {
            let column = column(at);
            let left = ((column >> 16) - first) as usize;
            let corners = [rows[0][left], rows[0][left + 1], rows[1][left], rows[1][left + 1]];
            *pixel = from_argb(self.format, mix(corners, column, line));
        }
    }

    /// Reads a line of the image; what it does not have is zero.
    fn read_clipped(&self, x: i64, y: i64, into: &mut [u32]) -> Range<usize> {
        let bounds = self.image.bounds();
        let from = (-x).clamp(0, into.len() as i64) as usize;
        let to = (i64::from(bounds.right) - x).clamp(0, into.len() as i64) as usize;
        if !(0..i64::from(bounds.bottom)).contains(&y) || from >= to {
            into.fill(0);
            return 0..0;
        }
        into[..from].fill(0);
        into[to..].fill(0);
        let (x, y, part) = ((x + from as i64) as u32, y as u32, &mut into[from..to]);
        if self.original {
            self.image.read_original(self.target, x, y, part);
        } else {
            self.image.read(self.target, x, y, part);
        }
        from..to
    }
}

/// An image repeated over a whole surface, one copy of it at a position.
pub(super) fn read_tiled(
    image: &Image<'_>,
    target: Format,
    (left, top): (i32, i32),
    (x, y): (i32, i32),
    into: &mut [u32],
) {
    let bounds = image.bounds();
    let (width, height) = (i64::from(bounds.right), i64::from(bounds.bottom));
    if width == 0 || height == 0 {
        return into.fill(0);
    }
    let mut column = (i64::from(x) - i64::from(left)).rem_euclid(width) as usize;
    let line = (i64::from(y) - i64::from(top)).rem_euclid(height);
    let mut at = 0;
    while at < into.len() {
        let now = (width as usize - column).min(into.len() - at);
        image.read(target, column as u32, line as u32, &mut into[at..at + now]);
        (at, column) = (at + now, 0);
    }
}

/// Four neighbours mixed by where a position lies between their middles.
pub(super) fn mix([top_left, top_right, left, right]: [u32; 4], x: i64, y: i64) -> u32 {
    // Seven bits of the fraction count.
    let fraction = |position: i64| (position >> 9 & 0x7f) as u32 * 2;
    let (x, y) = (fraction(x), fraction(y));
    each(|shift| {
        let part = |pixel: u32, weight| (pixel >> shift & 0xff) * weight;
        (part(top_left, (256 - x) * (256 - y))
            + part(top_right, x * (256 - y))
            + part(left, (256 - x) * y)
            + part(right, x * y))
            >> 16
    })
}

/// The image's pixel at the middle of a pixel of the surface.
fn nearest(step: i64, at: i64) -> i64 {
    (middle(step, at) - 1) >> 16
}

/// The position in the image of the middle of a pixel of the surface.
fn middle(step: i64, at: i64) -> i64 {
    at * step + (step + 1) / 2
}

/// Width and height, which may be of nothing.
fn extent(rect: &Rect) -> (i64, i64) {
    (i64::from(rect.right) - i64::from(rect.left), i64::from(rect.bottom) - i64::from(rect.top))
}
