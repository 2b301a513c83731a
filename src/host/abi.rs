//! Layouts of the public C ABI: what QEMU allocates and passes to the library.
//!
//! Only data: no function here does anything. Every size and offset is checked
//! at compile time, for the 64-bit layout that the library supports. The QXL
//! part is in `abi/qxl.rs`. Structures belong to the host; which thread may
//! read a field is said where it is read.

mod qxl;

pub use qxl::*;

use libc::{c_char, c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::CStr;
use std::mem::{offset_of, size_of};

/// First member of every interface structure: its kind and version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceBaseInterface {
    /// Kind of the interface, one of the `SPICE_INTERFACE_*` strings.
    pub type_: *const c_char,
    /// Free text for people.
    pub description: *const c_char,
    /// Must equal the library's major version of this kind.
    pub major_version: u32,
    /// Later members exist only from certain minor versions on.
    pub minor_version: u32,
}

/// First member of every instance structure: the way to its interface.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceBaseInstance {
    /// The interface; stays valid as long as the instance.
    pub sif: *const SpiceBaseInterface,
}

/// A timer of the host's main loop; only the host knows what is inside.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceTimer {
    opaque: [u8; 0],
}

/// A watched descriptor of the host's main loop; only the host knows what is inside.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceWatch {
    opaque: [u8; 0],
}

/// Called by the host when a timer runs out.
pub type SpiceTimerFunc = Option<unsafe extern "C" fn(opaque: *mut c_void)>;

/// Called by the host when a watched descriptor is ready.
pub type SpiceWatchFunc =
    Option<unsafe extern "C" fn(fd: c_int, event: c_int, opaque: *mut c_void)>;

/// The host's main loop.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceCoreInterface {
    /// Kind "core".
    pub base: SpiceBaseInterface,
    /// Makes a one-shot timer that is not armed yet.
    pub timer_add: Option<unsafe extern "C" fn(SpiceTimerFunc, *mut c_void) -> *mut SpiceTimer>,
    /// Arms or re-arms a timer, in milliseconds.
    pub timer_start: Option<unsafe extern "C" fn(*mut SpiceTimer, u32)>,
    /// Disarms a timer.
    pub timer_cancel: Option<unsafe extern "C" fn(*mut SpiceTimer)>,
    /// Frees a timer.
    pub timer_remove: Option<unsafe extern "C" fn(*mut SpiceTimer)>,
    /// Watches a descriptor for a mask of `SPICE_WATCH_EVENT_*`.
    pub watch_add:
        Option<unsafe extern "C" fn(c_int, c_int, SpiceWatchFunc, *mut c_void) -> *mut SpiceWatch>,
    /// Changes the mask; 0 silences the watch.
    pub watch_update_mask: Option<unsafe extern "C" fn(*mut SpiceWatch, c_int)>,
    /// Frees a watch.
    pub watch_remove: Option<unsafe extern "C" fn(*mut SpiceWatch)>,
    /// Tells the host about channels of clients; from minor version 3 on.
    pub channel_event: Option<unsafe extern "C" fn(c_int, *mut SpiceChannelEventInfo)>,
}

/// What `channel_event` tells about a channel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SpiceChannelEventInfo {
    /// The session, the same for all channels of a client.
    pub connection_id: c_int,
    /// Channel type.
    pub type_: c_int,
    /// Channel id.
    pub id: c_int,
    /// `SPICE_CHANNEL_EVENT_FLAG_*`.
    pub flags: c_int,
    /// Our address, as far as it fits.
    pub laddr: sockaddr,
    /// The client's address, as far as it fits.
    pub paddr: sockaddr,
    /// Length of `laddr`.
    pub llen: socklen_t,
    /// Length of `paddr`.
    pub plen: socklen_t,
    /// Our address, whole.
    pub laddr_ext: sockaddr_storage,
    /// The client's address, whole.
    pub paddr_ext: sockaddr_storage,
    /// Length of `laddr_ext`.
    pub llen_ext: socklen_t,
    /// Length of `paddr_ext`.
    pub plen_ext: socklen_t,
}

/// A char device as the host implements it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceCharDeviceInterface {
    /// Kind `char_device`.
    pub base: SpiceBaseInterface,
    /// Tells the device whether a client is there (1) or not (0).
    pub state: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, c_int)>,
    /// Gives bytes to the guest; returns how many were taken.
    pub write:
        Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, *const u8, c_int) -> c_int>,
    /// Takes bytes from the guest; returns how many there were.
    pub read: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, *mut u8, c_int) -> c_int>,
    /// Passes a port event to the device; from minor version 2 on.
    pub event: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, u8)>,
    /// `SPICE_CHAR_DEVICE_*` flags; from minor version 3 on, not to be read before.
    pub flags: u32,
}

