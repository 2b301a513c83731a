//! Lines of one pixel along paths.

use super::draw::Painter;
use super::limits::{CURVE_HALVINGS, PATH_POINTS, STROKE_STEPS};
use super::operation::{Brush, DrawError};
use super::region::Rect;
use super::rop::Rop;

/// Lines through points, each up to but not including its end.
#[derive(Debug, Default)]
pub struct Path {
    lines: Vec<Vec<Point>>,
    points: usize,
    dashes: Option<Dashes>,
}

/// A whole pixel.
type Point = (i64, i64);

/// Lengths that are drawn and left out by turns, in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dashes {
    lengths: Vec<u8>,
    /// How much of them lies before the line's first pixel.
    begun: i64,
}

/// A part of a path as guests describe it. Coordinates are in 1/16 of a pixel.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// `SPICE_PATH_*`.
    pub flags: u32,
    /// Points, or three for each curve.
    pub points: &'a [(i32, i32)],
}

impl Path {
    /// Adds a part.
    pub fn add(&mut self, segment: Segment<'_>) -> Result<(), DrawError> {
        let mut points = segment.points;
        if segment.flags & BEGIN != 0 {
            self.lines.push(Vec::new());
            let (first, rest) = points.split_first().ok_or(DrawError::Unsupported)?;
            self.push(whole(*first))?;
            points = rest;
        }
        if segment.flags & BEZIER != 0 {
            let (curves, rest) = points.as_chunks::<3>();
            if !rest.is_empty() {
                return Err(DrawError::Unsupported);
            }
            for [b, c, d] in curves {
                let from = self.lines.last().and_then(|line| line.last());
                let (x, y) = *from.ok_or(DrawError::Unsupported)?;
                self.curve([(x << 4, y << 4), exact(*b), exact(*c), exact(*d)], 0)?;
            }
        } else {
            points.iter().try_for_each(|point| self.push(whole(*point)))?;
        }
        if segment.flags & END != 0 {
            let first = self.lines.last().and_then(|line| line.first()).copied();
            if let Some(first) = first.filter(|_| segment.flags & CLOSE != 0) {
                self.push(first)?;
            }
            self.lines.push(Vec::new());
        }
        Ok(())
    }

    /// Leaves parts of the lines out: lengths in 1/16 of a pixel that are drawn and left
    /// out by turns, from the first one on, which is drawn. If `gap_first` that one comes
    /// last, and the line begins where what is the first one then has ended.
    pub fn dash(&mut self, lengths: &[i32], gap_first: bool) {
        let mut lengths: Vec<u8> = lengths.iter().map(|length| rounded(*length) as u8).collect();
        if lengths.iter().all(|length| *length == 0) {
            return;
        }
        let mut begun = 0;
        if gap_first {
            lengths.rotate_left(1);
            begun = i64::from(lengths[0]);
        }
        self.dashes = Some(Dashes { lengths, begun });
    }

    fn push(&mut self, point: Point) -> Result<(), DrawError> {
        self.points += 1;
        if self.points > PATH_POINTS {
            return Err(DrawError::TooLarge);
        }
        match self.lines.last_mut() {
            Some(line) => line.push(point),
            None => self.lines.push(vec![point]),
        }
        Ok(())
    }

    /// A curve as lines that are nowhere further from it than about half a pixel.
    fn curve(&mut self, [a, b, c, d]: [Point; 4], depth: u32) -> Result<(), DrawError> {
        if depth == CURVE_HALVINGS || is_flat(&[a, b, c, d]) {
            return self.push((rounded(d.0 as i32), rounded(d.1 as i32)));
        }
        let middle =
            |from: Point, to: Point| (i64::midpoint(from.0, to.0), i64::midpoint(from.1, to.1));
        let (ab, bc, cd) = (middle(a, b), middle(b, c), middle(c, d));
        let (abc, bcd) = (middle(ab, bc), middle(bc, cd));
        let half = middle(abc, bcd);
        self.curve([a, ab, abc, half], depth + 1)?;
        self.curve([half, bcd, cd, d], depth + 1)
    }
}

/// Whether both inner points of a curve are within half a pixel of its chord.
fn is_flat([a, b, c, d]: &[Point; 4]) -> bool {
    let vector = |from: &Point, to: &Point| (i128::from(to.0 - from.0), i128::from(to.1 - from.1));
    let dot = |one: (i128, i128), two: (i128, i128)| (one.0 * two.0 + one.1 * two.1) >> 4;
    let near = |end: &Point, inner: &Point, other: &Point| {
        let (aside, chord) = (vector(end, inner), vector(end, other));
        let length = dot(chord, chord);
        (dot(aside, aside) * length - dot(aside, chord) * dot(aside, chord)) >> 3 < length
    };
    near(a, b, d) && near(d, c, a)
}

