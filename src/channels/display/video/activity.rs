//! Where a screen changes again and again, found out from the differences that are seen:
//! a grid of tiles remembers how often and since when each has changed, and tiles next to
//! each other that keep changing are a stream.
//!
//! What the guest has drawn plays no part: a video is what looks like one, by whatever
//! commands it came.

use std::time::{Duration, Instant};

use super::Streaming;
use crate::canvas::{Rect, Region};
use crate::config::limits;
use crate::wire::display::STREAMS;

/// Columns and lines of a tile. Small beside a video, and large enough that one changes
/// with nearly every frame.
const TILE: i32 = 32;

/// Of the tiles in a rectangle, how many in a hundred must keep changing for the rectangle
/// to become a stream, and how many must have changed lately for it to stay one.
const FILL_TO_BEGIN: usize = 60;
/// See [`FILL_TO_BEGIN`].
const FILL_TO_STAY: usize = 40;

/// The activity on one surface.
#[derive(Debug)]
pub struct Activity {
    size: (u32, u32),
    columns: usize,
    tiles: Vec<Option<Tile>>,
    streams: Vec<Stream>,
    /// Of the newest stream.
    serial: u64,
    /// When [`Activity::settle`] has something to do.
    due: Option<Instant>,
}

/// What is known of a tile that has changed: its newest run of changes.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Changes in the run.
    count: u32,
    since: Instant,
    last: Instant,
    /// Around all pixels that the run has changed.
    extent: Rect,
}

/// An area that is to be streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number towards clients, below [`STREAMS`]. Numbers are used again.
    pub id: u32,
    /// Which one of all streams it is. Not used again.
    pub serial: u64,
    /// The pixels of its frames.
    pub area: Rect,
    /// The part that belongs to it at present; the rest of the area has come to rest.
    pub clip: Region,
    /// Counts changes of `clip`.
    pub version: u64,
    tiles: Grid,
    /// For each of these whether it belongs to the stream.
    inside: Vec<bool>,
}

