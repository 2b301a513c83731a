//! Rectangles and sets of them: what a drawing may touch, and what has changed.
//!
//! A region is kept in bands: rectangles sorted from top to bottom and, within a band of
//! equal tops and bottoms, from left to right, none touching its neighbour in the band.
//! That form is unique, so equal sets are equal values, and it is the order in which
//! hosts are told of changed rectangles. Pure; any thread.

use super::limits::{EXACT_RECTS, REGION_RECTS};

/// A rectangle of pixels: `left` and `top` belong to it, `right` and `bottom` do not.
/// One that is not [`Rect::is_empty`] has at least one pixel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First column.
    pub left: i32,
    /// First line.
    pub top: i32,
    /// Column behind the last.
    pub right: i32,
    /// Line behind the last.
    pub bottom: i32,
}

/// A set of pixels made of rectangles, with a bound on their number: beyond it the set
/// grows (never shrinks) to something simpler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    rects: Vec<Rect>,
}

impl Rect {
    /// A rectangle by its edges.
    pub const fn new(left: i32, top: i32, right: i32, bottom: i32) -> Self {
        Self { left, top, right, bottom }
    }

    /// `width` by `height` pixels at the origin; sizes beyond an i32 are cut to it.
    pub fn of_size(width: u32, height: u32) -> Self {
        let edge = |size| i32::try_from(size).unwrap_or(i32::MAX);
        Self::new(0, 0, edge(width), edge(height))
    }

    /// Whether it has no pixels; edges in the wrong order mean so too.
    pub const fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// Columns; 0 when empty.
    pub const fn width(&self) -> u32 {
        if self.is_empty() { 0 } else { self.right.abs_diff(self.left) }
    }

    /// Lines; 0 when empty.
    pub const fn height(&self) -> u32 {
        if self.is_empty() { 0 } else { self.bottom.abs_diff(self.top) }
    }

    /// The pixels in both; may be empty.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(
            self.left.max(other.left),
            self.top.max(other.top),
            self.right.min(other.right),
            self.bottom.min(other.bottom),
        )
    }

    /// The smallest rectangle around both; an empty one adds nothing.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self::new(
            self.left.min(other.left),
            self.top.min(other.top),
            self.right.max(other.right),
            self.bottom.max(other.bottom),
        )
    }

    /// Whether every pixel of `other` is a pixel of this one.
    pub fn contains(&self, other: &Self) -> bool {
        other.is_empty()
            || (self.left <= other.left
                && self.top <= other.top
                && self.right >= other.right
                && self.bottom >= other.bottom)
    }
}

impl Region {
    /// No pixels.
    pub const fn new() -> Self {
        Self { rects: Vec::new() }
    }

    /// The pixels of all rectangles that are in `bounds`, and no others however many
    /// rectangles that takes; none when it takes too many.
    ///
    /// Such a region is for reading and cutting; when something is added to it, or it to
    /// another, the bound on the number applies.
    pub fn exact(rects: &[Rect], bounds: &Rect) -> Option<Self> {
        let rects = match rects {
            [] => Vec::new(),
            [rect] => Self::from(rect.intersection(bounds)).rects,
            _ => {
                let (a, b) = rects.split_at(rects.len() / 2);
                let (a, b) = (Self::exact(a, bounds)?, Self::exact(b, bounds)?);
                combine_within(EXACT_RECTS, &a.rects, &b.rects, |a, b| a || b)?
            }
        };
        (rects.len() <= EXACT_RECTS).then_some(Self { rects })
    }

    /// Whether a pixel is in it.
    pub fn contains(&self, x: i32, y: i32) -> bool {
        let rest = &self.rects[self.rects.partition_point(|rect| rect.bottom <= y)..];
        let band = &rest[..rest.partition_point(|rect| rect.top <= y)];
        band.get(band.partition_point(|rect| rect.right <= x)).is_some_and(|rect| rect.left <= x)
    }

