//! A device of the C caller's making: the driver, the callbacks and the pool together.
//!
//! Every way in goes through [`Device::inside`], which drops references to messages
//! on the way back to C.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;

use super::callbacks::{self, Callbacks};
use super::layout::{
    RedClient, SpiceCharDeviceCallbacks, SpiceCharDeviceState, SpiceCharDeviceWriteBuffer,
};
use super::pool::{self, Pool};
use crate::chardev::{Block, ClientKey, FlowControl, Origin, Parameters, Pending};
use crate::config::limits;
use crate::ffi::handles;
use crate::host::abi::SpiceCharDeviceInstance;
use crate::host::char_device::CharDevice;
use crate::server::Server;
use crate::server::driver::{Buffer, Driver};
use crate::wire::marshaller::{Marshaller, PartId, Refusal, Width};

/// A device of the C caller's making.
pub(in crate::ffi) struct Device {
    driver: Rc<Driver<Callbacks>>,
    pool: Rc<Pool>,
    /// What C holds.
    number: Cell<*mut c_void>,
    /// How many calls into the device are under way, one inside the other.
    depth: Cell<u32>,
}

impl Device {
    /// Makes a device and gives its handle; NULL when something is missing.
    ///
    /// # Safety
    /// `sin` is NULL or an instance that stays good until it is replaced, or the device
    /// or the server ends; `cbs` is NULL or a table of functions of the right types.
    pub(super) unsafe fn create(
        entry: &str,
        server: &Rc<Server>,
        sin: *mut SpiceCharDeviceInstance,
        token_interval: u32,
        self_tokens: u32,
        cbs: *mut SpiceCharDeviceCallbacks,
        opaque: *mut c_void,
    ) -> *mut SpiceCharDeviceState {
        // SAFETY: the caller's promise.
        let host = unsafe { host_of(entry, sin) };
        let Some(host) = host else {
            return std::ptr::null_mut();
        };
        if cbs.is_null() {
            crate::warning!("{entry}: the callbacks are missing");
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        let table = unsafe { cbs.read() };
        let kind = match Callbacks::new(&table, opaque, host.instance()) {
            Ok(kind) => kind,
            Err(missing) => {
                crate::warning!("{entry}: the callback {missing} is missing");
                return std::ptr::null_mut();
            }
        };
        let parameters =
            Parameters { token_interval: token_interval.into(), self_tokens: self_tokens.into() };
        let number = Self::keep(server.make_device(host, parameters, kind));
        host.set_handle(number.cast());
        number
    }

    /// Puts a device together and gives its handle.
    pub(super) fn keep(driver: Rc<Driver<Callbacks>>) -> *mut SpiceCharDeviceState {
        let device = Rc::new(Self {
            driver,
            pool: Rc::default(),
            number: Cell::new(std::ptr::null_mut()),
            depth: Cell::new(0),
        });
        let number = handles::number_own_device(&device);
        device.number.set(number);
        number.cast()
    }

    /// Runs `work`, and sees to the references that are then left over.
    fn inside<T>(&self, work: impl FnOnce(&Driver<Callbacks>) -> T) -> T {
        let _visit = Visit::begin(self);
        work(&self.driver)
    }

    // --- life ---

    /// # Safety
    /// As `sin` of [`Device::create`].
    pub(super) unsafe fn rebind(&self, entry: &str, sin: NonNull<SpiceCharDeviceInstance>) {
        // SAFETY: the caller's promise.
        let host = unsafe { host_of(entry, sin.as_ptr()) };
        if let Some(host) = host {
            host.set_handle(self.number.get());
            self.driver.kind().set_instance(Some(sin));
            self.driver.rebind(Some(host));
        }
    }

    pub(super) fn destroy(&self) {
        handles::forget_device(self.number.get());
        self.driver.kind().end();
        self.driver.kind().set_instance(None);
        self.driver.rebind(None);
        self.inside(Driver::destroy);
        self.pool.empty();
    }

    pub(super) fn opaque(&self) -> *mut c_void {
        self.driver.kind().opaque()
    }

    pub(super) fn reset(&self) {
        self.inside(|driver| {
            driver.stop();
            driver.reset();
            driver.rebind(None);
            driver.kind().set_instance(None);
        });
    }

    pub(super) fn start(&self) {
        self.inside(Driver::start);
    }

    pub(super) fn stop(&self) {
        self.driver.stop();
    }

    pub(in crate::ffi) fn wakeup(&self) {
        self.inside(Driver::wakeup);
    }

    // --- clients ---

    pub(super) fn client_add(
        &self,
        entry: &str,
        client: NonNull<RedClient>,
        flow: Option<FlowControl>,
        wait_for_migration: bool,
    ) -> bool {
        let client = callbacks::key_of(client);
        let added = self.inside(|driver| driver.client_add(client, flow, wait_for_migration));
        told(entry, added)
    }

    pub(super) fn client_remove(&self, entry: &str, client: NonNull<RedClient>) {
        let client = callbacks::key_of(client);
        if self.client_exists(client) {
            self.pool.forget_client(client);
        }
        told(entry, self.inside(|driver| driver.client_remove(client)));
        if self.driver.client_count() == 0 {
            self.pool.empty();
        }
    }

    pub(super) fn client_exists(&self, client: ClientKey) -> bool {
        self.driver.client_exists(client)
    }

    pub(super) fn grant(&self, entry: &str, client: NonNull<RedClient>, tokens: u32, set: bool) {
        let client = callbacks::key_of(client);
        told(entry, self.inside(|driver| driver.grant_send_tokens(client, tokens.into(), set)));
    }

    // --- buffers ---

    pub(super) fn buffer_for_client(
        &self,
        entry: &str,
        client: NonNull<RedClient>,
        size: c_int,
    ) -> *mut SpiceCharDeviceWriteBuffer {
        let Some(size) = size_of(entry, size) else {
            return std::ptr::null_mut();
        };
        let key = callbacks::key_of(client);
        if !told(entry, self.inside(|driver| driver.take_client_token(key))) {
            return std::ptr::null_mut();
        }
        self.buffer(entry, size, Origin::Client(key), client.as_ptr())
    }

    pub(super) fn buffer_for_server(
        &self,
        entry: &str,
        size: c_int,
        use_token: bool,
    ) -> *mut SpiceCharDeviceWriteBuffer {
        let Some(size) = size_of(entry, size) else {
            return std::ptr::null_mut();
        };
        if use_token && !self.driver.take_self_token() {
            return std::ptr::null_mut();
        }
        let origin = if use_token { Origin::Server } else { Origin::ServerNoToken };
        self.buffer(entry, size, origin, std::ptr::null_mut())
    }

    fn buffer(
        &self,
        entry: &str,
        size: usize,
        origin: Origin,
        client: *mut RedClient,
    ) -> *mut SpiceCharDeviceWriteBuffer {
        if let Some(buffer) = self.pool.take(size, origin, client) {
            return buffer.as_ptr();
        }
        crate::warning!("{entry}: no memory for {size} bytes");
        self.give_token_back(entry, origin);
        std::ptr::null_mut()
    }

    pub(super) fn buffer_add(&self, entry: &str, buffer: *mut SpiceCharDeviceWriteBuffer) {
        let Some(brought) = self.pool.brought(entry, buffer) else {
            return;
        };
        if brought.kept {
            return crate::warning!("{entry}: the buffer was added or released already");
        }
        let origin = brought.origin;
        if origin == Origin::Nobody {
            crate::warning!("{entry}: the client has left, its bytes are dropped");
            return brought.give_back();
        }
        let Some(length) = brought.used else {
            crate::warning!("{entry}: the buffer was tampered with, its bytes are dropped");
            brought.give_back();
            return self.give_token_back(entry, origin);
        };
        let pending = Pending { buffer: Pool::queue(brought), length, origin, price: pool::PRICE };
        self.inside(|driver| {
            if let Err(unused) = driver.add(pending) {
                drop(unused.buffer);
                self.give_token_back(entry, origin);
            }
        });
    }

    pub(super) fn buffer_release(&self, entry: &str, buffer: *mut SpiceCharDeviceWriteBuffer) {
        if let Some(brought) = self.pool.brought(entry, buffer) {
            let origin = brought.origin;
            brought.give_back();
            self.give_token_back(entry, origin);
        }
    }

    fn give_token_back(&self, entry: &str, origin: Origin) {
        told(entry, self.inside(|driver| driver.release(origin, pool::PRICE)));
    }

    // --- migration ---

    pub(super) fn migrate_out(
        &self,
        entry: &str,
        message: &mut Marshaller,
        part: PartId,
    ) -> Result<(), Refusal> {
        let (block, bytes) = match self.driver.migrate_out() {
            Ok(state) => state,
            Err(refusal) => {
                crate::warning!("{entry}: {refusal}");
                return migrate_empty(message, part);
            }
        };
        // The pointer at the end is the marshaller's.
        let fields = block.encode();
        message.add(part, &fields[..Block::BYTES - 4])?;
        let data = message.add_part(part, Width::Four)?;
        for piece in bytes {
            piece
                .buffer
                .with_bytes(piece.from, piece.to, |bytes| message.add(data, bytes).map(|_| ()))?;
        }
        Ok(())
    }

    /// `data` finds the bytes that the block announces, once it is clear that they
    /// are wanted.
    pub(super) fn restore<'a>(
        &self,
        entry: &str,
        fields: &[u8],
        data: impl FnOnce(&Block) -> Option<&'a [u8]>,
    ) -> bool {
        let block = match Block::parse(fields) {
            Ok(block) => block,
            Err(error) => {
                crate::warning!("{entry}: {error}");
                return false;
            }
        };
        let size = block.write_size as usize;
        if !told(entry, self.driver.check_restore(&block, size)) {
            return false;
        }
        let data = if size == 0 {
            None
        } else {
            let bytes = if size <= limits::WRITE_BUFFER { data(&block) } else { None };
            let Some(bytes) = bytes else {
                crate::warning!("{entry}: {size} bytes of data are not where they should be");
                return false;
            };
            let Some(buffer) = self.pool.copy(bytes, Origin::Nobody) else {
                crate::warning!("{entry}: no memory for {size} bytes");
                return false;
            };
            Some((buffer, size))
        };
        told(entry, self.inside(|driver| driver.restore(&block, data)))
    }
}

