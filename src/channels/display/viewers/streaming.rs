//! What one client is told of the streams of a screen, and which frame it gets next.
//!
//! There is no queue of frames: a stream has an area that the client has not seen as it is
//! now, and a frame is made of it when the client's network can take one. What a client
//! shows of streams is lossy until it is sent as an image, and no image of it is sent while
//! the stream lives: clients keep frames for a while, and would draw an older one over it.

use std::time::Instant;

use super::{PRIMARY, pixels};
use crate::canvas::{Rect, Region};
use crate::channel::pipe::Outgoing;
use crate::channels::display::video::activity::Stream;
use crate::channels::display::video::rate::{Budget, Pace};
use crate::config::limits;
use crate::wire::display::{self, Clip, MJPEG, StreamCreate, StreamReport, capability, to_client};
use crate::wire::image::Place;
use crate::wire::link::CapSet;

/// The streams that a client knows.
#[derive(Debug)]
pub(super) struct Streams {
    all: Vec<Told>,
    budget: Budget,
    /// It reports how streams arrive.
    reports: bool,
    /// It takes frames of a part of a stream.
    parts: bool,
    /// Of the newest report that it was asked for.
    unique: u32,
}

/// A stream that the client has been told of.
#[derive(Debug)]
struct Told {
    id: u32,
    serial: u64,
    area: Rect,
    clip: Region,
    version: u64,
    /// The number of its report, once the client was asked for it.
    report: Option<u32>,
    /// What frames had in them. Of that spice-html5 draws also what is outside the clip.
    framed: Region,
    /// What has changed in `clip` since the last frame.
    pending: Region,
    /// When it did.
    changed: Instant,
    pace: Pace,
}

/// A frame that a client is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream's number.
    pub id: u32,
    /// Which one of all streams that is.
    pub serial: u64,
    /// What the frame shows.
    pub area: Rect,
    /// When that last changed, if it is a part of the stream's area.
    pub part: Option<Instant>,
    /// JPEG quality.
    pub quality: u8,
}

impl Streams {
    /// None yet, for a client with these capabilities whose network carries so many bits a
    /// second, if that is known.
    pub(super) fn new(caps: &CapSet, bit_rate: Option<u64>) -> Self {
        Self {
            all: Vec::new(),
            budget: Budget::new(bit_rate),
            reports: caps.has(capability::STREAM_REPORT),
            parts: caps.has(capability::SIZED_STREAM),
            unique: 0,
        }
    }

    /// Something has changed. Takes what belongs to streams out of `changed`.
    pub(super) fn handle_change(&mut self, changed: &mut Region, now: Instant) {
        for told in &mut self.all {
            let part = common(changed, &told.clip);
            if !part.is_empty() {
                told.pending.union(&part);
                told.changed = now;
                changed.subtract(&told.clip);
            }
        }
    }

    /// The message that ends a stream which is not there any more. What the client has not
    /// seen of it is added to `changed`, and what it may have drawn of it to `lossy`.
    pub(super) fn poll_end(
        &mut self,
        streams: &[Stream],
        changed: &mut Region,
        lossy: &mut Region,
    ) -> Option<Outgoing> {
        let is_there = |told: &Told| streams.iter().any(|stream| stream.serial == told.serial);
        let ended = self.all.iter().position(|told| !is_there(told))?;
        let told = self.all.swap_remove(ended);
        changed.union(&told.pending);
        lossy.union(&told.framed);
        Some(Outgoing::small(to_client::STREAM_DESTROY, display::stream_destroy(told.id)))
    }

    /// The message that tells the client of a stream, or of what belongs to it now. What of
    /// `changed` belongs to it becomes the stream's affair.
    pub(super) fn poll_news(
        &mut self,
        streams: &[Stream],
        changed: &mut Region,
        now: Instant,
    ) -> Option<Outgoing> {
        for stream in streams {
            let Some(told) = self.all.iter_mut().find(|told| told.serial == stream.serial) else {
                return Some(self.begin(stream, changed, now));
            };
            if self.reports && told.report.is_none() {
                self.unique = self.unique.wrapping_add(1);
                told.report = Some(self.unique);
                let (frames, milliseconds) = (limits::REPORT_FRAMES, limits::REPORT_MS);
                let body = display::activate_report(told.id, self.unique, frames, milliseconds);
                return Some(Outgoing::small(to_client::STREAM_ACTIVATE_REPORT, body));
            }
            if told.version != stream.version {
                told.follow(stream, changed);
                let body = display::stream_clip(told.id, &clip_of(stream));
                return Some(Outgoing::small(to_client::STREAM_CLIP, body));
            }
        }
        None
    }

