//! The functions as C calls them, on a device without a server: what they refuse, what
//! becomes of buffers, and how often messages are referenced.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::rc::{Rc, Weak};

use super::buffers::*;
use super::callbacks::Callbacks;
use super::clients::*;
use super::device::Device;
use super::explicit::*;
use super::layout::*;
use super::migration::*;
use super::state::*;
use super::vmc::*;
use crate::chardev::Parameters;
use crate::config::limits;
use crate::ffi::marshaller::*;
use crate::host::abi::{
    SPICE_CHAR_DEVICE_NOTIFY_WRITABLE, SpiceBaseInstance, SpiceBaseInterface,
    SpiceCharDeviceInstance, SpiceCharDeviceInterface,
};
use crate::host::char_device::CharDevice;
use crate::server::driver::Driver;

/// The C program: what its device holds and what its callbacks saw.
#[derive(Default)]
struct Program {
    /// Bytes that the device still takes.
    room: Cell<usize>,
    written: RefCell<Vec<u8>>,
    /// Messages to be read; each is a count of references.
    messages: RefCell<Vec<Rc<Cell<i32>>>>,
    /// Messages that were read, for as long as somebody may hold them.
    read: RefCell<Vec<Rc<Cell<i32>>>>,
    log: RefCell<Vec<String>>,
    /// Done once, in the first send.
    in_send: RefCell<Option<Box<dyn FnOnce()>>>,
}

thread_local! {
    static PROGRAM: Program = Program::default();
}

fn note(line: String) {
    PROGRAM.with(|program| program.log.borrow_mut().push(line));
}

fn log() -> String {
    PROGRAM.with(|program| std::mem::take(&mut *program.log.borrow_mut()).join(" "))
}

unsafe extern "C" fn write(_: *mut SpiceCharDeviceInstance, bytes: *const u8, n: c_int) -> c_int {
    PROGRAM.with(|program| {
        let n = (n as usize).min(program.room.get());
        program.room.set(program.room.get() - n);
        // SAFETY: the library's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, n) };
        program.written.borrow_mut().extend(bytes);
        n as c_int
    })
}

unsafe extern "C" fn read_one(_: *mut SpiceCharDeviceInstance, _: *mut c_void) -> *mut c_void {
    PROGRAM.with(|program| {
        let Some(message) = program.messages.borrow_mut().pop() else {
            return null_mut();
        };
        message.set(1);
        let pointer = Rc::as_ptr(&message).cast_mut().cast();
        program.read.borrow_mut().push(message);
        pointer
    })
}

fn count(message: *mut c_void, by: i32) {
    // SAFETY: `PROGRAM.read` keeps it.
    let references = unsafe { &*message.cast::<Cell<i32>>() };
    references.set(references.get() + by);
    assert!(references.get() >= 0);
}

unsafe extern "C" fn ref_msg(message: *mut c_void, _: *mut c_void) -> *mut c_void {
    count(message, 1);
    note("ref".into());
    message
}

unsafe extern "C" fn unref_msg(message: *mut c_void, _: *mut c_void) {
    count(message, -1);
    note("unref".into());
}

unsafe extern "C" fn send_msg(message: *mut c_void, client: *mut RedClient, _: *mut c_void) {
    count(message, 0);
    note(format!("send:{}", client.addr()));
    let action = PROGRAM.with(|program| program.in_send.borrow_mut().take());
    if let Some(action) = action {
        action();
    }
}

unsafe extern "C" fn send_tokens(client: *mut RedClient, tokens: u32, _: *mut c_void) {
    note(format!("tokens:{}:{tokens}", client.addr()));
}

unsafe extern "C" fn freed(_: *mut c_void) {
    note("freed".into());
}

unsafe extern "C" fn remove(client: *mut RedClient, _: *mut c_void) {
    note(format!("remove:{}", client.addr()));
}

const TABLE: SpiceCharDeviceCallbacks = SpiceCharDeviceCallbacks {
    read_one_msg_from_device: Some(read_one),
    ref_msg_to_client: Some(ref_msg),
    unref_msg_to_client: Some(unref_msg),
    send_msg_to_client: Some(send_msg),
    send_tokens_to_client: Some(send_tokens),
    on_free_self_token: Some(freed),
    remove_client: Some(remove),
};

