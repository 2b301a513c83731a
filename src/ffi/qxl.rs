//! `spice_qxl_*`: finding the device, running it, and what it tells about itself.
//!
//! Memory and surfaces are in `qxl/memory.rs` and `qxl/surfaces.rs`, pictures in
//! graphics card buffers in `qxl/scanout.rs`. Any thread may call these; QEMU does
//! from vCPU threads, with its big lock held.

mod memory;
mod scanout;
mod surfaces;
#[cfg(test)]
mod tests;

pub use memory::*;
pub use scanout::*;
pub use surfaces::*;

use super::handles;
use crate::guard::guard_often;
use crate::host::abi::QXLInstance;
use crate::server::qxl::{self, DeviceInfo, QxlHandle, limits};
use libc::{c_char, c_uint};
use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

/// Something may be in the rings of a device.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-display.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_wakeup(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_wakeup", instance, QxlHandle::wakeup) };
}

/// The guest of a device waits for memory that it wants back.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_oom(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_oom", instance, QxlHandle::oom) };
}

/// Serves the rings of one device from now on.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_start(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_start", instance, QxlHandle::start) };
}

/// Leaves the rings of one device alone; they are not touched after the return.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_stop(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_stop", instance, QxlHandle::stop) };
}

/// The guest's driver of a device went away.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_driver_unload(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_driver_unload", instance, QxlHandle::driver_unload) };
}

/// Limits the number of monitors of a device.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_max_monitors(
    instance: *mut QXLInstance,
    max_monitors: c_uint,
) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device("spice_qxl_set_max_monitors", instance, |qxl| {
            qxl.set_max_monitors(max_monitors);
        });
    }
}

/// Says where a device sits in the guest and which displays it drives. The guest's agent
/// is told, if it wants to know.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-agent-server.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; `device_address` is NULL or a
/// NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_device_info(
    instance: *mut QXLInstance,
    device_address: *const c_char,
    device_display_id_start: u32,
    device_display_id_count: u32,
) {
    const NAME: &str = "spice_qxl_set_device_info";
    // SAFETY: the caller's promise.
    unsafe {
        with_device(NAME, instance, |qxl| {
            if device_address.is_null() {
                return qxl::refused(NAME, "device address is NULL");
            }
            // SAFETY: not NULL, so a string by the caller's promise.
            let address = CStr::from_ptr(device_address).to_bytes().to_vec();
            if address.len() > limits::DEVICE_ADDRESS_BYTES {
                return qxl::refused(NAME, "device address is too long");
            }
            if device_display_id_count > limits::MONITORS {
                return qxl::refused(NAME, "too many displays");
            }
            qxl.set_device_info(DeviceInfo {
                address,
                first_display: device_display_id_start,
                displays: device_display_id_count,
            });
            for server in handles::all_servers() {
                server.handle_device_info(qxl);
            }
        });
    }
}

/// Calls `act` with the device that an instance names, or logs a line.
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
unsafe fn with_device(
    function: &'static str,
    instance: *mut QXLInstance,
    act: impl FnOnce(&QxlHandle),
) {
    guard_often(function, (), || {
        // SAFETY: the caller's promise.
        if let Some(device) = unsafe { find(function, instance) } {
            act(&device);
        }
    });
}

/// The device that an instance names. What `st` holds is only compared: an instance
/// that was removed, or never added, is refused and logged.
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
unsafe fn find(function: &'static str, instance: *mut QXLInstance) -> Option<Arc<QxlHandle>> {
    let Some(instance) = NonNull::new(instance) else {
        qxl::refused(function, "instance is NULL");
        return None;
    };
    // SAFETY: not NULL, so an instance by the caller's promise.
    let number = unsafe { (&raw const (*instance.as_ptr()).st).read() }.addr();
    let device = qxl::lookup(number).filter(|handle| handle.device().is(instance));
    if device.is_none() {
        qxl::refused(function, "the instance is not in service");
    }
    device
}
