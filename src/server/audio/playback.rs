//! What the guest plays, on its way to the client of the playback channel.
//!
//! Runs under the host's serialisation. The host fills frames of ours
//! (`host/sound.rs`); what waits for the client is in [`Playback`].

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use super::encoder::FrameEncoder;
use super::send_all;
use crate::channel::framing::Message;
use crate::channel::packer::Packer;
use crate::channels::playback::{self, Frame, Playback};
use crate::channels::sound::Knows;
use crate::config::limits;
use crate::host::clock;
use crate::host::sound::{self, Borrower, SoundDevice};
use crate::net::sys::opus;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::wire::ChannelKey;
use crate::wire::audio::playback::{CAP_OPUS, CAP_VOLUME, CHANNEL};
use crate::wire::link::CapSet;

/// A sound output and its channel.
pub struct Speaker {
    device: SoundDevice,
    /// Its name among those to whom frames are lent.
    name: u64,
    server: Weak<Server>,
    playback: RefCell<Playback>,
    client: RefCell<Option<Rc<Connection>>>,
    /// The host has said at which rate it plays.
    rate_told: Cell<bool>,
}

impl Speaker {
    pub(super) fn new(device: SoundDevice, server: Weak<Server>, compression: bool) -> Self {
        let mut playback = Playback::default();
        playback.set_compression(compression);
        Self {
            device,
            name: sound::new_name(),
            server,
            playback: RefCell::new(playback),
            client: RefCell::default(),
            rate_told: Cell::default(),
        }
    }

    pub(super) fn is(&self, device: SoundDevice) -> bool {
        self.device == device
    }

    /// The guest begins to play.
    pub fn start(&self) {
        self.change(Playback::start);
    }

    /// The guest stops playing.
    pub fn stop(&self) {
        let heard = self.playback.borrow_mut().stop();
        if heard && let Some(server) = self.server.upgrade() {
            server.tell_multimedia_time();
        }
        self.send();
    }

    /// A frame for the host to fill; none without anybody who would hear it.
    pub fn lend_frame(&self) -> Option<NonNull<u32>> {
        let (listener, waiting) = {
            let playback = self.playback.borrow();
            (playback.listener(), playback.waiting_frames())
        };
        let borrower = Borrower { device: self.name, client: listener? };
        let taken = sound::count_lent(borrower) + waiting;
        if taken < limits::FRAMES { sound::lend(borrower) } else { None }
    }

    /// A frame that was lent comes back filled.
    pub fn play(&self, borrower: Borrower, frame: Box<Frame>) {
        if borrower.device == self.name {
            let now = clock::monotonic_ms();
            self.change(|playback| playback.play(borrower.client, now, frame));
        }
    }

    /// Samples a second from now on.
    pub fn set_rate(&self, rate: u32) {
        self.rate_told.set(true);
        self.change(|playback| playback.set_rate(rate));
        if let Some(server) = self.server.upgrade() {
            server.renew_offer(self);
        }
    }

    /// The volume of each ear.
    pub fn set_volume(&self, volume: &[u16]) {
        self.change(|playback| playback.set_volume(volume));
    }

    /// Silent or not.
    pub fn set_mute(&self, muted: bool) {
        self.change(|playback| playback.set_mute(muted));
    }

    pub(super) fn is_heard(&self) -> bool {
        self.playback.borrow().listener().is_some()
    }

    pub(super) fn set_compression(&self, compression: bool) {
        self.change(|playback| playback.set_compression(compression));
    }

    fn knows(&self, connection: &Connection) -> Knows {
        let caps = &connection.caps;
        let opus = caps.has(CAP_OPUS) && self.opus_rate().is_some();
        Knows { volume: caps.has(CAP_VOLUME), opus }
    }

    fn change(&self, change: impl FnOnce(&mut Playback)) {
        change(&mut self.playback.borrow_mut());
        self.send();
    }

    fn send(&self) {
        let client = self.client.borrow().clone();
        if let (Some(client), Some(server)) = (client, self.server.upgrade()) {
            let now = clock::monotonic_ms();
            send_all(&server, &client, |queued| self.playback.borrow_mut().poll(queued, now));
        }
    }

    /// The rate that frames can be encoded at, once the host has told one.
    fn opus_rate(&self) -> Option<u32> {
        let told = self.rate_told.get() && opus::AVAILABLE;
        self.playback.borrow().opus_rate().filter(|_| told)
    }
}

impl Served for Speaker {
    fn channel(&self) -> ChannelKey {
        CHANNEL
    }

    fn label(&self) -> String {
        "channel playback:0".to_owned()
    }

    fn capabilities(&self) -> CapSet {
        let opus = self.opus_rate().map(|_| CAP_OPUS);
        [CAP_VOLUME].into_iter().chain(opus).collect()
    }

    fn terms(&self) -> Terms {
        Terms { rules: playback::rules, chunk: SMALL_CHUNK, data: None, busy: false }
    }

    fn packer(&self, caps: &CapSet) -> Option<Box<dyn Packer>> {
        let rate = self.opus_rate().filter(|_| caps.has(CAP_OPUS))?;
        Some(Box::new(FrameEncoder::new(rate)))
    }

    fn is_urgent(&self) -> bool {
        true
    }

    fn full_at(&self) -> usize {
        limits::SOUND_QUEUED
    }

    fn is_shared(&self) -> bool {
        false
    }

    /// Whoever links last hears the sound.
    fn make_way(&self, server: &Rc<Server>, _: &str) -> bool {
        let before = self.client.borrow().clone();
        if let Some(before) = before {
            server.close_connection(&before, "another client takes over the channel");
        }
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let knows = self.knows(connection);
        *self.client.borrow_mut() = Some(Rc::clone(connection));
        self.change(|playback| playback.join(connection.id, knows));
    }

    /// It knows mode and levels; that sound is on its way it is told again.
    fn attach_moved(&self, connection: &Rc<Connection>) {
        let knows = self.knows(connection);
        *self.client.borrow_mut() = Some(Rc::clone(connection));
        self.change(|playback| playback.join_moved(connection.id, knows));
    }

    fn detach(&self, connection: &Rc<Connection>) {
        self.client.borrow_mut().take_if(|client| client.id == connection.id);
        let heard = self.playback.borrow_mut().leave(connection.id);
        if heard && let Some(server) = self.server.upgrade() {
            server.tell_multimedia_time();
        }
    }

    fn handle_message(&self, _: &Rc<Connection>, message: Message) -> Outcome {
        match playback::handle(&message) {
            Ok(()) => Outcome::Handled,
            Err(malformed) => Outcome::Refused(malformed.to_string()),
        }
    }

    fn handle_drained(&self, _: &Rc<Connection>) {
        self.send();
    }
}
