//! `spice_char_device_state_*`, start, stop, wakeup, reset: the life of a device
//! that a C program makes of its own.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::device::Device;
use super::layout::{SpiceCharDeviceCallbacks, SpiceCharDeviceState};
use super::lookup;
use crate::ffi::handles;
use crate::guard::{guard, guard_often};
use crate::host::abi::SpiceCharDeviceInstance;

/// Makes a char device of the caller's own, bound to the server most recently given
/// to spice_server_init().
///
/// The device does not run yet, and the VM does not start or stop it: that is for the
/// caller to do, with spice_char_device_start() and spice_char_device_stop().
///
/// @param sin the instance to read from and write to; its `st` is set. It stays the
///   caller's and must be good until it is replaced, the device is reset or destroyed,
///   or the server is destroyed. It is not to be given to spice_server_add_interface().
/// @param client_tokens_interval tokens are given back to a client in lots of at least
///   this many; at most the number of tokens a client starts with, or it never gets one
/// @param self_tokens how many buffers made by the server may be under way at once
/// @param cbs copied; may be freed afterwards
/// @param opaque the first thing the callbacks want to know
/// @return the device, to be ended by spice_char_device_state_destroy(). NULL, logged,
///   when no server is initialised, or `sin`, its interface, `cbs` or a callback other
///   than on_free_self_token() is NULL.
///
/// Main thread.
///
/// # Safety
/// As said above for `sin`; `cbs` is NULL or a table of functions of these types.
///
/// Shown by: c-tests/old-api/test-misuse.c, c-tests/old-api/device.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_create(
    sin: *mut SpiceCharDeviceInstance,
    client_tokens_interval: u32,
    self_tokens: u32,
    cbs: *mut SpiceCharDeviceCallbacks,
    opaque: *mut c_void,
) -> *mut SpiceCharDeviceState {
    const NAME: &str = "spice_char_device_state_create";
    guard(NAME, std::ptr::null_mut(), || {
        let Some(server) = handles::latest_server(NAME) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        unsafe {
            Device::create(NAME, &server, sin, client_tokens_interval, self_tokens, cbs, opaque)
        }
    })
}

/// Gives a device another instance to read from and write to, as after a reset or
/// when the host replaced it. Its queues stay.
///
/// @param sin as for spice_char_device_state_create(); its `st` is set. The `st` of
///   the instance before is not touched: it may have been freed. NULL is refused and
///   logged.
///
/// Main thread.
///
/// # Safety
/// `sin` is NULL or an instance as for spice_char_device_state_create().
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_reset_dev_instance(
    dev: *mut SpiceCharDeviceState,
    sin: *mut SpiceCharDeviceInstance,
) {
    const NAME: &str = "spice_char_device_state_reset_dev_instance";
    guard(NAME, (), || {
        let Some(device) = lookup::own(NAME, dev) else {
            return;
        };
        let Some(sin) = NonNull::new(sin) else {
            return crate::warning!("{NAME}: the instance is missing");
        };
        // SAFETY: the caller's promise.
        unsafe { device.rebind(NAME, sin) };
    });
}

/// Ends a device. What it queued is dropped, messages are unreferenced, and its clients
/// are forgotten without a callback. The instance is not touched, and may be gone
/// already; what is left in its `st` is refused from now on.
///
/// Buffers that the caller has not added or released yet stay the caller's; they are
/// freed by spice_char_device_write_buffer_release() with a NULL device.
///
/// May be called from inside a callback of this device. Destroying twice is detected:
/// refused and logged.
///
/// Main thread.
///
/// # Safety
/// None: `dev` is looked up, not followed.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_destroy(dev: *mut SpiceCharDeviceState) {
    const NAME: &str = "spice_char_device_state_destroy";
    guard(NAME, (), || {
        if let Some(device) = lookup::own(NAME, dev) {
            device.destroy();
        }
    });
}

/// The `opaque` that spice_char_device_state_create() was given. NULL for a device of
/// spicevmc_device_connect(), and, logged, for what is no device.
///
/// Main thread.
///
/// # Safety
/// None: `dev` is looked up, not followed.
///
/// Shown by: c-tests/old-api/test-misuse.c, c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_opaque_get(
    dev: *mut SpiceCharDeviceState,
) -> *mut c_void {
    const NAME: &str = "spice_char_device_state_opaque_get";
    guard(NAME, std::ptr::null_mut(), || {
        lookup::any(NAME, dev).map_or(std::ptr::null_mut(), |device| device.opaque())
    })
}

/// Stops a device, drops what is queued in both directions and forgets the instance.
///
/// Tokens of dropped buffers are given back, which may call send_tokens_to_client()
/// and on_free_self_token(); messages that waited for clients are unreferenced. The
/// clients stay. To go on, give it an instance by
/// spice_char_device_state_reset_dev_instance() and start it.
///
/// Main thread.
///
/// # Safety
/// None: `dev` is looked up, not followed.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_reset(dev: *mut SpiceCharDeviceState) {
    const NAME: &str = "spice_char_device_reset";
    guard(NAME, (), || {
        if let Some(device) = lookup::own(NAME, dev) {
            device.reset();
        }
    });
}

/// Lets data flow: writes what is queued and reads what is there before it returns.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-buffers.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_start(dev: *mut SpiceCharDeviceState) {
    const NAME: &str = "spice_char_device_start";
    guard(NAME, (), || {
        if let Some(device) = lookup::any(NAME, dev) {
            device.start();
        }
    });
}

/// Holds data back. The queues stay.
///
/// Main thread.
///
/// # Safety
/// None: `dev` is looked up, not followed.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_stop(dev: *mut SpiceCharDeviceState) {
    const NAME: &str = "spice_char_device_stop";
    guard(NAME, (), || {
        if let Some(device) = lookup::any(NAME, dev) {
            device.stop();
        }
    });
}

/// The device has data, or can take some again: writes, then reads, before it
/// returns. The same as spice_server_char_device_wakeup() with the device's instance.
///
/// From inside read or write it returns at once, and the loop that called them goes
/// round once more.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-hosts.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_wakeup(dev: *mut SpiceCharDeviceState) {
    const NAME: &str = "spice_char_device_wakeup";
    guard_often(NAME, (), || {
        if let Some(device) = lookup::any(NAME, dev) {
            device.wakeup();
        }
    });
}
