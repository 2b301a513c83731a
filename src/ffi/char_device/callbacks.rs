//! The C program's side of a device: its callbacks as a `Kind` of the driver, and its
//! messages as values.
//!
//! A message comes with one reference, which the read loop owns. Where it has to wait
//! for clients it gets one more for each of them. C must not be called while the core
//! is at work, so references are added and dropped a moment later, by
//! [`Callbacks::settle`]: between two messages, and on the way back to C.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use super::layout::{RedClient, SpiceCharDeviceCallbacks, SpiceCharDeviceMsgToClient};
use super::pool::QueuedBuffer;
use crate::chardev::ClientKey;
use crate::host::abi::SpiceCharDeviceInstance;
use crate::server::driver::{Driver, Kind};

/// The callbacks of a device, all present.
pub(super) struct Callbacks {
    read_one: unsafe extern "C" fn(
        *mut SpiceCharDeviceInstance,
        *mut c_void,
    ) -> *mut SpiceCharDeviceMsgToClient,
    ref_msg: unsafe extern "C" fn(
        *mut SpiceCharDeviceMsgToClient,
        *mut c_void,
    ) -> *mut SpiceCharDeviceMsgToClient,
    unref_msg: unsafe extern "C" fn(*mut SpiceCharDeviceMsgToClient, *mut c_void),
    send_msg: unsafe extern "C" fn(*mut SpiceCharDeviceMsgToClient, *mut RedClient, *mut c_void),
    send_tokens: unsafe extern "C" fn(*mut RedClient, u32, *mut c_void),
    on_free_self_token: Option<unsafe extern "C" fn(*mut c_void)>,
    remove_client: unsafe extern "C" fn(*mut RedClient, *mut c_void),
    opaque: *mut c_void,
    instance: Cell<Option<NonNull<SpiceCharDeviceInstance>>>,
    /// The device is destroyed: nothing but dropping references may be asked for.
    over: Cell<bool>,
    /// The message in the read loop.
    in_loop: RefCell<Option<Rc<Shared>>>,
    /// References to drop.
    surplus: Rc<RefCell<Vec<Reference>>>,
}

type Reference = *mut SpiceCharDeviceMsgToClient;

/// A message of the device, shared by all who have to do with it.
pub(super) struct Message(Rc<Shared>);

struct Shared {
    /// What read_one_msg_from_device returned; its reference is the read loop's.
    pointer: Reference,
    /// A reference for each client that the message waits for.
    waiting: RefCell<Vec<Reference>>,
    surplus: Rc<RefCell<Vec<Reference>>>,
}

impl Callbacks {
    /// Takes the functions over; `Err` names the one that is missing.
    pub(super) fn new(
        table: &SpiceCharDeviceCallbacks,
        opaque: *mut c_void,
        instance: NonNull<SpiceCharDeviceInstance>,
    ) -> Result<Self, &'static str> {
        Ok(Self {
            read_one: table.read_one_msg_from_device.ok_or("read_one_msg_from_device")?,
            ref_msg: table.ref_msg_to_client.ok_or("ref_msg_to_client")?,
            unref_msg: table.unref_msg_to_client.ok_or("unref_msg_to_client")?,
            send_msg: table.send_msg_to_client.ok_or("send_msg_to_client")?,
            send_tokens: table.send_tokens_to_client.ok_or("send_tokens_to_client")?,
            on_free_self_token: table.on_free_self_token,
            remove_client: table.remove_client.ok_or("remove_client")?,
            opaque,
            instance: Cell::new(Some(instance)),
            over: Cell::new(false),
            in_loop: RefCell::default(),
            surplus: Rc::default(),
        })
    }

    pub(super) fn opaque(&self) -> *mut c_void {
        self.opaque
    }

    /// Says which instance messages are read from.
    pub(super) fn set_instance(&self, instance: Option<NonNull<SpiceCharDeviceInstance>>) {
        self.instance.set(instance);
    }

    /// The device is destroyed.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// Drops the references that nobody needs any more.
    pub(super) fn settle(&self) {
        loop {
            let Some(reference) = self.surplus.borrow_mut().pop() else {
                break;
            };
            // SAFETY: the C program's own function, for a reference that we own.
            unsafe { (self.unref_msg)(reference, self.opaque) };
        }
    }

    /// The read loop is done with its message: whoever it still waits for gets a
    /// reference, and the loop's own is dropped.
    pub(super) fn finish_turn(&self) {
        let finished = self.in_loop.borrow_mut().take();
        if let Some(message) = finished {
            // Everything but this one is a queue of a client.
            for _ in 1..Rc::strong_count(&message) {
                // SAFETY: the C program's own function; the loop's reference is still
                // there.
                let reference = unsafe { (self.ref_msg)(message.pointer, self.opaque) };
                message.waiting.borrow_mut().push(reference);
            }
            // That function may have sent some of them away.
            while message.waiting.borrow().len() >= Rc::strong_count(&message) {
                let reference = message.waiting.borrow_mut().pop();
                self.surplus.borrow_mut().extend(reference);
            }
            self.surplus.borrow_mut().push(message.pointer);
        }
        self.settle();
    }
}

impl Kind for Callbacks {
    type Message = Message;
    type Buffer = QueuedBuffer;

    fn read_one(&self, _driver: &Driver<Self>) -> Option<Message> {
        self.finish_turn();
        let instance = self.instance.get().filter(|_| !self.over.get())?;
        // SAFETY: the C program's own function, with the instance that it gave.
        let pointer = unsafe { (self.read_one)(instance.as_ptr(), self.opaque) };
        if pointer.is_null() {
            return None;
        }
        let message = Rc::new(Shared {
            pointer,
            waiting: RefCell::default(),
            surplus: Rc::clone(&self.surplus),
        });
        *self.in_loop.borrow_mut() = Some(Rc::clone(&message));
        Some(Message(message))
    }

    fn send(&self, message: &Message, client: ClientKey) {
        if !self.over.get() {
            let own = message.0.waiting.borrow().last().copied();
            let pointer = own.unwrap_or(message.0.pointer);
            // SAFETY: the C program's own function; the message is referenced until
            // after the call.
            unsafe { (self.send_msg)(pointer, pointer_of(client), self.opaque) };
        }
    }

    fn send_tokens(&self, client: ClientKey, tokens: u64) {
        if !self.over.get() {
            let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
            // SAFETY: the C program's own function.
            unsafe { (self.send_tokens)(pointer_of(client), tokens, self.opaque) };
        }
    }

    fn self_token_freed(&self, _driver: &Driver<Self>) {
        if let Some(freed) = self.on_free_self_token.filter(|_| !self.over.get()) {
            // SAFETY: the C program's own function.
            unsafe { freed(self.opaque) };
        }
    }

    fn remove_client(&self, client: ClientKey) {
        if !self.over.get() {
            // SAFETY: the C program's own function.
            unsafe { (self.remove_client)(pointer_of(client), self.opaque) };
        }
    }

    fn released(&self, buffer: QueuedBuffer) {
        drop(buffer);
    }

    fn broken(&self) {
        crate::warning!("a char device of the host program is stopped after an internal error");
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let reference = self.0.waiting.borrow_mut().pop();
        self.0.surplus.borrow_mut().extend(reference);
    }
}

/// The name that the core knows a client by.
pub(super) fn key_of(client: NonNull<RedClient>) -> ClientKey {
    client.as_ptr().expose_provenance()
}

/// The pointer that C knows a client by.
fn pointer_of(client: ClientKey) -> *mut RedClient {
    std::ptr::with_exposed_provenance_mut(client)
}