/// A device of the program's.
struct Rig {
    dev: *mut SpiceCharDeviceState,
    instance: *mut SpiceCharDeviceInstance,
    interface: *mut SpiceCharDeviceInterface,
}

impl Rig {
    fn new(interval: u64, self_tokens: u64) -> Self {
        let base = SpiceBaseInterface {
            type_: c"char_device".as_ptr(),
            description: c"test".as_ptr(),
            major_version: 1,
            minor_version: 3,
        };
        let interface = Box::into_raw(Box::new(SpiceCharDeviceInterface {
            base,
            state: None,
            write: Some(write),
            read: None,
            event: None,
            flags: SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
        }));
        let instance = Box::into_raw(Box::new(SpiceCharDeviceInstance {
            base: SpiceBaseInstance { sif: interface.cast() },
            subtype: c"test".as_ptr(),
            st: null_mut(),
            portname: std::ptr::null(),
        }));
        let sin = NonNull::new(instance).expect("just made");
        // SAFETY: both live until the rig is dropped, after the device.
        let host = unsafe { CharDevice::from_host(sin) };
        let Ok(kind) = Callbacks::new(&TABLE, null_mut(), sin) else {
            panic!("all callbacks are there");
        };
        let parameters = Parameters { token_interval: interval, self_tokens };
        let driver = Rc::new(Driver::new(1, Weak::new(), host, parameters, kind));
        let dev = Device::keep(driver);
        PROGRAM.with(|program| program.room.set(usize::MAX));
        Self { dev, instance, interface }
    }

    fn messages(n: usize) {
        PROGRAM.with(|program| {
            program.messages.borrow_mut().extend((0..n).map(|_| Rc::default()));
        });
    }

    fn get(&self, key: usize, size: c_int) -> *mut SpiceCharDeviceWriteBuffer {
        // SAFETY: nothing is followed.
        unsafe { spice_char_device_write_buffer_get(self.dev, client(key), size) }
    }

    fn add(&self, buffer: *mut SpiceCharDeviceWriteBuffer, bytes: &[u8]) {
        // SAFETY: a buffer from `get` that is large enough.
        unsafe {
            (*buffer).buf.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (*buffer).buf_used = bytes.len() as u32;
            spice_char_device_write_buffer_add(self.dev, buffer);
        }
    }

    fn release(&self, buffer: *mut SpiceCharDeviceWriteBuffer) {
        // SAFETY: nothing unknown is followed.
        unsafe { spice_char_device_write_buffer_release(self.dev, buffer) };
    }

    fn connect(&self, key: usize, tokens: u32, send_tokens: u32) -> c_int {
        // SAFETY: the instance is good.
        unsafe { spice_char_device_client_add(self.dev, client(key), 1, 2, tokens, send_tokens, 0) }
    }

    fn start(&self) {
        // SAFETY: the instance is good.
        unsafe { spice_char_device_start(self.dev) };
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // SAFETY: made by `new`; the device is gone before its instance.
        unsafe {
            spice_char_device_state_destroy(self.dev);
            drop(Box::from_raw(self.instance));
            drop(Box::from_raw(self.interface));
        }
        PROGRAM.with(|program| {
            for message in program.read.borrow_mut().drain(..) {
                assert_eq!(message.get(), 0, "every reference was dropped");
            }
        });
    }
}

fn client(key: usize) -> *mut RedClient {
    std::ptr::without_provenance_mut(key)
}

fn written() -> Vec<u8> {
    PROGRAM.with(|program| std::mem::take(&mut *program.written.borrow_mut()))
}

