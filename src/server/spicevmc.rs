//! A usbredir, port or webdav device and its channel.
//!
//! Runs under the host's serialisation. Every call into the device may come back
//! into the library: no borrow is held across one.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;

use super::Server;
use super::char_device::Keep;
use super::connection::{Connection, Passage};
use super::deadlines::DeviceId;
use super::driver::{Driver, Kind};
use super::handover::send_migrate;
use super::served::{DEVICE_CHUNK, DataTerms, Outcome, Served, Terms};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channel::run::{Parcel, Run};
use crate::channels::spicevmc::{self, Request};
use crate::chardev::{Block, ClientKey, Origin, Parameters, Pending};
use crate::config::limits;
use crate::config::registry::{Busy, Policy, Service};
use crate::fault;
use crate::host::char_device::CharDevice;
use crate::log::Subject;
use crate::wire::ChannelKey;
use crate::wire::link::CapSet;
use crate::wire::migration::small as migration;
use crate::wire::spicevmc::{self as wire, event};

/// One device.
pub type Device = Driver<Spicevmc>;

/// What a spicevmc device has besides the core: its channel and its one client.
pub struct Spicevmc {
    channel: ChannelKey,
    /// What the channel's type is called.
    name: Arc<str>,
    policy: Policy,
    server: Weak<Server>,
    /// The name of a port; other devices have no port messages.
    port_name: Option<Vec<u8>>,
    port_opened: Cell<bool>,
    connection: RefCell<Option<Rc<Connection>>>,
    /// The last read brought something.
    had_data: Cell<bool>,
}

/// No flow control towards the client; the client's bytes cost self tokens.
const PARAMETERS: Parameters = Parameters { token_interval: 0, self_tokens: limits::SELF_TOKENS };

impl Device {
    /// A device for this channel.
    pub(super) fn for_channel(
        device: DeviceId,
        id: u8,
        service: Service,
        server: Weak<Server>,
        host: CharDevice,
        port_name: Option<Vec<u8>>,
    ) -> Self {
        let kind = Spicevmc {
            channel: ChannelKey { kind: service.kind, id },
            name: service.name,
            policy: service.policy,
            server: Weak::clone(&server),
            port_name,
            port_opened: Cell::new(false),
            connection: RefCell::default(),
            had_data: Cell::new(false),
        };
        Self::new(device, server, host, PARAMETERS, kind)
    }

    /// The client connected to it, if any.
    fn connection(&self) -> Option<Rc<Connection>> {
        self.kind().connection.borrow().clone()
    }

    fn take_data(&self, data: Bytes) -> Result<(), Bytes> {
        if self.is_leaving() {
            self.keep_for_other_host(data);
            return Ok(());
        }
        if self.queued_bytes() >= limits::CLIENT_TO_DEVICE || !self.take_self_token() {
            return Err(data);
        }
        let pending =
            Pending { length: data.len(), buffer: data, origin: Origin::Server, price: 1 };
        if let Err(unused) = self.add(pending) {
            // Empty, or the device is going: the token goes back.
            let _ = self.release(unused.origin, unused.price);
        }
        Ok(())
    }

    /// What the client had begun to send is to reach the device on the other host, however
    /// much waits here already.
    fn keep_for_other_host(&self, data: Bytes) {
        if !self.fits_in_migration(data.len()) {
            if let Some(connection) = self.connection() {
                let reason = "the client goes to another host with more data than can move";
                self.kind().doom(&connection, Ending::fault(reason));
            }
            return;
        }
        let origin = Origin::ServerNoToken;
        // Empty data come back, and are not needed.
        let _ = self.add(Pending { length: data.len(), buffer: data, origin, price: 1 });
    }

    fn has_room(&self) -> bool {
        self.has_self_token() && self.queued_bytes() < limits::CLIENT_TO_DEVICE
    }
}

impl Served for Device {
    fn channel(&self) -> ChannelKey {
        self.kind().channel
    }

    fn label(&self) -> String {
        self.kind().to_string()
    }

    fn capabilities(&self) -> CapSet {
        CapSet::from_iter(self.kind().policy.compression.then_some(wire::CAP_LZ4))
    }

