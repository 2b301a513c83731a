//! A graphics device whose guest writes anything into its memory and rings. What the
//! library gives back and completes is counted.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr;
use std::sync::Mutex;

use libc::{c_int, c_void};
use spice_server::host::abi::{
    QXLCommandExt, QXLDevInitInfo, QXLInstance, QXLInterface, QXLRect, QXLReleaseInfoExt,
    SPICE_INTERFACE_QXL, SpiceBaseInstance, SpiceBaseInterface,
};

/// Bytes of the guest's memory: its ends are the ends of an allocation, so that the
/// sanitizer sees whoever leaves it.
pub(in crate::bodies) const MEMORY: usize = 64 << 10;
/// The group of the guest's slots, as QEMU has it.
pub(in crate::bodies) const GUEST: u32 = 1;
/// What QEMU has of each: slots in a group, surfaces.
const SLOTS: u32 = 8;
const SURFACES: u32 = 1024;

/// The device. Callbacks find it by the instance, which is its first member.
#[repr(C)]
pub(in crate::bodies) struct Device {
    instance: UnsafeCell<QXLInstance>,
    interface: QXLInterface,
    memory: Box<[UnsafeCell<u8>]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    display: VecDeque<QXLCommandExt>,
    cursor: VecDeque<QXLCommandExt>,
    /// Commands that the library has taken and not given back.
    taken: usize,
    /// Cookies that are to be completed.
    cookies: Vec<u64>,
    next_cookie: u64,
}

// SAFETY: the library writes the instance on the script's thread only, and reads and writes
// the guest's memory as it is, shared with a guest that changes it.
unsafe impl Sync for Device {}

impl Device {
    pub(in crate::bodies) fn new() -> Box<Self> {
        let base = SpiceBaseInterface {
            type_: SPICE_INTERFACE_QXL.name.as_ptr(),
            description: c"fuzz".as_ptr(),
            major_version: SPICE_INTERFACE_QXL.major,
            minor_version: SPICE_INTERFACE_QXL.minor,
        };
        let mut device = Box::new(Self {
            instance: UnsafeCell::new(QXLInstance {
                base: SpiceBaseInstance { sif: ptr::null() },
                id: 0,
                st: ptr::null_mut(),
            }),
            interface: QXLInterface {
                base,
                attached_worker: None,
                set_compression_level: None,
                set_mm_time: None,
                get_init_info: Some(init_info),
                get_command: Some(command),
                req_cmd_notification: Some(notification),
                release_resource: Some(release),
                get_cursor_command: Some(cursor_command),
                req_cursor_notification: Some(notification),
                notify_update: Some(notify_update),
                flush_resources: Some(flush_resources),
                async_complete: Some(complete),
                update_area_complete: Some(update_area_complete),
                set_client_capabilities: Some(set_client_capabilities),
                client_monitors_config: Some(client_monitors_config),
            },
            memory: (0..MEMORY).map(|_| UnsafeCell::new(0)).collect(),
            state: Mutex::default(),
        });
        device.instance.get_mut().base.sif = (&raw const device.interface).cast();
        device
    }

    pub(in crate::bodies) fn instance(&self) -> *mut QXLInstance {
        self.instance.get()
    }

    /// The first byte of the guest's memory, for the host.
    pub(in crate::bodies) fn start(&self) -> u64 {
        self.memory.as_ptr().expose_provenance() as u64
    }

    /// The guest writes into its memory, as far as there is some.
    pub(in crate::bodies) fn write(&self, offset: usize, bytes: &[u8]) {
        for (cell, byte) in self.memory.iter().skip(offset).zip(bytes) {
            // SAFETY: the device's own byte; the worker reads each without a reference.
            unsafe { cell.get().write_volatile(*byte) };
        }
    }

    /// The guest puts a command into a ring.
    pub(in crate::bodies) fn push(&self, cursor: bool, command: QXLCommandExt) {
        let mut state = self.state.lock().expect("no panic");
        if cursor { state.cursor.push_back(command) } else { state.display.push_back(command) }
    }

