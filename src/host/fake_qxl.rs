//! A graphics device for tests: rings that tests fill, and a record of every call.
//!
//! Commands lie in memory of the fake and are addressed by the host group, as those
//! of QEMU's VGA-like displays, or by a slot of the guest group over that memory.

use super::abi::{
    QXL_CMD_DRAW, QXLCommand, QXLCommandExt, QXLDevInitInfo, QXLDevMemSlot, QXLInstance,
    QXLInterface, QXLRect, QXLReleaseInfoExt, SPICE_CAPABILITIES_SIZE, SPICE_INTERFACE_QXL,
    SpiceBaseInstance, SpiceBaseInterface,
};
use super::guest_memory::GuestSlot;
use super::qxl::{DeviceError, QxlDevice};
use libc::{c_int, c_void};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::time::Duration;

/// The device. Callbacks find it by the instance, which is its first member.
#[repr(C)]
pub(crate) struct FakeQxl {
    instance: HostCell<QXLInstance>,
    interface: QXLInterface,
    memory: Box<[u64]>,
    record: Mutex<Record>,
    on_flush: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    changed: Condvar,
}

/// Memory of the host that the library writes into.
type HostCell<T> = std::cell::UnsafeCell<T>;

// SAFETY: the instance is only written by the library on the test's thread.
unsafe impl Sync for FakeQxl {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for FakeQxl {}

#[derive(Default)]
struct Record {
    used: usize,
    display: VecDeque<QXLCommandExt>,
    cursor: VecDeque<QXLCommandExt>,
    events: Vec<String>,
    fetched: usize,
    refuse_notifications: usize,
    endless: Option<QXLCommandExt>,
}

const MEMORY_WORDS: usize = 8192;
/// The group whose addresses are plain pointers.
pub(crate) const HOST: u32 = 0;
/// The group whose slot 1, generation 5 spans the fake's memory.
pub(crate) const GUEST: u32 = 1;

impl FakeQxl {
    pub(crate) fn new() -> Box<Self> {
        Self::build(|_, _| ())
    }

    pub(crate) fn with_id(id: c_int) -> Box<Self> {
        let mut fake = Self::new();
        fake.instance.get_mut().id = id;
        fake
    }

    /// A device whose interface the test changes before anybody sees it.
    pub(crate) fn build(
        change: impl FnOnce(&mut SpiceBaseInterface, &mut QXLInterface),
    ) -> Box<Self> {
        let base = SpiceBaseInterface {
            type_: SPICE_INTERFACE_QXL.name.as_ptr(),
            description: c"fake".as_ptr(),
            major_version: SPICE_INTERFACE_QXL.major,
            minor_version: SPICE_INTERFACE_QXL.minor,
        };
        let mut interface = QXLInterface {
            base,
            attached_worker: Some(attached_worker),
            set_compression_level: Some(set_compression_level),
            set_mm_time: None,
            get_init_info: Some(init_info),
            get_command: Some(command),
            req_cmd_notification: Some(req_notification),
            release_resource: Some(release_resource),
            get_cursor_command: Some(cursor_command),
            req_cursor_notification: Some(req_notification),
            notify_update: Some(notify_update),
            flush_resources: Some(flush_resources),
            async_complete: Some(async_complete),
            update_area_complete: Some(update_area_complete),
            set_client_capabilities: Some(set_client_capabilities),
            client_monitors_config: Some(client_monitors_config),
        };
        let mut changed_base = base;
        change(&mut changed_base, &mut interface);
        interface.base = changed_base;
        let mut fake = Box::new(Self {
            instance: HostCell::new(QXLInstance {
                base: SpiceBaseInstance { sif: std::ptr::null() },
                id: 0,
                st: std::ptr::null_mut(),
            }),
            interface,
            memory: vec![0; MEMORY_WORDS].into_boxed_slice(),
            record: Mutex::default(),
            on_flush: Mutex::new(None),
            changed: Condvar::new(),
        });
        fake.instance.get_mut().base.sif = (&raw const fake.interface).cast();
        fake
    }

    pub(crate) fn instance(&self) -> NonNull<QXLInstance> {
        NonNull::new(self.instance.get()).expect("an address")
    }

    pub(crate) fn try_device(&self) -> Result<QxlDevice, DeviceError> {
        // SAFETY: tests keep the fake until they have removed the device.
        unsafe { QxlDevice::new(self.instance()) }
    }

    pub(crate) fn device(&self) -> QxlDevice {
        self.try_device().expect("a usable device")
    }

