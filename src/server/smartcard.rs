//! The smartcard reader and its channel.
//!
//! Runs under the host's serialisation. Every call into the device may come back into
//! the library: no borrow is held across one. QEMU's reader answers from inside the
//! write that asks it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::Server;
use super::char_device::{InService, Keep};
use super::connection::{Connection, Passage};
use super::driver::{Driver, Kind};
use super::handover::send_migrate;
use super::interfaces::AddError;
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::ending::Ending;
use crate::channel::framing::Message;
use crate::channel::run::Parcel;
use crate::channels::smartcard::{self, DeviceStream, Request, Standing};
use crate::chardev::{Block, ClientKey, Origin, Parameters, Pending};
use crate::config::limits;
use crate::fault;
use crate::host::char_device::CharDevice;
use crate::log::Subject;
use crate::stats::Refusal;
use crate::wire::ChannelKey;
use crate::wire::link::CapSet;
use crate::wire::migration::small::Smartcard as Moving;
use crate::wire::smartcard::{DATA, kind, plain};

/// The reader.
type Device = Driver<Smartcard>;

/// What the reader has besides the core: the client that has it.
pub struct Smartcard {
    server: Weak<Server>,
    /// The client that has the reader; further ones are linked and have nothing.
    holder: RefCell<Option<Rc<Connection>>>,
    /// The device was told of the holder's reader or card.
    present: Cell<bool>,
    incoming: RefCell<DeviceStream>,
}

/// Its channel: there is one reader.
const CHANNEL: ChannelKey = ChannelKey { kind: 8, id: 0 };

/// Nobody counts: the card speaks when it is spoken to.
const PARAMETERS: Parameters = Parameters { token_interval: 0, self_tokens: u64::MAX };

impl Server {
    /// Takes a smartcard reader into service, if there is none yet.
    pub(super) fn add_smartcard(
        self: &Rc<Self>,
        host: CharDevice,
    ) -> Result<Rc<dyn InService>, AddError> {
        if self.channel_of(CHANNEL).is_some() {
            return Err(AddError::SecondReader);
        }
        let kind = Smartcard {
            server: Rc::downgrade(self),
            holder: RefCell::default(),
            present: Cell::new(false),
            incoming: RefCell::default(),
        };
        let device = self.make_device(host, PARAMETERS, kind);
        self.keep_device(Rc::clone(&device) as Rc<dyn InService>);
        self.offer_channel(Rc::clone(&device) as Rc<dyn Served>);
        Ok(device)
    }
}

impl Device {
    /// The client that has the reader.
    fn holder(&self) -> Option<Rc<Connection>> {
        self.kind().holder.borrow().clone()
    }

    /// Where a client stands with the reader.
    fn standing(&self, connection: &Connection) -> Standing {
        match self.holder() {
            None => Standing::Free,
            Some(holder) if holder.id == connection.id => {
                Standing::Holder { present: self.kind().present.get() }
            }
            Some(_) => Standing::Taken,
        }
    }

    /// Gives a client the reader, which nobody has.
    fn seat(&self, connection: &Rc<Connection>) {
        let card = self.kind();
        *card.holder.borrow_mut() = Some(Rc::clone(connection));
        let wait = connection.passage() == Passage::Awaited;
        if let Err(refusal) = self.client_add(key(connection), None, wait) {
            card.doom(connection, Ending::fault(refusal));
        }
        if let Some(host) = self.host() {
            host.state(true);
        }
    }

    fn tell_device(&self, bytes: Bytes, origin: Origin) {
        let pending = Pending { length: bytes.len(), buffer: bytes, origin, price: 1 };
        // It comes back when its client has just gone, and is not needed then.
        let _ = self.add(pending);
    }

    fn has_room(&self) -> bool {
        if self.is_leaving() {
            // It moves to the other host.
            return self.fits_in_migration(limits::SMARTCARD_MESSAGE as usize);
        }
        self.queued_bytes() < limits::SMARTCARD_TO_DEVICE
    }
}

impl Served for Device {
    fn channel(&self) -> ChannelKey {
        CHANNEL
    }