    /// Whether there are no pixels.
    pub fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }

    /// The rectangles, from top to bottom and left to right; no two share a pixel.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Rect> + '_ {
        self.rects.iter().copied()
    }

    /// The smallest rectangle around all; empty when the region is.
    pub fn bounds(&self) -> Rect {
        self.rects.iter().fold(Rect::default(), |bounds, rect| bounds.hull(rect))
    }

    /// Adds the pixels of a rectangle.
    pub fn add(&mut self, rect: Rect) {
        if rect.is_empty() || self.rects.iter().any(|known| known.contains(&rect)) {
            return;
        }
        self.set(combine(&self.rects, &[rect], |in_self, in_rect| in_self || in_rect));
    }

    /// Adds the pixels of another region.
    pub fn union(&mut self, other: &Self) {
        if self.is_empty() {
            self.set(other.rects.clone());
        } else if !other.is_empty() {
            self.set(combine(&self.rects, &other.rects, |a, b| a || b));
        }
    }

    /// Keeps only what lies in a rectangle.
    pub fn intersect(&mut self, rect: &Rect) {
        if !self.rects.iter().all(|known| rect.contains(known)) {
            let rect = if rect.is_empty() { &[][..] } else { std::slice::from_ref(rect) };
            self.rects = combine(&self.rects, rect, |a, b| a && b);
        }
    }

    /// Takes the pixels of another region out.
    pub fn subtract(&mut self, other: &Self) {
        if !self.is_empty() && !other.is_empty() {
            self.set(combine(&self.rects, &other.rects, |a, b| a && !b));
        }
    }

    fn set(&mut self, rects: Vec<Rect>) {
        self.rects = rects;
        if self.rects.len() > REGION_RECTS {
            self.simplify();
        }
    }

    /// Fills the gaps within bands and, while that is not enough, joins neighbouring
    /// bands in pairs. Goes well below the bound, so that it is not due again soon.
    fn simplify(&mut self) {
        let mut bands: Vec<Rect> = Vec::new();
        for rect in &self.rects {
            match bands.last_mut() {
                Some(band) if band.top == rect.top => *band = band.hull(rect),
                _ => bands.push(*rect),
            }
        }
        while bands.len() > REGION_RECTS / 2 {
            bands = bands
                .chunks(2)
                .map(|pair| pair.iter().fold(Rect::default(), |hull, rect| hull.hull(rect)))
                .collect();
        }
        self.rects = combine(&bands, &[], |a, _| a);
    }
}

impl From<Rect> for Region {
    fn from(rect: Rect) -> Self {
        let mut region = Self::new();
        region.add(rect);
        region
    }
}

impl FromIterator<Rect> for Region {
    fn from_iter<T: IntoIterator<Item = Rect>>(rects: T) -> Self {
        let mut region = Self::new();
        rects.into_iter().for_each(|rect| region.add(rect));
        region
    }
}

/// The pixels that `keep` wants, given whether each is in `a` and in `b`. Both are in
/// bands, and so is the answer.
fn combine(a: &[Rect], b: &[Rect], keep: fn(bool, bool) -> bool) -> Vec<Rect> {
    combine_within(usize::MAX, a, b, keep).unwrap_or_default()
}

/// The same; none if it takes more than so many rectangles.
fn combine_within(
    most: usize,
    a: &[Rect],
    b: &[Rect],
    keep: fn(bool, bool) -> bool,
) -> Option<Vec<Rect>> {
    let lines = edges(a.iter().chain(b).flat_map(|rect| [rect.top, rect.bottom]));
    let (mut rest_a, mut rest_b) = (a, b);
    let mut result: Vec<Rect> = Vec::new();
    let mut last_band = 0;
    for pair in lines.windows(2) {
        let (top, bottom) = (pair[0], pair[1]);
        let (in_a, in_b) = (band_at(&mut rest_a, top), band_at(&mut rest_b, top));
        let begin = result.len();
        combine_band(in_a, in_b, keep, |left, right| {
            result.push(Rect::new(left, top, right, bottom));
        });
        if continues(&result[last_band..begin], &result[begin..]) {
            result.truncate(begin);
            result[last_band..].iter_mut().for_each(|rect| rect.bottom = bottom);
        } else if result.len() > begin {
            last_band = begin;
        }
        // Two clips of a guest's may come to thousands of times what they take.
        if result.len() > most {
            return None;
        }
    }
    Some(result)
}

/// Whether a band goes on where the one above it ends, with the same columns.
fn continues(above: &[Rect], below: &[Rect]) -> bool {
    !below.is_empty()
        && above.len() == below.len()
        && above.iter().zip(below).all(|(above, below)| {
            above.bottom == below.top && above.left == below.left && above.right == below.right
        })
}

