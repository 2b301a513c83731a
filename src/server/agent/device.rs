//! The agent's device: from the guest's chunks to the clients' AGENT_DATA.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};

use bytes::{BufMut, Bytes, BytesMut};

use super::answers::Answers;
use super::{Agent, own, subject};
use crate::channel::ending::Ending;
use crate::channels::agent::Side;
use crate::channels::agent::capabilities::{Capabilities, Change};
use crate::channels::agent::chunks::Chunks;
use crate::channels::agent::filter::{Filter, Verdict};
use crate::channels::agent::policy::{Answer, Forward, Lane, Talk};
use crate::chardev::{ClientKey, Origin, Pending};
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::driver::{Driver, Kind};
use crate::stats::Refusal;
use crate::wire::agent::{ChunkHeader, Head, port};
use crate::wire::main::to_client;
use crate::wire::migration::main::{Fate, FromAgent, Rest};

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
    pub(super) talk: RefCell<Talk>,
    pub(super) answers: Answers,
    pub(super) own: own::Waiting,
}

/// How far the guest's bytes are understood.
#[derive(Debug, Default)]
struct Guest {
    chunks: Chunks,
    filter: Filter,
    lane: Lane,
    /// What the clients got so far has to be continued.
    inside: bool,
}

/// One AGENT_DATA for clients.
#[derive(Clone, Debug)]
pub(in crate::server) struct ToClients {
    bytes: Bytes,
    /// It begins a message.
    begins: bool,
    /// The one it is for; `None`: all.
    to: Option<ClientKey>,
}

impl ToClients {
    /// A whole message for one client.
    pub(super) fn answer(to: ClientKey, message: Vec<u8>) -> Self {
        Self { bytes: message.into(), begins: true, to: Some(to) }
    }
}

