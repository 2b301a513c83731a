//! The host program (QEMU, Xspice, a C test) seen from Rust.
//!
//! Wrappers around what the host gives us by pointer: its main loop (`core`),
//! its devices (`char_device`, `qxl`, …) and its log. The layouts are in `abi`.
//! Each wrapper says who guarantees that its pointers are good; nobody outside
//! this room and `ffi` touches a host pointer.

pub mod abi;
pub mod attached;
pub mod char_device;
pub mod clock;
pub mod core;
#[cfg(test)]
pub(crate) mod fake_char_device;
#[cfg(test)]
pub(crate) mod fake_qxl;
#[cfg(feature = "fault-injection")]
pub(crate) mod fault_hook;
pub mod guest_memory;
pub mod input;
pub mod log_sink;
pub mod memslot;
pub mod migration;
pub mod qxl;
pub mod sound;

use std::ffi::CStr;

/// Whether `base` claims to be of this kind.
pub fn is_kind(base: &abi::SpiceBaseInterface, kind: &abi::InterfaceKind) -> bool {
    if base.type_.is_null() {
        return false;
    }
    // SAFETY: the host sets `type_` to a NUL-terminated string that lives as long
    // as the interface.
    unsafe { CStr::from_ptr(base.type_) == kind.name }
}

/// Whether the host's version of an interface is one we can serve.
pub fn version_fits(base: &abi::SpiceBaseInterface, kind: &abi::InterfaceKind) -> bool {
    base.major_version == kind.major && base.minor_version <= kind.minor
}
