//! The clients of a graphics device's display channel, and what each has still to be told
//! of the primary surface.
//!
//! Nothing is queued per client but what it has not seen: its next message comes out of the
//! difference between the screen as it is and what the client was told. So a slow client
//! costs a region and sees the newest picture next, however much it missed.

mod gl;
mod passage;
mod streaming;

use std::collections::VecDeque;
use std::time::Instant;

pub use gl::Scanout;
use gl::{Gl, Watcher};
use streaming::Streams;
pub use streaming::{Frame, place_of};

use super::compression::{Policy, Taste};
use super::video::Streaming;
use super::video::activity::{Activity, Stream};
use crate::canvas::{Rect, Region};
use crate::channel::acks::{Acks, window_by};
use crate::channel::pipe::Outgoing;
use crate::config::limits;
use crate::wire::common::SET_ACK;
use crate::wire::display::{
    self, Caches, Head, StreamReport, capability, surface_flag, surface_format, to_client,
};
use crate::wire::image::Form;
use crate::wire::link::CapSet;
use passage::{Kept, Passage};

/// Names a client of the channel.
pub type ViewerKey = u64;

/// What all clients are to see, and what they have seen.
#[derive(Debug)]
pub struct Viewers {
    policy: Policy,
    /// The guest runs.
    running: bool,
    surface: Option<Surface>,
    /// Of the newest surface.
    generation: u64,
    monitors: Monitors,
    gl: Gl,
    /// In the order in which they came.
    all: Vec<Viewer>,
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// By a unix socket.
    pub local: bool,
    /// Bits a second that the network test has measured; `None` for many.
    pub bit_rate: Option<u64>,
}

/// The primary surface.
#[derive(Debug)]
struct Surface {
    generation: u64,
    size: (u32, u32),
    /// Where it changes like a video.
    activity: Activity,
    /// Its picture is known; until then it is not shown to anybody.
    complete: bool,
    /// Where it may be other than black.
    drawn: Region,
}

/// Which monitors show what.
#[derive(Debug, Default)]
struct Monitors {
    heads: Vec<Head>,
    max: u16,
    /// Counts changes; 0 before the first.
    version: u64,
}

/// A client.
#[derive(Debug)]
struct Viewer {
    key: ViewerKey,
    caps: CapSet,
    taste: Taste,
    acks: Acks,
    /// It has sent INIT, without which it is told nothing.
    ready: bool,
    /// It has not been told of any surface yet.
    newcomer: bool,
    told: Told,
    /// Of the surface that it was told of: what it must see before MARK.
    first: Region,
    /// What has changed besides.
    changed: Region,
    /// What it has seen with losses.
    lossy: Region,
    /// Its queue was full while something changed, and has not been empty since.
    slow: bool,
    /// What it has for images, which is not used here.
    kept: Kept,
    /// What it is told first.
    first_words: VecDeque<Outgoing>,
    passage: Passage,
    gl: Watcher,
    streams: Streams,
}

/// What a client has been told.
#[derive(Debug, Default)]
struct Told {
    set_ack: bool,
    palettes: bool,
    /// The generation of its surface.
    surface: Option<u64>,
    mark: bool,
    monitors: u64,
}

/// What a client is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Message(Outgoing),
    /// An image of an area of the primary surface, as it is now.
    Image(Rect, Detail),
    /// A frame of a stream, as it is now. [`Viewers::handle_frame`] is to be told of it.
    Frame(Frame),
}

/// How an area is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The form of the image.
    pub form: Form,
    /// Something may be lost: then [`Viewers::handle_lossy`] is to be told.
    pub lossy: bool,
    /// The surface's, for that.
    pub generation: u64,
}

/// The number of the primary surface.
pub const PRIMARY: u32 = 0;

