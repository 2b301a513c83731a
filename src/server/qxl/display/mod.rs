//! From changed pixels to clients: what the worker shows, and the thread that makes
//! images of it.
//!
//! Three kinds of threads meet here behind one lock, which is held for copies and never
//! across a call: the worker puts in what the surface shows, the main thread brings clients
//! and what they say, and `spice-display`, a thread of this device's own, compresses and
//! hands over. So compression waits for nobody and nobody waits for it: not the host with
//! its big lock, nor the worker that it waits for.

#![forbid(unsafe_code)]

mod picture;

pub(super) use picture::{BAND, normalise};

use crate::canvas::{Rect, Region};
use crate::channel::pipe::Outgoing;
use crate::channels::display::compression::Policy;
use crate::channels::display::viewers::{
    Detail, Frame, Link, Next, PRIMARY, Scanout, ViewerKey, Viewers, place_of,
};
use crate::config::limits::DISPLAY_INIT;
use crate::guard::guard;
use crate::host::abi::SPICE_CAPABILITIES_SIZE;
use crate::host::clock;
use crate::net::sys::spawn;
use crate::server::outlet::Outlet;
use crate::server::qxl::release::Completion;
use crate::wire::display::{
    Caches, GlArea, Head, StreamReport, stream_data, stream_data_sized, to_client,
};
use crate::wire::image::{Encoder, Form, Pixels, draw_copy, jpeg_frame};
use crate::wire::link::CapSet;
use crate::wire::migration::display::{self as migration, SurfaceForm};
use parking_lot::{Condvar, Mutex};
use picture::Picture;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The name of the thread that makes images.
const THREAD_NAME: &str = "spice-display";

/// Of images that are sent once more without loss. Upstream's number.
const JPEG_QUALITY: u8 = 85;

/// What a device's clients see. Any thread.
#[derive(Debug)]
pub struct Display {
    state: Mutex<State>,
    /// Something changed that may be sent, or the thread is to end.
    news: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct State {
    viewers: Viewers,
    /// While somebody watches.
    picture: Option<Picture>,
    outlets: Vec<Client>,
    /// What a graphics card has drawn, as long as clients are waited for.
    drawing: Option<Completion>,
    /// Whose turn it is.
    turn: usize,
    quit: bool,
}

/// A client as this thread knows it.
#[derive(Debug)]
struct Client {
    key: ViewerKey,
    outlet: Outlet,
    /// It must have said INIT by then.
    deadline: Option<Instant>,
}

/// What the thread does next.
enum Work {
    Send(Outlet, Outgoing),
    /// The pixels are in the buffer.
    Encode(ViewerKey, Outlet, Rect, Detail),
    /// So they are.
    Frame(ViewerKey, Outlet, Frame),
    Wait(Option<Instant>),
    Quit,
}

impl Display {
    /// Nobody watches yet, so there is no thread either.
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        let state = State {
            viewers: Viewers::new(policy),
            picture: None,
            outlets: Vec::new(),
            drawing: None,
            turn: 0,
            quit: false,
        };
        let (news, thread) = (Condvar::new(), Mutex::new(None));
        Arc::new(Self { state: Mutex::new(state), news, thread })
    }

