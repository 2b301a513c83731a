//! `spice_qxl_gl_*`: pictures in graphics card buffers.

use super::{find, with_device};
use crate::channel::descriptors::Descriptors;
use crate::channels::display::viewers::Scanout;
use crate::guard::guard;
use crate::host::abi::QXLInstance;
use crate::net::sys::{adopt, is_open};
use crate::server::qxl::{self, QxlHandle, limits};
use crate::wire::display::{GlArea, GlPicture};
use libc::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

/// Takes a picture in one buffer, whose descriptor becomes the library's; -1 for none.
/// Clients on a unix socket that take such pictures get it; others are cut.
///
/// Compat: works
/// Shown by: c-tests/test-gl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; nobody else closes `fd`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout(
    qxl: *mut QXLInstance,
    fd: c_int,
    width: u32,
    height: u32,
    stride: u32,
    format: u32,
    y_0_top: c_int,
) {
    let picture = GlPicture {
        size: (width, height),
        format,
        modifier: MODIFIER_UNKNOWN,
        top_down: y_0_top != 0,
        planes: vec![(0, stride)],
    };
    // SAFETY: the caller's promise.
    unsafe { set_scanout("spice_qxl_gl_scanout", qxl, &[fd], picture) };
}

/// Takes a picture in up to four planes, whose descriptors become the library's; no
/// plane, or -1 for the first, for none.
///
/// Compat: works
/// Shown by: c-tests/test-gl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; `fd`, unless NULL or `num_planes`
/// is 0, points to `num_planes` descriptors that nobody else closes, `offset` and `stride`
/// to as many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout2(
    qxl: *mut QXLInstance,
    fd: *const c_int,
    width: u32,
    height: u32,
    offset: *const u32,
    stride: *const u32,
    num_planes: u32,
    format: u32,
    modifier: u64,
    y_0_top: c_int,
) {
    const NAME: &str = "spice_qxl_gl_scanout2";
    let absent = fd.is_null() || offset.is_null() || stride.is_null();
    if num_planes > limits::SCANOUT_PLANES || (absent && num_planes > 0) {
        guard(NAME, (), || qxl::refused(NAME, "too many planes, or no description of them"));
        return;
    }
    // QEMU passes NULL arrays with no planes, which makes no slice.
    let (fds, planes) = if num_planes == 0 {
        (&[][..], Vec::new())
    } else {
        // SAFETY: so many of each by the caller's promise.
        let (fds, offsets, strides) = unsafe {
            let count = num_planes as usize;
            (
                std::slice::from_raw_parts(fd, count),
                std::slice::from_raw_parts(offset, count),
                std::slice::from_raw_parts(stride, count),
            )
        };
        (fds, offsets.iter().copied().zip(strides.iter().copied()).collect())
    };
    let size = (width, height);
    let picture = GlPicture { size, format, modifier, top_down: y_0_top != 0, planes };
    // SAFETY: the caller's promise.
    unsafe { set_scanout(NAME, qxl, fds, picture) };
}

/// Part of the scanout was drawn; completes the cookie when clients have shown it, or have
/// taken too long.
///
/// Compat: works
/// Shown by: c-tests/test-gl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_draw_async(
    qxl: *mut QXLInstance,
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    cookie: u64,
) {
    let area = GlArea { x, y, width: w, height: h };
    // SAFETY: the caller's promise.
    unsafe { with_device("spice_qxl_gl_draw_async", qxl, |qxl| qxl.draw_scanout(area, cookie)) };
}

/// # Safety
/// `instance` is NULL or points to a `QXLInstance`; nobody else closes the descriptors.
unsafe fn set_scanout(
    function: &'static str,
    instance: *mut QXLInstance,
    fds: &[c_int],
    picture: GlPicture,
) {
    guard(function, (), || {
        // Ours from here on, even if the call is refused: else they would leak.
        // SAFETY: the caller's promise.
        let buffers = Descriptors::new(unsafe { own(function, fds) });
        // SAFETY: the caller's promise.
        let Some(device) = (unsafe { find(function, instance) }) else { return };
        let wanted = fds.first().is_some_and(|first| *first >= 0);
        let buffers = buffers.filter(|_| wanted);
        QxlHandle::set_scanout(&device, buffers.map(|buffers| Scanout { picture, buffers }));
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

/// `DRM_FORMAT_MOD_INVALID`: how the pixels are laid out is not known.
const MODIFIER_UNKNOWN: u64 = (1 << 56) - 1;
