//! The QXL part of the public C ABI: the graphics device interface and the
//! structures that its requests and rings carry.
//!
//! Guest structures (drawables, cursors) are not here: they lie in guest memory
//! and are read field by field, never through a reference.

use super::{SpiceBaseInstance, SpiceBaseInterface, assert_layout};
use libc::{c_int, c_void};
use std::mem::{align_of, offset_of, size_of};

/// A graphics device as the host implements it.
///
/// `attached_worker` to `client_monitors_config` of spice-qxl.h; the union of the
/// first member with its old two-argument form has one slot.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QXLInterface {
    /// Kind "qxl".
    pub base: SpiceBaseInterface,
    /// The worker exists; requests may be made from now on.
    pub attached_worker: Option<unsafe extern "C" fn(*mut QXLInstance)>,
    /// How hard the library compresses; hosts only trace it.
    pub set_compression_level: Option<unsafe extern "C" fn(*mut QXLInstance, c_int)>,
    /// Never called.
    pub set_mm_time: Option<unsafe extern "C" fn(*mut QXLInstance, u32)>,
    /// Fills in how many slots and surfaces the device has.
    pub get_init_info: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLDevInitInfo)>,
    /// Takes one command from the display ring; 0 when it is empty.
    pub get_command: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int>,
    /// Arms the display ring's wakeup; 0 when something is there already.
    pub req_cmd_notification: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    /// Gives a command's memory back to the guest.
    pub release_resource: Option<unsafe extern "C" fn(*mut QXLInstance, QXLReleaseInfoExt)>,
    /// Takes one command from the cursor ring; 0 when it is empty.
    pub get_cursor_command:
        Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int>,
    /// Arms the cursor ring's wakeup; 0 when something is there already.
    pub req_cursor_notification: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    /// An UPDATE command of the ring was carried out.
    pub notify_update: Option<unsafe extern "C" fn(*mut QXLInstance, u32)>,
    /// Pushes released memory to the guest; 0 when there was none.
    pub flush_resources: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    /// An asynchronous request is done; from minor version 1 on.
    pub async_complete: Option<unsafe extern "C" fn(*mut QXLInstance, u64)>,
    /// Which parts an asynchronous area update drew; from minor version 2 on.
    pub update_area_complete:
        Option<unsafe extern "C" fn(*mut QXLInstance, u32, *mut QXLRect, u32)>,
    /// What the connected clients can do; from minor version 2 on.
    pub set_client_capabilities: Option<unsafe extern "C" fn(*mut QXLInstance, u8, *mut u8)>,
    /// Passes a client's wish for monitors; from minor version 3 on.
    pub client_monitors_config:
        Option<unsafe extern "C" fn(*mut QXLInstance, *mut c_void) -> c_int>,
}

/// One graphics device.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QXLInstance {
    /// Its interface.
    pub base: SpiceBaseInstance,
    /// Id of its display and cursor channels.
    pub id: c_int,
    /// Ours: an opaque value, never dereferenced.
    pub st: *mut c_void,
}

/// How the device divides guest addresses and how many surfaces it has.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QXLDevInitInfo {
    /// Number of memory slot groups.
    pub num_memslots_groups: u32,
    /// Number of slots in each group.
    pub num_memslots: u32,
    /// Bits of an address that hold the generation, below the slot bits.
    pub memslot_gen_bits: u8,
    /// Topmost bits of an address that hold the slot.
    pub memslot_id_bits: u8,
    /// Size of the device's memory, a hint for clients.
    pub qxl_ram_size: u32,
    /// Not read any more.
    pub internal_groupslot_id: u8,
    /// Number of surface ids.
    pub n_surfaces: u32,
}

/// A window of guest memory as the host maps it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QXLDevMemSlot {
    /// Group of the slot.
    pub slot_group_id: u32,
    /// Index in the group.
    pub slot_id: u32,
    /// Changes whenever the slot is set anew, so that old addresses are noticed.
    pub generation: u32,
    /// First host address.
    pub virt_start: u64,
    /// Host address behind the last byte.
    pub virt_end: u64,
    /// What is added to the offset of a guest address to get a host address.
    pub addr_delta: u64,
    /// Not used by the library.
    pub qxl_ram_size: u32,
}

/// What a primary surface shall be like.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QXLDevSurfaceCreate {
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next; negative when the last line comes first.
    pub stride: i32,
    /// `SPICE_SURFACE_FMT_*`.
    pub format: u32,
    /// Not used by the library.
    pub position: u32,
    /// Whether the pointer may be the client's.
    pub mouse_mode: u32,
    /// `QXL_SURF_FLAG_*`.
    pub flags: u32,
    /// Not used by the library.
    pub type_: u32,
    /// Guest address of the pixels.
    pub mem: u64,
    /// Group that `mem` is an address of.
    pub group_id: u32,
}