    /// Images are compressed like this from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.state.lock().viewers.set_policy(policy);
        self.news.notify_one();
    }

    /// A client comes. The first one brings the thread; without it nobody is served.
    /// It comes from another host and brings its state if `moved`.
    pub fn join(
        self: &Arc<Self>,
        key: ViewerKey,
        caps: &CapSet,
        link: Link,
        outlet: Outlet,
        moved: bool,
    ) {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let display = Arc::clone(self);
            match spawn(THREAD_NAME, move || display.run()) {
                Ok(started) => *thread = Some(started),
                Err(error) => return outlet.end(&format!("no thread for pictures: {error}")),
            }
        }
        let mut state = self.state.lock();
        state.viewers.join(key, caps, link);
        if moved {
            state.viewers.await_state(key);
        }
        // Who brings its state waits for the other host to send it.
        let deadline = (!moved).then(|| Instant::now() + DISPLAY_INIT);
        state.outlets.push(Client { key, outlet, deadline });
        self.news.notify_one();
    }

    /// Descriptors can be passed to this client.
    pub fn allow_descriptors(&self, key: ViewerKey) {
        self.state.lock().viewers.allow_descriptors(key);
    }

    /// A client has gone.
    pub fn leave(&self, key: ViewerKey) {
        let mut state = self.state.lock();
        state.viewers.leave(key);
        state.outlets.retain(|client| client.key != key);
        let finished = state.take_finished();
        drop(state);
        drop(finished);
    }

    /// The client is ready. False if it was before.
    pub fn handle_init(&self, key: ViewerKey, caches: Caches) -> bool {
        let mut state = self.state.lock();
        if let Some(client) = state.outlets.iter_mut().find(|client| client.key == key) {
            client.deadline = None;
        }
        self.news.notify_one();
        state.viewers.handle_init(key, caches)
    }

    /// The client likes images compressed like this. False if there is no such way.
    pub fn handle_preferred(&self, key: ViewerKey, wanted: u8) -> bool {
        self.state.lock().viewers.handle_preferred(key, wanted)
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&self, key: ViewerKey, generation: u32) {
        self.state.lock().viewers.handle_sync(key, generation);
    }

    /// The client has got a window's worth.
    pub fn handle_ack(&self, key: ViewerKey) {
        self.state.lock().viewers.handle_ack(key);
        self.news.notify_one();
    }

    /// The client has brought its state, on the channel with this id.
    pub fn restore(&self, key: ViewerKey, channel: u8, state: migration::Display) {
        self.state.lock().viewers.restore(key, channel, state);
        self.news.notify_one();
    }

    /// The client goes to another host.
    pub fn send_off(&self, key: ViewerKey) {
        self.state.lock().viewers.send_off(key);
        self.news.notify_one();
    }

    /// What a client that was told to go takes along.
    pub fn moving(&self, key: ViewerKey) -> Option<(migration::Display, SurfaceForm)> {
        self.state.lock().viewers.moving(key)
    }

    /// The guest runs, or stands still. Worker.
    pub(super) fn set_running(&self, running: bool) {
        self.state.lock().viewers.set_running(running);
        self.news.notify_one();
    }

    /// The client has shown what a graphics card drew. False if it was not told of
    /// anything. Main.
    pub fn handle_shown(&self, key: ViewerKey) -> bool {
        let mut state = self.state.lock();
        let told = state.viewers.handle_shown(key);
        let finished = state.take_finished();
        self.news.notify_one();
        drop(state);
        drop(finished);
        told
    }

    /// Lets the host go on if clients have taken too long to show what a graphics card
    /// drew. Main, which the thread has roused.
    pub fn finish_drawing(&self) {
        let finished = self.state.lock().take_finished();
        drop(finished);
    }

    /// The client tells how a stream arrives.
    pub fn handle_report(&self, key: ViewerKey, report: &StreamReport) {
        self.state.lock().viewers.handle_report(key, report, Instant::now());
    }

    /// A client's queue has shrunk.
    pub fn handle_drained(&self) {
        // With the lock, lest the thread be between looking and waiting.
        let _state = self.state.lock();
        self.news.notify_one();
    }

    /// Whether somebody watches. Worker.
    pub(super) fn is_watched(&self) -> bool {
        !self.state.lock().viewers.is_deserted()
    }

    /// What the guest is to be told of its clients: whether there are any, and what all of
    /// them can.
    pub(super) fn guest_capabilities(&self) -> (bool, [u8; SPICE_CAPABILITIES_SIZE]) {
        let state = self.state.lock();
        let mut bytes = [0; SPICE_CAPABILITIES_SIZE];
        for cap in state.viewers.common_capabilities() {
            bytes[cap as usize / 8] |= 1 << (cap % 8);
        }
        (!state.viewers.is_deserted(), bytes)
    }

    /// There is a new primary surface. Worker.
    pub(super) fn begin_surface(&self, size: (u32, u32)) -> bool {
        let picture = Picture::black(size);
        let mut state = self.state.lock();
        let shown = picture.is_some();
        state.picture = picture;
        if shown {
            state.viewers.begin_surface(size);
        } else {
            state.viewers.end_surface();
        }
        self.news.notify_one();
        shown
    }

    /// There is none any more, or nobody watches it. Worker.
    pub(super) fn end_surface(&self) {
        let mut state = self.state.lock();
        state.picture = None;
        state.viewers.end_surface();
        self.news.notify_one();
    }

    /// The new surface has been looked through. Worker.
    pub(super) fn complete(&self) {
        self.state.lock().viewers.complete();
        self.news.notify_one();
    }

    /// These are the pixels of an area now, of at most [`BAND`] lines. Worker.
    pub(super) fn update(&self, area: Rect, pixels: &[u32]) {
        let mut state = self.state.lock();
        let Some(picture) = &mut state.picture else { return };
        let mut changed = Region::new();
        picture.update(area, pixels, &mut changed);
        if !changed.is_empty() {
            state.viewers.change(&changed, Instant::now());
            self.news.notify_one();
        }
    }

    /// These monitors show the primary surface. Worker.
    pub(super) fn set_monitors(&self, heads: Vec<Head>, max: u16) {
        self.state.lock().viewers.set_monitors(heads, max);
        self.news.notify_one();
    }

    /// There is another picture in a graphics card's buffers, or none. Where the host calls.
    pub(super) fn set_scanout(&self, scanout: Option<Scanout>) {
        let mut state = self.state.lock();
        let blind = state.viewers.set_scanout(scanout);
        state.cut_blind(&blind);
        let finished = state.take_finished();
        self.news.notify_one();
        drop(state);
        drop(finished);
    }

    /// A graphics card has drawn there; when everybody has shown that, or nobody is there to
    /// do so, it is completed. Where the host calls.
    pub(super) fn draw(&self, area: GlArea, completion: Completion) {
        let mut state = self.state.lock();
        let blind = state.viewers.draw(area, Instant::now());
        state.cut_blind(&blind);
        let finished = if state.drawing.is_none() {
            state.drawing = Some(completion);
            state.take_finished()
        } else {
            // No host may draw so soon. What it drew is shown, but not waited for.
            crate::warning_once!("a draw was begun before the one before was done");
            Some(completion)
        };
        self.news.notify_one();
        drop(state);
        drop(finished);
    }

    /// Ends the thread, and what is waited for. Main.
    pub(super) fn stop(&self) {
        let finished = {
            let mut state = self.state.lock();
            state.quit = true;
            state.drawing.take()
        };
        drop(finished);
        self.news.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // Its body is guarded.
            let _ = thread.join();
        }
    }

    /// The thread's body.
    fn run(&self) {
        let (mut encoder, mut pixels, mut id) = (Encoder::default(), Vec::new(), 0);
        while guard(THREAD_NAME, true, || self.step(&mut encoder, &mut pixels, &mut id)) {}
    }

    /// Sends one message, or waits for one; false at the end.
    fn step(&self, encoder: &mut Encoder, pixels: &mut Vec<u32>, id: &mut u64) -> bool {
        let mut state = self.state.lock();
        let work = state.next_work(pixels);
        match work {
            Work::Quit => return false,
            Work::Wait(None) => self.news.wait(&mut state),
            Work::Wait(Some(deadline)) => {
                self.news.wait_until(&mut state, deadline);
            }
            Work::Send(outlet, message) => {
                drop(state);
                outlet.send(message);
            }
            Work::Encode(key, outlet, area, detail) => {
                drop(state);
                *id += 1;
                let image = Pixels { pixels, width: area.width() };
                let lossy = detail.lossy && image.is_photo();
                let form = if lossy { Form::Jpeg(JPEG_QUALITY) } else { detail.form };
                let message = message(encoder, image, area, form, *id);
                outlet.send(message);
                if lossy {
                    self.state.lock().viewers.handle_lossy(key, detail.generation, area);
                }
            }
            Work::Frame(key, outlet, frame) => {
                drop(state);
                let image = Pixels { pixels, width: frame.area.width() };
                if let Some(message) = frame_message(image, &frame) {
                    let bytes = message.shared.len();
                    outlet.send(message);
                    self.state.lock().viewers.handle_frame(key, &frame, bytes, Instant::now());
                }
            }
        }
        true
    }
}

