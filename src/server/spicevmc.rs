//! A usbredir, port or webdav device and its channel.
//!
//! Runs under the host's serialisation. Every call into the device may come back
//! into the library: no borrow is held across one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::connection::Connection;
use super::deadlines::{DeviceId, Due};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channels::spicevmc::{self, Request};
use crate::chardev::{self, NoToken, ReadStep, WriteStep};
use crate::config::limits;
use crate::guard::guard;
use crate::host::char_device::CharDevice;
use crate::wire::ChannelKey;
use crate::wire::spicevmc::{self as wire, event};

/// One device.
pub struct Device {
    pub(super) id: DeviceId,
    pub(super) channel: ChannelKey,
    server: Weak<Server>,
    host: CharDevice,
    /// The name of a port; other devices have no port messages.
    port_name: Option<Vec<u8>>,
    port_opened: Cell<bool>,
    core: RefCell<chardev::Device>,
    connection: RefCell<Option<Rc<Connection>>>,
    /// The device tells when it becomes writable; others are tried again later.
    notifies_writable: bool,
    /// The host has taken the device away: it must not be called any more.
    removed: Cell<bool>,
}

/// What became of a client's message.
pub(super) enum Outcome {
    /// Done.
    Handled,
    /// The device is full: keep the message and come back.
    Full(Message),
    /// The client broke the protocol.
    Refused(String),
}

impl Device {
    pub(super) fn new(
        id: DeviceId,
        channel: ChannelKey,
        server: Weak<Server>,
        host: CharDevice,
        port_name: Option<Vec<u8>>,
    ) -> Self {
        Self {
            id,
            channel,
            server,
            host,
            port_name,
            port_opened: Cell::new(false),
            core: RefCell::new(chardev::Device::new(limits::SELF_TOKENS)),
            connection: RefCell::default(),
            notifies_writable: host.notifies_writable(),
            removed: Cell::new(false),
        }
    }

    /// The server it was added to, as long as that lives.
    pub fn server(&self) -> Option<Rc<Server>> {
        self.server.upgrade()
    }

    /// The host's side of it.
    pub fn host(&self) -> CharDevice {
        self.host
    }