/// A command's release information: where it lies, and the group it came from.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QXLReleaseInfoExt {
    /// Host address of the first member of the command.
    pub info: *mut c_void,
    /// Group of the command's address.
    pub group_id: u32,
}

/// One entry of a command ring.
#[repr(C, packed)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QXLCommand {
    /// Guest address of the command's structure.
    pub data: u64,
    /// `QXL_CMD_*`.
    pub type_: u32,
    /// Unused.
    pub padding: u32,
}

/// One entry of a command ring and what the host adds to it.
#[repr(C, packed)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QXLCommandExt {
    /// What the guest wrote.
    pub cmd: QXLCommand,
    /// Group of all addresses in the command.
    pub group_id: u32,
    /// `QXL_COMMAND_FLAG_*`.
    pub flags: u32,
}

/// A rectangle; right and bottom lie outside of it.
#[repr(C, packed)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QXLRect {
    /// First line.
    pub top: i32,
    /// First column.
    pub left: i32,
    /// Line behind the last one.
    pub bottom: i32,
    /// Column behind the last one.
    pub right: i32,
}

/// Length of the capability bits passed to `set_client_capabilities`.
pub const SPICE_CAPABILITIES_SIZE: usize = 58;

/// Minor version from which `async_complete` exists.
pub const QXL_MINOR_ASYNC: u32 = 1;
/// Minor version from which `update_area_complete` and `set_client_capabilities` exist.
pub const QXL_MINOR_CLIENT_CAPABILITIES: u32 = 2;
/// Minor version from which `client_monitors_config` exists.
pub const QXL_MINOR_MONITORS_CONFIG: u32 = 3;

/// Display ring: draw something.
pub const QXL_CMD_DRAW: u32 = 1;
/// Display ring: make an area visible in guest memory.
pub const QXL_CMD_UPDATE: u32 = 2;
/// Cursor ring: the only kind.
pub const QXL_CMD_CURSOR: u32 = 3;
/// Display ring: text for the log.
pub const QXL_CMD_MESSAGE: u32 = 4;
/// Display ring: create or destroy a surface.
pub const QXL_CMD_SURFACE: u32 = 5;

/// The command has the layout of the first protocol generation.
pub const QXL_COMMAND_FLAG_COMPAT: u32 = 1;
/// Flag of a command: colours have 16 bits.
pub const QXL_COMMAND_FLAG_COMPAT_16BPP: u32 = 2;

assert_layout!(QXLInterface: 144;
    base @ 0, attached_worker @ 24, set_compression_level @ 32, set_mm_time @ 40,
    get_init_info @ 48, get_command @ 56, req_cmd_notification @ 64, release_resource @ 72,
    get_cursor_command @ 80, req_cursor_notification @ 88, notify_update @ 96,
    flush_resources @ 104, async_complete @ 112, update_area_complete @ 120,
    set_client_capabilities @ 128, client_monitors_config @ 136);
assert_layout!(QXLInstance: 24; base @ 0, id @ 8, st @ 16);
assert_layout!(QXLDevInitInfo: 24;
    num_memslots_groups @ 0, num_memslots @ 4, memslot_gen_bits @ 8, memslot_id_bits @ 9,
    qxl_ram_size @ 12, internal_groupslot_id @ 16, n_surfaces @ 20);
assert_layout!(QXLDevMemSlot: 48;
    slot_group_id @ 0, slot_id @ 4, generation @ 8, virt_start @ 16, virt_end @ 24,
    addr_delta @ 32, qxl_ram_size @ 40);
assert_layout!(QXLDevSurfaceCreate: 48;
    width @ 0, height @ 4, stride @ 8, format @ 12, position @ 16, mouse_mode @ 20, flags @ 24,
    type_ @ 28, mem @ 32, group_id @ 40);
assert_layout!(QXLReleaseInfoExt: 16; info @ 0, group_id @ 8);
assert_layout!(QXLCommand: 16; data @ 0, type_ @ 8, padding @ 12);
assert_layout!(QXLCommandExt: 24; cmd @ 0, group_id @ 16, flags @ 20);
assert_layout!(QXLRect: 16; top @ 0, left @ 4, bottom @ 8, right @ 12);
const _: () = assert!(align_of::<QXLCommandExt>() == 1 && align_of::<QXLRect>() == 1);
