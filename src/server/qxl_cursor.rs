//! The cursor channel of a graphics device (docs/protocol/cursor.md).
//!
//! Runs under the host's serialisation. The device's worker reads the guest's commands and
//! leaves what they come to in its [`News`]; the main loop takes them from there. A client
//! that lags never holds anything up: what waits for it in the [`Pointer`] is replaced by
//! what is newer.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Server;
use super::connection::Connection;
use super::qxl::{Change, ChangeHook, News, QxlHandle};
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channels::cursor::{self, Pointer, Request};
use crate::config::limits;
use crate::wire::ChannelKey;
use crate::wire::cursor::CHANNEL;
use crate::wire::link::CapSet;
use crate::wire::main::mouse_mode;

/// What the server keeps of pointers.
#[derive(Default)]
pub(super) struct Cursors {
    channels: RefCell<Vec<Rc<QxlCursor>>>,
    /// Some worker has left news.
    changed: Arc<AtomicBool>,
}

/// The channel.
pub(super) struct QxlCursor {
    channel: ChannelKey,
    server: Weak<Server>,
    news: Arc<News>,
    pointer: RefCell<Pointer>,
    clients: RefCell<Vec<Rc<Connection>>>,
}

impl Server {
    /// Puts the cursor channel of a graphics device on offer.
    pub(super) fn offer_cursor(self: &Rc<Self>, handle: &QxlHandle) {
        let channel = u8::try_from(handle.id()).map(|id| ChannelKey { kind: CHANNEL, id });
        let Some(channel) = channel.ok().filter(|channel| self.channel_of(*channel).is_none())
        else {
            return crate::warning!("graphics device {} has no cursor channel", handle.id());
        };
        let cursor = Rc::new(QxlCursor {
            channel,
            server: Rc::downgrade(self),
            news: Arc::clone(handle.cursor()),
            pointer: RefCell::default(),
            clients: RefCell::default(),
        });
        handle.cursor().tell(self.cursor_hook());
        cursor.settle(self);
        self.cursors.channels.borrow_mut().push(Rc::clone(&cursor));
        self.offer_channel(cursor);
    }

    /// Takes it back.
    pub(super) fn withdraw_cursor(self: &Rc<Self>, handle: &QxlHandle) {
        let mut channels = self.cursors.channels.borrow_mut();
        let ours = channels.iter().position(|cursor| Arc::ptr_eq(&cursor.news, handle.cursor()));
        let gone = ours.map(|at| channels.remove(at).channel);
        drop(channels);
        if let Some(channel) = gone {
            self.withdraw_channel(channel, "the graphics device was removed");
        }
    }

    /// Passes on what the workers have left.
    pub(super) fn settle_cursors(&self) {
        if self.cursors.changed.swap(false, Ordering::SeqCst) {
            let channels = self.cursors.channels.borrow().clone();
            for cursor in channels {
                cursor.settle(self);
            }
        }
    }

    fn cursor_hook(&self) -> ChangeHook {
        let changed = Arc::clone(&self.cursors.changed);
        let rouse = self.io.borrow().as_ref().map(|io| io.rouser());
        Box::new(move || {
            changed.store(true, Ordering::SeqCst);
            if let Some(rouse) = &rouse {
                rouse();
            }
        })
    }
}

impl QxlCursor {
    fn settle(&self, server: &Server) {
        let changes = self.news.take();
        if changes.is_empty() {
            return;
        }
        // Where the client has the pointer it knows where that is.
        let follows = server.mouse_modes().current == mouse_mode::SERVER;
        let mut pointer = self.pointer.borrow_mut();
        for change in changes {
            match change {
                Change::Reset => pointer.reset(),
                Change::Begin => pointer.begin_again(),
                Change::Set { place, visible, shape, picture } => {
                    pointer.show(place, visible, shape, &picture);
                }
                Change::Move(place) => pointer.guest_moves(place, follows),
                Change::Hide => pointer.hide(),
                Change::Trail(trail) => pointer.set_trail(trail),
            }
        }
        drop(pointer);
        let clients = self.clients.borrow().clone();
        for client in clients {
            self.send(&client);
        }
    }

    /// Hands a client what may leave now.
    fn send(&self, client: &Connection) {
        loop {
            let next = self.pointer.borrow_mut().poll(client.id, client.queued());
            let Some(message) = next else {
                break;
            };
            let sent = client.send_outgoing(message);
            if let Err(error) = sent {
                if let Some(server) = self.server.upgrade() {
                    server.doom(client, Ending::fault(error));
                }
                return;
            }
        }
        // Asks to be told when there is room.
        client.is_full();
    }
}

impl Served for QxlCursor {
    fn channel(&self) -> ChannelKey {
        self.channel
    }

    fn label(&self) -> String {
        format!("channel cursor:{}", self.channel.id)
    }

    fn capabilities(&self) -> CapSet {
        CapSet::default()
    }

    fn terms(&self) -> Terms {
        Terms { rules: cursor::rules, chunk: SMALL_CHUNK, data: None, busy: false }
    }

    fn full_at(&self) -> usize {
        limits::POINTERS_QUEUED
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let Some(server) = self.server.upgrade() else { return };
        // First what the others hear, so that the newcomer is told the newest.
        self.settle(&server);
        self.clients.borrow_mut().push(Rc::clone(connection));
        let bit_rate = server.bit_rate(connection.session);
        self.pointer.borrow_mut().join(connection.id, bit_rate);
        self.send(connection);
    }

    fn attach_moved(&self, connection: &Rc<Connection>) {
        let Some(server) = self.server.upgrade() else { return };
        self.settle(&server);
        self.clients.borrow_mut().push(Rc::clone(connection));
        let bit_rate = server.bit_rate(connection.session);
        self.pointer.borrow_mut().join_moved(connection.id, bit_rate);
        self.send(connection);
    }

    fn send_off(&self, connection: &Rc<Connection>) {
        connection.finish();
        self.pointer.borrow_mut().send_off(connection.id);
        self.send(connection);
    }

    fn detach(&self, connection: &Rc<Connection>) {
        self.clients.borrow_mut().retain(|client| client.id != connection.id);
        self.pointer.borrow_mut().leave(connection.id);
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        match cursor::handle(&message) {
            Ok(Request::Sync(generation)) => {
                self.pointer.borrow_mut().handle_sync(connection.id, generation);
            }
            Ok(Request::Ack) => {
                self.pointer.borrow_mut().handle_ack(connection.id);
                self.send(connection);
            }
            Ok(Request::Nothing) => {}
            Err(malformed) => return Outcome::Refused(malformed.to_string()),
        }
        Outcome::Handled
    }

    fn handle_drained(&self, connection: &Rc<Connection>) {
        self.send(connection);
    }
}
