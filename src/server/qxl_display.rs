//! The display channel of a graphics device (docs/protocol/display.md).
//!
//! Runs under the host's serialisation. Clients and what they say are handed on to the
//! device's [`Display`]; what they are sent comes from its thread, past this one where the
//! I/O thread has the connection.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;

use super::Server;
use super::connection::{Connection, Passage};
use super::outlet::{Gathered, Outlet};
use super::qxl::{Display, QxlHandle};
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channels::display::viewers::Link;
use crate::channels::display::{self, Request};
use crate::config::limits;
use crate::wire::ChannelKey;
use crate::wire::display::capability;
use crate::wire::link::CapSet;
use crate::wire::migration::display as migration;

/// The channel.
pub(super) struct QxlDisplay {
    channel: ChannelKey,
    server: Weak<Server>,
    device: Arc<QxlHandle>,
    viewers: RefCell<Vec<Viewer>>,
}

/// A client's connection, and what comes for it by the main loop.
#[derive(Clone)]
struct Viewer {
    connection: Rc<Connection>,
    gathered: Arc<Gathered>,
}

impl QxlDisplay {
    pub(super) fn new(id: u8, server: &Weak<Server>, device: &Arc<QxlHandle>) -> Self {
        Self {
            channel: ChannelKey { kind: ChannelKey::DISPLAY, id },
            server: Weak::clone(server),
            device: Arc::clone(device),
            viewers: RefCell::default(),
        }
    }

    /// Whether it is this device's.
    pub(super) fn is_of(&self, device: &Arc<QxlHandle>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }

    fn display(&self) -> &Arc<Display> {
        self.device.display()
    }

    /// Hands on what the display's thread has left for the main loop.
    pub(super) fn pass_on(&self) {
        self.display().finish_drawing();
        let viewers = self.viewers.borrow().clone();
        for viewer in viewers {
            viewer.pass_on(self);
        }
    }

    /// Whether it is the first of a client's displays: the one that opens what all of them
    /// share.
    fn is_first_of(&self, session: u32) -> bool {
        let Some(server) = self.server.upgrade() else { return true };
        let displays = server.pictures.borrow().clone();
        let watched = |display: &&Rc<Self>| {
            let viewers = display.viewers.borrow();
            viewers.iter().any(|viewer| viewer.connection.session == session)
        };
        let first = displays.iter().filter(watched).map(|display| display.channel.id).min();
        first.is_none_or(|first| first == self.channel.id)
    }

    fn doom(&self, connection: &Connection, ending: Ending) {
        if let Some(server) = self.server.upgrade() {
            server.doom(connection, ending);
        }
    }
}

impl Viewer {
    fn pass_on(&self, channel: &QxlDisplay) {
        let (messages, end) = self.gathered.take();
        let taken = messages.iter().map(|message| message.head.len() + message.shared.len()).sum();
        for message in messages {
            let sent = self.connection.send_outgoing(message);
            if let Err(error) = sent {
                return channel.doom(&self.connection, Ending::fault(error));
            }
        }
        if let Some(reason) = end {
            channel.doom(&self.connection, Ending::Fault(reason));
        }
        self.gathered.handed_on(taken);
        // Asks in any case, to be told when the queue has shrunk.
        let full = self.connection.is_full();
        if taken > 0 && !full {
            channel.display().handle_drained();
        }
    }
}

impl Served for QxlDisplay {
    fn channel(&self) -> ChannelKey {
        self.channel
    }

    fn label(&self) -> String {
        format!("channel display:{}", self.channel.id)
    }

    fn capabilities(&self) -> CapSet {
        CapSet::from_iter([
            capability::MONITORS_CONFIG,
            capability::PREF_COMPRESSION,
            capability::STREAM_REPORT,
            capability::PREF_VIDEO_CODEC_TYPE,
        ])
    }

    fn terms(&self) -> Terms {
        Terms { rules: display::rules, chunk: SMALL_CHUNK, data: None, busy: true }
    }

    fn full_at(&self) -> usize {
        limits::PICTURES_QUEUED
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let Some(server) = self.server.upgrade() else { return };
        let outlet: Outlet = connection.outlet(server.rouse_hook());
        let gathered = outlet.gathered();
        self.viewers.borrow_mut().push(Viewer { connection: Rc::clone(connection), gathered });
        let moved = connection.passage() == Passage::Awaited;
        let link = Link { local: connection.local, bit_rate: server.bit_rate(connection.session) };
        self.display().join(connection.id, &connection.caps, link, outlet, moved);
        if connection.passes_descriptors {
            self.display().allow_descriptors(connection.id);
        }
        self.device.viewers_changed();
    }

    fn detach(&self, connection: &Rc<Connection>) {
        self.viewers.borrow_mut().retain(|viewer| viewer.connection.id != connection.id);
        self.display().leave(connection.id);
        self.device.viewers_changed();
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        let (display, key) = (self.display(), connection.id);
        match display::handle(&message) {
            Ok(Request::Sync(generation)) => display.handle_sync(key, generation),
            Ok(Request::Ack) => display.handle_ack(key),
            Ok(Request::Init(caches)) => {
                if !display.handle_init(key, caches) {
                    return Outcome::Refused("a second DISPLAY_INIT".to_owned());
                }
            }
            Ok(Request::Compression(wanted)) => {
                if !display.handle_preferred(key, wanted) {
                    crate::warning!(
                        about &**connection;
                        "{connection}: there is no compression {wanted}"
                    );
                }
            }
            Ok(Request::Report(report)) => display.handle_report(key, &report),
            Ok(Request::Nothing) => {}
            Ok(Request::GlDrawDone) => {
                if !display.handle_shown(key) {
                    return Outcome::Refused("GL_DRAW_DONE without a draw".to_owned());
                }
            }
            Err(malformed) => return Outcome::Refused(malformed.to_string()),
        }
        Outcome::Handled
    }

    fn moves(&self) -> bool {
        true
    }

    /// The display's thread says MIGRATE, behind what the client has not seen.
    fn send_off(&self, connection: &Rc<Connection>) {
        connection.finish();
        self.display().send_off(connection.id);
    }

    fn migration_data(&self, connection: &Rc<Connection>) -> Result<Bytes, String> {
        let (state, form) =
            self.display().moving(connection.id).ok_or("a flush mark before MIGRATE")?;
        let serial = connection.next_serial();
        let opens_cache = self.is_first_of(connection.session);
        Ok(migration::Display { serial, opens_cache, ..state }.encode(form).into())
    }

    fn restore(&self, connection: &Rc<Connection>, body: &Bytes) -> Result<(), String> {
        let state = migration::Display::parse(body, limits::MIGRATED_SURFACES)
            .map_err(|bad| bad.to_string())?;
        connection.continue_serials(state.serial);
        self.display().restore(connection.id, self.channel.id, state);
        Ok(())
    }

    fn handle_drained(&self, _: &Rc<Connection>) {
        self.display().handle_drained();
    }
}