#[test]
fn null_and_foreign_pointers_are_refused_everywhere() {
    let foreign = std::ptr::without_provenance_mut::<SpiceCharDeviceState>(0x1001);
    // SAFETY: nothing of what is wrong here is followed.
    unsafe {
        for dev in [null_mut(), foreign] {
            spice_char_device_state_reset_dev_instance(dev, null_mut());
            spice_char_device_state_destroy(dev);
            assert!(spice_char_device_state_opaque_get(dev).is_null());
            spice_char_device_state_migrate_data_marshall(dev, null_mut());
            assert_eq!(spice_char_device_state_restore(dev, null_mut()), 0);
            assert_eq!(spice_server_char_device_state_restore(dev, std::ptr::null(), 0, 0), 0);
            spice_char_device_reset(dev);
            assert_eq!(spice_char_device_client_add(dev, client(1), 1, 1, 1, 1, 0), 0);
            spice_char_device_client_remove(dev, client(1));
            assert_eq!(spice_char_device_client_exists(dev, client(1)), 0);
            spice_char_device_start(dev);
            spice_char_device_stop(dev);
            spice_char_device_wakeup(dev);
            spice_char_device_send_to_client_tokens_add(dev, client(1), 1);
            spice_char_device_send_to_client_tokens_set(dev, client(1), 1);
            assert!(spice_char_device_write_buffer_get(dev, null_mut(), 1).is_null());
            assert!(spice_char_device_write_buffer_get_server_no_token(dev, 1).is_null());
            spice_char_device_write_buffer_add(dev, null_mut());
            spice_char_device_write_buffer_release(dev, null_mut());
        }
        spice_char_device_state_migrate_data_marshall_empty(null_mut());
        assert!(spice_char_device_state_create(null_mut(), 0, 0, null_mut(), null_mut()).is_null());
        assert!(spicevmc_device_connect(null_mut(), 10).is_null());
        spicevmc_device_disconnect(null_mut());
        assert!(
            spice_server_char_device_state_create(
                null_mut(),
                null_mut(),
                0,
                0,
                null_mut(),
                null_mut()
            )
            .is_null()
        );
        assert!(spice_server_spicevmc_device_connect(null_mut(), null_mut(), 9).is_null());
        spice_server_spicevmc_device_disconnect(null_mut(), null_mut());
    }
    let rig = Rig::new(1, 1);
    // SAFETY: nothing of what is wrong here is followed.
    unsafe {
        spice_char_device_state_reset_dev_instance(rig.dev, null_mut());
        assert_eq!(spice_char_device_client_add(rig.dev, null_mut(), 1, 1, 1, 1, 0), 0);
        assert_eq!(spice_char_device_client_exists(rig.dev, null_mut()), 0);
        spice_char_device_client_remove(rig.dev, client(7));
        spice_char_device_send_to_client_tokens_add(rig.dev, client(7), 1);
        assert_eq!(spice_char_device_state_restore(rig.dev, null_mut()), 0);
    }
    assert!(rig.get(7, 1).is_null(), "an unknown client");
    assert!(rig.get(0, -1).is_null());
    assert!(rig.get(0, limits::WRITE_BUFFER as c_int + 1).is_null());
    assert!(!rig.get(0, 0).is_null(), "the token is still there");
    assert_eq!(log(), "");
}

#[test]
fn a_missing_callback_is_named() {
    for lack in 0..7 {
        let mut table = TABLE;
        match lack {
            0 => table.read_one_msg_from_device = None,
            1 => table.ref_msg_to_client = None,
            2 => table.unref_msg_to_client = None,
            3 => table.send_msg_to_client = None,
            4 => table.send_tokens_to_client = None,
            5 => table.remove_client = None,
            _ => table.on_free_self_token = None,
        }
        let made = Callbacks::new(&table, null_mut(), NonNull::dangling());
        assert_eq!(made.is_ok(), lack == 6, "only on_free_self_token may be missing");
    }
}

#[test]
fn a_buffer_is_added_or_released_once() {
    let (rig, other) = (Rig::new(1, 2), Rig::new(1, 2));
    rig.start();
    let buffer = rig.get(0, 10);
    other.release(buffer);
    other.add(buffer, b"not his");
    assert_eq!(written(), b"");
    rig.add(buffer, b"once");
    assert_eq!((written(), log()), (b"once".to_vec(), "freed".into()));
    rig.release(buffer);
    // SAFETY: the pool keeps the buffer's memory, so even this reads what is there.
    unsafe { spice_char_device_write_buffer_add(rig.dev, buffer) };
    assert_eq!((written(), log()), (Vec::new(), String::new()));

    let again = rig.get(0, 5);
    assert_eq!(again, buffer, "from the pool");
    rig.release(again);
    rig.release(again);
    assert_eq!(log(), "freed", "one token");
    let (first, second) = (rig.get(0, 1), rig.get(0, 1));
    assert!(!first.is_null() && !second.is_null() && rig.get(0, 1).is_null(), "two tokens");
    rig.release(first);
    rig.release(second);
    log();
}

