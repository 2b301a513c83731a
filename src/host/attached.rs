//! Sound devices, of which so far only the presence matters. Which one is attached is
//! known by its address.
//!
//! Main thread. The host may free an instance right after removing it, so what is
//! kept here is never followed.

use std::ptr::NonNull;

use super::abi::{SpiceBaseInstance, SpiceKbdInstance};

/// The kinds of such devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedKind {
    /// Sound output.
    Playback,
    /// Sound input.
    Record,
}

/// An attached device: the address of the host's instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedDevice {
    address: usize,
}

impl AttachedDevice {
    /// Remembers the instance at this address.
    pub fn at(instance: NonNull<SpiceBaseInstance>) -> Self {
        Self { address: instance.addr().get() }
    }
}

/// Sets or clears the member by which hosts see that an instance is in use.
///
/// # Safety
/// `instance` is of a kind that consists of its base and one pointer of ours, as
/// keyboard, mouse, tablet, sound and migration instances do.
pub unsafe fn mark(instance: NonNull<SpiceBaseInstance>, in_use: bool) {
    let state = if in_use { std::ptr::dangling_mut() } else { std::ptr::null_mut() };
    // SAFETY: the caller's promise: all these structures have this one's layout.
    unsafe { (*instance.cast::<SpiceKbdInstance>().as_ptr()).st = state };
}
