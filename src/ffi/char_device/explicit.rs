//! The old API for processes with several servers: the same functions with the server
//! as the first argument, and what else the upstream library does not have.

use std::ffi::{c_int, c_void};

use super::device::Device;
use super::layout::{SpiceCharDeviceCallbacks, SpiceCharDeviceState};
use super::lookup;
use crate::ffi::handles;
use crate::guard::guard;
use crate::host::abi::SpiceCharDeviceInstance;
use crate::server::Server;

/// Like spice_char_device_state_create(), for a device of this server.
///
/// @param server a server that was given to spice_server_init(); another one, or NULL,
///   is refused: logged, NULL
///
/// Main thread.
///
/// # Safety
/// As for spice_char_device_state_create().
///
/// Shown by: c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_state_create(
    server: *mut Server,
    sin: *mut SpiceCharDeviceInstance,
    client_tokens_interval: u32,
    self_tokens: u32,
    cbs: *mut SpiceCharDeviceCallbacks,
    opaque: *mut c_void,
) -> *mut SpiceCharDeviceState {
    const NAME: &str = "spice_server_char_device_state_create";
    guard(NAME, std::ptr::null_mut(), || {
        let Some(server) = handles::initialised_server(NAME, server) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        unsafe {
            Device::create(NAME, &server, sin, client_tokens_interval, self_tokens, cbs, opaque)
        }
    })
}

/// Like spice_char_device_state_restore(), for a block that came from elsewhere: where
/// the unwritten bytes lie is compared with the length of the message.
///
/// @param message the whole body of a migration message, beginning with its 8 bytes of
///   magic and version
/// @param size its length in bytes
/// @param offset where in it the block begins. The unwritten bytes are looked for
///   `write_data_ptr` bytes from the message's beginning.
/// @return 1, or, logged, 0 when the block cannot be used
///
/// Main thread.
///
/// # Safety
/// `message` is NULL or points to `size` bytes.
///
/// Shown by: c-tests/old-api/test-migration.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_state_restore(
    dev: *mut SpiceCharDeviceState,
    message: *const u8,
    size: usize,
    offset: usize,
) -> c_int {
    const NAME: &str = "spice_server_char_device_state_restore";
    guard(NAME, 0, || {
        let Some(device) = lookup::own(NAME, dev) else {
            return 0;
        };
        if message.is_null() || isize::try_from(size).is_err() {
            crate::warning!("{NAME}: the message is missing");
            return 0;
        }
        // SAFETY: the caller's promise.
        let message = unsafe { std::slice::from_raw_parts(message, size) };
        let fields = message.get(offset..).unwrap_or_default();
        let restored = device.restore(NAME, fields, |block| {
            message.get(block.write_data as usize..)?.get(..block.write_size as usize)
        });
        c_int::from(restored)
    })
}

/// Like spicevmc_device_connect(), for a channel of this server.
///
/// @param server a server that was given to spice_server_init(); another one, or NULL,
///   is refused: logged, NULL
///
/// Main thread.
///
/// # Safety
/// As for spicevmc_device_connect().
///
/// Shown by: c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_spicevmc_device_connect(
    server: *mut Server,
    sin: *mut SpiceCharDeviceInstance,
    channel_type: u8,
) -> *mut SpiceCharDeviceState {
    const NAME: &str = "spice_server_spicevmc_device_connect";
    guard(NAME, std::ptr::null_mut(), || {
        let Some(server) = handles::initialised_server(NAME, server) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        unsafe { lookup::connect(NAME, &server, sin, channel_type) }
    })
}

/// Like spicevmc_device_disconnect(), for a channel of this server; a channel of
/// another one is refused and logged.
///
/// Main thread.
///
/// # Safety
/// As for spicevmc_device_disconnect().
///
/// Shown by: c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_spicevmc_device_disconnect(
    server: *mut Server,
    sin: *mut SpiceCharDeviceInstance,
) {
    const NAME: &str = "spice_server_spicevmc_device_disconnect";
    guard(NAME, (), || {
        if let Some(server) = handles::server(NAME, server) {
            // SAFETY: the caller's promise.
            unsafe { lookup::disconnect(NAME, Some(&server), sin) };
        }
    });
}
