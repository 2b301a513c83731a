//! `spice_char_device_write_buffer_*`: bytes on their way to the device.

use std::ffi::c_int;
use std::ptr::NonNull;

use super::layout::{RedClient, SpiceCharDeviceState, SpiceCharDeviceWriteBuffer};
use super::lookup;
use super::pool;
use crate::guard::guard_often;

/// Takes a buffer to be filled for the device.
///
/// @param client who sent the bytes; takes one of its tokens if it is flow controlled.
///   NULL: the server makes them; takes a self token
/// @param size how many bytes have room in it, 0 to 64 MiB
/// @return the buffer, with which exactly one of
///   spice_char_device_write_buffer_add() and spice_char_device_write_buffer_release()
///   is to be called. NULL when the server has no token left; and, logged, when the
///   client has none (remove_client() was called for it) or is not there, when the
///   size is out of bounds or memory is short.
///
/// Buffers come from a pool of the device: in steady state no memory is allocated.
///
/// Main thread.
///
/// # Safety
/// None: neither pointer is followed.
///
/// Shown by: c-tests/old-api/test-buffers.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_write_buffer_get(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
    size: c_int,
) -> *mut SpiceCharDeviceWriteBuffer {
    const NAME: &str = "spice_char_device_write_buffer_get";
    guard_often(NAME, std::ptr::null_mut(), || {
        let Some(device) = lookup::own(NAME, dev) else {
            return std::ptr::null_mut();
        };
        match NonNull::new(client) {
            None => device.buffer_for_server(NAME, size, true),
            Some(client) => device.buffer_for_client(NAME, client, size),
        }
    })
}

/// Takes a buffer that the server fills, without a token.
///
/// @param size how many bytes have room in it, 0 to 64 MiB
/// @return the buffer, as from spice_char_device_write_buffer_get(). NULL, logged, only
///   for what is no device, for a size out of bounds, or when memory is short.
///
/// Main thread.
///
/// # Safety
/// None: `dev` is looked up, not followed.
///
/// Shown by: c-tests/old-api/test-buffers.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_write_buffer_get_server_no_token(
    dev: *mut SpiceCharDeviceState,
    size: c_int,
) -> *mut SpiceCharDeviceWriteBuffer {
    const NAME: &str = "spice_char_device_write_buffer_get_server_no_token";
    guard_often(NAME, std::ptr::null_mut(), || {
        lookup::own(NAME, dev)
            .map_or(std::ptr::null_mut(), |device| device.buffer_for_server(NAME, size, false))
    })
}

/// Queues a filled buffer behind those that wait for the device, and writes as much
/// as the device takes before it returns. The library owns the buffer from now on and
/// gives its token back when the last byte is written.
///
/// A buffer without bytes is released instead; one whose client has left is dropped,
/// logged. Detected, refused and logged: a buffer that is not this device's, that was
/// added or released already, or NULL. A buffer whose `buf_used` is larger than the
/// library made it is released, logged.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-buffers.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_write_buffer_add(
    dev: *mut SpiceCharDeviceState,
    write_buf: *mut SpiceCharDeviceWriteBuffer,
) {
    const NAME: &str = "spice_char_device_write_buffer_add";
    guard_often(NAME, (), || {
        if let Some(device) = lookup::own(NAME, dev) {
            device.buffer_add(NAME, write_buf);
        }
    });
}

/// Gives a buffer back without writing it. Its token is given back, too, which may
/// call send_tokens_to_client() or on_free_self_token().
///
/// With a NULL device the buffer is freed without a token, logged, which is how buffers
/// go that outlived their device. With `refs` above 1 the buffer stays, with one reference less.
///
/// Detected, refused and logged: a buffer that is not this device's, that was added or
/// released already, or NULL.
///
/// Main thread.
///
/// # Safety
/// None: the buffer is looked up before it is followed.
///
/// Shown by: c-tests/old-api/test-buffers.c, c-tests/old-api/test-life.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_write_buffer_release(
    dev: *mut SpiceCharDeviceState,
    write_buf: *mut SpiceCharDeviceWriteBuffer,
) {
    const NAME: &str = "spice_char_device_write_buffer_release";
    guard_often(NAME, (), || {
        if dev.is_null() {
            pool::free_without_device(NAME, write_buf);
        } else if let Some(device) = lookup::own(NAME, dev) {
            device.buffer_release(NAME, write_buf);
        }
    });
}