impl Viewers {
    /// No clients and no surface.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            running: false,
            surface: None,
            generation: 0,
            monitors: Monitors::default(),
            gl: Gl::default(),
            all: Vec::new(),
        }
    }

    /// Images are compressed like this from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// A client comes.
    pub fn join(&mut self, key: ViewerKey, caps: &CapSet, link: Link) {
        self.all.push(Viewer {
            key,
            caps: caps.clone(),
            taste: Taste::new(caps, link.local),
            acks: Acks::new(window_by(link.bit_rate)),
            ready: false,
            newcomer: true,
            told: Told::default(),
            first: Region::new(),
            changed: Region::new(),
            lossy: Region::new(),
            slow: false,
            kept: Kept::default(),
            first_words: VecDeque::new(),
            passage: Passage::Settled,
            gl: Watcher::default(),
            streams: Streams::new(caps, link.bit_rate),
        });
    }

    /// A client has gone.
    pub fn leave(&mut self, key: ViewerKey) {
        self.all.retain(|viewer| viewer.key != key);
    }

    /// Whether nobody watches.
    pub fn is_deserted(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether this client has not sent INIT yet.
    pub fn is_awaited(&self, key: ViewerKey) -> bool {
        self.all.iter().any(|viewer| viewer.key == key && !viewer.ready)
    }

    /// The capabilities, of those that guests are told of, that all clients have; none
    /// without clients.
    pub fn common_capabilities(&self) -> impl Iterator<Item = u32> + '_ {
        let all = |cap: &u32| self.all.iter().all(|viewer| viewer.caps.has(*cap));
        GUEST_CAPABILITIES.into_iter().filter(|_| !self.is_deserted()).filter(all)
    }

    /// There is a new primary surface, black until more is known. Not shown before
    /// [`Viewers::complete`].
    pub fn begin_surface(&mut self, size: (u32, u32)) {
        self.generation += 1;
        let (generation, drawn) = (self.generation, Region::new());
        let activity = Activity::new(size);
        self.surface = Some(Surface { generation, size, activity, complete: false, drawn });
    }

    /// The picture of the new surface is known.
    pub fn complete(&mut self) {
        if let Some(surface) = &mut self.surface {
            surface.complete = true;
        }
    }

    /// There is no primary surface any more.
    pub fn end_surface(&mut self) {
        self.surface = None;
    }

    /// The primary surface looks different there.
    pub fn change(&mut self, region: &Region, now: Instant) {
        let streaming = self.is_streaming();
        let Some(surface) = &mut self.surface else { return };
        surface.drawn.union(region);
        if streaming {
            surface.activity.note(region, now);
        }
        for viewer in &mut self.all {
            if viewer.told.surface == Some(surface.generation) {
                let mut changed = region.clone();
                viewer.streams.handle_change(&mut changed, now);
                viewer.changed.union(&changed);
            }
        }
    }

    /// Looks where streams begin and end, if it is time to. `is_photo` says whether an area
    /// looks like a photograph.
    pub fn settle(&mut self, now: Instant, is_photo: impl FnMut(&Rect) -> bool) {
        let streaming = self.is_streaming();
        let Some(surface) = &mut self.surface else { return };
        if streaming {
            surface.activity.settle(now, self.policy.streaming, is_photo);
        } else {
            surface.activity.end_all();
        }
    }

    /// When there may be something to send, or something for [`Viewers::settle`], without
    /// anything else happening.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let again = now + limits::REFINE_PERIOD;
        let each = self.all.iter().flat_map(|viewer| {
            // One that is due has met a full queue, and nobody tells when that has shrunk.
            let frame = viewer.streams.due(now).map(|due| if due > now { due } else { again });
            let refined = viewer.refinable();
            [frame, Some(again).filter(|_| !refined.is_empty())]
        });
        let settle = self.surface.as_ref().and_then(|surface| surface.activity.due());
        each.chain([settle]).flatten().min()
    }

    /// Whether there is somebody for whom video is looked for.
    fn is_streaming(&self) -> bool {
        self.policy.streaming != Streaming::Off
            && self.all.iter().any(|viewer| viewer.taste.takes_streams())
    }

    /// These monitors show the surface, of at most `max`.
    pub fn set_monitors(&mut self, heads: Vec<Head>, max: u16) {
        self.monitors = Monitors { heads, max, version: self.monitors.version + 1 };
    }

    /// The client is ready. False if it was before: that breaks the protocol.
    pub fn handle_init(&mut self, key: ViewerKey, caches: Caches) -> bool {
        self.viewer(key).is_some_and(|viewer| {
            viewer.kept = Kept::from(caches);
            !std::mem::replace(&mut viewer.ready, true)
        })
    }

    /// The client likes images compressed like this. False if there is no such way.
    pub fn handle_preferred(&mut self, key: ViewerKey, wanted: u8) -> bool {
        self.viewer(key).is_some_and(|viewer| viewer.taste.prefer(wanted))
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&mut self, key: ViewerKey, generation: u32) {
        if let Some(viewer) = self.viewer(key) {
            viewer.acks.handle_sync(generation);
        }
    }

    /// The client has got a window's worth.
    pub fn handle_ack(&mut self, key: ViewerKey) {
        if let Some(viewer) = self.viewer(key) {
            viewer.acks.handle_ack();
        }
    }

    /// A client was sent a picture with losses. It is sent once more as it is when nothing
    /// else waits.
    pub fn handle_lossy(&mut self, key: ViewerKey, generation: u64, area: Rect) {
        if let Some(viewer) = self.viewer(key)
            && viewer.told.surface == Some(generation)
        {
            viewer.lossy.add(area);
        }
    }

    /// A frame was made for a client, and has so many bytes.
    pub fn handle_frame(&mut self, key: ViewerKey, frame: &Frame, bytes: usize, now: Instant) {
        if let Some(viewer) = self.viewer(key) {
            viewer.streams.handle_frame(frame, bytes, now);
        }
    }

    /// The client tells how a stream arrives.
    pub fn handle_report(&mut self, key: ViewerKey, report: &StreamReport, now: Instant) {
        if let Some(viewer) = self.viewer(key) {
            viewer.streams.handle_report(report, now);
        }
    }

    /// What a client towards which `queued` bytes are on their way is to be sent next. It
    /// counts as sent.
    pub fn poll(&mut self, key: ViewerKey, queued: usize, now: Instant) -> Option<Next> {
        let viewer = self.all.iter_mut().find(|viewer| viewer.key == key)?;
        if !viewer.ready || viewer.passage.is_silent() {
            return None;
        }
        if queued >= limits::PICTURES_QUEUED {
            viewer.slow |= !viewer.changed.is_empty();
            viewer.streams.handle_blocked(now);
            return None;
        }
        if queued == 0 && viewer.changed.is_empty() {
            viewer.slow = false;
        }
        if !viewer.told.set_ack {
            viewer.told.set_ack = true;
            let body = viewer.acks.begin().to_vec();
            return Some(Next::Message(Outgoing::small(SET_ACK, body)));
        }
        if !viewer.acks.may_send() {
            viewer.streams.handle_blocked(now);
            return None;
        }
        let leaving = viewer.passage == Passage::Leaving;
        let mut next = viewer.first_words.pop_front().map(Next::Message);
        // A draw is waited for, so it goes first; but not before a screen that has begun.
        if next.is_none() && viewer.told.mark {
            next = viewer.next_scanout(&self.gl, &self.monitors);
        }
        let scene =
            Scene { surface: self.surface.as_ref(), monitors: &self.monitors, policy: self.policy };
        // The one that leaves has no time to lose.
        let waiting = if leaving { 0 } else { queued };
        let next = next
            .or_else(|| viewer.next(&scene, waiting, now))
            .or_else(|| viewer.next_scanout(&self.gl, &self.monitors))
            .or_else(|| leaving.then(|| viewer.say_migrate()))?;
        viewer.acks.handle_sent();
        Some(next)
    }

    fn viewer(&mut self, key: ViewerKey) -> Option<&mut Viewer> {
        self.all.iter_mut().find(|viewer| viewer.key == key)
    }
}

