//! `spice_qxl_*` about guest memory, and the commands of a guest that was saved.

use super::with_device;
use crate::host::abi::{QXLCommandExt, QXLDevMemSlot, QXLInstance};
use crate::host::guest_memory::GuestSlot;
use crate::server::qxl::{self, Answer, QxlHandle, limits};

/// Maps guest memory; waits until it is.
///
/// Compat: works
/// Shown by: c-tests/qxl.c, c-tests/test-misuse.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; `slot` is NULL or points to a slot
/// whose memory stays mapped until the worker has carried out its removal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot(
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
) {
    // SAFETY: the caller's promise.
    unsafe { add_slot("spice_qxl_add_memslot", instance, slot, Answer::Wait) };
}

/// Maps guest memory and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// As `spice_qxl_add_memslot`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot_async(
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
    cookie: u64,
) {
    // SAFETY: the caller's promise.
    unsafe { add_slot("spice_qxl_add_memslot_async", instance, slot, Answer::Cookie(cookie)) };
}

/// Unmaps guest memory; does not wait.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_del_memslot(
    instance: *mut QXLInstance,
    slot_group_id: u32,
    slot_id: u32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device("spice_qxl_del_memslot", instance, |qxl| {
            qxl.remove_slot(slot_group_id, slot_id);
        });
    }
}

/// Unmaps all guest memory; does not wait.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_memslots(instance: *mut QXLInstance) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device("spice_qxl_reset_memslots", instance, QxlHandle::reset_slots);
    }
}

/// Takes the surface and cursor commands that a saved guest had given; waits.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; `ext` is NULL or points to `count`
/// commands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_loadvm_commands(
    instance: *mut QXLInstance,
    ext: *mut QXLCommandExt,
    count: u32,
) {
    const NAME: &str = "spice_qxl_loadvm_commands";
    // SAFETY: the caller's promise.
    unsafe {
        with_device(NAME, instance, |qxl| {
            if count == 0 {
                return;
            }
            if ext.is_null() || count > limits::LOADVM_COMMANDS {
                return qxl::refused(NAME, "no commands, or too many");
            }
            // SAFETY: `count` packed structures by the caller's promise.
            qxl.loadvm(std::slice::from_raw_parts(ext, count as usize).to_vec());
        });
    }
}

/// # Safety
/// As `spice_qxl_add_memslot`.
unsafe fn add_slot(
    function: &'static str,
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
    answer: Answer,
) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device(function, instance, |qxl| {
            if slot.is_null() {
                qxl::refused(function, "slot is NULL");
                return qxl.answer(answer);
            }
            // SAFETY: a slot by the caller's promise, which also vouches for its memory.
            qxl.add_slot(GuestSlot::new(slot.read()), answer);
        });
    }
}