/// One char device.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceCharDeviceInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// What the device is for, e.g. "vdagent" or "port".
    pub subtype: *const c_char,
    /// Ours: set when the device is added, cleared when it is removed.
    pub st: *mut c_void,
    /// Name of a port; NULL for other subtypes.
    pub portname: *const c_char,
}

/// A keyboard as the host implements it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceKbdInterface {
    /// Kind "keyboard".
    pub base: SpiceBaseInterface,
    /// Presses or releases: one byte of a scan code.
    pub push_scan_freg: Option<unsafe extern "C" fn(*mut SpiceKbdInstance, u8)>,
    /// Which lock lamps are lit.
    pub get_leds: Option<unsafe extern "C" fn(*mut SpiceKbdInstance) -> u8>,
}

/// One keyboard.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceKbdInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// A relative pointer as the host implements it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceMouseInterface {
    /// Kind "mouse".
    pub base: SpiceBaseInterface,
    /// Moves by dx, dy, dz with a mask of pressed buttons.
    pub motion: Option<unsafe extern "C" fn(*mut SpiceMouseInstance, c_int, c_int, c_int, u32)>,
    /// Changes the pressed buttons only.
    pub buttons: Option<unsafe extern "C" fn(*mut SpiceMouseInstance, u32)>,
}

/// One relative pointer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceMouseInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// An absolute pointer as the host implements it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceTabletInterface {
    /// Kind "tablet".
    pub base: SpiceBaseInterface,
    /// Width and height that positions refer to.
    pub set_logical_size: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, c_int, c_int)>,
    /// Moves to x, y with a mask of pressed buttons.
    pub position: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, c_int, c_int, u32)>,
    /// Turns the wheel.
    pub wheel: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, c_int, u32)>,
    /// Changes the pressed buttons only.
    pub buttons: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, u32)>,
}

/// One absolute pointer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceTabletInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// Sound output; the host calls us, we never call it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpicePlaybackInterface {
    /// Kind "playback".
    pub base: SpiceBaseInterface,
}

/// One sound output.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpicePlaybackInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// Sound input; the host calls us, we never call it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceRecordInterface {
    /// Kind "record".
    pub base: SpiceBaseInterface,
}

/// One sound input.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceRecordInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// How the host hears that the client's part of a migration is done.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceMigrateInterface {
    /// Kind "migration".
    pub base: SpiceBaseInterface,
    /// Answers `spice_server_migrate_connect`.
    pub migrate_connect_complete: Option<unsafe extern "C" fn(*mut SpiceMigrateInstance)>,
    /// Answers `spice_server_migrate_end`.
    pub migrate_end_complete: Option<unsafe extern "C" fn(*mut SpiceMigrateInstance)>,
}

/// The migration interface's instance.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SpiceMigrateInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Ours.
    pub st: *mut c_void,
}

/// One kind of interface and the version of it that this library implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceKind {
    /// The string in `SpiceBaseInterface::type_`.
    pub name: &'static CStr,
    /// Major version: must be equal.
    pub major: u32,
    /// Minor version: the host's may be lower, not higher.
    pub minor: u32,
}

/// The host's main loop.
pub const SPICE_INTERFACE_CORE: InterfaceKind = InterfaceKind { name: c"core", major: 1, minor: 3 };
/// A char device.
pub const SPICE_INTERFACE_CHAR_DEVICE: InterfaceKind =
    InterfaceKind { name: c"char_device", major: 1, minor: 3 };
/// A keyboard.
pub const SPICE_INTERFACE_KEYBOARD: InterfaceKind =
    InterfaceKind { name: c"keyboard", major: 1, minor: 1 };
/// A relative pointer.
pub const SPICE_INTERFACE_MOUSE: InterfaceKind =
    InterfaceKind { name: c"mouse", major: 1, minor: 1 };
/// An absolute pointer.
pub const SPICE_INTERFACE_TABLET: InterfaceKind =
    InterfaceKind { name: c"tablet", major: 1, minor: 1 };
/// Sound output.
pub const SPICE_INTERFACE_PLAYBACK: InterfaceKind =
    InterfaceKind { name: c"playback", major: 1, minor: 3 };
/// Sound input.
pub const SPICE_INTERFACE_RECORD: InterfaceKind =
    InterfaceKind { name: c"record", major: 2, minor: 3 };
