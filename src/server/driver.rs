//! Brings a char device's state machine and the host's device together.
//!
//! Runs under the host's serialisation. The machine is never borrowed while the
//! host or a `Kind` is called: both may come back into the driver.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::deadlines::{DeviceId, Due};
use crate::channel::run::Run;
use crate::chardev::{
    self, Action, AddRefusal, Block, ClientKey, FlowControl, MigrateRefusal, Moving, Origin,
    Parameters, Pending, ReadStep, RestoreRefusal, TokenRefusal, UnknownClient, Write, WriteStep,
};
use crate::config::limits;
use crate::fault;
use crate::guard::{completes, guard};
use crate::host::char_device::CharDevice;

/// A handle of bytes for the device.
pub trait Buffer: Clone {
    /// Calls `work` with `bytes[from..to]`.
    fn with_bytes<T>(&self, from: usize, to: usize, work: impl FnOnce(&[u8]) -> T) -> T;
}

impl Buffer for Bytes {
    fn with_bytes<T>(&self, from: usize, to: usize, work: impl FnOnce(&[u8]) -> T) -> T {
        work(&self[from..to])
    }
}

/// What one kind of device decides for itself. Every method may call the driver.
pub trait Kind: Sized {
    /// A message for clients; clones share it.
    type Message: Clone;
    /// Bytes for the device.
    type Buffer: Buffer;

    /// Reads one message from the device, by [`Driver::read`]. A kind that delivers
    /// what it reads by itself returns `None` afterwards.
    fn read_one(&self, driver: &Driver<Self>) -> Option<Self::Message>;
    /// Sends a message.
    fn send(&self, message: &Self::Message, client: ClientKey);
    /// Tells a client that it may send more.
    fn send_tokens(&self, client: ClientKey, tokens: u64);
    /// A self token is free again.
    fn self_token_freed(&self, driver: &Driver<Self>);
    /// Cuts a client, which leads to [`Driver::client_remove`] now or later.
    fn remove_client(&self, client: ClientKey);
    /// The device is done with a buffer.
    fn released(&self, buffer: Self::Buffer);
    /// A step panicked; the device has been stopped.
    fn broken(&self);
}

/// A device in service.
pub struct Driver<K: Kind> {
    /// Its name within the server.
    pub(super) id: DeviceId,
    server: Weak<Server>,
    /// `None` when the host has taken the device away.
    host: Cell<Option<CharDevice>>,
    /// The device tells when it becomes writable; others are tried again later.
    notifies_writable: Cell<bool>,
    core: RefCell<chardev::Device<K::Message, K::Buffer>>,
    kind: K,
    retry_at: Cell<Option<Instant>>,
    /// What the server's timer is set to.
    armed: Cell<Option<Instant>>,
    /// A step panicked.
    broken: Cell<bool>,
}

/// What the server's timer calls.
pub(super) trait Timed {
    /// The deadline has come.
    fn handle_timeout(&self, now: Instant);
    /// The server ends: the host's device is not called any more.
    fn retire(&self);
}

impl<K: Kind> Driver<K> {
    /// A stopped device.
    pub fn new(
        id: DeviceId,
        server: Weak<Server>,
        host: CharDevice,
        parameters: Parameters,
        kind: K,
    ) -> Self {
        Self {
            id,
            server,
            host: Cell::new(Some(host)),
            notifies_writable: Cell::new(host.notifies_writable()),
            core: RefCell::new(chardev::Device::new(parameters)),
            kind,
            retry_at: Cell::new(None),
            armed: Cell::new(None),
            broken: Cell::new(false),
        }
    }

    /// What is special about it.
    pub fn kind(&self) -> &K {
        &self.kind
    }

    /// The server it was added to, as long as that lives.
    pub fn server(&self) -> Option<Rc<Server>> {
        self.server.upgrade()
    }

    /// The host's side of it, unless that was taken away.
    pub fn host(&self) -> Option<CharDevice> {
        self.host.get()
    }

