//! The C functions over a fake device: NULL, strangers, and who owns descriptors.

use super::*;
use crate::host::abi::{QXLDevMemSlot, QXLDevSurfaceCreate, QXLRect};
use crate::host::fake_qxl::FakeQxl;
use libc::c_int;
use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::{null, null_mut};

fn attached() -> (Box<FakeQxl>, Arc<QxlHandle>) {
    let fake = FakeQxl::new();
    let handle = qxl::attach(&fake.device(), 0, Box::new(|| ()), Arc::default()).expect("a worker");
    fake.take_events();
    (fake, handle)
}

/// Calls every function that takes nothing but an instance and numbers.
fn call_all(instance: *mut QXLInstance) {
    let mut area = QXLRect { right: 1, bottom: 1, ..QXLRect::default() };
    let mut slot = QXLDevMemSlot::default();
    let mut surface = QXLDevSurfaceCreate::default();
    // SAFETY: the tests pass NULL or an instance, and good pointers.
    unsafe {
        spice_qxl_wakeup(instance);
        spice_qxl_oom(instance);
        spice_qxl_start(instance);
        spice_qxl_stop(instance);
        spice_qxl_driver_unload(instance);
        spice_qxl_set_max_monitors(instance, 4);
        spice_qxl_set_device_info(instance, c"pci/0000/02.0".as_ptr(), 0, 1);
        spice_qxl_add_memslot(instance, &raw mut slot);
        spice_qxl_add_memslot_async(instance, &raw mut slot, 1);
        spice_qxl_del_memslot(instance, 0, 0);
        spice_qxl_reset_memslots(instance);
        spice_qxl_loadvm_commands(instance, null_mut(), 0);
        spice_qxl_update_area(instance, 0, &raw mut area, null_mut(), 0, 0);
        spice_qxl_update_area_async(instance, 0, &raw mut area, 0, 2);
        spice_qxl_create_primary_surface(instance, 0, &raw mut surface);
        spice_qxl_create_primary_surface_async(instance, 0, &raw mut surface, 3);
        spice_qxl_destroy_primary_surface(instance, 0);
        spice_qxl_destroy_primary_surface_async(instance, 0, 4);
        spice_qxl_destroy_surface_wait(instance, 0);
        spice_qxl_destroy_surface_async(instance, 0, 5);
        spice_qxl_destroy_surfaces(instance);
        spice_qxl_destroy_surfaces_async(instance, 6);
        spice_qxl_flush_surfaces_async(instance, 7);
        spice_qxl_reset_image_cache(instance);
        spice_qxl_reset_cursor(instance);
        spice_qxl_monitors_config_async(instance, 0, 0, 8);
        spice_qxl_gl_scanout(instance, -1, 0, 0, 0, 0, 0);
        spice_qxl_gl_scanout2(instance, null(), 0, 0, null(), null(), 0, 0, u64::MAX >> 8, 0);
        spice_qxl_gl_draw_async(instance, 0, 0, 1, 1, 9);
    }
}

#[test]
fn null_and_strangers_are_refused() {
    call_all(null_mut());
    let stranger = FakeQxl::new();
    call_all(stranger.instance().as_ptr());
    assert_eq!(stranger.events(), Vec::<String>::new());

    // A number that is in service, in an instance that it does not belong to.
    let (fake, handle) = attached();
    stranger.device().set_state(fake.state().addr());
    call_all(stranger.instance().as_ptr());
    assert_eq!((stranger.events(), fake.events()), (Vec::new(), Vec::new()));

    assert!(qxl::detach(&handle));
    call_all(fake.instance().as_ptr());
    assert_eq!(fake.events(), Vec::<String>::new());
}

#[test]
fn every_cookie_comes_back_once() {
    let (fake, handle) = attached();
    call_all(fake.instance().as_ptr());
    handle.reset_image_cache();
    let mut cookies: Vec<_> =
        fake.events().into_iter().filter(|event| event.starts_with("async")).collect();
    cookies.sort();
    assert_eq!(cookies, (1..=9).map(|n| format!("async_complete {n}")).collect::<Vec<_>>());
    assert!(qxl::detach(&handle));
}

