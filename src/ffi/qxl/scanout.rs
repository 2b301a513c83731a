//! `spice_qxl_gl_*`: pictures in graphics card buffers.

use super::{find, with_device};
use crate::guard::guard;
use crate::host::abi::QXLInstance;
use crate::net::sys::{adopt, is_open};
use crate::server::qxl::{self, QxlHandle, Scanout, limits};
use libc::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

/// Takes a picture in one buffer, whose descriptor becomes the library's; -1 for none.
///
/// Compat: partial: decides about the mouse mode; not sent to clients yet
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; nobody else closes `fd`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout(
    qxl: *mut QXLInstance,
    fd: c_int,
    width: u32,
    height: u32,
    _stride: u32,
    _format: u32,
    _y_0_top: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { set_scanout("spice_qxl_gl_scanout", qxl, &[fd], width, height) };
}

/// Takes a picture in up to four planes, whose descriptors become the library's; no
/// plane, or -1 for the first, for none.
///
/// Compat: partial: decides about the mouse mode; not sent to clients yet
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; `fd`, unless NULL or `num_planes`
/// is 0, points to `num_planes` descriptors that nobody else closes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout2(
    qxl: *mut QXLInstance,
    fd: *const c_int,
    width: u32,
    height: u32,
    _offset: *const u32,
    _stride: *const u32,
    num_planes: u32,
    _format: u32,
    _modifier: u64,
    _y_0_top: c_int,
) {
    const NAME: &str = "spice_qxl_gl_scanout2";
    if num_planes > limits::SCANOUT_PLANES || (fd.is_null() && num_planes > 0) {
        guard(NAME, (), || qxl::refused(NAME, "too many planes, or no descriptors"));
        return;
    }
    // QEMU passes NULL arrays with no planes, which makes no slice.
    let fds = if num_planes == 0 {
        &[][..]
    } else {
        // SAFETY: so many descriptors by the caller's promise.
        unsafe { std::slice::from_raw_parts(fd, num_planes as usize) }
    };
    // SAFETY: the caller's promise.
    unsafe { set_scanout(NAME, qxl, fds, width, height) };
}

/// Part of the scanout was drawn; completes the cookie.
///
/// Compat: partial: completed at once, nothing is sent to clients yet
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_draw_async(
    qxl: *mut QXLInstance,
    _x: u32,
    _y: u32,
    _w: u32,
    _h: u32,
    cookie: u64,
) {
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_gl_draw_async", qxl, |qxl| qxl.draw_scanout(cookie)) };
}

/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; nobody else closes the descriptors.
unsafe fn set_scanout(
    function: &'static str,
    instance: *mut QXLInstance,
    fds: &[c_int],
    width: u32,
    height: u32,
) {
    guard(function, (), || {
        // Ours from here on, even if the call is refused: else they would leak.
        // SAFETY: the caller's promise.
        let planes = unsafe { own(function, fds) };
        // SAFETY: the caller's promise.
        let Some(device) = (unsafe { find(function, instance) }) else { return };
        let wanted = fds.first().is_some_and(|first| *first >= 0);
        QxlHandle::set_scanout(&device, wanted.then_some(Scanout { planes, width, height }));
    });
}

/// Takes over the descriptors. A plane without one of its own has -1; a number that
/// comes twice is one descriptor.
///
/// # Safety
/// Nobody else closes the descriptors.
unsafe fn own(function: &str, fds: &[c_int]) -> Vec<OwnedFd> {
    let mut owned: Vec<OwnedFd> = Vec::new();
    for &fd in fds.iter().filter(|fd| **fd >= 0) {
        if owned.iter().any(|other| other.as_raw_fd() == fd) {
            continue;
        }
        if is_open(fd) {
            // SAFETY: open, and the library's by the caller's promise.
            owned.push(unsafe { adopt(fd) });
        } else {
            qxl::refused(function, "descriptor is not open");
        }
    }
    owned
}
