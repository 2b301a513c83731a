//! The display channel of a stream device (docs/protocol/stream.md).
//!
//! Runs under the host's serialisation. What each client has to be told waits in the
//! [`Screen`]; from here it goes to the connections as they take it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::Server;
use super::connection::Connection;
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use super::stream_device::Device;
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channels::display::{self, Request};
use crate::channels::stream_device::screen::Screen;
use crate::fault;
use crate::wire::ChannelKey;
use crate::wire::display::capability;
use crate::wire::link::CapSet;
use crate::wire::stream_device::Format;

/// The channel.
pub(super) struct StreamDisplay {
    channel: ChannelKey,
    server: Weak<Server>,
    device: Weak<Device>,
    screen: RefCell<Screen>,
    viewers: RefCell<Vec<Rc<Connection>>>,
}

impl StreamDisplay {
    pub(super) fn new(id: u8, server: &Weak<Server>, device: &Weak<Device>) -> Self {
        Self {
            channel: ChannelKey { kind: ChannelKey::DISPLAY, id },
            server: Weak::clone(server),
            device: Weak::clone(device),
            screen: RefCell::default(),
            viewers: RefCell::default(),
        }
    }

    /// The codecs that all clients have; none without clients.
    pub(super) fn codecs(&self) -> Vec<u8> {
        self.screen.borrow().codecs()
    }

    /// Whether nobody watches.
    pub(super) fn is_deserted(&self) -> bool {
        self.screen.borrow().is_deserted()
    }

    /// A stream begins.
    pub(super) fn begin(&self, format: Format) {
        self.screen.borrow_mut().begin(format);
        self.send_all();
    }

    /// A frame of it.
    pub(super) fn show(&self, time: u32, frame: &Bytes) {
        self.screen.borrow_mut().show(time, frame);
        self.send_all();
    }

    /// The guest begins anew.
    pub(super) fn reset(&self) {
        self.screen.borrow_mut().reset();
        self.send_all();
    }

    /// Whether a client has not got everything yet. The device is told when that may
    /// have changed.
    pub(super) fn is_behind(&self) -> bool {
        self.viewers().iter().any(|viewer| self.lags(viewer))
    }

    /// Cuts the clients that have not got everything, if there are others.
    pub(super) fn cut_those_behind(&self) {
        let (behind, others): (Vec<_>, Vec<_>) =
            self.viewers().into_iter().partition(|viewer| self.lags(viewer));
        if !others.is_empty() {
            for viewer in behind {
                self.doom(&viewer, Ending::fault("holds up what others watch too"));
            }
        }
    }

    /// Cuts all clients.
    pub(super) fn cut_all(&self, reason: &str) {
        for viewer in self.viewers() {
            self.doom(&viewer, Ending::fault(reason));
        }
    }

    fn viewers(&self) -> Vec<Rc<Connection>> {
        self.viewers.borrow().clone()
    }

    fn lags(&self, viewer: &Connection) -> bool {
        // Asks in any case, to be told when the queue has emptied.
        viewer.is_full() | self.screen.borrow().has_waiting(viewer.id)
    }

    fn send_all(&self) {
        for viewer in self.viewers() {
            self.send(&viewer);
        }
    }

    /// Hands a client what may leave now.
    fn send(&self, viewer: &Connection) {
        loop {
            let next = self.screen.borrow_mut().poll(viewer.id, viewer.queued());
            let Some(message) = next else {
                break;
            };
            let sent = viewer.send_outgoing(message);
            if let Err(error) = sent {
                return self.doom(viewer, Ending::fault(error));
            }
        }
        self.lags(viewer);
    }

    fn doom(&self, viewer: &Connection, ending: Ending) {
        if let Some(server) = self.server.upgrade() {
            server.doom(viewer, ending);
        }
    }

    /// The device goes on, if it waited for what has just happened.
    fn let_device_go_on(&self) {
        if let Some(device) = self.device.upgrade() {
            device.kind().go_on();
        }
    }
}

impl Served for StreamDisplay {
    fn channel(&self) -> ChannelKey {
        self.channel
    }

    fn label(&self) -> String {
        format!("channel display:{}", self.channel.id)
    }

    fn capabilities(&self) -> CapSet {
        CapSet::from_iter([
            capability::MONITORS_CONFIG,
            capability::STREAM_REPORT,
            capability::PREF_VIDEO_CODEC_TYPE,
        ])
    }

    fn terms(&self) -> Terms {
        Terms { rules: display::rules, chunk: SMALL_CHUNK, data: None, busy: false }
    }

    /// The next frame is read when the one before has left.
    fn full_at(&self) -> usize {
        1
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        self.viewers.borrow_mut().push(Rc::clone(connection));
        self.screen.borrow_mut().join(connection.id, &connection.caps);
        self.send(connection);
        if let Some(device) = self.device.upgrade() {
            device.kind().state_codecs();
        }
    }

    fn detach(&self, connection: &Rc<Connection>) {
        let before = self.viewers().len();
        self.viewers.borrow_mut().retain(|viewer| viewer.id != connection.id);
        if self.viewers().len() == before {
            return;
        }
        self.screen.borrow_mut().leave(connection.id);
        if self.is_deserted()
            && let Some(device) = self.device.upgrade()
        {
            device.kind().state_codecs();
        }
        self.let_device_go_on();
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        fault::point("display message");
        match display::handle(&message) {
            Ok(Request::Sync(generation)) => {
                self.screen.borrow_mut().handle_sync(connection.id, generation);
            }
            Ok(Request::Ack) => {
                self.screen.borrow_mut().handle_ack(connection.id);
                self.send(connection);
                self.let_device_go_on();
            }
            Ok(
                Request::Init(_) | Request::Compression(_) | Request::Report(_) | Request::Nothing,
            ) => {}
            Ok(Request::GlDrawDone) => {
                return Outcome::Refused("nothing was drawn by a GL device".to_owned());
            }
            Err(malformed) => return Outcome::Refused(malformed.to_string()),
        }
        Outcome::Handled
    }

    fn handle_drained(&self, connection: &Rc<Connection>) {
        self.send(connection);
        self.let_device_go_on();
    }
}