#[test]
fn null_structures_are_refused_and_their_cookies_completed() {
    let (fake, handle) = attached();
    let instance = fake.instance().as_ptr();
    // SAFETY: NULL is what is tested; the instance is good.
    unsafe {
        spice_qxl_add_memslot(instance, null_mut());
        spice_qxl_add_memslot_async(instance, null_mut(), 1);
        spice_qxl_update_area(instance, 0, null_mut(), null_mut(), 3, 0);
        spice_qxl_update_area_async(instance, 0, null_mut(), 0, 2);
        spice_qxl_create_primary_surface(instance, 0, null_mut());
        spice_qxl_create_primary_surface_async(instance, 0, null_mut(), 3);
        spice_qxl_loadvm_commands(instance, null_mut(), 3);
        spice_qxl_set_device_info(instance, null(), 0, 1);
    }
    assert_eq!(fake.events(), [1, 2, 3].map(|n| format!("async_complete {n}")));
    assert_eq!(handle.device_info(), None);
    assert!(qxl::detach(&handle));
}

#[test]
fn dirty_rectangles_are_emptied_whatever_happens() {
    let used = QXLRect { top: 1, left: 2, bottom: 3, right: 4 };
    let mut dirty = [used; 3];
    let mut area = used;
    // SAFETY: NULL is refused, the rest is good.
    unsafe {
        spice_qxl_update_area(null_mut(), 0, &raw mut area, dirty.as_mut_ptr(), 2, 0);
    }
    assert_eq!(dirty, [QXLRect::default(), QXLRect::default(), used]);
}

#[test]
fn device_addresses_and_display_counts_have_limits() {
    let (fake, handle) = attached();
    let instance = fake.instance().as_ptr();
    let longest = std::ffi::CString::new("p".repeat(limits::DEVICE_ADDRESS_BYTES)).unwrap();
    let longer = std::ffi::CString::new("p".repeat(limits::DEVICE_ADDRESS_BYTES + 1)).unwrap();
    // SAFETY: the instance and the strings are good.
    unsafe {
        spice_qxl_set_device_info(instance, longer.as_ptr(), 0, 1);
        spice_qxl_set_device_info(instance, longest.as_ptr(), 0, 17);
        assert_eq!(handle.device_info(), None);
        spice_qxl_set_device_info(instance, longest.as_ptr(), 2, 3);
    }
    let info = handle.device_info().expect("stored");
    assert_eq!(info.address, longest.as_bytes());
    assert_eq!((info.first_display, info.displays, handle.max_monitors()), (2, 3, 3));
    // SAFETY: the instance is good.
    unsafe { spice_qxl_set_max_monitors(instance, 0) };
    assert_eq!(handle.max_monitors(), 1);
    assert!(qxl::detach(&handle));
}

/// A pipe's reader, and the number of its only writer: the reader sees the end as
/// soon as the writer is closed.
fn pipe() -> (std::io::PipeReader, c_int) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, writer.into_raw_fd())
}

fn is_closed(reader: &std::io::PipeReader) -> bool {
    let mut ready = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&raw mut ready, 1, 0) };
    ready.revents & libc::POLLHUP != 0 && (&*reader).read(&mut [0]).is_ok_and(|read| read == 0)
}

#[test]
fn descriptors_are_closed_when_replaced_removed_or_refused() {
    let (fake, handle) = attached();
    let instance = fake.instance().as_ptr();
    let (first, first_fd) = pipe();
    let (second, second_fd) = pipe();
    let (third, third_fd) = pipe();
    let (refused, refused_fd) = pipe();
    let planes = [second_fd, -1, second_fd, third_fd];
    let numbers = [0; 4];
    // SAFETY: good pointers, descriptors that nobody else closes.
    unsafe {
        spice_qxl_gl_scanout(instance, first_fd, 64, 32, 256, 0, 0);
        assert!(!is_closed(&first));
        let (fds, others) = (planes.as_ptr(), numbers.as_ptr());
        spice_qxl_gl_scanout2(instance, fds, 8, 8, others, others, 4, 0, 0, 1);
        assert!(is_closed(&first) && !is_closed(&second) && !is_closed(&third));
        spice_qxl_gl_scanout2(instance, fds, 8, 8, others, others, 5, 0, 0, 1);
        assert!(!is_closed(&second));
        spice_qxl_gl_scanout(null_mut(), refused_fd, 1, 1, 4, 0, 0);
        assert!(is_closed(&refused));
    }
    assert!(qxl::detach(&handle));
    assert!(is_closed(&second) && is_closed(&third));
}