    fn terms(&self) -> Terms {
        let vmc = self.kind();
        let data = DataTerms { policy: vmc.policy };
        Terms { rules: spicevmc::rules, chunk: DEVICE_CHUNK, data: Some(data), busy: false }
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn port(&self) -> Option<String> {
        self.kind().port_name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// If another client has the device, that one stays or leaves, as the channel's policy
    /// says.
    fn make_way(&self, server: &Rc<Server>, newcomer: &str) -> bool {
        if let Some(present) = self.connection() {
            // It may have left already, and the main loop comes to that only after the
            // newcomer.
            server.handle_ready(present.id, true, false);
        }
        let Some(present) = self.connection() else {
            return self.is_sound();
        };
        let vmc = self.kind();
        match vmc.policy.busy {
            Busy::Refuse => {
                crate::warning!(
                    about &Subject::peer(newcomer).on(vmc);
                    "{vmc}: {} is connected already, refusing {newcomer}",
                    present.peer
                );
                return false;
            }
            Busy::TakeOver => {
                crate::warning!(
                    about &Subject::peer(newcomer).on(vmc);
                    "{vmc}: {newcomer} takes over from {}",
                    present.peer
                );
                server.close_connection(&present, "another client takes over");
            }
        }
        // The device heard that its client is gone, and may have been removed for that.
        self.is_sound() && self.connection().is_none()
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let vmc = self.kind();
        *vmc.connection.borrow_mut() = Some(Rc::clone(connection));
        if let Some(name) = &vmc.port_name {
            let init = wire::port_init(name, vmc.port_opened.get());
            vmc.send_message(connection, wire::PORT_INIT, &init);
        }
        // Data that waited is queued before the device hears of the client.
        let wait = connection.passage() == Passage::Awaited;
        if let Err(refusal) = self.client_add(key(connection), None, wait) {
            vmc.doom(connection, Ending::fault(refusal));
        }
        if let Some(host) = self.host() {
            host.state(true);
        }
    }

    fn detach(&self, connection: &Rc<Connection>) {
        let vmc = self.kind();
        let ours = vmc.connection.borrow().as_ref().is_some_and(|own| own.id == connection.id);
        if !ours {
            return;
        }
        *vmc.connection.borrow_mut() = None;
        // The core may have forgotten the client when the device was destroyed.
        let _ = self.client_remove(key(connection));
        if let Some(host) = self.host() {
            host.state(false);
        }
    }

    fn handle_message(&self, _: &Rc<Connection>, message: Message) -> Outcome {
        fault::point("port message");
        let kind = message.kind;
        match spicevmc::handle(message, self.kind().port_name.is_some()) {
            Ok(Request::Data(data)) => match self.take_data(data) {
                Ok(()) => Outcome::Handled,
                Err(body) => Outcome::Full(Parcel::Message(Message { kind, body })),
            },
            Ok(Request::PortEvent(event)) => {
                if let Some(host) = self.host() {
                    host.event(event);
                }
                Outcome::Handled
            }
            Ok(Request::Nothing) => Outcome::Handled,
            Err(malformed) => Outcome::Refused(malformed.to_string()),
        }
    }

    /// While nothing waits and the device takes all, the messages go straight to it.
    fn handle_run(&self, connection: &Rc<Connection>, mut run: Run) -> Outcome {
        fault::point("port message");
        loop {
            self.write_run(&mut run, || !connection.is_closed());
            let Some(body) = run.peek().filter(|_| !connection.is_closed()) else {
                return Outcome::Handled;
            };
            let end = body.end;
            // What waits has memory of its own: a few bytes must not keep a large buffer.
            if self.take_data(Bytes::copy_from_slice(&run.bytes()[body])).is_err() {
                return Outcome::Full(Parcel::Run(run));
            }
            run.pass(end);
        }
    }

    fn moves(&self) -> bool {
        true
    }

    fn send_off(&self, connection: &Rc<Connection>) {
        self.leave();
        send_migrate(connection, true);
    }

    fn migration_data(&self, _: &Rc<Connection>) -> Result<Bytes, String> {
        let (block, data) =
            self.hand_over(migration::SPICEVMC).map_err(|refusal| refusal.to_string())?;
        Ok(migration::spicevmc(&block, &data).into())
    }

    fn restore(&self, _: &Rc<Connection>, whole: &Bytes) -> Result<(), String> {
        let (block, body) = migration::parse_spicevmc(whole).map_err(|bad| bad.to_string())?;
        let block = Block::parse(&block).map_err(|bad| bad.to_string())?;
        self.take_over(&block, (body, whole, migration::SPICEVMC), || ())
    }

    /// The queue may have shrunk by much at once: reads until it is full again or the
    /// device has nothing left. A single read might leave data in a device that has no
    /// reason of its own to wake anybody.
    fn handle_drained(&self, _: &Rc<Connection>) {
        loop {
            self.kind().had_data.set(false);
            self.wakeup();
            if !self.kind().had_data.get() {
                return;
            }
        }
    }
}

impl Keep for Spicevmc {
    fn port_event(device: &Device, event: u8) {
        let vmc = device.kind();
        if vmc.port_name.is_none() {
            return crate::warning!(about &Subject::channel(vmc); "{vmc}: port event on a device without events");
        }
        match event {
            event::OPENED => vmc.port_opened.set(true),
            event::CLOSED => vmc.port_opened.set(false),
            _ => {}
        }
        vmc.log_event(event);
        if let Some(connection) = device.connection() {
            vmc.send_message(&connection, wire::PORT_EVENT, &[event]);
        }
        if event == event::OPENED {
            // QEMU's virtio port takes nothing while it is closed, and does not say that it
            // would now.
            device.wakeup();
        }
    }

    fn withdraw(device: &Device, server: &Rc<Server>) {
        server.withdraw_channel(device.channel(), "the device was removed");
        // Still there if detaching it has failed; it holds the device in turn.
        *device.kind().connection.borrow_mut() = None;
    }
}

impl Spicevmc {
    fn log_event(&self, event: u8) {
        let name = String::from_utf8_lossy(self.port_name.as_deref().unwrap_or_default());
        let about = Subject::device(&name).on(self);
        match event {
            event::OPENED => {
                crate::info!(about &about; "{self}: the guest has opened port {name}");
            }
            event::CLOSED => {
                crate::info!(about &about; "{self}: the guest has closed port {name}");
            }
            _ => crate::debug!(about &about; "{self}: event {event} of port {name}"),
        }
    }

    fn send_message(&self, connection: &Connection, kind: u16, body: &[u8]) {
        if let Err(error) = connection.send(kind, body) {
            self.doom(connection, Ending::fault(error));
        }
    }

    fn doom(&self, connection: &Connection, ending: Ending) {
        if let Some(server) = self.server.upgrade() {
            server.doom(connection, ending);
        }
    }
}

impl Kind for Spicevmc {
    /// Nothing passes through the core: data are read straight into the chunk that
    /// they leave from.
    type Message = std::convert::Infallible;
    type Buffer = Bytes;

    /// One read a wakeup, as upstream does it. Without a client, or with a slow one,
    /// the data stay in the device.
    fn read_one(&self, driver: &Driver<Self>) -> Option<Self::Message> {
        let connection = self.connection.borrow().clone()?;
        if connection.is_full() {
            self.had_data.set(false);
            return None;
        }
        let mut loan = connection.lend(limits::DEVICE_READ)?;
        let length = driver.read(loan.body());
        self.had_data.set(length > 0);
        connection.counters.read_from_device(length);
        if let Err(error) = connection.settle(loan, wire::DATA, length) {
            self.doom(&connection, Ending::fault(error));
        }
        None
    }

    fn send(&self, message: &Self::Message, _client: ClientKey) {
        match *message {}
    }

    fn send_tokens(&self, _client: ClientKey, _tokens: u64) {
        // Clients are added without flow control, so none is ever granted.
    }

    /// Goes on with a client whose message had to wait for room.
    fn self_token_freed(&self, driver: &Driver<Self>) {
        let connection = self.connection.borrow().clone();
        if let Some(connection) = connection
            && connection.is_held()
            && driver.has_room()
            && let Some(server) = self.server.upgrade()
        {
            connection.release();
            server.pump(&connection);
        }
    }

    fn remove_client(&self, client: ClientKey) {
        let connection = self.connection.borrow().clone();
        if let Some(connection) = connection.filter(|connection| key(connection) == client) {
            self.doom(&connection, Ending::fault("the device cuts its client"));
        }
    }

    fn released(&self, _buffer: Bytes) {}

    fn broken(&self) {
        let connection = self.connection.borrow().clone();
        if let Some(connection) = connection {
            self.doom(&connection, Ending::fault("internal error"));
        }
    }
}

/// As the log names it.
impl fmt::Display for Spicevmc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}:{}", self.name, self.channel.id)
    }
}

/// The core's name for a client.
fn key(connection: &Connection) -> ClientKey {
    connection.id as ClientKey
}
