//! A char device for tests: bytes that tests offer, room that they give, and what to
//! do inside the next call.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;

use libc::c_int;

use super::abi::{
    SPICE_CHAR_DEVICE_NOTIFY_WRITABLE, SPICE_INTERFACE_CHAR_DEVICE, SpiceBaseInstance,
    SpiceBaseInterface, SpiceCharDeviceInstance, SpiceCharDeviceInterface,
};
use super::char_device::CharDevice;

/// The device. Callbacks find it by the instance, which is its first member.
#[repr(C)]
pub(crate) struct FakeCharDevice {
    instance: UnsafeCell<SpiceCharDeviceInstance>,
    interface: SpiceCharDeviceInterface,
    /// How many bytes it still takes.
    pub(crate) room: Cell<usize>,
    /// What it took.
    pub(crate) written: RefCell<Vec<u8>>,
    /// What can be read; each read gives one piece.
    pub(crate) offers: RefCell<VecDeque<Vec<u8>>>,
    /// How often it was written to and read from.
    pub(crate) calls: Cell<(usize, usize)>,
    inside_write: RefCell<Option<Box<dyn FnOnce()>>>,
    inside_read: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl FakeCharDevice {
    /// A device that tells when it becomes writable.
    pub(crate) fn new() -> Rc<Self> {
        Self::build(SPICE_INTERFACE_CHAR_DEVICE.minor, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE)
    }

    /// A device of this minor version with these flags; it has endless room.
    pub(crate) fn build(minor_version: u32, flags: u32) -> Rc<Self> {
        let base = SpiceBaseInterface {
            type_: SPICE_INTERFACE_CHAR_DEVICE.name.as_ptr(),
            description: c"fake".as_ptr(),
            major_version: SPICE_INTERFACE_CHAR_DEVICE.major,
            minor_version,
        };
        let fake = Rc::new(Self {
            instance: UnsafeCell::new(SpiceCharDeviceInstance {
                base: SpiceBaseInstance { sif: std::ptr::null() },
                subtype: c"fake".as_ptr(),
                st: std::ptr::null_mut(),
                portname: std::ptr::null(),
            }),
            interface: SpiceCharDeviceInterface {
                base,
                state: None,
                write: Some(write),
                read: Some(read),
                event: None,
                flags,
            },
            room: Cell::new(usize::MAX),
            written: RefCell::default(),
            offers: RefCell::default(),
            calls: Cell::default(),
            inside_write: RefCell::default(),
            inside_read: RefCell::default(),
        });
        // SAFETY: nobody else knows the instance yet.
        unsafe { (*fake.instance.get()).base.sif = (&raw const fake.interface).cast() };
        fake
    }

    /// The device as the library sees it.
    pub(crate) fn device(&self) -> CharDevice {
        // SAFETY: tests keep the fake as long as what they give it to.
        unsafe { CharDevice::from_host(NonNull::from(self).cast()) }
    }

    /// Something to be read.
    pub(crate) fn offer(&self, piece: &[u8]) {
        self.offers.borrow_mut().push_back(piece.to_vec());
    }

    /// What the device does first inside its next write.
    pub(crate) fn inside_write(&self, act: impl FnOnce() + 'static) {
        *self.inside_write.borrow_mut() = Some(Box::new(act));
    }

    /// What the device does first inside its next read.
    pub(crate) fn inside_read(&self, act: impl FnOnce() + 'static) {
        *self.inside_read.borrow_mut() = Some(Box::new(act));
    }
}

/// The fake behind an instance.
fn fake<'a>(instance: *mut SpiceCharDeviceInstance) -> &'a FakeCharDevice {
    // SAFETY: the library passes the instance it was given, which is the first
    // member of a fake that outlives its use.
    unsafe { &*instance.cast::<FakeCharDevice>() }
}

unsafe extern "C" fn write(
    instance: *mut SpiceCharDeviceInstance,
    bytes: *const u8,
    length: c_int,
) -> c_int {
    let fake = fake(instance);
    let (writes, reads) = fake.calls.get();
    fake.calls.set((writes + 1, reads));
    // What it does inside does not change how much room there was before.
    let room = fake.room.get();
    let act = fake.inside_write.borrow_mut().take();
    if let Some(act) = act {
        act();
    }
    let count = room.min(usize::try_from(length).expect("a length"));
    fake.room.set(fake.room.get() - count);
    // SAFETY: the library passes this many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, count) };
    fake.written.borrow_mut().extend_from_slice(bytes);
    count as c_int
}

unsafe extern "C" fn read(
    instance: *mut SpiceCharDeviceInstance,
    buffer: *mut u8,
    length: c_int,
) -> c_int {
    let fake = fake(instance);
    let (writes, reads) = fake.calls.get();
    fake.calls.set((writes, reads + 1));
    // What it does inside does not change what there was before.
    let piece = fake.offers.borrow_mut().pop_front();
    let act = fake.inside_read.borrow_mut().take();
    if let Some(act) = act {
        act();
    }
    let Some(piece) = piece else { return 0 };
    assert!(piece.len() <= usize::try_from(length).expect("a length"), "a piece too large");
    // SAFETY: the library passes a buffer of this length.
    unsafe { buffer.copy_from(piece.as_ptr(), piece.len()) };
    piece.len() as c_int
}