impl State {
    /// What there is to do for the client whose turn it is, or for the next one that can
    /// be sent something.
    fn next_work(&mut self, pixels: &mut Vec<u32>) -> Work {
        if self.quit {
            return Work::Quit;
        }
        let now = Instant::now();
        self.cut_silent(now);
        self.viewers.handle_time(now);
        if self.drawing.is_some() && !self.viewers.is_drawing() {
            // The host hears of it from its own thread.
            self.outlets.first().inspect(|client| client.outlet.rouse());
        }
        let picture = &self.picture;
        self.viewers.settle(now, |area| {
            picture.as_ref().is_some_and(|picture| picture.is_photo(area, pixels))
        });
        for _ in 0..self.outlets.len() {
            self.turn = (self.turn + 1) % self.outlets.len();
            let Client { key, outlet, .. } = &self.outlets[self.turn];
            match self.viewers.poll(*key, outlet.queued(), now) {
                None => {}
                Some(Next::Message(message)) => return Work::Send(outlet.clone(), message),
                Some(Next::Image(area, detail)) => {
                    let Some(picture) = &self.picture else { continue };
                    picture.copy(area, pixels);
                    return Work::Encode(*key, outlet.clone(), area, detail);
                }
                Some(Next::Frame(frame)) => {
                    let Some(picture) = &self.picture else { continue };
                    picture.copy(frame.area, pixels);
                    return Work::Frame(*key, outlet.clone(), frame);
                }
            }
        }
        let again = self.viewers.due(now);
        let silent = self.outlets.iter().filter_map(|client| client.deadline);
        Work::Wait(silent.chain(again).chain(self.viewers.draw_deadline()).min())
    }