/// The block of a device without a client.
pub(super) fn migrate_empty(message: &mut Marshaller, part: PartId) -> Result<(), Refusal> {
    message.add(part, &Block::default().encode()).map(|_| ())
}

/// A call into a device that is under way.
struct Visit<'a>(&'a Device);

impl<'a> Visit<'a> {
    fn begin(device: &'a Device) -> Self {
        device.depth.set(device.depth.get() + 1);
        Self(device)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let depth = self.0.depth.get() - 1;
        self.0.depth.set(depth);
        if std::thread::panicking() {
            return;
        }
        let kind = self.0.driver.kind();
        if depth == 0 {
            kind.finish_turn();
        } else {
            // The read loop may be running further up the stack, with its message.
            kind.settle();
        }
    }
}

/// The host's device.
///
/// # Safety
/// `sin` is NULL or an instance, good as long as the result is used.
pub(super) unsafe fn host_of(entry: &str, sin: *mut SpiceCharDeviceInstance) -> Option<CharDevice> {
    let Some(instance) = NonNull::new(sin) else {
        crate::warning!("{entry}: the instance is missing");
        return None;
    };
    // SAFETY: the caller's promise.
    if unsafe { (*instance.as_ptr()).base.sif }.is_null() {
        crate::warning!("{entry}: the instance has no interface");
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CharDevice::from_host(instance) })
}

fn size_of(entry: &str, size: c_int) -> Option<usize> {
    let wanted = usize::try_from(size).ok().filter(|size| *size <= limits::WRITE_BUFFER);
    if wanted.is_none() {
        crate::warning!("{entry}: a buffer of {size} bytes is refused");
    }
    wanted
}

/// Logs a refusal; whether it was none.
fn told<T, E: std::fmt::Display>(entry: &str, result: Result<T, E>) -> bool {
    result.inspect_err(|refusal| crate::warning!("{entry}: {refusal}")).is_ok()
}