    fn label(&self) -> String {
        LABEL.to_owned()
    }

    fn capabilities(&self) -> CapSet {
        CapSet::default()
    }

    fn terms(&self) -> Terms {
        Terms { rules: smartcard::rules, chunk: SMALL_CHUNK, data: None, busy: false }
    }

    fn is_shared(&self) -> bool {
        false
    }

    /// Each session may have the channel once; only one has the reader.
    fn make_way(&self, server: &Rc<Server>, newcomer: &str) -> bool {
        if let Some(holder) = self.holder() {
            // It may have left already, and the main loop comes to that only after the
            // newcomer.
            server.handle_ready(holder.id, true, false);
        }
        let mut sessions: Vec<_> =
            server.connections_of(CHANNEL).iter().map(|other| other.session).collect();
        let connections = sessions.len();
        sessions.sort_unstable();
        sessions.dedup();
        if sessions.len() < connections {
            let about = Subject::peer(newcomer).on(LABEL);
            crate::warning!(about &about; "{LABEL}: its session has the channel already, refusing {newcomer}");
            return false;
        }
        self.is_sound()
    }

    fn attach(&self, connection: &Rc<Connection>) {
        match self.holder() {
            None => self.seat(connection),
            Some(holder) => {
                crate::warning!(
                    about &**connection;
                    "{LABEL}: {} has the reader, none for {}",
                    holder.peer,
                    connection.peer
                );
            }
        }
    }

    fn detach(&self, connection: &Rc<Connection>) {
        if !matches!(self.standing(connection), Standing::Holder { .. }) {
            return;
        }
        let card = self.kind();
        *card.holder.borrow_mut() = None;
        let present = card.present.take();
        // The core may have forgotten the client when the device was destroyed.
        let _ = self.client_remove(key(connection));
        if let Some(host) = self.host() {
            host.state(false);
        }
        if present {
            self.tell_device(plain(kind::READER_REMOVE), Origin::ServerNoToken);
        }
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        fault::point("smartcard message");
        let standing = self.standing(connection);
        let request = match smartcard::handle(&message, standing) {
            Ok(request) => request,
            Err(refused) => return Outcome::Refused(refused.to_string()),
        };
        match request {
            Request::Tell { message: bytes, present } => {
                if standing == Standing::Free {
                    self.seat(connection);
                }
                if !self.has_room() {
                    return Outcome::Full(Parcel::Message(message));
                }
                self.kind().present.set(present);
                self.tell_device(bytes, Origin::Client(key(connection)));
            }
            Request::Answer(body) => self.kind().say(connection, &body),
            Request::Stray(kind) => {
                crate::debug!("{LABEL}: VSC message {kind} of {} ignored", connection.peer);
            }
            Request::Nothing => {}
        }
        Outcome::Handled
    }

    fn moves(&self) -> bool {
        true
    }

    fn send_off(&self, connection: &Rc<Connection>) {
        if self.holder().is_some_and(|holder| holder.id == connection.id) {
            self.leave();
        }
        send_migrate(connection, true);
    }

    /// A client without the reader has an empty block.
    fn migration_data(&self, connection: &Rc<Connection>) -> Result<Bytes, String> {
        let Standing::Holder { present } = self.standing(connection) else {
            let device = Block::default().encode();
            return Ok(Moving { device, present: false, begun: &[] }.encode(&[]).into());
        };
        let (device, data) =
            self.hand_over(Moving::FIXED).map_err(|refusal| refusal.to_string())?;
        let begun = self.kind().incoming.borrow().begun();
        Ok(Moving { device, present, begun: &begun }.encode(&data).into())
    }

