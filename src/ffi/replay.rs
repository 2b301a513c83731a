//! `spice_replay_*`: playing recorded QXL commands, which only a test tool of
//! upstream's does. Recordings are not read here.

use crate::guard::guard;
use crate::host::abi::{QXLCommandExt, QXLInstance};
use libc::{FILE, c_int};

/// A recording that is being played; there never is one.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceReplay {
    opaque: [u8; 0],
}

/// Opens a recording: always NULL, as upstream for a file that is none.
///
/// Compat: missing: recordings are not read
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// The file is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_new(_file: *mut FILE, _nsurfaces: c_int) -> *mut SpiceReplay {
    guard("spice_replay_new", (), || {
        crate::warning_once!("spice_replay_new: recordings are not read");
    });
    std::ptr::null_mut()
}

/// Reads the next command: always NULL, the end.
///
/// Compat: missing: recordings are not read
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_next_cmd(
    _replay: *mut SpiceReplay,
    _instance: *mut QXLInstance,
) -> *mut QXLCommandExt {
    guard("spice_replay_next_cmd", (), || {
        crate::warning_once!("spice_replay_next_cmd: recordings are not read");
    });
    std::ptr::null_mut()
}

/// Frees a command that `spice_replay_next_cmd` returned, which it never does.
///
/// Compat: missing: recordings are not read
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// Neither pointer is looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free_cmd(
    _replay: *mut SpiceReplay,
    _cmd: *mut QXLCommandExt,
) {
    guard("spice_replay_free_cmd", (), || {
        crate::warning_once!("spice_replay_free_cmd: recordings are not read");
    });
}

/// Closes a recording, of which there is none.
///
/// Compat: missing: recordings are not read
/// Shown by: c-tests/test-misuse.c
///
/// # Safety
/// The pointer is not looked into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free(_replay: *mut SpiceReplay) {
    guard("spice_replay_free", (), || {
        crate::warning_once!("spice_replay_free: recordings are not read");
    });
}