/// The rectangles that cover a line; those above it are dropped from `rest`.
fn band_at<'a>(rest: &mut &'a [Rect], line: i32) -> &'a [Rect] {
    let above = rest.iter().take_while(|rect| rect.bottom <= line).count();
    *rest = &rest[above..];
    &rest[..rest.iter().take_while(|rect| rect.top <= line).count()]
}

fn combine_band(
    a: &[Rect],
    b: &[Rect],
    keep: fn(bool, bool) -> bool,
    mut emit: impl FnMut(i32, i32),
) {
    let columns = edges(a.iter().chain(b).flat_map(|rect| [rect.left, rect.right]));
    let (mut rest_a, mut rest_b) = (a, b);
    let mut open = None;
    for &column in &columns {
        let (in_a, in_b) = (covers(&mut rest_a, column), covers(&mut rest_b, column));
        match (open, keep(in_a, in_b)) {
            (None, true) => open = Some(column),
            (Some(left), false) => {
                emit(left, column);
                open = None;
            }
            _ => {}
        }
    }
}

/// Whether a column lies in one of a band's rectangles; those left of it are dropped.
fn covers(rest: &mut &[Rect], column: i32) -> bool {
    let left_of_it = rest.iter().take_while(|rect| rect.right <= column).count();
    *rest = &rest[left_of_it..];
    rest.first().is_some_and(|rect| rect.left <= column)
}

