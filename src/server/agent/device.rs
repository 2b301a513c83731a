//! The agent's device: from the guest's chunks to the clients' AGENT_DATA.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Agent, own};
use crate::channel::ending::Ending;
use crate::channels::agent::capabilities::{Capabilities, Change};
use crate::channels::agent::chunks::Chunks;
use crate::channels::agent::filter::{Filter, Verdict};
use crate::chardev::{ClientKey, Origin, Pending};
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::driver::{Driver, Kind};
use crate::wire::agent::{ChunkHeader, Head, port};
use crate::wire::main::to_client;

/// What the agent's device has besides the core.
pub(in crate::server) struct VdAgent {
    server: Weak<Server>,
    guest: RefCell<Guest>,
    /// Counts attachments and detachments: what was read for one of them does not
    /// belong to another.
    epoch: Cell<u64>,
    /// Clients that came in the middle of a message of the agent's: they get nothing
    /// before the next one.
    late: RefCell<HashSet<ClientKey>>,
    /// The client whose message to the agent has begun and not ended.
    speaker: Cell<Option<ClientKey>>,
    pub(super) own: own::Waiting,
}

/// How far the guest's bytes are understood.
#[derive(Debug, Default)]
struct Guest {
    chunks: Chunks,
    filter: Filter,
    capabilities: Capabilities,
}

/// One AGENT_DATA for clients.
#[derive(Clone, Debug)]
pub(in crate::server) struct ToClients {
    bytes: Bytes,
    /// It begins a message.
    begins: bool,
}

impl VdAgent {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self {
            server,
            guest: RefCell::default(),
            epoch: Cell::default(),
            late: RefCell::default(),
            speaker: Cell::default(),
            own: own::Waiting::default(),
        }
    }

    /// Another agent is attached.
    pub(super) fn begin(&self) {
        self.end();
    }

    /// The agent is gone: what it was saying has no end.
    pub(super) fn end(&self) {
        self.epoch.set(self.epoch.get() + 1);
        *self.guest.borrow_mut() = Guest::default();
        self.late.borrow_mut().clear();
        self.speaker.set(None);
        self.own.forget();
    }

    /// A client will be added.
    pub(super) fn expect_client(&self, client: ClientKey) {
        if self.guest.borrow().filter.is_inside() {
            self.late.borrow_mut().insert(client);
        }
    }

    /// A client was removed. Returns whether it was in the middle of a message.
    pub(super) fn forget_client(&self, client: ClientKey) -> bool {
        self.late.borrow_mut().remove(&client);
        let interrupted = self.speaker.get() == Some(client);
        if interrupted {
            self.speaker.set(None);
        }
        interrupted
    }

    /// Nobody is left to hear the rest of the agent's message.
    pub(super) fn abandon_message(&self) {
        self.guest.borrow_mut().filter.abandon();
    }

    /// Whether a client's message may begin now: with several clients, not inside that
    /// of another one.
    pub(super) fn may_speak(&self, client: ClientKey) -> bool {
        self.speaker.get().is_none_or(|speaker| speaker == client)
    }

    /// A piece of a client's message goes to the agent.
    pub(super) fn note_spoken(&self, client: ClientKey, ends: bool) {
        self.speaker.set((!ends).then_some(client));
    }

    /// Whether the agent announced this capability since it was attached.
    pub(super) fn announced(&self, capability: u32) -> bool {
        self.guest.borrow().capabilities.has(capability)
    }

    /// Takes bytes of the guest. Returns what goes to the clients, if something does.
    fn take(&self, server: &Rc<Server>, bytes: &[u8]) -> Result<Option<ToClients>, String> {
        let switches = server.agent_switches();
        let mut guest = self.guest.borrow_mut();
        let Guest { chunks, filter, capabilities } = &mut *guest;
        let piece = chunks.handle(bytes).map_err(|error| error.to_string())?;
        let Some(piece) = piece else {
            return Ok(None);
        };
        let open = server.client_count() > 0;
        let part = filter.handle(&piece, open, switches).map_err(|error| error.to_string())?;
        if part.verdict != Verdict::Pass {
            return Ok(None);
        }
        let change = Change::by(switches);
        let announced = capabilities.handle(&part, change);
        let begins = part.head.is_some();
        let length = part.body.len() + if begins { Head::BYTES } else { 0 };
        let bytes = match capabilities.rewrite(&part, change) {
            Some(changed) => Bytes::from(changed),
            None => piece.slice(..length),
        };
        drop(guest);
        if announced {
            server.send_graphics_device_info();
        }
        Ok(Some(ToClients { bytes, begins }))
    }

    fn connection(&self, client: ClientKey) -> Option<Rc<Connection>> {
        let server = self.server.upgrade()?;
        let connections = server.connections.borrow();
        connections.values().find(|connection| super::key(connection.id) == client).cloned()
    }

    fn tell(&self, client: ClientKey, kind: u16, body: &[u8]) {
        if let (Some(server), Some(connection)) = (self.server.upgrade(), self.connection(client)) {
            server.send(&connection, kind, body);
        }
    }

    /// Whether a client has not read yet what it was sent before.
    fn somebody_is_full(&self, driver: &Agent, server: &Rc<Server>) -> bool {
        let connections = server.main_connections();
        connections.iter().any(|connection| {
            driver.client_exists(super::key(connection.id)) && connection.is_full()
        })
    }
}

