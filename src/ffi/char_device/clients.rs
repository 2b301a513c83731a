//! `spice_char_device_client_*` and the tokens that clients give.

use std::ffi::c_int;

use super::layout::{RedClient, SpiceCharDeviceState};
use super::lookup;
use crate::chardev::FlowControl;
use crate::guard::guard;

const YES: c_int = 1;
const NO: c_int = 0;

/// Connects a client to a device, and then writes and reads the device.
///
/// @param client tells the client apart; not NULL, never followed
/// @param do_flow_control not 0: the tokens below count, in both directions. 0: there
///   is no limit, and they are ignored
/// @param max_send_queue_size how many messages may wait for this client's tokens
///   before it is cut by remove_client()
/// @param num_client_tokens how many messages the client may send before it is given
///   tokens back
/// @param num_send_tokens how many messages may be sent to the client before it gives
///   tokens
/// @param wait_for_migrate_data not 0: the device is neither written nor read until
///   spice_char_device_state_restore()
/// @return 1, or 0 when it is not added: NULL, a client that is there already (both
///   logged), or one that waits for migration data while there are clients or data
///   have moved already (logged)
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-life.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_client_add(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
    do_flow_control: c_int,
    max_send_queue_size: u32,
    num_client_tokens: u32,
    num_send_tokens: u32,
    wait_for_migrate_data: c_int,
) -> c_int {
    const NAME: &str = "spice_char_device_client_add";
    guard(NAME, NO, || {
        let (Some(device), Some(client)) = (lookup::own(NAME, dev), lookup::client(NAME, client))
        else {
            return NO;
        };
        let flow = (do_flow_control != 0).then(|| FlowControl {
            max_send_queue: max_send_queue_size as usize,
            client_tokens: num_client_tokens.into(),
            send_tokens: num_send_tokens.into(),
        });
        let added = device.client_add(NAME, client, flow, wait_for_migrate_data != 0);
        if added { YES } else { NO }
    })
}

/// Disconnects a client: messages that wait for it are unreferenced, its buffers that
/// are queued are dropped without a token, and one that is half written is written to
/// its end. A buffer that was taken for it and not added yet may still be released.
/// A client that is not there is refused and logged.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-misuse.c, c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_client_remove(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
) {
    const NAME: &str = "spice_char_device_client_remove";
    guard(NAME, (), || {
        if let (Some(device), Some(client)) = (lookup::own(NAME, dev), lookup::client(NAME, client))
        {
            device.client_remove(NAME, client);
        }
    });
}

/// Whether a client is connected: 1 or 0.
///
/// Main thread.
///
/// # Safety
/// None: neither pointer is followed.
///
/// Shown by: c-tests/old-api/test-read.c, c-tests/old-api/test-buffers.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_client_exists(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
) -> c_int {
    const NAME: &str = "spice_char_device_client_exists";
    guard(NAME, NO, || {
        let exists = !client.is_null()
            && lookup::own(NAME, dev).is_some_and(|device| device.client_exists(client.addr()));
        if exists { YES } else { NO }
    })
}

/// A client gives tokens: it will take `tokens` more messages than before. What waits
/// for it is sent, and the device is read, before this returns. A client that is not
/// there is refused and logged.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-read.c, c-tests/old-api/test-hosts.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_send_to_client_tokens_add(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
    tokens: u32,
) {
    const NAME: &str = "spice_char_device_send_to_client_tokens_add";
    guard(NAME, (), || {
        if let (Some(device), Some(client)) = (lookup::own(NAME, dev), lookup::client(NAME, client))
        {
            device.grant(NAME, client, tokens, false);
        }
    });
}

/// Like spice_char_device_send_to_client_tokens_add(), but the client will take
/// `tokens` messages in all, whatever it said before.
///
/// Main thread.
///
/// # Safety
/// The instance of the device is good.
///
/// Shown by: c-tests/old-api/test-read.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_send_to_client_tokens_set(
    dev: *mut SpiceCharDeviceState,
    client: *mut RedClient,
    tokens: u32,
) {
    const NAME: &str = "spice_char_device_send_to_client_tokens_set";
    guard(NAME, (), || {
        if let (Some(device), Some(client)) = (lookup::own(NAME, dev), lookup::client(NAME, client))
        {
            device.grant(NAME, client, tokens, true);
        }
    });
}
