//! One device: its write queue, its clients, its tokens, and who is inside which loop.

use std::collections::VecDeque;
use std::time::Instant;

use super::client::{Client, ClientKey, Delivery, FlowControl};
use super::passes::Passes;
use crate::config::limits;

/// What tells kinds of device apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Tokens go back to a client in lots of at least this many.
    pub token_interval: u64,
    /// Buffers the server itself may have under way.
    pub self_tokens: u64,
}

/// Where a buffer comes from, and so where its token goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client that left while its buffer was being written.
    Nobody,
    /// A client.
    Client(ClientKey),
    /// The server, for a self token.
    Server,
    /// The server, without a token.
    ServerNoToken,
}

/// Bytes for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending<B> {
    /// Where the bytes are; cheap to clone, because it is only a handle.
    pub buffer: B,
    /// How many bytes there are.
    pub length: usize,
    /// Where they come from.
    pub origin: Origin,
    /// How many tokens they cost.
    pub price: u32,
}

/// What the driver shall do after it let go of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<M, B> {
    /// Send this message to this client, if it is still there.
    Send(ClientKey, M),
    /// Tell this client that it may send so many more messages.
    GrantTokens(ClientKey, u64),
    /// A self token is free again.
    SelfTokenFreed,
    /// Cut this client: it broke the rules or is too slow.
    RemoveClient(ClientKey),
    /// The device is done with this buffer.
    Release(B),
}

impl<M, B> Action<M, B> {
    /// The client that it is about.
    fn client(&self) -> Option<ClientKey> {
        match self {
            Self::Send(client, _) | Self::GrantTokens(client, _) | Self::RemoveClient(client) => {
                Some(*client)
            }
            Self::SelfTokenFreed | Self::Release(_) => None,
        }
    }
}

/// Bytes to be written now: `buffer[from..to]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<B> {
    /// Where the bytes are.
    pub buffer: B,
    /// First byte.
    pub from: usize,
    /// Behind the last byte.
    pub to: usize,
}

/// What follows a write to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// Ask [`Device::poll_write`] again.
    Again,
    /// The device takes no more now; leave the loop.
    Full,
}

/// What follows a read from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Read again.
    Again,
    /// Leave the loop.
    Done,
}

/// There is no such client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is not known to the device")]
pub struct UnknownClient;

/// Why a client was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRefusal {
    /// Migration data would come too late: something has moved already.
    #[error("the device is in use, too late for migration data")]
    InUse,
    /// It is there already.
    #[error("the client is known already")]
    Known,
}

/// Why a client gets no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is not a client of this device.
    #[error("the client is not known to the device")]
    Unknown,
    /// It has used up its tokens: a broken client.
    #[error("the client sends more than it was allowed to")]
    Violation,
}

/// The state of one device. `M` is a message to clients, shared by cloning; `B` a
/// handle of a buffer with bytes for the device.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own, not a mode")]
pub struct Device<M, B> {
    parameters: Parameters,
    running: bool,
    /// Bytes have moved since the last stop.
    pub(super) active: bool,
    /// Nothing moves until migration data have come.
    pub(super) waiting_for_migration: bool,
    /// Nothing moves any more: the client goes to another host.
    leaving: bool,
    pub(super) self_tokens: u64,
    /// Newest first.
    pub(super) clients: Vec<Client<M>>,
    /// Oldest first, without the one being written.
    pub(super) queue: VecDeque<Pending<B>>,
    /// The buffer being written, and how much of it is.
    pub(super) current: Option<(Pending<B>, usize)>,
    /// The device is inside the write of `current`.
    offered: bool,
    /// Bytes in `queue` and the rest of `current`.
    pub(super) queued_bytes: usize,
    writing: Passes,
    reading: Passes,
    pub(super) actions: VecDeque<Action<M, B>>,
}