    /// The frame that is due, if one is. What it shows is added to `lossy`.
    pub(super) fn poll_frame(&mut self, now: Instant, lossy: &mut Region) -> Option<Frame> {
        let due = self.all.iter_mut().filter(|told| told.is_due(now));
        let told = due.min_by_key(|told| told.pace.due())?;
        let changed = told.pending.bounds();
        let part = self.parts && pixels(&changed) * 2 < pixels(&told.area);
        let area = if part { changed } else { told.area };
        lossy.union(&common(&told.clip, &Region::from(area)));
        told.framed.add(area);
        told.pending = Region::new();
        told.pace.handle_begun(now);
        Some(Frame {
            id: told.id,
            serial: told.serial,
            area,
            part: part.then_some(told.changed),
            quality: told.pace.quality(),
        })
    }

    /// When a frame may be sent next; at once if one is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.all.iter().filter(|told| !told.pending.is_empty());
        waiting.map(|told| told.pace.due().unwrap_or(now)).min()
    }

    /// Nothing can be sent just now.
    pub(super) fn handle_blocked(&mut self, now: Instant) {
        if self.all.iter().any(|told| told.is_due(now)) {
            self.budget.handle_blocked(now);
        }
    }

    /// A frame was made, and has so many bytes.
    pub(super) fn handle_frame(&mut self, frame: &Frame, bytes: usize, now: Instant) {
        let share = self.budget.share(self.all.len());
        self.budget.handle_sent(bytes, self.reports, now);
        if let Some(told) = self.all.iter_mut().find(|told| told.serial == frame.serial) {
            told.pace.handle_made(bytes, share, now);
        }
    }

    /// The client tells how a stream arrives. What was not asked for means nothing.
    pub(super) fn handle_report(&mut self, report: &StreamReport, now: Instant) {
        let asked = |told: &Told| told.id == report.stream && told.report == Some(report.unique);
        if self.all.iter().any(asked) {
            self.budget.handle_report(report, now);
        }
    }

    /// What belongs to streams: no image is made of it.
    pub(super) fn covered(&self) -> Region {
        self.all.iter().fold(Region::new(), |mut all, told| {
            all.union(&told.clip);
            all
        })
    }

    fn begin(&mut self, stream: &Stream, changed: &mut Region, now: Instant) -> Outgoing {
        let pending = common(changed, &stream.clip);
        changed.subtract(&stream.clip);
        self.all.push(Told {
            id: stream.id,
            serial: stream.serial,
            area: stream.area,
            clip: stream.clip.clone(),
            version: stream.version,
            report: None,
            framed: Region::new(),
            pending,
            changed: now,
            pace: Pace::default(),
        });
        let create = StreamCreate {
            surface: PRIMARY,
            id: stream.id,
            codec: MJPEG,
            place: place_of(&stream.area),
            clip: clip_of(stream),
        };
        Outgoing::small(to_client::STREAM_CREATE, create.encode())
    }
}

impl Told {
    fn is_due(&self, now: Instant) -> bool {
        !self.pending.is_empty() && self.pace.due().is_none_or(|due| due <= now)
    }

    /// Another part of the area belongs to the stream.
    fn follow(&mut self, stream: &Stream, changed: &mut Region) {
        self.version = stream.version;
        self.clip = stream.clip.clone();
        let mut left = std::mem::take(&mut self.pending);
        self.pending = common(&left, &self.clip);
        self.pending.union(&common(changed, &self.clip));
        changed.subtract(&self.clip);
        left.subtract(&self.clip);
        changed.union(&left);
    }
}

/// What is in both, and nothing less.
fn common(a: &Region, b: &Region) -> Region {
    let mut both = Region::new();
    for rect in b.iter() {
        let mut part = a.clone();
        part.intersect(&rect);
        both.union(&part);
    }
    both
}

fn clip_of(stream: &Stream) -> Clip {
    if stream.clip == Region::from(stream.area) {
        return Clip::Nothing;
    }
    Clip::Places(stream.clip.iter().map(|rect| place_of(&rect)).collect())
}

/// A rectangle of the surface as messages have it.
pub fn place_of(rect: &Rect) -> Place {
    let (left, top) = (rect.left as u32, rect.top as u32);
    Place { left, top, width: rect.width(), height: rect.height() }
}

#[cfg(test)]
mod tests;