    /// The client connected to it, if any.
    pub(super) fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.borrow().clone()
    }

    /// Lets data flow.
    pub(super) fn start(&self) {
        self.core.borrow_mut().start();
        self.wakeup();
    }

    /// Holds data back.
    pub(super) fn stop(&self) {
        self.core.borrow_mut().stop();
        self.cancel_retry();
    }

    /// The device can take or has got data.
    pub fn wakeup(&self) {
        self.contained(|| {
            self.write_out();
            self.read_in();
        });
    }

    /// The time to try a refused write again has come.
    pub(super) fn handle_retry(&self) {
        self.contained(|| self.write_out());
    }

    /// Runs a step; a panic in it ends this device's traffic and cuts its client,
    /// because what the step left behind is suspect.
    fn contained(&self, step: impl FnOnce()) {
        let sound = guard("device step", false, || {
            step();
            true
        });
        if !sound {
            self.stop();
            if let Some(connection) = self.connection()
                && let Some(server) = self.server.upgrade()
            {
                server.doom(&connection, Ending::fault("internal error"));
            }
        }
    }

    /// A client's channel is linked. False, and nothing has changed, when another
    /// client has the device.
    pub(super) fn attach(&self, connection: &Rc<Connection>) -> bool {
        if let Some(present) = &*self.connection.borrow() {
            crate::warning!(
                "channel {}: {} is connected already, refusing {}",
                self.channel,
                present.peer,
                connection.peer
            );
            return false;
        }
        *self.connection.borrow_mut() = Some(Rc::clone(connection));
        if let Some(name) = &self.port_name {
            let init = wire::port_init(name, self.port_opened.get());
            self.send(connection, wire::PORT_INIT, &init);
        }
        // Data that waited is queued before the device hears of the client.
        self.wakeup();
        if !self.removed.get() {
            self.host.state(true);
        }
        true
    }

    /// The client's connection is closed.
    pub(super) fn detach(&self, connection: &Connection) {
        let ours = self.connection.borrow().as_ref().is_some_and(|own| own.id == connection.id);
        if ours {
            *self.connection.borrow_mut() = None;
            if !self.removed.get() {
                self.host.state(false);
            }
        }
    }

    /// The host takes the device away: from now on it is not called. The client must
    /// have been closed before, so that the device heard of it.
    pub(super) fn remove(&self) {
        self.stop();
        self.removed.set(true);
    }

    /// The host's port was opened or closed, or something else happened to it.
    pub fn port_event(&self, event: u8) {
        if self.port_name.is_none() {
            return crate::warning!(
                "channel {}: port event on a device without events",
                self.channel
            );
        }
        match event {
            event::OPENED => self.port_opened.set(true),
            event::CLOSED => self.port_opened.set(false),
            _ => {}
        }
        if let Some(connection) = self.connection() {
            self.send(&connection, wire::PORT_EVENT, &[event]);
        }
    }

    /// A client's message.
    pub(super) fn handle_message(&self, message: Message) -> Outcome {
        let kind = message.kind;
        match spicevmc::handle(self.channel.kind, message) {
            Ok(Request::Data(data)) => match self.take_data(data) {
                Ok(()) => Outcome::Handled,
                Err(NoToken(body)) => Outcome::Full(Message { kind, body }),
            },
            Ok(Request::PortEvent(event)) => {
                if !self.removed.get() {
                    self.host.event(event);
                }
                Outcome::Handled
            }
            Ok(Request::Nothing) => Outcome::Handled,
            Err(malformed) => Outcome::Refused(malformed.to_string()),
        }
    }

    fn take_data(&self, data: Bytes) -> Result<(), NoToken> {
        self.core.borrow_mut().queue(data)?;
        self.write_out();
        Ok(())
    }

    /// Writes to the device until it takes no more.
    pub(super) fn write_out(&self) {
        self.cancel_retry();
        if !self.core.borrow_mut().begin_write() {
            return;
        }
        loop {
            let Some(bytes) = self.core.borrow_mut().poll_write() else {
                break;
            };
            let accepted = self.host.write(&bytes);
            drop(bytes);
            if self.core.borrow_mut().handle_written(accepted) == WriteStep::Full {
                break;
            }
        }
        let bytes_left = self.core.borrow_mut().end_write();
        if bytes_left && !self.notifies_writable {
            self.retry_later();
        }
        self.release_client();
    }

    /// Reads from the device: once, and once more for each wakeup that came
    /// meanwhile. A device gets one read a wakeup, as upstream does it.
    fn read_in(&self) {
        if !self.core.borrow_mut().begin_read() {
            return;
        }
        loop {
            self.read_once();
            if self.core.borrow_mut().handle_read() == ReadStep::Done {
                break;
            }
        }
        self.core.borrow_mut().end_read();
    }

    fn read_once(&self) {
        // Without a client, or with a slow one, the data stay in the device.
        let Some(connection) = self.connection() else {
            return;
        };
        if connection.queued() >= limits::DEVICE_TO_CLIENT {
            return;
        }
        let Some(mut loan) = connection.lend(limits::DEVICE_READ) else {
            return;
        };
        let length = self.host.read(loan.body());
        if let Err(error) = connection.settle(loan, wire::DATA, length) {
            self.doom(&connection, &error);
        }
    }

    /// Goes on with a client whose message had to wait for room.
    fn release_client(&self) {
        if let Some(connection) = self.connection()
            && connection.is_held()
            && self.core.borrow().has_token()
            && let Some(server) = self.server.upgrade()
        {
            connection.release();
            server.pump(&connection);
        }
    }

    fn send(&self, connection: &Rc<Connection>, kind: u16, body: &[u8]) {
        if let Err(error) = connection.send(kind, body) {
            self.doom(connection, &error);
        }
    }

    fn doom(&self, connection: &Connection, error: &std::io::Error) {
        if let Some(server) = self.server.upgrade() {
            server.doom(connection, Ending::fault(error));
        }
    }

    fn retry_later(&self) {
        if let Some(server) = self.server.upgrade() {
            server.set_deadline(Due::WriteRetry(self.id), Instant::now() + limits::WRITE_RETRY);
        }
    }

    fn cancel_retry(&self) {
        if !self.notifies_writable
            && let Some(server) = self.server.upgrade()
        {
            server.cancel_deadline(Due::WriteRetry(self.id));
        }
    }
}