impl Agent {
    /// Queues a chunk for the agent. A token was taken where `origin` needs one.
    pub(super) fn add_chunk(&self, origin: Origin, port: u32, data: &[u8]) {
        let mut chunk = BytesMut::with_capacity(ChunkHeader::BYTES + data.len());
        ChunkHeader { port, size: data.len() as u32 }.put(&mut chunk);
        chunk.put_slice(data);
        let (buffer, length) = (chunk.freeze(), ChunkHeader::BYTES + data.len());
        if let Err(unused) = self.add(Pending { buffer, length, origin, price: 1 }) {
            // The client has just gone, and its tokens with it.
            let _ = self.release(unused.origin, unused.price);
        }
    }

    /// Queues a piece of a client's message.
    pub(super) fn add_of_client(&self, client: ClientKey, data: &[u8]) {
        self.add_chunk(Origin::Client(client), port::CLIENT, data);
    }
}

impl Kind for VdAgent {
    type Message = ToClients;
    type Buffer = Bytes;

    fn read_one(&self, driver: &Driver<Self>) -> Option<ToClients> {
        let server = self.server.upgrade()?;
        let mut buffer = [0; limits::AGENT_PIECE];
        loop {
            if self.somebody_is_full(driver, &server) {
                return None;
            }
            let epoch = self.epoch.get();
            let wanted = self.guest.borrow().chunks.wanted();
            let count = driver.read(&mut buffer[..wanted]);
            if count == 0 || self.epoch.get() != epoch {
                return None;
            }
            match self.take(&server, &buffer[..count]) {
                Ok(None) => {}
                Ok(Some(message)) => return Some(message),
                Err(reason) => {
                    crate::warning!("the agent is detached: {reason}");
                    server.detach_attached_agent();
                    return None;
                }
            }
        }
    }

    fn send(&self, message: &ToClients, client: ClientKey) {
        if message.begins {
            self.late.borrow_mut().remove(&client);
        } else if self.late.borrow().contains(&client) {
            return;
        }
        self.tell(client, to_client::AGENT_DATA, &message.bytes);
    }

    fn send_tokens(&self, client: ClientKey, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.tell(client, to_client::AGENT_TOKEN, &tokens.to_le_bytes());
    }

    fn self_token_freed(&self, _: &Driver<Self>) {
        if let Some(server) = self.server.upgrade() {
            server.send_what_waits();
        }
    }

    fn remove_client(&self, client: ClientKey) {
        if let (Some(server), Some(connection)) = (self.server.upgrade(), self.connection(client)) {
            server.doom(&connection, Ending::fault("it does not keep to the agent's tokens"));
        }
    }

    fn released(&self, _buffer: Bytes) {}

    fn broken(&self) {
        if let Some(server) = self.server.upgrade() {
            server.detach_attached_agent();
            // What the step left behind is suspect; the next agent gets a new machine.
            drop(server.agent.borrow_mut().take());
        }
    }
}