/// What there is to be seen.
struct Scene<'a> {
    surface: Option<&'a Surface>,
    monitors: &'a Monitors,
    policy: Policy,
}

impl Viewer {
    fn next(&mut self, scene: &Scene<'_>, queued: usize, now: Instant) -> Option<Next> {
        let Scene { surface, monitors, policy } = *scene;
        let say = |kind, body| Some(Next::Message(Outgoing::small(kind, body)));
        let generation = surface.map(|surface| surface.generation);
        let is_told = self.told.surface.is_some() && self.told.surface == generation;
        // Who leaves sees the end of all streams first.
        let leaving = self.passage == Passage::Leaving;
        let streams: &[Stream] = match surface {
            Some(surface) if is_told && !leaving && self.taste.takes_streams() => {
                surface.activity.streams()
            }
            _ => &[],
        };
        if let Some(end) = self.streams.poll_end(streams, &mut self.changed, &mut self.lossy) {
            return Some(Next::Message(end));
        }
        if self.told.surface.is_some() && !is_told {
            self.told.surface = None;
            self.first = Region::new();
            self.changed = Region::new();
            self.lossy = Region::new();
            return say(to_client::SURFACE_DESTROY, display::surface_destroy(PRIMARY));
        }
        let surface = surface.filter(|surface| surface.complete)?;
        if self.told.surface.is_none() {
            if !self.told.palettes {
                self.told.palettes = true;
                return say(to_client::INVAL_ALL_PALETTES, Vec::new());
            }
            self.first = if self.newcomer {
                // Who comes late may not take for granted that the rest is black.
                Region::from(Rect::of_size(surface.size.0, surface.size.1))
            } else {
                surface.drawn.clone()
            };
            self.newcomer = false;
            let (mark, monitors) = (false, 0);
            self.told = Told { surface: Some(surface.generation), mark, monitors, ..self.told };
            let format = surface_format::XRGB_32;
            let flags = surface_flag::PRIMARY;
            let body = display::surface_create(PRIMARY, surface.size, format, flags);
            return say(to_client::SURFACE_CREATE, body);
        }
        let idle = queued == 0;
        if !self.first.is_empty() {
            return self.image(policy, surface.generation, idle);
        }
        if self.told.monitors != monitors.version
            && let Some(message) = self.say_monitors(monitors)
        {
            return Some(message);
        }
        if !self.told.mark {
            self.told.mark = true;
            return say(to_client::MARK, Vec::new());
        }
        if let Some(news) = self.streams.poll_news(streams, &mut self.changed, now) {
            return Some(Next::Message(news));
        }
        if queued > limits::FRAME_QUEUED {
            self.streams.handle_blocked(now);
        } else if let Some(frame) = self.streams.poll_frame(now, &mut self.lossy) {
            return Some(Next::Frame(frame));
        }
        self.image(policy, surface.generation, idle)
    }

