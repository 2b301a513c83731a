//! The member by which hosts see that an instance of theirs is in use.

use std::ptr::NonNull;

use super::abi::{SpiceBaseInstance, SpiceKbdInstance};

/// Sets or clears it.
///
/// # Safety
/// `instance` is of a kind that consists of its base and one pointer of ours, as
/// keyboard, mouse, tablet, sound and migration instances do.
pub unsafe fn mark(instance: NonNull<SpiceBaseInstance>, in_use: bool) {
    let state = if in_use { std::ptr::dangling_mut() } else { std::ptr::null_mut() };
    // SAFETY: the caller's promise: all these structures have this one's layout.
    unsafe { (*instance.cast::<SpiceKbdInstance>().as_ptr()).st = state };
}
