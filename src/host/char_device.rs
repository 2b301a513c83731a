//! A char device of the host: write to it, read from it, tell it things.
//!
//! Called under the host's serialisation (QEMU's big lock). Any call may come
//! back into the library before it returns.

use std::ffi::CStr;
use std::ptr::NonNull;

use libc::{c_int, c_void};

use super::abi::{
    CHAR_DEVICE_MINOR_EVENT, CHAR_DEVICE_MINOR_FLAGS, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
    SpiceCharDeviceInstance, SpiceCharDeviceInterface,
};
use crate::fault;

/// The host's instance. Whoever holds it must forget it when the host removes
/// the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharDevice {
    instance: NonNull<SpiceCharDeviceInstance>,
}

impl CharDevice {
    /// Wraps the host's instance.
    ///
    /// # Safety
    /// `instance` is a char-device instance with its interface, and both stay
    /// good until the host removes the interface or destroys the server.
    pub unsafe fn from_host(instance: NonNull<SpiceCharDeviceInstance>) -> Self {
        Self { instance }
    }

    /// The host's instance, to tell it from others or to hand it back.
    pub fn instance(self) -> NonNull<SpiceCharDeviceInstance> {
        self.instance
    }

    fn interface(self) -> *const SpiceCharDeviceInterface {
        // SAFETY: `from_host`'s promise.
        unsafe { (*self.instance.as_ptr()).base.sif.cast() }
    }

    fn minor_version(self) -> u32 {
        // SAFETY: `from_host`'s promise; the base exists in every version.
        unsafe { (*self.interface()).base.minor_version }
    }

    /// What the device is for; empty when the host gave no text.
    pub fn subtype(self) -> Vec<u8> {
        // SAFETY: `from_host`'s promise: NULL or a C string.
        text(unsafe { (*self.instance.as_ptr()).subtype }).unwrap_or_default()
    }

    /// The port's name, if the device is a port.
    pub fn port_name(self) -> Option<Vec<u8>> {
        // SAFETY: as above.
        text(unsafe { (*self.instance.as_ptr()).portname })
    }

    /// Whether the device tells when it becomes writable again.
    pub fn notifies_writable(self) -> bool {
        // Older structures end before `flags`.
        self.minor_version() >= CHAR_DEVICE_MINOR_FLAGS
            // SAFETY: the member exists from this minor version on.
            && unsafe { (*self.interface()).flags } & SPICE_CHAR_DEVICE_NOTIFY_WRITABLE != 0
    }

    /// Puts our handle where the host's later calls find it.
    pub fn set_handle(self, handle: *mut c_void) {
        // SAFETY: `from_host`'s promise; the member is ours to set.
        unsafe { (*self.instance.as_ptr()).st = handle };
    }

    /// Tells the device whether a client is there.
    pub fn state(self, connected: bool) {
        // SAFETY: `from_host`'s promise.
        if let Some(state) = unsafe { (*self.interface()).state } {
            // SAFETY: the host's own function for this instance.
            unsafe { state(self.instance.as_ptr(), c_int::from(connected)) };
            fault::point("device state");
        }
    }

    /// Gives bytes to the guest; returns what the device returned.
    pub fn write(self, bytes: &[u8]) -> c_int {
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: `from_host`'s promise.
        let Some(write) = (unsafe { (*self.interface()).write }) else {
            return 0;
        };
        // SAFETY: the host's own function; it reads at most `length` bytes during the call.
        unsafe { write(self.instance.as_ptr(), bytes.as_ptr(), length) }
    }

    /// Takes bytes from the guest; returns how many of `buffer` were filled.
    pub fn read(self, buffer: &mut [u8]) -> usize {
        let length = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: `from_host`'s promise.
        let Some(read) = (unsafe { (*self.interface()).read }) else {
            return 0;
        };
        // SAFETY: the host's own function; it writes at most `length` bytes during the call.
        let count = unsafe { read(self.instance.as_ptr(), buffer.as_mut_ptr(), length) };
        usize::try_from(count).unwrap_or(0).min(buffer.len())
    }

    /// Passes a client's port event to the device, if it takes events.
    pub fn event(self, event: u8) {
        if self.minor_version() < CHAR_DEVICE_MINOR_EVENT {
            return;
        }
        // SAFETY: the member exists from this minor version on.
        if let Some(handler) = unsafe { (*self.interface()).event } {
            // SAFETY: the host's own function for this instance.
            unsafe { handler(self.instance.as_ptr(), event) };
            fault::point("device event");
        }
    }
}

fn text(pointer: *const libc::c_char) -> Option<Vec<u8>> {
    // SAFETY: the callers pass NULL or a C string of the host.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec())
}