    /// Binds the device to another instance of the host, or to none: then nothing
    /// is written or read.
    pub fn rebind(&self, host: Option<CharDevice>) {
        self.retry_at.set(None);
        self.host.set(host);
        self.notifies_writable.set(host.is_none_or(CharDevice::notifies_writable));
        self.arm();
    }

    // --- life ---

    /// Lets data flow, unless the device is broken.
    pub fn start(&self) {
        if self.broken.get() {
            return;
        }
        self.core.borrow_mut().start();
        self.contained(|| while self.write_out() > 0 || self.read_in() {});
    }

    /// Holds data back.
    pub fn stop(&self) {
        self.core.borrow_mut().stop();
        self.retry_at.set(None);
        self.arm();
    }

    /// Whether data may flow.
    pub fn is_running(&self) -> bool {
        self.core.borrow().is_running()
    }

    /// Gives back everything under way.
    pub fn reset(&self) {
        self.core.borrow_mut().reset();
        self.act();
    }

    /// Drops everything under way: the device is going.
    pub fn destroy(&self) {
        self.core.borrow_mut().destroy();
        self.retry_at.set(None);
        self.act();
    }

    /// Whether the host has the device, and no step of it has panicked.
    pub fn is_sound(&self) -> bool {
        self.host.get().is_some() && !self.broken.get()
    }

    /// The device can take or has got data.
    pub fn wakeup(&self) {
        self.contained(|| {
            self.write_out();
            self.read_in();
        });
    }

    /// Runs a step; a panic in it ends this device's traffic, because what the step
    /// left behind is suspect.
    fn contained(&self, step: impl FnOnce()) {
        if !completes("device step", step) {
            self.broken.set(true);
            self.stop();
            guard("cutting a device's clients", (), || self.kind.broken());
        }
    }

    // --- clients and tokens ---

    /// Adds a client and lets data flow to and from it.
    pub fn client_add(
        &self,
        client: ClientKey,
        flow: Option<FlowControl>,
        wait_for_migration: bool,
    ) -> Result<(), AddRefusal> {
        self.core.borrow_mut().client_add(client, flow, wait_for_migration)?;
        self.wakeup();
        Ok(())
    }

    /// Removes a client.
    pub fn client_remove(&self, client: ClientKey) -> Result<(), UnknownClient> {
        let read_now = self.core.borrow_mut().client_remove(client)?;
        self.act();
        if read_now {
            self.wakeup();
        }
        Ok(())
    }

    /// Whether this client is there.
    pub fn client_exists(&self, client: ClientKey) -> bool {
        self.core.borrow().has_client(client)
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.core.borrow().client_count()
    }

    /// The client grants more messages, or exactly so many.
    pub fn grant_send_tokens(
        &self,
        client: ClientKey,
        tokens: u64,
        set: bool,
    ) -> Result<(), UnknownClient> {
        let read_now =
            self.core.borrow_mut().grant_send_tokens(client, tokens, set, Instant::now())?;
        self.act();
        if read_now {
            self.contained(|| {
                self.read_in();
            });
        }
        Ok(())
    }

    /// Takes a token for a client's buffer. A client without one is cut.
    pub fn take_client_token(&self, client: ClientKey) -> Result<(), TokenRefusal> {
        let taken = self.core.borrow_mut().take_client_token(client);
        if taken == Err(TokenRefusal::Violation) {
            self.kind.remove_client(client);
        }
        taken
    }

    /// Takes a token for one of the server's own buffers.
    pub fn take_self_token(&self) -> bool {
        self.core.borrow_mut().take_self_token()
    }

    /// Whether a self token is there.
    pub fn has_self_token(&self) -> bool {
        self.core.borrow().has_self_token()
    }

    /// A buffer was not used after all: its token goes back.
    pub fn release(&self, origin: Origin, price: u32) -> Result<(), UnknownClient> {
        self.core.borrow_mut().release(origin, price)?;
        self.act();
        Ok(())
    }

    // --- to the device ---