    /// A cookie for a request; it comes back once.
    pub(in crate::bodies) fn cookie(&self) -> u64 {
        let mut state = self.state.lock().expect("no panic");
        state.next_cookie += 1;
        let cookie = state.next_cookie;
        state.cookies.push(cookie);
        cookie
    }

    /// Commands that were not taken with the rings: those of a guest that was saved.
    pub(in crate::bodies) fn expect(&self, commands: usize) {
        self.state.lock().expect("no panic").taken += commands;
    }

    /// The library is done with the device.
    pub(in crate::bodies) fn check_end(&self) {
        let state = self.state.lock().expect("no panic");
        assert!(state.cookies.is_empty(), "cookies that do not come back: {:?}", state.cookies);
    }
}

fn device<'a>(instance: *mut QXLInstance) -> &'a Device {
    // SAFETY: the library passes the instance that it was given, which is the first member
    // of a device that outlives its service.
    unsafe { &*instance.cast::<Device>() }
}

unsafe extern "C" fn init_info(_: *mut QXLInstance, info: *mut QXLDevInitInfo) {
    let numbers = QXLDevInitInfo {
        num_memslots_groups: 2,
        num_memslots: SLOTS,
        memslot_gen_bits: 8,
        memslot_id_bits: 8,
        qxl_ram_size: 16 << 20,
        internal_groupslot_id: 0,
        n_surfaces: SURFACES,
    };
    // SAFETY: the library passes its own structure.
    unsafe { info.write(numbers) };
}

unsafe extern "C" fn command(qxl: *mut QXLInstance, ext: *mut QXLCommandExt) -> c_int {
    hand_over(device(qxl), |state| state.display.pop_front(), ext)
}

unsafe extern "C" fn cursor_command(qxl: *mut QXLInstance, ext: *mut QXLCommandExt) -> c_int {
    hand_over(device(qxl), |state| state.cursor.pop_front(), ext)
}

fn hand_over(
    device: &Device,
    take: impl FnOnce(&mut State) -> Option<QXLCommandExt>,
    ext: *mut QXLCommandExt,
) -> c_int {
    let mut state = device.state.lock().expect("no panic");
    let Some(command) = take(&mut state) else {
        return 0;
    };
    state.taken += 1;
    // SAFETY: the library passes its own structure.
    unsafe { ext.write(command) };
    1
}

unsafe extern "C" fn notification(_: *mut QXLInstance) -> c_int {
    1
}

unsafe extern "C" fn release(qxl: *mut QXLInstance, release: QXLReleaseInfoExt) {
    let device = device(qxl);
    let place = (release.info.addr() as u64).wrapping_sub(device.start());
    assert!(place < MEMORY as u64 && release.group_id == GUEST, "given back: what is no command");
    let mut state = device.state.lock().expect("no panic");
    state.taken = state.taken.checked_sub(1).expect("given back twice, or never taken");
}

unsafe extern "C" fn notify_update(_: *mut QXLInstance, _: u32) {}

unsafe extern "C" fn flush_resources(_: *mut QXLInstance) -> c_int {
    0
}

unsafe extern "C" fn complete(qxl: *mut QXLInstance, cookie: u64) {
    let mut state = device(qxl).state.lock().expect("no panic");
    let at = state.cookies.iter().position(|other| *other == cookie);
    state.cookies.swap_remove(at.expect("a cookie comes back once"));
}

unsafe extern "C" fn update_area_complete(_: *mut QXLInstance, _: u32, _: *mut QXLRect, _: u32) {}

unsafe extern "C" fn set_client_capabilities(_: *mut QXLInstance, _: u8, _: *mut u8) {}

unsafe extern "C" fn client_monitors_config(_: *mut QXLInstance, _: *mut c_void) -> c_int {
    1
}