pub(super) fn draw(painter: &Painter<'_>, path: &Path, brush: &Brush<'_>, rop: Rop) {
    let area = painter.region.bounds();
    let mut source = Vec::new();
    let mut budget = STROKE_STEPS;
    for line in &path.lines {
        let mut walked = 0;
        for pair in line.windows(2) {
            let segment = Line::new(pair[0], pair[1]);
            budget = budget.saturating_sub(segment.steps_in(&area));
            if budget == 0 {
                return;
            }
            segment.each_pixel(&area, |step, (x, y)| {
                let drawn = path.dashes.as_ref().is_none_or(|dashes| dashes.draws(walked + step));
                if !drawn || !painter.region.contains(x, y) {
                    return;
                }
                brush.read(painter.format(), (x, y), 1, &mut source);
                let mut pixel = [0];
                painter.target.read_row(x as u32, y as u32, &mut pixel);
                pixel[0] = rop.apply(source[0], pixel[0]);
                painter.target.write_row(x as u32, y as u32, &pixel);
            });
            walked += segment.length;
        }
    }
}

impl Dashes {
    fn draws(&self, at: i64) -> bool {
        let all: i64 = self.lengths.iter().map(|length| i64::from(*length)).sum();
        let mut rest = (at + self.begun).rem_euclid(all);
        let reached = self.lengths.iter().position(|length| {
            rest -= i64::from(*length);
            rest < 0
        });
        reached.is_some_and(|index| index.is_multiple_of(2))
    }
}

/// A line from one pixel towards another, one pixel in each step along its longer side.
struct Line {
    from: Point,
    length: i64,
    across: i64,
    steps: Point,
    upright: bool,
    bias: i64,
}

impl Line {
    fn new(from: Point, to: Point) -> Self {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let upright = dx.abs() <= dy.abs();
        let (length, across) = if upright { (dy.abs(), dx.abs()) } else { (dx.abs(), dy.abs()) };
        // Where a line passes exactly between two pixels, it keeps to its row when it goes
        // left, and to its column when it goes up.
        let bias = i64::from(if upright { dy < 0 } else { dx < 0 });
        let steps = (if dx < 0 { -1 } else { 1 }, if dy < 0 { -1 } else { 1 });
        Self { from, length, across, steps, upright, bias }
    }

    /// How many steps [`Self::each_pixel`] takes at most.
    fn steps_in(&self, area: &Rect) -> u64 {
        let side = if self.upright { area.height() } else { area.width() };
        self.length.unsigned_abs().min(u64::from(side)) + 1
    }

    /// Passes the pixels that lie in a rectangle, with the number of their step.
    fn each_pixel(&self, area: &Rect, mut pass: impl FnMut(i64, (i32, i32))) {
        let (start, step, low, high) = if self.upright {
            (self.from.1, self.steps.1, area.top, area.bottom)
        } else {
            (self.from.0, self.steps.0, area.left, area.right)
        };
        let (low, high) = (i64::from(low), i64::from(high) - 1);
        let (first, last) =
            if step > 0 { (low - start, high - start) } else { (start - high, start - low) };
        for at in first.max(0)..=last.min(self.length - 1) {
            let aside = (2 * self.across * at + self.length - self.bias) / (2 * self.length);
            let (along, aside) = if self.upright { (aside, at) } else { (at, aside) };
            let x = self.from.0 + self.steps.0 * along;
            let y = self.from.1 + self.steps.1 * aside;
            let inside = (i64::from(area.left)..i64::from(area.right)).contains(&x)
                && (i64::from(area.top)..i64::from(area.bottom)).contains(&y);
            if inside {
                pass(at, (x as i32, y as i32));
            }
        }
    }
}

fn exact(point: (i32, i32)) -> Point {
    (i64::from(point.0), i64::from(point.1))
}

fn whole(point: (i32, i32)) -> Point {
    (rounded(point.0), rounded(point.1))
}

/// The nearest whole number of sixteenths; a half is rounded down.
fn rounded(sixteenths: i32) -> i64 {
    (i64::from(sixteenths) + 7) >> 4
}

const BEGIN: u32 = 1;
const END: u32 = 2;
const CLOSE: u32 = 8;
const BEZIER: u32 = 16;
