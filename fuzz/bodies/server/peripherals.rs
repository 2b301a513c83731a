//! Devices for input and sound, which do nothing but see that they are called while they
//! are plugged.

use std::cell::{Cell, UnsafeCell};
use std::ptr;

use libc::c_int;
use spice_server::ffi::devices::{spice_server_add_interface, spice_server_remove_interface};
use spice_server::host::abi::{
    InterfaceKind, SPICE_INTERFACE_KEYBOARD, SPICE_INTERFACE_MOUSE, SPICE_INTERFACE_PLAYBACK,
    SPICE_INTERFACE_RECORD, SPICE_INTERFACE_TABLET, SpiceBaseInstance, SpiceBaseInterface,
    SpiceKbdInstance, SpiceKbdInterface, SpiceMouseInstance, SpiceMouseInterface,
    SpicePlaybackInterface, SpiceRecordInterface, SpiceTabletInstance, SpiceTabletInterface,
};

use super::host;

/// The structures for the instances of all kinds look the same. Callbacks find the device by
/// the instance, which is its first member.
#[repr(C)]
pub(super) struct Peripheral {
    instance: UnsafeCell<SpiceKbdInstance>,
    plugged: Cell<bool>,
}

impl Peripheral {
    #[expect(clippy::unnecessary_box_returns, reason = "the library keeps its address")]
    pub(super) fn plug(interface: *const SpiceBaseInterface) -> Box<Self> {
        let base = SpiceBaseInstance { sif: interface };
        let instance = UnsafeCell::new(SpiceKbdInstance { base, st: ptr::null_mut() });
        let device = Box::new(Self { instance, plugged: Cell::new(true) });
        // SAFETY: an instance with its interface, good until it is removed.
        let added = unsafe { spice_server_add_interface(host::server(), device.base()) };
        assert_eq!(added, 0);
        device
    }

    pub(super) fn unplug(&self) {
        // SAFETY: the instance that was added.
        let removed = unsafe { spice_server_remove_interface(self.base()) };
        assert_eq!(removed, 0);
        self.plugged.set(false);
    }

    pub(super) fn instance(&self) -> *mut SpiceKbdInstance {
        self.instance.get()
    }

    fn base(&self) -> *mut SpiceBaseInstance {
        self.instance.get().cast()
    }
}

fn check_called<T>(instance: *mut T) {
    // SAFETY: the library passes the instance that it was given, which is the first member
    // of a device that lives as long as it is plugged.
    assert!(unsafe { (*instance.cast::<Peripheral>()).plugged.get() }, "called after its removal");
}

/// Read by the library only.
struct Interface<T>(T);
// SAFETY: it is never changed, and what it points to is static.
unsafe impl<T> Sync for Interface<T> {}

impl<T> Interface<T> {
    fn base(&self) -> *const SpiceBaseInterface {
        (&raw const self.0).cast()
    }
}

const fn base(kind: &InterfaceKind) -> SpiceBaseInterface {
    SpiceBaseInterface {
        type_: kind.name.as_ptr(),
        description: c"fuzz".as_ptr(),
        major_version: kind.major,
        minor_version: kind.minor,
    }
}

pub(super) fn keyboard() -> *const SpiceBaseInterface {
    static KEYBOARD: Interface<SpiceKbdInterface> = Interface(SpiceKbdInterface {
        base: base(&SPICE_INTERFACE_KEYBOARD),
        push_scan_freg: Some(push_scan_freg),
        get_leds: Some(get_leds),
    });
    KEYBOARD.base()
}

pub(super) fn mouse() -> *const SpiceBaseInterface {
    static MOUSE: Interface<SpiceMouseInterface> = Interface(SpiceMouseInterface {
        base: base(&SPICE_INTERFACE_MOUSE),
        motion: Some(motion),
        buttons: Some(mouse_buttons),
    });
    MOUSE.base()
}

pub(super) fn tablet() -> *const SpiceBaseInterface {
    static TABLET: Interface<SpiceTabletInterface> = Interface(SpiceTabletInterface {
        base: base(&SPICE_INTERFACE_TABLET),
        set_logical_size: Some(set_logical_size),
        position: Some(position),
        wheel: Some(wheel),
        buttons: Some(tablet_buttons),
    });
    TABLET.base()
}

pub(super) fn speaker() -> *const SpiceBaseInterface {
    static SPEAKER: Interface<SpicePlaybackInterface> =
        Interface(SpicePlaybackInterface { base: base(&SPICE_INTERFACE_PLAYBACK) });
    SPEAKER.base()
}

pub(super) fn microphone() -> *const SpiceBaseInterface {
    static MICROPHONE: Interface<SpiceRecordInterface> =
        Interface(SpiceRecordInterface { base: base(&SPICE_INTERFACE_RECORD) });
    MICROPHONE.base()
}

unsafe extern "C" fn push_scan_freg(keyboard: *mut SpiceKbdInstance, _code: u8) {
    check_called(keyboard);
}

unsafe extern "C" fn get_leds(keyboard: *mut SpiceKbdInstance) -> u8 {
    check_called(keyboard);
    0
}

unsafe extern "C" fn motion(
    mouse: *mut SpiceMouseInstance,
    _x: c_int,
    _y: c_int,
    _z: c_int,
    _buttons: u32,
) {
    check_called(mouse);
}

unsafe extern "C" fn mouse_buttons(mouse: *mut SpiceMouseInstance, _buttons: u32) {
    check_called(mouse);
}

unsafe extern "C" fn set_logical_size(
    tablet: *mut SpiceTabletInstance,
    width: c_int,
    height: c_int,
) {
    check_called(tablet);
    // Without a screen it is none, as with the reference.
    assert!(width >= 0 && height >= 0, "a screen of {width} by {height}");
}

unsafe extern "C" fn position(
    tablet: *mut SpiceTabletInstance,
    _x: c_int,
    _y: c_int,
    _buttons: u32,
) {
    check_called(tablet);
}

unsafe extern "C" fn wheel(tablet: *mut SpiceTabletInstance, turns: c_int, _buttons: u32) {
    check_called(tablet);
    assert!(turns.abs() == 1, "{turns} turns");
}

unsafe extern "C" fn tablet_buttons(tablet: *mut SpiceTabletInstance, _buttons: u32) {
    check_called(tablet);
}
