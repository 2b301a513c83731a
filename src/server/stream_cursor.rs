//! The cursor channel of a stream device (docs/protocol/stream.md).
//!
//! Runs under the host's serialisation. A client that lags never holds the device up:
//! what waits for it in the [`Pointer`] is replaced by what is newer.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::Server;
use super::connection::Connection;
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channels::cursor::{self, Pointer, Request};
use crate::config::limits;
use crate::fault;
use crate::wire::ChannelKey;
use crate::wire::cursor::{CHANNEL, Point, Shape};
use crate::wire::link::CapSet;

/// The channel.
pub(super) struct StreamCursor {
    channel: ChannelKey,
    server: Weak<Server>,
    pointer: RefCell<Pointer>,
    clients: RefCell<Vec<Rc<Connection>>>,
}

impl StreamCursor {
    pub(super) fn new(id: u8, server: &Weak<Server>) -> Self {
        Self {
            channel: ChannelKey { kind: CHANNEL, id },
            server: Weak::clone(server),
            pointer: RefCell::default(),
            clients: RefCell::default(),
        }
    }

    /// The pointer looks like this from now on.
    pub(super) fn set(&self, shape: Shape, picture: &Bytes) {
        self.pointer.borrow_mut().set(shape, picture);
        self.send_all();
    }

    /// The pointer is there from now on.
    pub(super) fn move_to(&self, place: Point) {
        self.pointer.borrow_mut().move_to(place);
        self.send_all();
    }

    fn clients(&self) -> Vec<Rc<Connection>> {
        self.clients.borrow().clone()
    }

    fn send_all(&self) {
        for client in self.clients() {
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
                return self.doom(client, Ending::fault(error));
            }
        }
        // Asks to be told when there is room.
        client.is_full();
    }

    fn doom(&self, client: &Connection, ending: Ending) {
        if let Some(server) = self.server.upgrade() {
            server.doom(client, ending);
        }
    }
}

impl Served for StreamCursor {
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
        self.clients.borrow_mut().push(Rc::clone(connection));
        let server = self.server.upgrade();
        let bit_rate = server.and_then(|server| server.bit_rate(connection.session));
        self.pointer.borrow_mut().join(connection.id, bit_rate);
        self.send(connection);
    }

    fn detach(&self, connection: &Rc<Connection>) {
        self.clients.borrow_mut().retain(|client| client.id != connection.id);
        self.pointer.borrow_mut().leave(connection.id);
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        fault::point("cursor message");
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