impl<M: Clone, B: Clone> Device<M, B> {
    /// A stopped device without clients.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            running: false,
            active: false,
            waiting_for_migration: false,
            leaving: false,
            self_tokens: parameters.self_tokens,
            clients: Vec::new(),
            queue: VecDeque::new(),
            current: None,
            offered: false,
            queued_bytes: 0,
            writing: Passes::Idle,
            reading: Passes::Idle,
            actions: VecDeque::new(),
        }
    }

    /// What to do next outside.
    pub fn poll_action(&mut self) -> Option<Action<M, B>> {
        self.actions.pop_front()
    }

    // --- life ---

    /// Lets data flow. The caller then runs both loops.
    pub fn start(&mut self) {
        self.running = true;
    }

    /// Holds data back; the queues stay.
    pub fn stop(&mut self) {
        self.running = false;
        self.active = false;
    }

    /// Whether data may flow.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Forgets everything under way: buffers go back with their tokens, what
    /// clients were to get is dropped and counts as if it had been sent. What clients
    /// used up counts as handed back, although they are not told: the agent's reset
    /// is followed by a message that sets their counter.
    pub fn reset(&mut self) {
        self.waiting_for_migration = false;
        self.leaving = false;
        while let Some(pending) = self.queue.pop_front() {
            self.queued_bytes -= pending.length;
            self.done_with(pending);
        }
        self.offered = false;
        if let Some((pending, written)) = self.current.take() {
            self.queued_bytes -= pending.length - written;
            self.done_with(pending);
        }
        for client in &mut self.clients {
            if let Some(window) = &mut client.window {
                window.send_tokens = window.send_tokens.saturating_add(window.queue.len() as u64);
                window.queue.clear();
                // Nothing waits any more, so nobody is slow.
                window.deadline = None;
                window.take_back();
            }
        }
    }

    /// Drops all buffers and clients without accounting: the device is going. Of what
    /// was still to be done outside only the buffers' return is left.
    pub fn destroy(&mut self) {
        self.stop();
        self.actions.retain(|action| matches!(action, Action::Release(_)));
        self.offered = false;
        self.queued_bytes = 0;
        self.offered = false;
        let current = self.current.take().map(|(pending, _)| pending);
        for pending in self.queue.drain(..).chain(current) {
            self.actions.push_back(Action::Release(pending.buffer));
        }
        self.clients.clear();
    }

    // --- clients ---

    /// Adds a client; the caller then runs both loops. With `wait_for_migration`
    /// nothing moves until [`Device::restore`].
    pub fn client_add(
        &mut self,
        key: ClientKey,
        flow: Option<FlowControl>,
        wait_for_migration: bool,
    ) -> Result<(), AddRefusal> {
        if self.has_client(key) {
            return Err(AddRefusal::Known);
        }
        if wait_for_migration && (self.active || !self.clients.is_empty()) {
            return Err(AddRefusal::InUse);
        }
        self.waiting_for_migration = wait_for_migration;
        self.clients.insert(0, Client::new(key, flow));
        Ok(())
    }

    /// Removes a client. Its queued buffers go without their tokens; one that is
    /// being written is written to its end. Returns whether the device should be
    /// written and read now, because it stood still for this client's migration.
    pub fn client_remove(&mut self, key: ClientKey) -> Result<bool, UnknownClient> {
        let at = self.position(key).ok_or(UnknownClient)?;
        self.clients.remove(at);
        // Its name may soon be another client's.
        self.actions.retain(|action| action.client() != Some(key));
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for pending in self.queue.drain(..) {
            if pending.origin == Origin::Client(key) {
                self.queued_bytes -= pending.length;
                self.actions.push_back(Action::Release(pending.buffer));
            } else {
                kept.push_back(pending);
            }
        }
        self.queue = kept;
        if let Some((pending, _)) = &mut self.current
            && pending.origin == Origin::Client(key)
        {
            pending.origin = Origin::Nobody;
        }
        let waited = std::mem::take(&mut self.waiting_for_migration);
        Ok(std::mem::take(&mut self.leaving) || waited)
    }

    /// The one client goes to another host: until it is removed nothing is written or
    /// read, and nobody is granted tokens. What the client still sends is queued, and
    /// moves with it ([`Device::migrate_out`]).
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the client goes to another host.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether this client is there.
    pub fn has_client(&self, key: ClientKey) -> bool {
        self.position(key).is_some()
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    fn position(&self, key: ClientKey) -> Option<usize> {
        self.clients.iter().position(|client| client.key == key)
    }

    // --- tokens ---

    /// A client wants a buffer: takes its token. After a violation the caller cuts
    /// the client.
    pub fn take_client_token(&mut self, key: ClientKey) -> Result<(), TokenRefusal> {
        let at = self.position(key).ok_or(TokenRefusal::Unknown)?;
        if let Some(window) = &mut self.clients[at].window {
            window.client_tokens =
                window.client_tokens.checked_sub(1).ok_or(TokenRefusal::Violation)?;
        }
        Ok(())
    }

    /// The server wants a buffer: takes a self token, if there is one.
    pub fn take_self_token(&mut self) -> bool {
        let left = self.self_tokens.checked_sub(1);
        self.self_tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether a self token is there.
    pub fn has_self_token(&self) -> bool {
        self.self_tokens > 0
    }

    /// A buffer is given back: its token goes where it came from.
    pub fn release(&mut self, origin: Origin, price: u32) -> Result<(), UnknownClient> {
        match origin {
            Origin::Nobody | Origin::ServerNoToken => {}
            Origin::Server => {
                self.self_tokens = self.self_tokens.saturating_add(1);
                self.actions.push_back(Action::SelfTokenFreed);
            }
            Origin::Client(key) => {
                let interval = if self.leaving { u64::MAX } else { self.parameters.token_interval };
                let at = self.position(key).ok_or(UnknownClient)?;
                let lot = self.clients[at]
                    .window
                    .as_mut()
                    .and_then(|window| window.give_back(price.into(), interval));
                if let Some(lot) = lot {
                    self.actions.push_back(Action::GrantTokens(key, lot));
                }
            }
        }
        Ok(())
    }

    /// The client grants so many more messages, or (`set`) exactly so many. What
    /// waited leaves as far as the tokens reach. Returns whether the device should
    /// be read now.
    pub fn grant_send_tokens(
        &mut self,
        key: ClientKey,
        tokens: u64,
        set: bool,
        now: Instant,
    ) -> Result<bool, UnknownClient> {
        let at = self.position(key).ok_or(UnknownClient)?;
        let Some(window) = &mut self.clients[at].window else {
            return Ok(true);
        };
        if set {
            window.send_tokens = 0;
        }
        window.send_tokens = window.send_tokens.saturating_add(tokens);
        if self.leaving {
            return Ok(false);
        }
        while let Some(message) = window.pop_ready() {
            self.actions.push_back(Action::Send(key, message));
        }
        window.deadline = (!window.queue.is_empty()).then(|| now + limits::WAIT_FOR_TOKENS);
        Ok(window.send_tokens > 0)
    }

    /// A message goes to a client past the device: it costs a token, if there is one.
    pub fn take_send_token(&mut self, key: ClientKey) {
        let client = self.clients.iter_mut().find(|client| client.key == key);
        if let Some(window) = client.and_then(|client| client.window.as_mut()) {
            window.send_tokens = window.send_tokens.saturating_sub(1);
        }
    }

    /// When [`Device::handle_timeout`] must be called, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.window.as_ref()?.deadline).min()
    }

    /// Cuts the clients that have kept messages waiting for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        for client in &mut self.clients {
            if let Some(window) = &mut client.window
                && window.deadline.is_some_and(|deadline| deadline <= now)
            {
                window.deadline = None;
                self.actions.push_back(Action::RemoveClient(client.key));
            }
        }
    }

    // --- to the device ---

    /// Queues bytes for the device. They come back when their client is gone, or
    /// when there are none: a buffer without bytes would block the queue for ever.
    pub fn add(&mut self, pending: Pending<B>) -> Result<(), Pending<B>> {
        let gone = matches!(pending.origin, Origin::Client(key) if !self.has_client(key));
        if gone || pending.length == 0 {
            return Err(pending);
        }
        self.queued_bytes += pending.length;
        self.queue.push_back(pending);
        Ok(())
    }

    /// Bytes that wait for the device.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Buffers that wait behind the one that is being written.
    pub fn queued_buffers(&self) -> usize {
        self.queue.len()
    }

    /// Whether the write loop would have nothing to do, and nobody is inside it who has to
    /// hear that it was asked for.
    pub fn has_nothing_to_write(&self) -> bool {
        self.is_drained() && self.writing.is_idle()
    }

    /// Enters the write loop. False when it must not run now, or when it is
    /// running further up the stack: that one will go round once more.
    pub fn begin_write(&mut self) -> bool {
        self.may_move() && self.writing.enter()
    }

    /// The bytes to write next.
    pub fn poll_write(&mut self) -> Option<Write<B>> {
        if !self.is_flowing() {
            return None;
        }
        if self.current.is_none() {
            self.current = self.queue.pop_front().map(|pending| (pending, 0));
        }
        let (pending, written) = self.current.as_ref()?;
        self.offered = true;
        Some(Write { buffer: pending.buffer.clone(), from: *written, to: pending.length })
    }

    /// The device took `accepted` bytes of what [`Device::poll_write`] gave.
    /// Anything below 1 means "later".
    pub fn handle_written(&mut self, accepted: i32) -> WriteStep {
        let Ok(accepted @ 1..) = usize::try_from(accepted) else {
            return if self.writing.again() { WriteStep::Again } else { WriteStep::Full };
        };
        self.active = true;
        let Some((pending, written)) = self.current.as_mut().filter(|_| self.offered) else {
            // Gone meanwhile: the device was reset from inside its own callback. What
            // is current now, if anything, is not what it took.
            return WriteStep::Again;
        };
        self.offered = false;
        let accepted = accepted.min(pending.length - *written);
        *written += accepted;
        self.queued_bytes -= accepted;
        if *written == pending.length
            && let Some((pending, _)) = self.current.take()
        {
            self.done_with(pending);
        }
        WriteStep::Again
    }

    /// Enters the write loop with bytes that need not be queued. False when it must not run
    /// now, when it is running further up the stack, or when others wait.
    pub fn begin_direct(&mut self) -> bool {
        self.may_move() && self.is_drained() && self.writing.enter_first()
    }

    /// Whether the next bytes may be offered to the device without being queued.
    pub fn offer_direct(&mut self) -> bool {
        self.offered = self.is_flowing() && self.is_drained();
        self.offered
    }

    /// The device took `accepted` of the `length` bytes that it was offered. Returns
    /// whether nothing of them is left: all was taken, or the device was reset from inside
    /// its own callback, and they are gone.
    pub fn handle_direct(&mut self, accepted: i32, length: usize) -> bool {
        self.active |= accepted > 0;
        !std::mem::take(&mut self.offered) || usize::try_from(accepted).is_ok_and(|n| n >= length)
    }

    /// Keeps what the device did not take, for a self token, as what is being written.
    pub fn keep_direct(&mut self, buffer: B, length: usize, accepted: i32) -> WriteStep {
        let origin = if self.take_self_token() { Origin::Server } else { Origin::ServerNoToken };
        self.queued_bytes += length;
        self.current = Some((Pending { buffer, length, origin, price: 1 }, 0));
        if accepted > 0 || self.writing.again() { WriteStep::Again } else { WriteStep::Full }
    }

    fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.current.is_none()
    }

    /// Leaves the write loop. True when bytes are left, so that a device which
    /// does not announce when it becomes writable must be tried again later.
    pub fn end_write(&mut self) -> bool {
        self.writing.leave();
        if !self.running {
            self.active = false;
        }
        self.running && self.current.is_some()
    }

    fn done_with(&mut self, pending: Pending<B>) {
        self.actions.push_back(Action::Release(pending.buffer));
        // The origin is known to be there: a client that leaves takes its name off.
        let _ = self.release(pending.origin, pending.price);
    }

    // --- from the device ---

    /// Enters the read loop, as [`Device::begin_write`] does the other one.
    pub fn begin_read(&mut self) -> bool {
        self.may_move() && self.reading.enter()
    }

    /// Whether a message may be read: somebody can take it, or nobody is there, in
    /// which case the device decides what becomes of it.
    pub fn may_read(&self) -> bool {
        self.is_flowing() && (self.clients.is_empty() || self.clients.iter().any(Client::can_send))
    }

    /// A message was read: it goes to every client, newest first.
    pub fn handle_message(&mut self, message: &M, now: Instant) {
        self.active = true;
        for client in &mut self.clients {
            match client.deliver(message, now + limits::WAIT_FOR_TOKENS) {
                Delivery::Now => {
                    self.actions.push_back(Action::Send(client.key, message.clone()));
                }
                Delivery::Queued => {}
                Delivery::Overflow => self.actions.push_back(Action::RemoveClient(client.key)),
            }
        }
    }

    /// Bytes came out of the device, whatever became of them.
    pub fn note_activity(&mut self) {
        self.active = true;
    }

    /// There was nothing to read.
    pub fn handle_no_message(&mut self) -> ReadStep {
        if self.running && self.reading.again() { ReadStep::Again } else { ReadStep::Done }
    }

    /// Leaves the read loop.
    pub fn end_read(&mut self) {
        self.reading.leave();
        if !self.running {
            self.active = false;
        }
    }

    fn is_flowing(&self) -> bool {
        self.running && !self.leaving
    }

    fn may_move(&self) -> bool {
        self.is_flowing() && !self.waiting_for_migration
    }

    pub(super) fn token_interval(&self) -> u64 {
        self.parameters.token_interval
    }
}