/// Client side of migration.
pub const SPICE_INTERFACE_MIGRATION: InterfaceKind =
    InterfaceKind { name: c"migration", major: 1, minor: 1 };
/// A graphics device.
pub const SPICE_INTERFACE_QXL: InterfaceKind = InterfaceKind { name: c"qxl", major: 3, minor: 3 };

/// Watch mask and event: readable.
pub const SPICE_WATCH_EVENT_READ: c_int = 1;
/// Watch mask and event: writable.
pub const SPICE_WATCH_EVENT_WRITE: c_int = 2;

/// A channel's connection was accepted; nothing was read from it yet.
pub const SPICE_CHANNEL_EVENT_CONNECTED: c_int = 1;
/// The channel is linked and authenticated.
pub const SPICE_CHANNEL_EVENT_INITIALIZED: c_int = 2;
/// The channel is gone.
pub const SPICE_CHANNEL_EVENT_DISCONNECTED: c_int = 3;
/// The connection is encrypted.
pub const SPICE_CHANNEL_EVENT_FLAG_TLS: c_int = 1;
/// `laddr_ext` and `paddr_ext` are filled in.
pub const SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT: c_int = 2;

/// The device calls `spice_server_char_device_wakeup` when it can be written again.
pub const SPICE_CHAR_DEVICE_NOTIFY_WRITABLE: u32 = 1;

/// Minor version of the core interface from which `channel_event` exists.
pub const CORE_MINOR_CHANNEL_EVENT: u32 = 3;
/// Minor version of the char device interface from which `event` exists.
pub const CHAR_DEVICE_MINOR_EVENT: u32 = 2;
/// Minor version of the char device interface from which `flags` exists.
pub const CHAR_DEVICE_MINOR_FLAGS: u32 = 3;

/// `assert_layout!(Struct: size; field @ offset, …)`, at compile time.
macro_rules! assert_layout {
    ($ty:ty: $size:literal; $($field:ident @ $offset:literal),* $(,)?) => {
        const _: () = assert!(size_of::<$ty>() == $size);
        $(const _: () = assert!(offset_of!($ty, $field) == $offset);)*
    };
}
use assert_layout;

assert_layout!(SpiceBaseInterface: 24;
    type_ @ 0, description @ 8, major_version @ 16, minor_version @ 20);
assert_layout!(SpiceBaseInstance: 8; sif @ 0);
assert_layout!(SpiceCoreInterface: 88;
    base @ 0, timer_add @ 24, timer_start @ 32, timer_cancel @ 40, timer_remove @ 48,
    watch_add @ 56, watch_update_mask @ 64, watch_remove @ 72, channel_event @ 80);
assert_layout!(SpiceChannelEventInfo: 320;
    connection_id @ 0, type_ @ 4, id @ 8, flags @ 12, laddr @ 16, paddr @ 32, llen @ 48,
    plen @ 52, laddr_ext @ 56, paddr_ext @ 184, llen_ext @ 312, plen_ext @ 316);
assert_layout!(SpiceCharDeviceInterface: 64;
    base @ 0, state @ 24, write @ 32, read @ 40, event @ 48, flags @ 56);
assert_layout!(SpiceCharDeviceInstance: 32; base @ 0, subtype @ 8, st @ 16, portname @ 24);
assert_layout!(SpiceKbdInterface: 40; base @ 0, push_scan_freg @ 24, get_leds @ 32);
assert_layout!(SpiceKbdInstance: 16; base @ 0, st @ 8);
assert_layout!(SpiceMouseInterface: 40; base @ 0, motion @ 24, buttons @ 32);
assert_layout!(SpiceMouseInstance: 16; base @ 0, st @ 8);
assert_layout!(SpiceTabletInterface: 56;
    base @ 0, set_logical_size @ 24, position @ 32, wheel @ 40, buttons @ 48);
assert_layout!(SpiceTabletInstance: 16; base @ 0, st @ 8);
assert_layout!(SpicePlaybackInterface: 24; base @ 0);
assert_layout!(SpicePlaybackInstance: 16; base @ 0, st @ 8);
assert_layout!(SpiceRecordInterface: 24; base @ 0);
assert_layout!(SpiceRecordInstance: 16; base @ 0, st @ 8);
assert_layout!(SpiceMigrateInterface: 40;
    base @ 0, migrate_connect_complete @ 24, migrate_end_complete @ 32);
assert_layout!(SpiceMigrateInstance: 16; base @ 0, st @ 8);