    /// What the library wrote into the instance.
    pub(crate) fn state(&self) -> *mut c_void {
        // SAFETY: written on the test's thread only.
        unsafe { (*self.instance.get()).st }
    }

    /// QEMU's host slot.
    pub(crate) fn host_slot() -> GuestSlot {
        let slot = QXLDevMemSlot { virt_end: u64::MAX, ..QXLDevMemSlot::default() };
        // SAFETY: tests pass only addresses of the fake's memory with this group.
        unsafe { GuestSlot::new(slot) }
    }

    /// A slot of the guest group over the fake's memory.
    pub(crate) fn guest_slot(&self) -> GuestSlot {
        let start = self.start();
        let slot = QXLDevMemSlot {
            slot_group_id: GUEST,
            slot_id: 1,
            generation: 5,
            virt_start: start,
            virt_end: start + (MEMORY_WORDS * 8) as u64,
            addr_delta: start,
            ..QXLDevMemSlot::default()
        };
        // SAFETY: tests keep the fake until they have removed the device.
        unsafe { GuestSlot::new(slot) }
    }

    /// Puts bytes into the fake's memory and returns their offset there.
    pub(crate) fn store(&self, bytes: &[u8]) -> u64 {
        let mut record = self.record.lock();
        let offset = record.used;
        record.used += bytes.len().next_multiple_of(8);
        assert!(record.used <= MEMORY_WORDS * 8, "the fake's memory is full");
        let to = std::ptr::with_exposed_provenance_mut::<u8>(self.start() as usize + offset);
        // SAFETY: inside the memory, at a place no earlier command uses.
        unsafe { to.copy_from(bytes.as_ptr(), bytes.len()) };
        offset as u64
    }

    /// The bytes at an offset of the fake's memory.
    pub(crate) fn bytes_at<const N: usize>(&self, offset: u64) -> [u8; N] {
        let from = std::ptr::with_exposed_provenance::<[u8; N]>((self.start() + offset) as usize);
        // SAFETY: tests ask for what they stored, while the worker waits for requests.
        unsafe { from.read_volatile() }
    }

    /// The address of an offset in a group.
    pub(crate) fn address(&self, group: u32, offset: u64) -> u64 {
        if group == HOST { self.start() + offset } else { 1 << 56 | 5 << 48 | offset }
    }

    /// Puts a command into the display ring; returns the pointer that its release names.
    pub(crate) fn push(&self, group: u32, type_: u32, bytes: &[u8]) -> u64 {
        let offset = self.store(bytes);
        self.push_address(group, type_, self.address(group, offset));
        self.start() + offset
    }

    /// Puts a command with any address into the display ring.
    pub(crate) fn push_address(&self, group_id: u32, type_: u32, data: u64) {
        let cmd = QXLCommand { data, type_, padding: 0 };
        self.record.lock().display.push_back(QXLCommandExt { cmd, group_id, flags: 0 });
    }

    /// Puts a command into the cursor ring; returns the pointer that its release names.
    pub(crate) fn push_cursor(&self, type_: u32, bytes: &[u8]) -> u64 {
        let offset = self.store(bytes);
        let cmd = QXLCommand { data: self.address(HOST, offset), type_, padding: 0 };
        self.record.lock().cursor.push_back(QXLCommandExt { cmd, group_id: HOST, flags: 0 });
        self.start() + offset
    }

    /// From now on an empty display ring yields this draw command again and again.
    pub(crate) fn draw_endlessly(&self) {
        let data = self.address(HOST, self.store(&[0; 191]));
        let cmd = QXLCommand { data, type_: QXL_CMD_DRAW, padding: 0 };
        self.record.lock().endless = Some(QXLCommandExt { cmd, group_id: HOST, flags: 0 });
    }

    /// The next `times` requests for a wakeup are answered with "something is there".
    pub(crate) fn refuse_notifications(&self, times: usize) {
        self.record.lock().refuse_notifications = times;
    }

    /// What the host does inside its next `flush_resources`.
    pub(crate) fn on_flush(&self, act: impl FnOnce() + Send + 'static) {
        *self.on_flush.lock() = Some(Box::new(act));
    }

    /// The calls so far, oldest first; ring polling is not among them.
    pub(crate) fn events(&self) -> Vec<String> {
        self.record.lock().events.clone()
    }