    /// What is to be said of a picture in a graphics card; of its monitors too, as there
    /// may be no surface.
    fn next_scanout(&mut self, gl: &Gl, monitors: &Monitors) -> Option<Next> {
        if gl.is_told(&self.gl)
            && self.told.monitors != monitors.version
            && let Some(message) = self.say_monitors(monitors)
        {
            return Some(message);
        }
        gl.poll(&mut self.gl).map(Next::Message)
    }

    fn say_monitors(&mut self, monitors: &Monitors) -> Option<Next> {
        self.told.monitors = monitors.version;
        let knows = self.caps.has(capability::MONITORS_CONFIG);
        let body = || display::monitors_config(&monitors.heads, monitors.max);
        knows.then(|| Next::Message(Outgoing::small(to_client::MONITORS_CONFIG, body())))
    }

    /// An image of something that the client has not seen; if there is nothing and its
    /// queue is empty, of something that it has seen with losses.
    fn image(&mut self, policy: Policy, generation: u64, idle: bool) -> Option<Next> {
        let mut lossy = self.taste.allows_loss(policy, self.slow);
        let area = if !self.first.is_empty() {
            // Clients show what they have as soon as one image has come: spicy-screenshot
            // takes its picture then.
            lossy = false;
            piece_of(&self.first, limits::FIRST_IMAGE_PIXELS)?
        } else if !self.changed.is_empty() {
            piece_of(&self.changed, limits::IMAGE_PIXELS)?
        } else {
            let moves = self.passage == Passage::Leaving && passage::form(policy).has_areas();
            lossy = false;
            let again = Some(self.refinable()).filter(|_| idle && !moves)?;
            piece_of(&again, limits::IMAGE_PIXELS)?
        };
        let mut seen = Region::from(area);
        self.first.subtract(&seen);
        self.changed.subtract(&seen);
        seen.subtract(&self.streams.covered());
        self.lossy.subtract(&seen);
        Some(Next::Image(area, Detail { form: self.taste.form(policy), lossy, generation }))
    }
}

impl Viewer {
    /// What was shown with losses and may be shown without.
    fn refinable(&self) -> Region {
        if self.lossy.is_empty() {
            return Region::new();
        }
        let mut region = self.lossy.clone();
        region.subtract(&self.streams.covered());
        region
    }
}

/// What guests are told of their clients' capabilities.
const GUEST_CAPABILITIES: [u32; 4] = [
    capability::SIZED_STREAM,
    capability::MONITORS_CONFIG,
    capability::COMPOSITE,
    capability::A8_SURFACE,
];

/// The first rectangles of a region, as long as one around them has little else in it, and
/// no more of it than so many pixels.
fn piece_of(region: &Region, most: u64) -> Option<Rect> {
    let mut rects = region.iter();
    let mut piece = rects.next()?;
    let mut wanted = pixels(&piece);
    for rect in rects {
        let (hull, more) = (piece.hull(&rect), pixels(&rect));
        if pixels(&hull) > most || pixels(&hull) > (wanted + more) * 5 / 4 + 256 {
            break;
        }
        wanted += more;
        piece = hull;
    }
    let lines = (most / u64::from(piece.width())).max(1);
    if u64::from(piece.height()) > lines {
        piece.bottom = piece.top + lines as i32;
    }
    Some(piece)
}

fn pixels(rect: &Rect) -> u64 {
    u64::from(rect.width()) * u64::from(rect.height())
}

#[cfg(test)]
mod tests;