fn edges(values: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut edges: Vec<i32> = values.collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIDE: i32 = 24;

    /// A region as what it means: a set of pixels.
    type Bitmap = Vec<bool>;

    fn bitmap(rects: impl Iterator<Item = Rect>) -> Bitmap {
        let mut pixels = vec![false; (SIDE * SIDE) as usize];
        for rect in rects {
            for y in rect.top..rect.bottom {
                for x in rect.left..rect.right {
                    pixels[(y * SIDE + x) as usize] = true;
                }
            }
        }
        pixels
    }

    fn each(a: &Bitmap, b: &Bitmap, keep: fn(bool, bool) -> bool) -> Bitmap {
        a.iter().zip(b).map(|(a, b)| keep(*a, *b)).collect()
    }

    fn rect() -> impl Strategy<Value = Rect> {
        (0..SIDE, 0..SIDE, 0..SIDE, 0..SIDE).prop_map(|(l, t, r, b)| Rect::new(l, t, r, b))
    }

    fn rects() -> impl Strategy<Value = Vec<Rect>> {
        proptest::collection::vec(rect(), 0..8)
    }

    fn check_form(region: &Region) {
        assert!(region.iter().len() <= REGION_RECTS);
        assert!(region.iter().all(|rect| !rect.is_empty()));
        for pair in region.rects.windows(2) {
            let same_band = pair[0].top == pair[1].top;
            assert!(if same_band {
                pair[0].bottom == pair[1].bottom && pair[0].right < pair[1].left
            } else {
                pair[0].bottom <= pair[1].top
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_operations_are_those_of_sets(a in rects(), b in rects(), cut in rect()) {
            let (pixels_a, pixels_b) = (bitmap(a.iter().copied()), bitmap(b.iter().copied()));
            let (a, b): (Region, Region) = (a.into_iter().collect(), b.into_iter().collect());
            prop_assert_eq!(&bitmap(a.iter()), &pixels_a);
            let mut union = a.clone();
            union.union(&b);
            let mut intersection = a.clone();
            intersection.intersect(&cut);
            let mut difference = a.clone();
            difference.subtract(&b);
            for region in [&a, &union, &intersection, &difference] {
                check_form(region);
            }
            prop_assert_eq!(bitmap(union.iter()), each(&pixels_a, &pixels_b, |a, b| a || b));
            prop_assert_eq!(bitmap(difference.iter()), each(&pixels_a, &pixels_b, |a, b| a && !b));
            let cut_pixels = bitmap(std::iter::once(cut));
            prop_assert_eq!(bitmap(intersection.iter()), each(&pixels_a, &cut_pixels, |a, b| a && b));
            prop_assert_eq!(a.is_empty(), !pixels_a.contains(&true));
            prop_assert!(a.iter().all(|rect| a.bounds().contains(&rect)));
        }

        #[test]
        fn an_exact_region_has_the_pixels_of_its_rectangles(rects in rects(), cut in rect()) {
            let region = Region::exact(&rects, &cut).unwrap();
            let inside = each(
                &bitmap(rects.iter().copied()), &bitmap(std::iter::once(cut)), |a, b| a && b,
            );
            prop_assert_eq!(&bitmap(region.iter()), &inside);
            let contained: Bitmap = (0..SIDE * SIDE)
                .map(|at| region.contains(at % SIDE, at / SIDE))
                .collect();
            prop_assert_eq!(contained, inside);
        }

        #[test]
        fn equal_sets_are_equal_values(rects in rects()) {
            let forwards: Region = rects.iter().copied().collect();
            let backwards: Region = rects.iter().rev().copied().collect();
            prop_assert_eq!(forwards, backwards);
        }

        #[test]
        fn a_region_of_many_rectangles_grows_but_loses_nothing(
            rects in proptest::collection::vec((0..2000, 0..2000, 1..30, 1..30), 0..300),
        ) {
            let rects = rects.into_iter().map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h));
            let mut region = Region::new();
            let mut bounds = Rect::default();
            for rect in rects {
                region.add(rect);
                bounds = bounds.hull(&rect);
                check_form(&region);
                let mut rest = Region::from(rect);
                rest.subtract(&region);
                prop_assert!(rest.is_empty());
            }
            prop_assert_eq!(region.bounds(), bounds);
        }
    }

    #[test]
    fn a_clip_of_more_rectangles_than_a_region_has_is_exact() {
        let bars: Vec<Rect> = (0..200)
            .flat_map(|at| {
                [Rect::new(2 * at, 0, 2 * at + 1, 400), Rect::new(0, 2 * at, 400, 2 * at + 1)]
            })
            .collect();
        let bounds = Rect::new(0, 0, 400, 400);
        let region = Region::exact(&bars, &bounds).unwrap();
        assert!(region.iter().len() > REGION_RECTS);
        assert!(!region.contains(1, 1) && region.contains(1, 2) && region.contains(2, 1));
        let mut bounded = Region::new();
        bounded.union(&region);
        assert!(bounded.iter().len() <= REGION_RECTS);
        let crossed: Vec<Rect> = (0..1000)
            .flat_map(|at| {
                [Rect::new(2 * at, 0, 2 * at + 1, 2000), Rect::new(0, 2 * at, 2000, 2 * at + 1)]
            })
            .collect();
        assert_eq!(Region::exact(&crossed, &Rect::new(0, 0, 2000, 2000)), None);
    }

    #[test]
    fn extreme_edges_are_no_trouble() {
        let all = Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
        assert_eq!((all.width(), all.height()), (u32::MAX, u32::MAX));
        let mut region = Region::from(all);
        region.subtract(&Region::from(Rect::new(-1, -1, 1, 1)));
        assert_eq!(region.iter().len(), 4);
        region.add(Rect::new(-1, -1, 1, 1));
        assert_eq!(region, Region::from(all));
        assert_eq!(Rect::of_size(u32::MAX, 3), Rect::new(0, 0, i32::MAX, 3));
        assert!(Region::from(Rect::new(3, 3, 1, 1)).is_empty());
    }

    #[test]
    fn rectangles_that_come_to_too_many_are_given_up_early() {
        let side = 4 * EXACT_RECTS.isqrt() as i32;
        let bars = (0..side / 2).map(|at| Rect::new(2 * at, 0, 2 * at + 1, side));
        let lines = (0..side / 2).map(|at| Rect::new(0, 2 * at, side, 2 * at + 1));
        let rects: Vec<Rect> = bars.chain(lines).collect();
        assert_eq!(Region::exact(&rects, &Rect::new(0, 0, side, side)), None);
    }

    #[test]
    fn a_pixel_of_a_long_band_is_found() {
        let rects: Vec<Rect> = (0..20_000).map(|at| Rect::new(2 * at, 3, 2 * at + 1, 5)).collect();
        let region = Region::exact(&rects, &Rect::new(0, 0, 40_000, 9)).expect("not too many");
        for x in 0..40_000 {
            assert_eq!(region.contains(x, 4), x % 2 == 0);
        }
        assert!(!region.contains(0, 2) && !region.contains(0, 5));
    }
}