/// A rectangle of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Activity {
    /// Nothing has changed yet.
    pub fn new(size: (u32, u32)) -> Self {
        let columns = size.0.div_ceil(TILE as u32) as usize;
        let rows = size.1.div_ceil(TILE as u32) as usize;
        let (tiles, streams) = (vec![None; columns * rows], Vec::new());
        Self { size, columns, tiles, streams, serial: 0, due: None }
    }

    /// The surface's.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// What is to be streamed.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// This has changed. What happens within a moment counts once.
    pub fn note(&mut self, changed: &Region, now: Instant) {
        let bounds = Rect::of_size(self.size.0, self.size.1);
        for rect in changed.iter().map(|rect| rect.intersection(&bounds)) {
            let Some(grid) = Grid::around(&rect) else { continue };
            for (column, row) in grid.tiles() {
                let part = rect.intersection(&tile_rect(column, row));
                let tile = &mut self.tiles[row * self.columns + column];
                match tile {
                    Some(tile) => tile.note(part, now),
                    None => *tile = Some(Tile { count: 1, since: now, last: now, extent: part }),
                }
            }
            self.due.get_or_insert(now + limits::VIDEO_LOOK_PERIOD);
        }
    }

    /// When [`Activity::settle`] is to be called, whether or not more changes.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins and ends streams, and says what belongs to them. `is_photo` says whether an
    /// area looks like a photograph.
    pub fn settle(
        &mut self,
        now: Instant,
        streaming: Streaming,
        mut is_photo: impl FnMut(&Rect) -> bool,
    ) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let (tiles, columns) = (&self.tiles, self.columns);
        self.streams.retain_mut(|stream| {
            stream.settle(now, |column, row| tiles[row * columns + column].as_ref())
        });
        for spot in self.spots(now) {
            self.consider(&spot, now, streaming, &mut is_photo);
        }
        self.due = (!self.streams.is_empty()).then(|| now + limits::VIDEO_LOOK_PERIOD);
    }

    /// Ends all streams.
    pub fn end_all(&mut self) {
        self.streams.clear();
        self.due = None;
    }

    /// Makes a spot a stream if it is one. It takes the place of streams that it covers.
    fn consider(
        &mut self,
        spot: &Rect,
        now: Instant,
        streaming: Streaming,
        is_photo: &mut impl FnMut(&Rect) -> bool,
    ) {
        let mut area = *spot;
        let touches = |stream: &Stream, area: &Rect| !stream.area.intersection(area).is_empty();
        if self.streams.iter().any(|stream| stream.area.contains(&area)) {
            return;
        }
        // It grows until it is clear of all that it does not cover.
        while let Some(other) = self
            .streams
            .iter()
            .find(|stream| touches(stream, &area) && !area.contains(&stream.area))
        {
            area = area.hull(&other.area);
        }
        let Some(grid) = Grid::around(&area) else { return };
        let wanted = match streaming {
            Streaming::Off => false,
            Streaming::All => true,
            Streaming::Filter => {
                let pixels = u64::from(area.width()) * u64::from(area.height());
                pixels >= limits::STREAM_PIXELS && is_photo(&area)
            }
        };
        let tile = |(column, row): (usize, usize)| self.tiles[row * self.columns + column];
        let busy = grid.tiles().filter_map(tile).filter(|tile| tile.keeps_changing(now)).count();
        if !wanted || busy * 100 < grid.count() * FILL_TO_BEGIN {
            return;
        }
        self.streams.retain(|stream| !touches(stream, &area));
        let taken = |id: &u32| self.streams.iter().any(|stream| stream.id == *id);
        let Some(id) = (0..STREAMS).find(|id| !taken(id)) else { return };
        self.serial += 1;
        let mut stream = Stream {
            id,
            serial: self.serial,
            area,
            clip: Region::new(),
            version: 0,
            tiles: grid,
            inside: vec![false; grid.count()],
        };
        for (place, inside) in grid.tiles().zip(&mut stream.inside) {
            *inside = tile(place).is_some_and(|tile| !tile.is_calm(now));
        }
        stream.cut();
        self.streams.push(stream);
    }

    /// Around tiles next to each other that keep changing, what changes in them.
    fn spots(&self, now: Instant) -> Vec<Rect> {
        let mut spots = Vec::new();
        let mut seen = vec![false; self.tiles.len()];
        let mut next = Vec::new();
        for at in 0..self.tiles.len() {
            let mut spot = Rect::default();
            next.push(at);
            while let Some(at) = next.pop() {
                let Some(tile) = self.tiles[at].filter(|tile| tile.keeps_changing(now)) else {
                    continue;
                };
                if std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                spot = spot.hull(&tile.extent);
                let column = at % self.columns;
                if column > 0 {
                    next.push(at - 1);
                }
                if column + 1 < self.columns {
                    next.push(at + 1);
                }
                if at >= self.columns {
                    next.push(at - self.columns);
                }
                if at + self.columns < self.tiles.len() {
                    next.push(at + self.columns);
                }
            }
            spots.extend(Some(spot).filter(|spot| !spot.is_empty()));
        }
        spots
    }
}

impl Tile {
    fn note(&mut self, part: Rect, now: Instant) {
        let pause = now.saturating_duration_since(self.last);
        if pause > limits::VIDEO_PAUSE {
            *self = Self { count: 1, since: now, last: now, extent: part };
            return;
        }
        self.extent = self.extent.hull(&part);
        if pause >= MOMENT {
            self.count = self.count.saturating_add(1);
            self.last = now;
        }
    }

    fn keeps_changing(&self, now: Instant) -> bool {
        self.count >= limits::VIDEO_CHANGES
            && self.last.saturating_duration_since(self.since) >= limits::VIDEO_LENGTH
            && now.saturating_duration_since(self.last) <= limits::VIDEO_PAUSE
    }

    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= limits::VIDEO_END
    }
}

/// A picture that is looked through in slices is one change.
const MOMENT: Duration = Duration::from_millis(5);