    fn restore(&self, connection: &Rc<Connection>, whole: &Bytes) -> Result<(), String> {
        let (moving, body) = Moving::parse(whole).map_err(|bad| bad.to_string())?;
        let block = Block::parse(&moving.device).map_err(|bad| bad.to_string())?;
        let holds = matches!(self.standing(connection), Standing::Holder { .. });
        if block.connected && !holds {
            return Err("the reader is another client's".to_owned());
        }
        if !block.connected {
            if holds {
                // It had no reader there, and begins with this one.
                let _ = self.client_remove(key(connection));
                return self
                    .client_add(key(connection), None, false)
                    .map_err(|refusal| refusal.to_string());
            }
            return Ok(());
        }
        self.take_over(&block, (body, whole, Moving::FIXED), || {
            let card = self.kind();
            card.present.set(moving.present);
            let mut incoming = card.incoming.borrow_mut();
            *incoming = DeviceStream::default();
            incoming.handle_bytes(moving.begun);
        })
    }

    /// Nobody asks how full the queue is: what QEMU's reader cannot hand over at once it
    /// throws away, so that the device is always read. A client that does not read what
    /// it is sent is cut.
    fn handle_drained(&self, _: &Rc<Connection>) {}
}

impl Keep for Smartcard {
    fn port_event(_device: &Device, _event: u8) {
        crate::warning!(about &Subject::channel(LABEL); "{LABEL}: port event on a device without events");
    }

    fn withdraw(device: &Device, server: &Rc<Server>) {
        server.withdraw_channel(CHANNEL, "the device was removed");
        // Still there if detaching it has failed; it holds the device in turn.
        *device.kind().holder.borrow_mut() = None;
    }
}

impl Smartcard {
    fn say(&self, connection: &Connection, body: &[u8]) {
        if let Err(error) = connection.send(DATA, body) {
            self.doom(connection, Ending::fault(error));
        }
    }

    fn count_refusal(&self) {
        if let Some(server) = self.server.upgrade() {
            server.statistics.refusals().count(Refusal::Smartcard);
        }
    }

    fn doom(&self, connection: &Connection, ending: Ending) {
        if let Some(server) = self.server.upgrade() {
            server.doom(connection, ending);
        }
    }
}

impl Kind for Smartcard {
    /// The body of a DATA message.
    type Message = Bytes;
    type Buffer = Bytes;

    fn read_one(&self, driver: &Driver<Self>) -> Option<Bytes> {
        loop {
            let polled = self.incoming.borrow_mut().poll_message();
            match polled {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(too_long) => {
                    crate::warning!(about &Subject::channel(LABEL); "{LABEL}: {too_long}");
                    self.count_refusal();
                    continue;
                }
            }
            let mut bytes = [0; limits::SMARTCARD_READ];
            let length = driver.read(&mut bytes);
            if length == 0 {
                return None;
            }
            self.incoming.borrow_mut().handle_bytes(&bytes[..length]);
        }
    }

    fn send(&self, message: &Bytes, client: ClientKey) {
        let holder = self.holder.borrow().clone();
        if let Some(holder) = holder.filter(|holder| key(holder) == client) {
            self.say(&holder, message);
        }
    }

    fn send_tokens(&self, _client: ClientKey, _tokens: u64) {
        // Clients are added without flow control, so none is ever granted.
    }

    fn self_token_freed(&self, _driver: &Driver<Self>) {
        // None is ever taken.
    }

    fn remove_client(&self, client: ClientKey) {
        let holder = self.holder.borrow().clone();
        if let Some(holder) = holder.filter(|holder| key(holder) == client) {
            self.doom(&holder, Ending::fault("the device cuts its client"));
        }
    }

    /// Goes on with a client whose message had to wait for room; if there is none yet, it
    /// waits again.
    fn released(&self, _buffer: Bytes) {
        let holder = self.holder.borrow().clone();
        if let Some(holder) = holder
            && holder.is_held()
            && let Some(server) = self.server.upgrade()
        {
            holder.release();
            server.pump(&holder);
        }
    }

    fn broken(&self) {
        let holder = self.holder.borrow().clone();
        if let Some(holder) = holder {
            self.doom(&holder, Ending::fault("internal error"));
        }
    }
}

/// As the log names it.
const LABEL: &str = "channel smartcard:0";

/// The core's name for a client.
fn key(connection: &Connection) -> ClientKey {
    connection.id as ClientKey
}