#[test]
fn a_reference_of_the_programs_keeps_a_buffer() {
    let rig = Rig::new(1, 1);
    rig.start();
    let buffer = rig.get(0, 4);
    // SAFETY: a buffer of ours.
    unsafe { (*buffer).refs = 2 };
    rig.add(buffer, b"data");
    assert_eq!(log(), "freed");
    // SAFETY: as above; the program's reference is still there.
    unsafe {
        assert_eq!((*buffer).refs, 1);
        assert_eq!(std::slice::from_raw_parts((*buffer).buf, 4), b"data");
        spice_char_device_write_buffer_add(rig.dev, buffer);
    }
    assert_eq!(written(), b"data", "not added twice");
    assert_ne!(rig.get(0, 4), buffer, "not in the pool");
    rig.release(buffer);
    assert_eq!(log(), "", "no second token");
    rig.release(buffer);
}

#[test]
fn false_claims_about_a_buffer_are_not_believed() {
    let rig = Rig::new(1, 1);
    rig.start();
    let buffer = rig.get(0, 8);
    // SAFETY: a buffer of ours.
    unsafe {
        (*buffer).buf_size = 1 << 20;
        (*buffer).buf_used = 1 << 20;
        spice_char_device_write_buffer_add(rig.dev, buffer);
    }
    assert_eq!((written(), log()), (Vec::new(), "freed".into()));
    let buffer = rig.get(0, 8);
    // SAFETY: as above.
    unsafe {
        (*buffer).buf = std::ptr::dangling_mut();
        (*buffer).buf_used = 1;
        spice_char_device_write_buffer_add(rig.dev, buffer);
    }
    assert_eq!((written(), log()), (Vec::new(), "freed".into()));
    let buffer = rig.get(0, 8);
    rig.add(buffer, b"");
    assert_eq!((written(), log()), (Vec::new(), "freed".into()), "nothing to write");
}

#[test]
fn a_buffer_outlives_its_device() {
    let rig = Rig::new(1, 1);
    let buffer = rig.get(0, 8);
    let dev = rig.dev;
    drop(rig);
    // SAFETY: nothing unknown is followed.
    unsafe {
        spice_char_device_write_buffer_release(dev, buffer);
        (*buffer).buf.write_bytes(1, 8);
        spice_char_device_write_buffer_release(null_mut(), buffer);
        spice_char_device_write_buffer_release(null_mut(), buffer);
        assert!(spice_char_device_state_opaque_get(dev).is_null());
        spice_char_device_state_destroy(dev);
    }
}

#[test]
fn the_pool_is_bounded_and_emptied_with_the_last_client() {
    let rig = Rig::new(1, 100);
    let size = 300_000;
    let buffers = [(); 4].map(|()| rig.get(0, size));
    for buffer in buffers {
        rig.release(buffer);
    }
    let kept = [(); 4].map(|()| rig.get(0, 1));
    // Three, because the limit is tested before one is added.
    assert_eq!(kept[..3], buffers[..3], "oldest first");
    // SAFETY: buffers of ours.
    assert_eq!(unsafe { (*kept[0]).buf_size }, size as u32, "whatever its size");
    for buffer in kept {
        rig.release(buffer);
    }
    rig.connect(1, 5, 5);
    // SAFETY: the instance is good.
    unsafe { spice_char_device_client_remove(rig.dev, client(1)) };
    // SAFETY: a buffer of ours.
    assert_eq!(unsafe { (*rig.get(0, 1)).buf_size }, 1, "a new one");
    log();
}

#[test]
fn tokens_come_back_in_lots_and_a_violation_cuts_the_client() {
    let rig = Rig::new(2, 1);
    rig.start();
    assert_eq!(rig.connect(1, 3, 0), 1);
    assert_eq!(rig.connect(1, 3, 0), 0, "known already");
    let buffers = [(); 3].map(|()| rig.get(1, 1));
    assert!(rig.get(1, 1).is_null());
    assert_eq!(log(), "remove:1");
    rig.add(buffers[0], b"a");
    assert_eq!(log(), "");
    rig.release(buffers[1]);
    assert_eq!(log(), "tokens:1:2");
    // SAFETY: the instance is good.
    unsafe { spice_char_device_client_remove(rig.dev, client(1)) };
    rig.add(buffers[2], b"b");
    assert_eq!(written(), b"a", "the client has left");
    rig.release(buffers[2]);
    assert_eq!(log(), "");
}