    /// What is done now. To be dropped without the lock: the host is told then.
    fn take_finished(&mut self) -> Option<Completion> {
        self.drawing.take_if(|_| !self.viewers.is_drawing())
    }

    /// Cuts those who cannot be shown what there is.
    fn cut_blind(&self, blind: &[ViewerKey]) {
        for client in self.outlets.iter().filter(|client| blind.contains(&client.key)) {
            client.outlet.end("the client cannot show the buffers of a graphics card");
        }
    }

    /// Cuts those who do not say that they are ready.
    fn cut_silent(&mut self, now: Instant) {
        for client in &mut self.outlets {
            if client.deadline.is_some_and(|deadline| deadline <= now) {
                client.deadline = None;
                client.outlet.end("no DISPLAY_INIT came");
            }
        }
    }
}

/// The image of an area.
fn message(encoder: &mut Encoder, pixels: Pixels<'_>, area: Rect, form: Form, id: u64) -> Outgoing {
    let encoded = encoder.encode(pixels, form);
    let head = draw_copy(PRIMARY, place_of(&area), id, encoded.kind);
    Outgoing::large(to_client::DRAW_COPY, head, encoded.data)
}

/// A frame of a stream; `None` if there is no JPEG of it.
fn frame_message(pixels: Pixels<'_>, frame: &Frame) -> Option<Outgoing> {
    let data = match jpeg_frame(pixels, frame.quality) {
        Ok(data) => data,
        Err(error) => {
            crate::debug!("a frame is left out: {error}");
            return None;
        }
    };
    let (now, length) = (clock::monotonic_ms(), data.len() as u32);
    let (kind, head) = match frame.part {
        None => (to_client::STREAM_DATA, stream_data(frame.id, now, length)),
        Some(changed) => {
            let time = now.wrapping_sub(changed.elapsed().as_millis() as u32);
            let head = stream_data_sized(frame.id, time, place_of(&frame.area), length);
            (to_client::STREAM_DATA_SIZED, head)
        }
    };
    Some(Outgoing::large(kind, head, data.into()))
}
