//! What the old char-device C API shares with its callers: two structures whose
//! layout C code compiled long ago relies on, and names for what it only holds by
//! pointer. Nothing here does anything; which thread touches what is said where it
//! is used.
//!
//! `include/spice-server/spice-char-device.h` is made from this file and its
//! neighbours (tests/headers.rs).

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};

use crate::host::abi::SpiceCharDeviceInstance;

/// A char device of a C program's own making, or the one behind
/// spicevmc_device_connect().
///
/// The library's; only ever held by pointer. A value that is stale, foreign or NULL
/// is refused with a line in the log.
#[derive(Debug)]
pub struct SpiceCharDeviceState {
    _opaque: [u8; 0],
}

/// A client, as far as char devices are concerned: a pointer that tells clients
/// apart. The library compares it and hands it back in callbacks; it never looks
/// behind it, so any address that is not NULL will do.
#[derive(Debug)]
pub struct RedClient {
    _opaque: [u8; 0],
}

/// The state of a char device on its way to another host, as it stands in a migration
/// message: 25 bytes, packed, little endian. The numbers are uint32_t except for
/// `connected`, which is one byte.
///
/// | offset | field                                                            |
/// |--------|------------------------------------------------------------------|
/// | 0      | version: 1                                                       |
/// | 4      | connected: 1, or 0 for an empty block                            |
/// | 5      | num_client_tokens                                                |
/// | 9      | num_send_tokens                                                  |
/// | 13     | write_size: bytes that the device has not taken yet              |
/// | 17     | write_num_client_tokens: tokens that those bytes are worth       |
/// | 21     | write_data_ptr: where they are, counted from 8 bytes before this |
/// |        | block, which is where the message begins                         |
#[derive(Debug)]
pub struct SpiceMigrateDataCharDevice {
    _opaque: [u8; 0],
}

/// A message from the device to its clients: whatever read_one_msg_from_device()
/// returns. The library never looks behind the pointer.
pub type SpiceCharDeviceMsgToClient = c_void;

/// The library's own use of a write buffer; not for callers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SpiceCharDeviceLink {
    /// Not for callers.
    pub prev: *mut SpiceCharDeviceLink,
    /// Not for callers.
    pub next: *mut SpiceCharDeviceLink,
}

/// Bytes on their way to the device.
///
/// Comes from spice_char_device_write_buffer_get() or
/// spice_char_device_write_buffer_get_server_no_token(). The caller fills
/// `buf[0]` to `buf[buf_size - 1]` as far as it likes, says in `buf_used` how many
/// bytes that are, and then calls exactly one of
/// spice_char_device_write_buffer_add() and
/// spice_char_device_write_buffer_release(). The other members are the library's:
/// they may be read, except `link`.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceCharDeviceWriteBuffer {
    /// Not for callers.
    pub link: SpiceCharDeviceLink,
    /// Where the bytes come from: 0 unknown, because their client has left; 1 a
    /// client; 2 the server; 3 the server, without a token.
    pub origin: c_int,
    /// The client that sent them; NULL when the server made them.
    pub client: *mut RedClient,
    /// The memory to fill.
    pub buf: *mut u8,
    /// How much of it there is, in bytes; at least what was asked for.
    pub buf_size: u32,
    /// How much of it is filled, in bytes; 0 in a fresh buffer.
    pub buf_used: u32,
    /// How many tokens this buffer is worth; 1.
    pub token_price: u32,
    /// How often the buffer has to be released until it is free; 1.
    pub refs: u32,
}

/// What a char device does. All but on_free_self_token() must be there.
///
/// The library calls these on the thread that calls it (in QEMU: the main loop). A
/// callback may call every function of this header, for this device and others; a
/// device that is destroyed from inside a callback of its own gets no further
/// callback but unref_msg_to_client(). `opaque` is what
/// spice_char_device_state_create() was given.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SpiceCharDeviceCallbacks {
    /// Takes one message for the clients out of the device, with the read function of
    /// `sin`. NULL: there is none now. The library owns one reference of what is
    /// returned.
    pub read_one_msg_from_device: Option<
        unsafe extern "C" fn(
            sin: *mut SpiceCharDeviceInstance,
            opaque: *mut c_void,
        ) -> *mut SpiceCharDeviceMsgToClient,
    >,
    /// Adds a reference to a message that has to wait for a client's token; returns
    /// the pointer to remember, usually `msg`.
    pub ref_msg_to_client: Option<
        unsafe extern "C" fn(
            msg: *mut SpiceCharDeviceMsgToClient,
            opaque: *mut c_void,
        ) -> *mut SpiceCharDeviceMsgToClient,
    >,
    /// Drops a reference to a message.
    pub unref_msg_to_client:
        Option<unsafe extern "C" fn(msg: *mut SpiceCharDeviceMsgToClient, opaque: *mut c_void)>,
    /// Sends a message to a client. Whoever keeps the message takes a reference of its
    /// own: the library drops its own afterwards.
    pub send_msg_to_client: Option<
        unsafe extern "C" fn(
            msg: *mut SpiceCharDeviceMsgToClient,
            client: *mut RedClient,
            opaque: *mut c_void,
        ),
    >,
    /// Tells a client that it may send `tokens` more messages. Only called for clients
    /// with flow control.
    pub send_tokens_to_client:
        Option<unsafe extern "C" fn(client: *mut RedClient, tokens: u32, opaque: *mut c_void)>,
    /// A buffer that the server made is free again, and with it a token. May be NULL.
    pub on_free_self_token: Option<unsafe extern "C" fn(opaque: *mut c_void)>,
    /// Cut this client: it sent without a token, or its queue is full, or it gave no
    /// token for 30 seconds while messages waited for it. The device's owner then
    /// calls spice_char_device_client_remove(), at once or later. May be called from
    /// inside spice_char_device_write_buffer_get().
    pub remove_client: Option<unsafe extern "C" fn(client: *mut RedClient, opaque: *mut c_void)>,
}

const _: () = {
    assert!(size_of::<SpiceCharDeviceWriteBuffer>() == 56);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, link) == 0);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, origin) == 16);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, client) == 24);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, buf) == 32);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, buf_size) == 40);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, buf_used) == 44);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, token_price) == 48);
    assert!(offset_of!(SpiceCharDeviceWriteBuffer, refs) == 52);
    assert!(size_of::<SpiceCharDeviceCallbacks>() == 56);
    assert!(offset_of!(SpiceCharDeviceCallbacks, read_one_msg_from_device) == 0);
    assert!(offset_of!(SpiceCharDeviceCallbacks, ref_msg_to_client) == 8);
    assert!(offset_of!(SpiceCharDeviceCallbacks, unref_msg_to_client) == 16);
    assert!(offset_of!(SpiceCharDeviceCallbacks, send_msg_to_client) == 24);
    assert!(offset_of!(SpiceCharDeviceCallbacks, send_tokens_to_client) == 32);
    assert!(offset_of!(SpiceCharDeviceCallbacks, on_free_self_token) == 40);
    assert!(offset_of!(SpiceCharDeviceCallbacks, remove_client) == 48);
};