impl Stream {
    /// What belongs to it now. False if it has come to its end.
    fn settle<'a>(
        &mut self,
        now: Instant,
        tile: impl Fn(usize, usize) -> Option<&'a Tile>,
    ) -> bool {
        let mut other = false;
        for ((column, row), inside) in self.tiles.tiles().zip(&mut self.inside) {
            let Some(tile) = tile(column, row) else { continue };
            let belongs = if *inside { !tile.is_calm(now) } else { tile.keeps_changing(now) };
            other |= belongs != *inside;
            *inside = belongs;
        }
        if other {
            self.version += 1;
            self.cut();
        }
        let count = self.inside.iter().filter(|inside| **inside).count();
        count > 0 && count * 100 >= self.tiles.count() * FILL_TO_STAY
    }

    fn cut(&mut self) {
        self.clip = Region::new();
        for ((column, row), inside) in self.tiles.tiles().zip(&self.inside) {
            if *inside {
                self.clip.add(tile_rect(column, row).intersection(&self.area));
            }
        }
    }
}

impl Grid {
    /// The tiles that a rectangle of the surface touches.
    fn around(rect: &Rect) -> Option<Self> {
        let index = |edge: i32| usize::try_from(edge / TILE).ok();
        let behind = |edge: i32| usize::try_from((edge + TILE - 1) / TILE).ok();
        if rect.is_empty() {
            return None;
        }
        Some(Self {
            left: index(rect.left)?,
            top: index(rect.top)?,
            right: behind(rect.right)?,
            bottom: behind(rect.bottom)?,
        })
    }

    fn count(&self) -> usize {
        (self.right - self.left) * (self.bottom - self.top)
    }

    /// Columns and rows, line by line.
    fn tiles(self) -> impl Iterator<Item = (usize, usize)> {
        let Self { left, top, right, bottom } = self;
        (top..bottom).flat_map(move |row| (left..right).map(move |column| (column, row)))
    }
}

