//! What the client of the record channel hears, on its way to the guest.
//!
//! Runs under the host's serialisation, decoding too: it costs a quarter of
//! what encoding does, about as much as a hop to another thread would.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::send_all;
use crate::channel::framing::Message;
use crate::channels::record::{self, Incoming, Record};
use crate::channels::sound::Knows;
use crate::config::limits;
use crate::host::sound::SoundDevice;
use crate::net::sys::opus::{self, Decoder};
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::wire::ChannelKey;
use crate::wire::audio::record::{CAP_OPUS, CAP_VOLUME, CHANNEL};
use crate::wire::link::CapSet;

/// A sound input and its channel.
pub struct Microphone {
    device: SoundDevice,
    server: Weak<Server>,
    record: RefCell<Record>,
    client: RefCell<Option<Rc<Connection>>>,
    /// The client's, once it has said that it sends packets.
    decoder: RefCell<Option<Decoder>>,
    /// The host has said at which rate it records.
    rate_told: Cell<bool>,
}

impl Microphone {
    pub(super) fn new(device: SoundDevice, server: Weak<Server>) -> Self {
        Self {
            device,
            server,
            record: RefCell::default(),
            client: RefCell::default(),
            decoder: RefCell::default(),
            rate_told: Cell::default(),
        }
    }

    pub(super) fn is(&self, device: SoundDevice) -> bool {
        self.device == device
    }

    /// The guest begins to record.
    pub fn start(&self) {
        self.change(Record::start);
    }

    /// The guest stops recording.
    pub fn stop(&self) {
        self.change(Record::stop);
    }

    /// Fetches up to `most` samples.
    pub fn fetch(&self, most: usize) -> Vec<u32> {
        self.record.borrow_mut().fetch(most)
    }

    /// Samples a second from now on.
    pub fn set_rate(&self, rate: u32) {
        self.rate_told.set(true);
        self.change(|record| record.set_rate(rate));
        if let Some(server) = self.server.upgrade() {
            server.renew_offer(self);
        }
    }

    /// The volume of each ear.
    pub fn set_volume(&self, volume: &[u16]) {
        self.change(|record| record.set_volume(volume));
    }

    /// Silent or not.
    pub fn set_mute(&self, muted: bool) {
        self.change(|record| record.set_mute(muted));
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.borrow_mut());
        self.send();
    }

    fn send(&self) {
        let client = self.client.borrow().clone();
        if let (Some(client), Some(server)) = (client, self.server.upgrade()) {
            send_all(&server, &client, |queued| self.record.borrow_mut().poll(queued));
        }
    }

    fn handle(&self, key: u64, message: &Message) -> Result<(), String> {
        let incoming = self.record.borrow_mut().handle(key, message);
        match incoming.map_err(|refusal| refusal.to_string())? {
            Incoming::Done => {}
            Incoming::OpusAt(rate) => {
                let decoder = Decoder::new(rate).map_err(|error| error.to_string())?;
                *self.decoder.borrow_mut() = Some(decoder);
            }
            Incoming::Packet(packet) => {
                let mut samples = vec![0; 2 * limits::OPUS_SAMPLES];
                let mut decoder = self.decoder.borrow_mut();
                let decoder = decoder.as_mut().ok_or("a packet before its mode")?;
                let length =
                    decoder.decode(packet, &mut samples).map_err(|error| error.to_string())?;
                self.record.borrow_mut().handle_decoded(key, &samples[..length]);
            }
        }
        Ok(())
    }
}

impl Served for Microphone {
    fn channel(&self) -> ChannelKey {
        CHANNEL
    }

    fn label(&self) -> String {
        "channel record:0".to_owned()
    }

    fn capabilities(&self) -> CapSet {
        let opus =
            self.rate_told.get() && opus::AVAILABLE && self.record.borrow().opus_rate().is_some();
        [CAP_VOLUME].into_iter().chain(opus.then_some(CAP_OPUS)).collect()
    }

    fn terms(&self) -> Terms {
        Terms { rules: record::rules, chunk: SMALL_CHUNK, data: None, busy: false }
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

    /// Whoever links last is recorded.
    fn make_way(&self, server: &Rc<Server>, _: &str) -> bool {
        let before = self.client.borrow().clone();
        if let Some(before) = before {
            server.close_connection(&before, "another client takes over the channel");
        }
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let caps = &connection.caps;
        let knows = Knows { volume: caps.has(CAP_VOLUME), opus: caps.has(CAP_OPUS) };
        *self.client.borrow_mut() = Some(Rc::clone(connection));
        *self.decoder.borrow_mut() = None;
        self.change(|record| record.join(connection.id, knows));
    }

    fn detach(&self, connection: &Rc<Connection>) {
        self.client.borrow_mut().take_if(|client| client.id == connection.id);
        self.record.borrow_mut().leave(connection.id);
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        self.handle(connection.id, &message).map_or_else(Outcome::Refused, |()| Outcome::Handled)
    }

    fn handle_drained(&self, _: &Rc<Connection>) {
        self.send();
    }
}