    /// Queues bytes for the device and writes what it takes. They come back when
    /// their client is gone or when there are none.
    pub fn add(&self, pending: Pending<K::Buffer>) -> Result<(), Pending<K::Buffer>> {
        self.core.borrow_mut().add(pending)?;
        self.contained(|| {
            self.write_out();
        });
        Ok(())
    }

    /// Writes messages straight to the device, as long as nothing waits, it takes each
    /// whole and they are `wanted`. The rest of one that it took a part of is queued, for a
    /// self token.
    pub fn write_run(&self, run: &mut Run, wanted: impl Fn() -> bool)
    where
        K: Kind<Buffer = Bytes>,
    {
        self.contained(|| self.write_directly(run, wanted));
    }

    fn write_directly(&self, run: &mut Run, wanted: impl Fn() -> bool)
    where
        K: Kind<Buffer = Bytes>,
    {
        if self.host.get().is_none() || !self.core.borrow_mut().begin_direct() {
            return;
        }
        while let Some(host) = self.host.get()
            && wanted()
            && let Some(body) = run.peek()
            && self.core.borrow_mut().offer_direct()
        {
            run.pass(body.end);
            let accepted = host.write(&run.bytes()[body.clone()]);
            fault::point("device write");
            let mut core = self.core.borrow_mut();
            if core.handle_direct(accepted, body.len()) {
                continue;
            }
            let from = body.start + usize::try_from(accepted).unwrap_or(0);
            let rest = Bytes::copy_from_slice(&run.bytes()[from..body.end]);
            let step = core.keep_direct(rest, body.end - from, accepted);
            drop(core);
            if step == WriteStep::Again {
                self.write_queued();
            }
            break;
        }
        self.end_write();
    }

    /// Bytes that wait for the device.
    pub fn queued_bytes(&self) -> usize {
        self.core.borrow().queued_bytes()
    }

    /// Writes to the device until it takes no more. Returns how much it took.
    fn write_out(&self) -> usize {
        if self.host.get().is_none() || self.core.borrow().has_nothing_to_write() {
            return 0;
        }
        if !self.core.borrow_mut().begin_write() {
            return 0;
        }
        self.retry_at.set(None);
        let total = self.write_queued();
        self.end_write();
        total
    }

    /// Inside the write loop: offers what is queued.
    fn write_queued(&self) -> usize {
        let mut total = 0;
        while let Some(host) = self.host.get() {
            let Some(Write { buffer, from, to }) = self.core.borrow_mut().poll_write() else {
                break;
            };
            let accepted = buffer.with_bytes(from, to, |bytes| host.write(bytes));
            drop(buffer);
            fault::point("device write");
            let step = self.core.borrow_mut().handle_written(accepted);
            total += usize::try_from(accepted).unwrap_or(0).min(to - from);
            self.run_actions();
            if step == WriteStep::Full {
                break;
            }
        }
        total
    }

    /// Leaves the write loop.
    fn end_write(&self) {
        let bytes_left = self.core.borrow_mut().end_write();
        if bytes_left && !self.notifies_writable.get() {
            self.retry_at.set(Some(Instant::now() + limits::WRITE_RETRY));
        }
        self.arm();
    }

    // --- from the device ---

    /// Reads from the host's device, as [`Kind::read_one`] does.
    pub fn read(&self, buffer: &mut [u8]) -> usize {
        let count = self.host.get().map_or(0, |host| host.read(buffer));
        fault::point("device read");
        if count > 0 {
            self.core.borrow_mut().note_activity();
        }
        count
    }

    /// Reads messages while there are some and somebody can take them. Returns
    /// whether there was one.
    fn read_in(&self) -> bool {
        if self.host.get().is_none() || !self.core.borrow_mut().begin_read() {
            return false;
        }
        let mut any = false;
        while self.host.get().is_some() && self.core.borrow().may_read() {
            if let Some(message) = self.kind.read_one(self) {
                any = true;
                self.core.borrow_mut().handle_message(&message, Instant::now());
                drop(message);
                self.run_actions();
            } else if self.core.borrow_mut().handle_no_message() == ReadStep::Done {
                break;
            }
        }
        self.core.borrow_mut().end_read();
        self.arm();
        any
    }