#[test]
fn messages_are_referenced_where_they_wait() {
    let rig = Rig::new(1, 1);
    assert_eq!((rig.connect(1, 1, 0), rig.connect(2, 1, 1)), (1, 1));
    Rig::messages(1);
    rig.start();
    assert_eq!(log(), "send:2 ref unref");
    // SAFETY: the instance is good.
    unsafe { spice_char_device_send_to_client_tokens_add(rig.dev, client(1), 1) };
    assert_eq!(log(), "send:1 unref");

    Rig::messages(2);
    // SAFETY: as above.
    unsafe { spice_char_device_send_to_client_tokens_set(rig.dev, client(2), 2) };
    assert_eq!(log(), "send:2 ref unref send:2 ref unref");
    // SAFETY: as above.
    unsafe { spice_char_device_reset(rig.dev) };
    assert_eq!(log(), "unref unref");
}

#[test]
fn a_device_destroyed_inside_a_callback_calls_no_further() {
    let rig = Rig::new(1, 1);
    assert_eq!((rig.connect(1, 1, 1), rig.connect(2, 1, 1)), (1, 1));
    Rig::messages(3);
    let dev = rig.dev.addr();
    PROGRAM.with(|program| {
        *program.in_send.borrow_mut() = Some(Box::new(move || {
            // SAFETY: nothing is followed.
            unsafe { spice_char_device_state_destroy(std::ptr::without_provenance_mut(dev)) };
        }));
    });
    rig.start();
    assert_eq!(log(), "send:2 unref");
    PROGRAM.with(|program| program.messages.borrow_mut().clear());
}

#[test]
fn a_client_removed_inside_a_callback_gets_nothing_more() {
    let rig = Rig::new(1, 1);
    assert_eq!((rig.connect(1, 1, 5), rig.connect(2, 1, 5)), (1, 1));
    Rig::messages(2);
    let dev = rig.dev.addr();
    PROGRAM.with(|program| {
        *program.in_send.borrow_mut() = Some(Box::new(move || {
            let dev = std::ptr::without_provenance_mut(dev);
            // SAFETY: the instance is good.
            unsafe { spice_char_device_client_remove(dev, client(1)) };
        }));
    });
    rig.start();
    assert_eq!(log(), "send:2 unref send:2 unref");
}

#[test]
fn what_was_not_written_moves_to_another_device() {
    let rig = Rig::new(1, 1);
    rig.start();
    assert_eq!(rig.connect(1, 10, 7), 1);
    PROGRAM.with(|program| program.room.set(2));
    let (first, second) = (rig.get(1, 3), rig.get(0, 3));
    rig.add(first, b"abc");
    rig.add(second, b"def");
    assert_eq!(written(), b"ab");

    let m = spice_marshaller_new();
    let (mut length, mut copied) = (0, 0);
    // SAFETY: handles, and places of the right types.
    let message = unsafe {
        spice_marshaller_add_uint64(m, 0);
        spice_char_device_state_migrate_data_marshall(rig.dev, m);
        let bytes = spice_marshaller_linearize(m, 0, &raw mut length, &raw mut copied);
        let message = std::slice::from_raw_parts(bytes, length).to_vec();
        libc::free(bytes.cast());
        spice_marshaller_destroy(m);
        message
    };
    assert_eq!((length, copied, &message[33..]), (37, 1, &b"cdef"[..]));

    let target = Rig::new(1, 1);
    target.start();
    let restore = |message: &[u8], offset| {
        // SAFETY: a slice.
        unsafe {
            spice_server_char_device_state_restore(
                target.dev,
                message.as_ptr(),
                message.len(),
                offset,
            )
        }
    };
    assert_eq!(restore(&message, 8), 0, "nobody waits");
    // SAFETY: the instance is good.
    assert_eq!(unsafe { spice_char_device_client_add(target.dev, client(1), 1, 1, 10, 7, 1) }, 1);
    assert_eq!(restore(&message[..36], 8), 0, "cut short");
    assert_eq!(restore(&message, 13), 0, "not a block");
    assert_eq!(restore(&message, 4000), 0);
    let block = message[8..].as_ptr().cast_mut().cast();
    // SAFETY: a whole message.
    assert_eq!(unsafe { spice_char_device_state_restore(target.dev, block) }, 1);
    assert_eq!(written(), b"cdef");
    log();
}