fn tile_rect(column: usize, row: usize) -> Rect {
    let (left, top) = (column as i32 * TILE, row as i32 * TILE);
    Rect::new(left, top, left + TILE, top + TILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: (u32, u32) = (640, 480);
    const FRAME: Duration = Duration::from_millis(40);

    /// Changes these areas, a frame each, and looks after each frame.
    fn play(
        activity: &mut Activity,
        now: &mut Instant,
        frames: u32,
        pause: Duration,
        areas: &[Rect],
    ) {
        for _ in 0..frames {
            activity.note(&areas.iter().copied().collect(), *now);
            *now += pause;
            activity.settle(*now, Streaming::Filter, |_| true);
        }
    }

    fn areas(activity: &Activity) -> Vec<Rect> {
        activity.streams().iter().map(|stream| stream.area).collect()
    }

    #[test]
    fn a_video_is_found_to_the_pixel() {
        let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
        let video = Rect::new(101, 57, 421, 297);
        play(&mut activity, &mut now, 19, FRAME, &[video]);
        assert_eq!(areas(&activity), []);
        play(&mut activity, &mut now, 5, FRAME, &[video]);
        assert_eq!(areas(&activity), [video]);
        assert_eq!(activity.streams()[0].clip, Region::from(video));
        play(&mut activity, &mut now, 200, FRAME, &[video]);
        assert_eq!(activity.streams()[0].serial, 1, "it stays the same");
    }

    #[test]
    fn what_changes_seldom_or_shortly_or_little_is_none() {
        let video = Rect::new(0, 0, 320, 240);
        let small = Rect::new(0, 0, 95, 96);
        for (area, frames, pause) in [(video, 100, 210), (video, 50, 10), (small, 100, 40)] {
            let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
            play(&mut activity, &mut now, frames, Duration::from_millis(pause), &[area]);
            assert_eq!(areas(&activity), [], "{area:?} {frames} {pause}");
        }
    }

    #[test]
    fn with_a_filter_photographs_only() {
        let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
        let text = Rect::new(0, 0, 320, 240);
        for streaming in [Streaming::Filter, Streaming::All] {
            for _ in 0..30 {
                activity.note(&text.into(), now);
                now += FRAME;
                activity.settle(now, streaming, |_| false);
            }
            assert_eq!(areas(&activity).is_empty(), streaming == Streaming::Filter);
        }
    }

    #[test]
    fn two_videos_are_two_streams_and_a_larger_one_takes_the_place_of_both() {
        let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
        let (left, right) = (Rect::new(10, 10, 200, 200), Rect::new(300, 10, 500, 200));
        play(&mut activity, &mut now, 30, FRAME, &[left, right]);
        assert_eq!(areas(&activity), [left, right]);
        let all = Rect::new(10, 10, 600, 400);
        play(&mut activity, &mut now, 40, FRAME, &[all]);
        assert_eq!(areas(&activity), [all]);
    }

    #[test]
    fn a_stream_ends_after_a_second_and_then_nothing_is_due() {
        let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
        play(&mut activity, &mut now, 30, FRAME, &[Rect::new(0, 0, 320, 240)]);
        let mut waits = 0;
        while let Some(due) = activity.due() {
            now = now.max(due);
            activity.settle(now, Streaming::Filter, |_| true);
            waits += 1;
            assert!(waits < 12);
        }
        assert_eq!(areas(&activity), []);
        assert!(waits > 8, "{waits}");
    }

    #[test]
    fn a_part_that_rests_is_cut_out_until_it_is_a_video_again() {
        let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
        let (video, moving) = (Rect::new(0, 0, 320, 256), Rect::new(0, 0, 320, 160));
        let resting = Rect::new(0, 160, 320, 256);
        play(&mut activity, &mut now, 30, FRAME, &[video]);
        play(&mut activity, &mut now, 40, FRAME, &[moving]);
        assert_eq!(activity.streams()[0].clip, Region::from(moving));
        play(&mut activity, &mut now, 1, FRAME, &[video]);
        play(&mut activity, &mut now, 10, FRAME, &[moving]);
        assert_eq!(activity.streams()[0].clip, Region::from(moving), "once is not enough");
        play(&mut activity, &mut now, 30, FRAME, &[moving, resting]);
        assert_eq!(activity.streams()[0].clip, Region::from(video));
        assert_eq!(activity.streams()[0].serial, 1);
        play(&mut activity, &mut now, 60, FRAME, &[Rect::new(0, 0, 320, 96)]);
        assert_eq!(areas(&activity), [Rect::new(0, 0, 320, 96)], "too little is left of it");
    }

    #[test]
    fn there_are_fifty_at_most() {
        let (mut activity, mut now) = (Activity::new((2560, 1600)), Instant::now());
        let video =
            |n: i32| Rect::new(n % 10 * 256, n / 10 * 256, n % 10 * 256 + 96, n / 10 * 256 + 96);
        let many: Vec<Rect> = (0..60).map(video).collect();
        play(&mut activity, &mut now, 40, FRAME, &many);
        assert_eq!(activity.streams().len(), 50);
        let mut ids: Vec<u32> = activity.streams().iter().map(|stream| stream.id).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..50));
    }

    proptest! {
        /// Whatever changes, streams lie on the surface, do not overlap, have numbers of
        /// their own, and show nothing outside their areas.
        #[test]
        fn streams_are_apart(acts in prop::collection::vec(
            (0i32..640, 0i32..480, 1i32..400, 1i32..300, 1u32..40, 1u64..250), 1..12,
        )) {
            let (mut activity, mut now) = (Activity::new(SIZE), Instant::now());
            let bounds = Rect::of_size(SIZE.0, SIZE.1);
            for (x, y, w, h, frames, pause) in acts {
                let area = Rect::new(x, y, x + w, y + h);
                for _ in 0..frames {
                    activity.note(&area.into(), now);
                    now += Duration::from_millis(pause);
                    activity.settle(now, Streaming::All, |_| true);
                    let streams = activity.streams();
                    for (n, stream) in streams.iter().enumerate() {
                        prop_assert!(bounds.contains(&stream.area) && !stream.area.is_empty());
                        prop_assert!(stream.clip.iter().all(|part| stream.area.contains(&part)));
                        prop_assert!(!stream.clip.is_empty() && stream.id < STREAMS);
                        for other in &streams[n + 1..] {
                            prop_assert!(stream.area.intersection(&other.area).is_empty());
                            prop_assert!(stream.id != other.id && stream.serial != other.serial);
                        }
                    }
                }
            }
        }
    }
}
