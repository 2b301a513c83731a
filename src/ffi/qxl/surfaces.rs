//! `spice_qxl_*` about surfaces, the cursor and monitors.

use super::with_device;
use crate::canvas::{Rect, Region};
use crate::host::abi::{QXLDevSurfaceCreate, QXLInstance, QXLRect};
use crate::server::qxl::{self, Answer, QxlHandle};
use libc::c_int;

/// Makes an area of a surface visible in its memory; waits.
///
/// Compat: works
/// Shown by: c-tests/draw.c, c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`, `area` is NULL or points to a
/// rectangle, `dirty_rects` is NULL or points to `num_dirty_rects` rectangles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area(
    instance: *mut QXLInstance,
    surface_id: u32,
    area: *mut QXLRect,
    dirty_rects: *mut QXLRect,
    num_dirty_rects: u32,
    clear_dirty_region: u32,
) {
    const NAME: &str = "spice_qxl_update_area";
    if !dirty_rects.is_null() {
        // SAFETY: so many rectangles by the caller's promise. Also filled in when the
        // call is refused, because the caller reads them.
        unsafe { dirty_rects.write_bytes(0, num_dirty_rects as usize) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        update_area(
            NAME,
            instance,
            (surface_id, area, clear_dirty_region),
            Answer::Wait,
            |dirty| {
                if !dirty_rects.is_null() {
                    // SAFETY: as above, and just written.
                    let rects =
                        std::slice::from_raw_parts_mut(dirty_rects, num_dirty_rects as usize);
                    fill(rects, &dirty);
                }
            },
        );
    }
}

/// Makes an area of a surface visible in its memory and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`, `qxl_area` is NULL or points to a
/// rectangle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    qxl_area: *mut QXLRect,
    clear_dirty_region: u32,
    cookie: u64,
) {
    const NAME: &str = "spice_qxl_update_area_async";
    // SAFETY: the caller's promise.
    unsafe {
        let what = (surface_id, qxl_area, clear_dirty_region);
        update_area(NAME, instance, what, Answer::Cookie(cookie), drop);
    }
}

/// Makes the primary surface; waits.
///
/// Compat: works
/// Shown by: c-tests/qxl.c, c-tests/test-misuse.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`, `surface` is NULL or points to a
/// description whose pixels stay mapped until the surface was destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
) {
    const NAME: &str = "spice_qxl_create_primary_surface";
    // SAFETY: the caller's promise.
    unsafe { create_primary(NAME, instance, surface_id, surface, Answer::Wait) };
}

/// Makes the primary surface and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// As `spice_qxl_create_primary_surface`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
    cookie: u64,
) {
    const NAME: &str = "spice_qxl_create_primary_surface_async";
    // SAFETY: the caller's promise.
    unsafe { create_primary(NAME, instance, surface_id, surface, Answer::Cookie(cookie)) };
}

/// Destroys the primary surface; waits.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-display.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface(
    instance: *mut QXLInstance,
    surface_id: u32,
) {
    const NAME: &str = "spice_qxl_destroy_primary_surface";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_primary(surface_id, Answer::Wait)) };
}

/// Destroys the primary surface and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    const NAME: &str = "spice_qxl_destroy_primary_surface_async";
    let answer = Answer::Cookie(cookie);
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_primary(surface_id, answer)) };
}

/// Lets go of what refers to a surface; waits. Any id of the device will do.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_wait(
    instance: *mut QXLInstance,
    surface_id: u32,
) {
    const NAME: &str = "spice_qxl_destroy_surface_wait";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_surface(surface_id, Answer::Wait)) };
}

/// Lets go of what refers to a surface and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    const NAME: &str = "spice_qxl_destroy_surface_async";
    let answer = Answer::Cookie(cookie);
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_surface(surface_id, answer)) };
}

/// Destroys all surfaces of a device; waits.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces(instance: *mut QXLInstance) {
    const NAME: &str = "spice_qxl_destroy_surfaces";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_surfaces(Answer::Wait)) };
}

/// Destroys all surfaces of a device and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    const NAME: &str = "spice_qxl_destroy_surfaces_async";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.destroy_surfaces(Answer::Cookie(cookie))) };
}

/// Carries out everything in the rings and completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-draw.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_flush_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    const NAME: &str = "spice_qxl_flush_surfaces_async";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, |qxl| qxl.flush_surfaces(cookie)) };
}

/// Waits; this library remembers no images of guests that it would have to forget.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_image_cache(instance: *mut QXLInstance) {
    const NAME: &str = "spice_qxl_reset_image_cache";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, QxlHandle::reset_image_cache) };
}

/// Forgets the pointer's picture; waits.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-cursor.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_cursor(instance: *mut QXLInstance) {
    const NAME: &str = "spice_qxl_reset_cursor";
    // SAFETY: the caller's promise.
    unsafe { with_device(NAME, instance, QxlHandle::reset_cursor) };
}

/// The guest's driver told which monitors it drives; completes the cookie.
///
/// Compat: works
/// Shown by: c-tests/test-qxl.c, c-tests/test-display.c
///
/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_monitors_config_async(
    instance: *mut QXLInstance,
    monitors_config: u64,
    group_id: c_int,
    cookie: u64,
) {
    const NAME: &str = "spice_qxl_monitors_config_async";
    // SAFETY: the caller's promise.
    unsafe {
        with_device(NAME, instance, |qxl| {
            qxl.monitors_config(group_id.cast_unsigned(), monitors_config, cookie);
        });
    }
}

/// # Safety
/// `instance` is NULL or points to a `QXLInstance`.
unsafe fn update_area(
    function: &'static str,
    instance: *mut QXLInstance,
    (surface, area, clear): (u32, *mut QXLRect, u32),
    answer: Answer,
    tell: impl FnOnce(Region),
) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device(function, instance, |qxl| {
            if area.is_null() {
                qxl::refused(function, "area is NULL");
                return qxl.answer(answer);
            }
            tell(qxl.update_area(surface, clear != 0, answer));
        });
    }
}

/// Writes a region's rectangles; when there are more than places, the last one covers
/// all the rest.
fn fill(places: &mut [QXLRect], region: &Region) {
    let mut rects = region.iter();
    let Some((last, others)) = places.split_last_mut() else { return };
    others.iter_mut().zip(&mut rects).for_each(|(place, rect)| *place = rect.into());
    if rects.len() > 0 {
        *last = rects.fold(Rect::default(), |hull, rect| hull.hull(&rect)).into();
    }
}

/// # Safety
/// As `spice_qxl_create_primary_surface`.
unsafe fn create_primary(
    function: &'static str,
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
    answer: Answer,
) {
    // SAFETY: the caller's promise.
    unsafe {
        with_device(function, instance, |qxl| {
            if surface.is_null() {
                qxl::refused(function, "surface is NULL");
                return qxl.answer(answer);
            }
            // SAFETY: not NULL, so a description by the caller's promise.
            qxl.create_primary(surface_id, surface.read(), answer);
        });
    }
}