    // --- migration ---

    /// The one client goes to another host: see [`chardev::Device::leave`].
    pub fn leave(&self) {
        self.core.borrow_mut().leave();
    }

    /// Whether the client goes to another host.
    pub fn is_leaving(&self) -> bool {
        self.core.borrow().is_leaving()
    }

    /// A message goes to a client past the device.
    pub fn take_send_token(&self, client: ClientKey) {
        self.core.borrow_mut().take_send_token(client);
    }

    /// Whether so many bytes more fit in what moves with the client that leaves. Short
    /// messages count for more than their bytes, because of what each costs in memory.
    pub fn fits_in_migration(&self, length: usize) -> bool {
        let core = self.core.borrow();
        let held = core.queued_bytes() + core.queued_buffers() * limits::MIGRATION_BUFFER;
        held + length <= limits::MIGRATION_WRITE
    }

    /// What moves to another host.
    pub fn migrate_out(&self) -> Result<(Block, Moving<K::Buffer>), MigrateRefusal> {
        self.core.borrow().migrate_out()
    }

    /// Whether [`Driver::restore`] would take this block with that many bytes.
    pub fn check_restore(&self, block: &Block, length: usize) -> Result<(), RestoreRefusal> {
        self.core.borrow().check_restore(block, length)
    }

    /// Goes on where another host left off.
    pub fn restore(
        &self,
        block: &Block,
        data: Option<(K::Buffer, usize)>,
    ) -> Result<(), RestoreRefusal> {
        self.core.borrow_mut().restore(block, data)?;
        self.act();
        self.wakeup();
        Ok(())
    }

    // --- inside ---

    /// Does what the machine wants done outside, and sees to its deadlines.
    fn act(&self) {
        self.contained(|| self.run_actions());
        self.arm();
    }

    /// Does what the machine wants done outside, in order.
    fn run_actions(&self) {
        loop {
            let Some(action) = self.core.borrow_mut().poll_action() else {
                break;
            };
            match action {
                Action::Send(client, message) => {
                    if self.client_exists(client) {
                        self.kind.send(&message, client);
                    }
                }
                Action::GrantTokens(client, tokens) => self.kind.send_tokens(client, tokens),
                Action::SelfTokenFreed => self.kind.self_token_freed(self),
                Action::RemoveClient(client) => {
                    if self.client_exists(client) {
                        self.kind.remove_client(client);
                    }
                }
                Action::Release(buffer) => self.kind.released(buffer),
            }
        }
    }

    /// Sets the server's timer to the next deadline, if that changed.
    fn arm(&self) {
        let slow_client = self.core.borrow().poll_timeout();
        let next = self.retry_at.get().into_iter().chain(slow_client).min();
        if self.armed.replace(next) == next {
            return;
        }
        if let Some(server) = self.server.upgrade() {
            match next {
                Some(when) => server.set_deadline(Due::Device(self.id), when),
                None => server.cancel_deadline(Due::Device(self.id)),
            }
        }
    }
}

impl<K: Kind> Timed for Driver<K> {
    fn retire(&self) {
        self.stop();
        self.rebind(None);
    }

    fn handle_timeout(&self, now: Instant) {
        self.armed.set(None);
        self.contained(|| {
            fault::point("device timer");
            self.core.borrow_mut().handle_timeout(now);
            self.run_actions();
            if self.retry_at.get().is_some_and(|when| when <= now) {
                self.retry_at.set(None);
                self.write_out();
            }
        });
        self.arm();
    }
}

impl<K: Kind> Drop for Driver<K> {
    fn drop(&mut self) {
        if self.armed.get().is_some()
            && let Some(server) = self.server.upgrade()
        {
            server.cancel_deadline(Due::Device(self.id));
        }
    }
}