impl VdAgent {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self {
            server,
            guest: RefCell::default(),
            epoch: Cell::default(),
            late: RefCell::default(),
            speaker: Cell::default(),
            talk: RefCell::default(),
            answers: Answers::default(),
            own: own::Waiting::default(),
        }
    }

    /// The agent is gone: what it was saying has no end.
    pub(super) fn end(&self) {
        self.epoch.set(self.epoch.get() + 1);
        *self.guest.borrow_mut() = Guest::default();
        self.late.borrow_mut().clear();
        self.speaker.set(None);
        self.talk.borrow_mut().agent = Capabilities::default();
        self.answers.forget();
        self.own.forget();
    }

    /// A client will be added.
    pub(super) fn expect_client(&self, client: ClientKey) {
        if self.guest.borrow().inside {
            self.late.borrow_mut().insert(client);
        }
    }

    /// A client was removed. Returns whether it was in the middle of a message.
    pub(super) fn forget_client(&self, client: ClientKey) -> bool {
        self.late.borrow_mut().remove(&client);
        self.answers.forget_client(client);
        let interrupted = self.speaker.get() == Some(client);
        if interrupted {
            self.speaker.set(None);
        }
        interrupted
    }

    /// Nobody is left to hear the rest of the agent's message.
    pub(super) fn abandon_message(&self) {
        let mut guest = self.guest.borrow_mut();
        guest.filter.abandon();
        guest.inside = false;
    }

    /// Whether a client's message may begin now: with several clients, not inside that
    /// of another one.
    pub(super) fn may_speak(&self, client: ClientKey) -> bool {
        self.speaker.get().is_none_or(|speaker| speaker == client)
    }

    /// Something of a client's goes to the agent; the message is to be continued or not.
    pub(super) fn note_spoken(&self, client: ClientKey, inside: bool) {
        self.speaker.set(inside.then_some(client));
    }

    /// Whether a client's message to the agent has begun and not ended.
    pub(super) fn is_spoken_to(&self) -> bool {
        self.speaker.get().is_some()
    }

    /// Whether the agent announced this capability since it was attached.
    pub(super) fn announced(&self, capability: u32) -> bool {
        self.talk.borrow().agent.has(capability)
    }

    /// Takes bytes of the guest. Returns what goes to the clients, if something does.
    fn take(&self, server: &Rc<Server>, bytes: &[u8]) -> Result<Option<ToClients>, String> {
        let piece = self.guest.borrow_mut().chunks.handle(bytes);
        match piece.map_err(|error| error.to_string())? {
            Some(piece) => self.take_piece(server, &piece),
            None => Ok(None),
        }
    }

    fn take_piece(&self, server: &Rc<Server>, piece: &Bytes) -> Result<Option<ToClients>, String> {
        let switches = server.agent_switches();
        let mut guest = self.guest.borrow_mut();
        let Guest { filter, lane, inside, .. } = &mut *guest;
        let open = server.client_count() > 0;
        let part = filter.handle(piece, open, switches).map_err(|error| error.to_string())?;
        if !matches!(part.verdict, Verdict::Pass | Verdict::Refuse) {
            *inside = false;
            return Ok(None);
        }
        let mut talk = self.talk.borrow_mut();
        let change = Change::by(switches);
        let announced = talk.agent.handle(&part, change);
        let decision = lane.handle(Side::Guest, &part, || server.transfer_policy(), &mut talk);
        *inside = lane.is_inside(&part);
        let message = match decision.forward {
            Forward::AsItIs => {
                let changed = talk.agent.rewrite(&part, change).map(Bytes::from);
                let bytes = changed.unwrap_or_else(|| piece.slice(..part.length()));
                Some(ToClients { bytes, begins: part.head.is_some(), to: None })
            }
            Forward::Nothing => None,
            Forward::Instead(bytes) => {
                Some(ToClients { bytes: bytes.into(), begins: true, to: None })
            }
        };
        drop((guest, talk));
        if announced {
            server.send_graphics_device_info();
        }
        server.audit_all(decision.record.as_slice());
        for Answer { message, .. } in decision.answers {
            // What the agent asks for, only the agent is told.
            server.answer_agent(message);
        }
        Ok(message)
    }

    /// The client goes to another host. Returns what it is to get before: answers, and a
    /// piece of a message that is cut there.
    pub(super) fn last_words(&self, server: &Rc<Server>) -> Result<Vec<ToClients>, String> {
        let mut words = Vec::new();
        if !self.guest.borrow().inside {
            words.extend(std::iter::from_fn(|| self.answers.next_for_client()));
        }
        let piece = {
            let mut guest = self.guest.borrow_mut();
            // Only the head of a message moves along.
            let movable = !guest.filter.is_inside() && guest.chunks.begun() < Head::BYTES;
            if movable { None } else { guest.chunks.flush() }
        };
        if let Some(piece) = piece {
            words.extend(self.take_piece(server, &piece)?);
        }
        Ok(words)
    }

    /// Sends a client what [`VdAgent::last_words`] gave.
    pub(super) fn tell_last(&self, message: &ToClients, client: ClientKey) {
        Kind::send(self, message, client);
    }

    /// Where the guest's bytes stop, for the other host of this client.
    pub(super) fn with_position<T>(
        &self,
        client: ClientKey,
        work: impl FnOnce(FromAgent<'_>) -> T,
    ) -> T {
        let guest = self.guest.borrow();
        let passes = guest.lane.lets_pass() && !self.late.borrow().contains(&client);
        work(guest.chunks.position(guest.filter.rest(passes)))
    }

    /// Goes on where the guest's bytes stopped on another host, with `rest` of a message,
    /// and with the `said` rest of this client's.
    pub(super) fn resume(&self, chunks: Chunks, rest: Rest, client: ClientKey, said: Rest) {
        let passes = |rest: Rest| rest.bytes > 0 && rest.fate == Fate::Pass;
        let (filter, lane) = (Filter::resume(rest), Lane::default());
        *self.guest.borrow_mut() = Guest { chunks, filter, lane, inside: passes(rest) };
        self.note_spoken(client, passes(said));
        *self.talk.borrow_mut() = Talk::resumed();
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

    /// Queues bytes of a client's message. The token that was taken for them returns with
    /// the last ones.
    pub(super) fn add_of_client(&self, client: ClientKey, data: &[u8]) {
        let mut pieces = data.chunks(limits::AGENT_PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let origin = if last { Origin::Client(client) } else { Origin::ServerNoToken };
            self.add_chunk(origin, port::CLIENT, piece);
        }
    }
}

impl Kind for VdAgent {
    type Message = ToClients;
    type Buffer = Bytes;

    fn read_one(&self, driver: &Driver<Self>) -> Option<ToClients> {
        let server = self.server.upgrade()?;
        let mut buffer = [0; limits::AGENT_PIECE];
        loop {
            if somebody_is_full(driver, &server) {
                return None;
            }
            if !self.guest.borrow().inside
                && let Some(answer) = self.answers.next_for_client()
            {
                return Some(answer);
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
                    crate::warning!(about &subject(); "the agent is detached: {reason}");
                    server.statistics.refusals().count(Refusal::Agent);
                    server.detach_attached_agent();
                    return None;
                }
            }
        }
    }

    fn send(&self, message: &ToClients, client: ClientKey) {
        if message.to.is_some_and(|to| to != client) {
            return;
        }
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

/// Whether a client has not read yet what it was sent before.
fn somebody_is_full(agent: &Agent, server: &Rc<Server>) -> bool {
    let connections = server.main_connections();
    connections
        .iter()
        .any(|connection| agent.client_exists(super::key(connection.id)) && connection.is_full())
}
