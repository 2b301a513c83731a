//! The functions as C calls them.

use super::*;

fn linear(m: *mut SpiceMarshaller, skip: usize) -> (Vec<u8>, c_int) {
    let (mut length, mut copied) = (77, 77);
    // SAFETY: a handle, and two places of the right types.
    let bytes = unsafe { spice_marshaller_linearize(m, skip, &raw mut length, &raw mut copied) };
    if bytes.is_null() {
        assert_eq!((length, copied), (0, 0));
        return (Vec::new(), 0);
    }
    // SAFETY: as linearize promises.
    let content = unsafe { std::slice::from_raw_parts(bytes, length) }.to_vec();
    if copied == 1 {
        // SAFETY: as linearize promises.
        unsafe { libc::free(bytes.cast()) };
    }
    (content, copied)
}

#[test]
fn numbers_are_little_endian_and_stay_writable() {
    let m = spice_marshaller_new();
    // SAFETY: a handle; the places are good until the message is destroyed.
    unsafe {
        spice_marshaller_add_uint8(m, 1);
        let place = spice_marshaller_add_uint16(m, 0x0203).cast::<u8>();
        spice_marshaller_add_uint32(m, 0x0405_0607);
        spice_marshaller_add_uint64(m, 0x0809_0a0b_0c0d_0e0f);
        place.write(0xff);
        let space = spice_marshaller_reserve_space(m, 2);
        space.add(1).write(0xee);
        assert_eq!(spice_marshaller_get_total_size(m), 17);
    }
    let expected = b"\x01\xff\x02\x07\x06\x05\x04\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\0\xee";
    assert_eq!(linear(m, 0), (expected.to_vec(), 0));
    assert_eq!(linear(m, 15), (b"\0\xee".to_vec(), 0));
    assert_eq!(linear(m, 17), (Vec::new(), 0));
    assert_eq!(linear(m, 1000), (Vec::new(), 0));
    // SAFETY: a handle.
    unsafe { spice_marshaller_destroy(m) };
}

#[test]
fn parts_are_copied_together() {
    let m = spice_marshaller_new();
    // SAFETY: handles.
    unsafe {
        let part = spice_marshaller_get_ptr_submarshaller(m, 1);
        spice_marshaller_add(part, b"part".as_ptr(), 4);
        assert_eq!(linear(m, 0), (b"\x08\0\0\0\0\0\0\0part".to_vec(), 1));
        assert_eq!(linear(m, 9), (b"art".to_vec(), 0));
        assert_eq!(linear(part, 0), (Vec::new(), 0), "a part is no message");
        assert_eq!(spice_marshaller_get_total_size(part), 12);

        spice_marshaller_reset(part);
        assert_eq!(spice_marshaller_get_total_size(m), 12, "refused");
        spice_marshaller_reset(m);
        assert_eq!(spice_marshaller_get_total_size(m), 0);
        assert!(spice_marshaller_add_uint8(part, 1).is_null(), "gone");
        assert_eq!(spice_marshaller_get_total_size(part), 0);
        spice_marshaller_destroy(m);
    }
}

#[test]
fn misuse_is_refused() {
    let m = spice_marshaller_new();
    let foreign: *mut SpiceMarshaller = std::ptr::without_provenance_mut(0x1000);
    // SAFETY: nothing of what is wrong here is followed.
    unsafe {
        assert!(spice_marshaller_add(m, std::ptr::null(), 1).is_null());
        assert!(!spice_marshaller_add(m, std::ptr::null(), 0).is_null());
        assert!(spice_marshaller_reserve_space(m, usize::MAX).is_null());
        assert!(
            spice_marshaller_linearize(m, 0, std::ptr::null_mut(), std::ptr::null_mut()).is_null()
        );
        for wrong in [std::ptr::null_mut(), foreign] {
            assert!(spice_marshaller_add_uint64(wrong, 1).is_null());
            assert!(spice_marshaller_get_ptr_submarshaller(wrong, 0).is_null());
            assert_eq!(spice_marshaller_get_total_size(wrong), 0);
            assert_eq!(linear(wrong, 0), (Vec::new(), 0));
            spice_marshaller_reset(wrong);
            spice_marshaller_destroy(wrong);
        }
        spice_marshaller_destroy(m);
        spice_marshaller_destroy(m);
        assert!(spice_marshaller_add_uint8(m, 1).is_null());
    }
}