    /// As `events`, and forgets them.
    pub(crate) fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.record.lock().events)
    }

    /// How many commands were taken from the rings.
    pub(crate) fn fetched(&self) -> usize {
        self.record.lock().fetched
    }

    /// Waits until a call is recorded.
    pub(crate) fn wait_for(&self, event: &str) {
        let mut record = self.record.lock();
        while !record.events.iter().any(|seen| seen == event) {
            let late = self.changed.wait_for(&mut record, Duration::from_secs(10)).timed_out();
            assert!(!late, "no call {event:?}, only {:?}", record.events);
        }
    }

    fn start(&self) -> u64 {
        self.memory.as_ptr().expose_provenance() as u64
    }

    fn note(&self, event: String) {
        self.record.lock().events.push(event);
        self.changed.notify_all();
    }
}

/// The fake behind an instance.
fn fake<'a>(instance: *mut QXLInstance) -> &'a FakeQxl {
    // SAFETY: the library passes the instance it was given, which is the first
    // member of a fake that outlives the device.
    unsafe { &*instance.cast::<FakeQxl>() }
}

unsafe extern "C" fn attached_worker(qxl: *mut QXLInstance) {
    fake(qxl).note("attached_worker".to_owned());
}

unsafe extern "C" fn set_compression_level(qxl: *mut QXLInstance, level: c_int) {
    fake(qxl).note(format!("set_compression_level {level}"));
}

unsafe extern "C" fn init_info(_: *mut QXLInstance, info: *mut QXLDevInitInfo) {
    let numbers = QXLDevInitInfo {
        num_memslots_groups: 2,
        num_memslots: 8,
        memslot_gen_bits: 8,
        memslot_id_bits: 8,
        qxl_ram_size: 16 << 20,
        internal_groupslot_id: 0,
        n_surfaces: 16,
    };
    // SAFETY: the library passes its own structure.
    unsafe { info.write(numbers) };
}

unsafe extern "C" fn command(qxl: *mut QXLInstance, ext: *mut QXLCommandExt) -> c_int {
    hand_over(fake(qxl), |record| record.display.pop_front().or(record.endless), ext)
}

unsafe extern "C" fn cursor_command(qxl: *mut QXLInstance, ext: *mut QXLCommandExt) -> c_int {
    hand_over(fake(qxl), |record| record.cursor.pop_front(), ext)
}

fn hand_over(
    fake: &FakeQxl,
    take: impl FnOnce(&mut Record) -> Option<QXLCommandExt>,
    ext: *mut QXLCommandExt,
) -> c_int {
    let mut record = fake.record.lock();
    let Some(command) = take(&mut record) else { return 0 };
    record.fetched += 1;
    // SAFETY: the library passes its own structure.
    unsafe { ext.write(command) };
    1
}

unsafe extern "C" fn req_notification(qxl: *mut QXLInstance) -> c_int {
    let mut record = fake(qxl).record.lock();
    if record.refuse_notifications > 0 {
        record.refuse_notifications -= 1;
        return 0;
    }
    1
}

unsafe extern "C" fn release_resource(qxl: *mut QXLInstance, release: QXLReleaseInfoExt) {
    fake(qxl).note(format!("release {:#x} of {}", release.info.addr(), release.group_id));
}

unsafe extern "C" fn notify_update(qxl: *mut QXLInstance, id: u32) {
    fake(qxl).note(format!("notify_update {id}"));
}

unsafe extern "C" fn flush_resources(qxl: *mut QXLInstance) -> c_int {
    let act = fake(qxl).on_flush.lock().take();
    if let Some(act) = act {
        act();
    }
    fake(qxl).note("flush_resources".to_owned());
    0
}

unsafe extern "C" fn async_complete(qxl: *mut QXLInstance, cookie: u64) {
    fake(qxl).note(format!("async_complete {cookie}"));
}

unsafe extern "C" fn update_area_complete(
    qxl: *mut QXLInstance,
    surface: u32,
    _: *mut QXLRect,
    count: u32,
) {
    fake(qxl).note(format!("update_area_complete {surface} with {count}"));
}

unsafe extern "C" fn set_client_capabilities(qxl: *mut QXLInstance, present: u8, caps: *mut u8) {
    // SAFETY: the interface says how many bytes there are.
    let caps = unsafe { std::slice::from_raw_parts(caps, SPICE_CAPABILITIES_SIZE) };
    let set = caps.iter().filter(|byte| **byte != 0).count();
    fake(qxl).note(format!("set_client_capabilities {present} with {set} bytes set"));
}

unsafe extern "C" fn client_monitors_config(qxl: *mut QXLInstance, config: *mut c_void) -> c_int {
    fake(qxl).note(format!("client_monitors_config {}", config.is_null()));
    1
}
