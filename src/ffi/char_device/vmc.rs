//! `spicevmc_device_*`: a channel of its own for a char device, of any type.

use super::layout::SpiceCharDeviceState;
use super::lookup;
use crate::ffi::handles;
use crate::guard::guard;
use crate::host::abi::SpiceCharDeviceInstance;

/// Gives a char device a channel that carries its bytes as they are, on the server
/// most recently given to spice_server_init(). Clients hear of the channel at once and
/// may connect; one at a time. The device runs while the VM does.
///
/// @param sin the device; its `st` is set. It stays the caller's and must be good until
///   spicevmc_device_disconnect() or the end of the server.
/// @param channel_type the number clients know the channel by, such as 9 for USB
///   redirection and 10 for a port; 1, the main channel, is refused. Whether the
///   device's subtype and port name fit is the caller's business.
/// @return the device, the server's own: of the functions on devices it is good for
///   start, stop, wakeup and opaque_get, and refused, logged, by the others. NULL,
///   logged, when no server is initialised, `sin` or its interface is NULL or has a
///   channel already, or no channel id of this type is left.
///
/// Main thread.
///
/// # Safety
/// As said above for `sin`.
///
/// Shown by: c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spicevmc_device_connect(
    sin: *mut SpiceCharDeviceInstance,
    channel_type: u8,
) -> *mut SpiceCharDeviceState {
    const NAME: &str = "spicevmc_device_connect";
    guard(NAME, std::ptr::null_mut(), || {
        let Some(server) = handles::latest_server(NAME) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        unsafe { lookup::connect(NAME, &server, sin, channel_type) }
    })
}

/// Takes the channel of spicevmc_device_connect() away: its client is cut, the device
/// is not called any more, and the instance's `st` becomes NULL. A device that has no
/// such channel is refused and logged.
///
/// Main thread.
///
/// # Safety
/// `char_device` is NULL or a char-device instance.
///
/// Shown by: c-tests/old-api/test-vmc.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spicevmc_device_disconnect(char_device: *mut SpiceCharDeviceInstance) {
    const NAME: &str = "spicevmc_device_disconnect";
    guard(NAME, (), || {
        // SAFETY: the caller's promise.
        unsafe { lookup::disconnect(NAME, None, char_device) };
    });
}
