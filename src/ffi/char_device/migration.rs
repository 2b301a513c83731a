//! A device's state on its way to another host (docs/protocol/char-device.md).

use std::ffi::c_int;

use super::device;
use super::layout::{SpiceCharDeviceState, SpiceMigrateDataCharDevice};
use super::lookup;
use crate::chardev::Block;
use crate::ffi::marshaller::{self, SpiceMarshaller};
use crate::guard::guard;

/// Appends the device's state to a migration message: the 25 bytes of
/// SpiceMigrateDataCharDevice, and, as a sub-part, the bytes that the device has not
/// taken yet. The message must begin at the marshaller's first byte, with the 8 bytes
/// (magic and version) that every migration message begins with.
///
/// The device keeps what it has. There must be exactly one client, for which no
/// message waits; otherwise an empty block is appended, logged.
///
/// Main thread.
///
/// # Safety
/// None: both pointers are looked up.
///
/// Shown by: c-tests/old-api/test-migration.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_migrate_data_marshall(
    dev: *mut SpiceCharDeviceState,
    m: *mut SpiceMarshaller,
) {
    const NAME: &str = "spice_char_device_state_migrate_data_marshall";
    guard(NAME, (), || {
        if let Some(device) = lookup::own(NAME, dev) {
            marshaller::with_part(NAME, m, |tree, part| device.migrate_out(NAME, tree, part));
        }
    });
}

/// Appends an empty block to a migration message: version 1 and 21 bytes of 0, which
/// say that no client was connected.
///
/// Main thread.
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-migration.c, c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_migrate_data_marshall_empty(
    m: *mut SpiceMarshaller,
) {
    const NAME: &str = "spice_char_device_state_migrate_data_marshall_empty";
    guard(NAME, (), || {
        marshaller::with_part(NAME, m, device::migrate_empty);
    });
}

/// Goes on where the device on the other host stopped: takes over tokens and unwritten
/// bytes, and lets data flow. There must be exactly one client, and it must have been
/// added to wait for migration data.
///
/// @param mig_data the block inside its message: the unwritten bytes are looked for
///   `write_data_ptr - 8` bytes from here. The message's length is not known here, so
///   the caller must have seen that they lie inside of it;
///   spice_server_char_device_state_restore() does that itself. The bytes are copied.
/// @return 1, or, logged, 0 when the block cannot be used: NULL, another version, not
///   connected, a wrong state of the device, counters that contradict each other, or
///   more than 64 MiB of data. The device then still waits for migration data.
///
/// Main thread.
///
/// # Safety
/// As said above.
///
/// Shown by: c-tests/old-api/test-migration.c, c-tests/old-api/test-misuse.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_char_device_state_restore(
    dev: *mut SpiceCharDeviceState,
    mig_data: *mut SpiceMigrateDataCharDevice,
) -> c_int {
    const NAME: &str = "spice_char_device_state_restore";
    guard(NAME, 0, || {
        let Some(device) = lookup::own(NAME, dev) else {
            return 0;
        };
        if mig_data.is_null() {
            crate::warning!("{NAME}: the block is missing");
            return 0;
        }
        let begin = mig_data.cast::<u8>();
        // SAFETY: the caller's promise.
        let fields = unsafe { std::slice::from_raw_parts(begin, Block::BYTES) };
        let restored = device.restore(NAME, fields, |block| {
            let at = (block.write_data as usize).checked_sub(HEAD)?;
            let behind_block = at >= Block::BYTES;
            // SAFETY: the caller's promise.
            behind_block.then(|| unsafe {
                std::slice::from_raw_parts(begin.add(at), block.write_size as usize)
            })
        });
        c_int::from(restored)
    })
}

/// Magic and version, with which every migration message begins.
const HEAD: usize = 8;
