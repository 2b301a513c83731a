//! A graphics device of the host: its callbacks, called with care.
//!
//! A callback that is NULL or younger than the interface's minor version is not
//! called; the answer is then the harmless one. After [`QxlDevice::forget`] none is
//! called at all. Which thread may call what is said at each function: "worker" is
//! the device's worker thread, "main" the thread of `spice_server_init`.

use super::abi::{
    QXL_MINOR_ASYNC, QXL_MINOR_CLIENT_CAPABILITIES, QXL_MINOR_MONITORS_CONFIG, QXLCommandExt,
    QXLDevInitInfo, QXLInstance, QXLInterface, QXLRect, QXLReleaseInfoExt, SPICE_CAPABILITIES_SIZE,
    SPICE_INTERFACE_QXL,
};
use super::guest_memory::CommandAddress;
use libc::c_int;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One graphics device; clones mean the same device.
#[derive(Debug, Clone)]
pub struct QxlDevice {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    instance: NonNull<QXLInstance>,
    interface: NonNull<QXLInterface>,
    minor: u32,
    id: u32,
    gone: AtomicBool,
}

// SAFETY: the pointers are only used to call the host, which by the QXL contract
// serves its worker callbacks on any thread of ours, and to write `st`, which only
// the main thread does.
unsafe impl Send for Shared {}
// SAFETY: as above; `gone` is atomic, the rest is never changed.
unsafe impl Sync for Shared {}

/// Why an instance cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The instance has no interface.
    #[error("QXL instance without an interface")]
    NoInterface,
    /// The host was built for another interface version.
    #[error("unsupported QXL interface version {0}.{1}")]
    Version(u32, u32),
    /// Ids are channel ids.
    #[error("QXL instance id {0} is negative")]
    Id(c_int),
    /// Without it the worker cannot know what addresses mean.
    #[error("QXL interface lacks get_init_info")]
    NoInitInfo,
}

/// Calls a callback of the interface, or yields `$absent` when it does not exist
/// (any more).
macro_rules! call {
    ($self:ident.$name:ident($($arg:expr),*) since $minor:expr, else $absent:expr) => {{
        let shared = &*$self.shared;
        if shared.lacks($minor) {
            $absent
        } else {
            // SAFETY: `new`'s caller vouches for instance and interface until `forget`;
            // the member exists in this minor version, and only it is read, because
            // an older host's structure may end before the later members.
            match unsafe { (&raw const (*shared.interface.as_ptr()).$name).read() } {
                // SAFETY: the host's function, with the types it was declared with.
                Some(function) => unsafe { function(shared.instance.as_ptr(), $($arg),*) },
                None => $absent,
            }
        }
    }};
}

impl Shared {
    /// Whether members that came with a minor version must not be touched.
    fn lacks(&self, minor: u32) -> bool {
        self.gone.load(Ordering::Acquire) || self.minor < minor
    }
}

impl QxlDevice {
    /// Looks at an instance that the host adds. Main.
    ///
    /// # Safety
    /// `instance` and its interface, which must be of kind "qxl", stay valid and in
    /// place until [`Self::forget`] was called.
    pub unsafe fn new(instance: NonNull<QXLInstance>) -> Result<Self, DeviceError> {
        // SAFETY: the caller vouches for the instance.
        let (interface, id) = unsafe { ((*instance.as_ptr()).base.sif, (*instance.as_ptr()).id) };
        let interface = NonNull::new(interface.cast::<QXLInterface>().cast_mut())
            .ok_or(DeviceError::NoInterface)?;
        // SAFETY: every interface begins with the base, whatever its version.
        let base = unsafe { (&raw const (*interface.as_ptr()).base).read() };
        let (major, minor) = (base.major_version, base.minor_version);
        if major != SPICE_INTERFACE_QXL.major || minor > SPICE_INTERFACE_QXL.minor {
            return Err(DeviceError::Version(major, minor));
        }
        let id = u32::try_from(id).map_err(|_| DeviceError::Id(id))?;
        let gone = AtomicBool::new(false);
        Ok(Self { shared: Arc::new(Shared { instance, interface, minor, id, gone }) })
    }

    /// The id of the device's display and cursor channels. Any thread.
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// Whether this device is the given instance. Any thread.
    pub fn is(&self, instance: NonNull<QXLInstance>) -> bool {
        self.shared.instance == instance
    }

    /// Ends all calls into the host: from the return on, no clone of the device
    /// begins one. Main, after the worker was joined.
    pub fn forget(&self) {
        self.shared.gone.store(true, Ordering::Release);
    }

    /// Writes the number by which the host's requests name the device; 0 for none.
    /// Main, while the instance is being added or removed.
    pub fn set_state(&self, number: usize) {
        if !self.shared.lacks(0) {
            let value = std::ptr::without_provenance_mut(number);
            // SAFETY: `new`'s caller vouches for the instance until `forget`; `st` is
            // the library's own member.
            unsafe { (&raw mut (*self.shared.instance.as_ptr()).st).write(value) };
        }
    }

    /// Tells the host that requests may come; it makes some from inside. Main.
    pub fn attached_worker(&self) {
        call!(self.attached_worker() since 0, else ());
    }

    /// Tells the host how hard the library compresses. Main.
    pub fn set_compression_level(&self, level: c_int) {
        call!(self.set_compression_level(level) since 0, else ());
    }

    /// Asks for numbers of slots and surfaces. Main.
    pub fn init_info(&self) -> Result<QXLDevInitInfo, DeviceError> {
        let mut info = QXLDevInitInfo::default();
        let mut asked = true;
        call!(self.get_init_info(&raw mut info) since 0, else asked = false);
        asked.then_some(info).ok_or(DeviceError::NoInitInfo)
    }

    /// Takes the next command of the display ring. Worker, while running.
    pub fn command(&self) -> Option<QXLCommandExt> {
        let mut ext = QXLCommandExt::default();
        (call!(self.get_command(&raw mut ext) since 0, else 0) != 0).then_some(ext)
    }

    /// Arms the display ring's wakeup; false when a command came meanwhile. Worker.
    pub fn req_cmd_notification(&self) -> bool {
        call!(self.req_cmd_notification() since 0, else 1) != 0
    }

    /// Takes the next command of the cursor ring. Worker, while running.
    pub fn cursor_command(&self) -> Option<QXLCommandExt> {
        let mut ext = QXLCommandExt::default();
        (call!(self.get_cursor_command(&raw mut ext) since 0, else 0) != 0).then_some(ext)
    }

    /// Arms the cursor ring's wakeup; false when a command came meanwhile. Worker.
    pub fn req_cursor_notification(&self) -> bool {
        call!(self.req_cursor_notification() since 0, else 1) != 0
    }

    /// Gives a command back to the guest. Worker; once per command.
    pub fn release_resource(&self, address: CommandAddress, group_id: u32) {
        let info = QXLReleaseInfoExt { info: address.pointer(), group_id };
        call!(self.release_resource(info) since 0, else ());
    }

    /// An UPDATE command was carried out. Worker; never for anything else, QEMU's
    /// VGA-like displays abort.
    pub fn notify_update(&self, update_id: u32) {
        call!(self.notify_update(update_id) since 0, else ());
    }

    /// Pushes released commands to the guest; false when there were none. Worker,
    /// only on behalf of `spice_qxl_oom`: QEMU's VGA-like displays abort.
    pub fn flush_resources(&self) -> bool {
        call!(self.flush_resources() since 0, else 0) != 0
    }

    /// An asynchronous request is done. Worker, or main for GL; once per cookie.
    pub fn async_complete(&self, cookie: u64) {
        call!(self.async_complete(cookie) since QXL_MINOR_ASYNC, else ());
    }

    /// What an asynchronous area update drew. Worker, before its `async_complete`.
    pub fn update_area_complete(&self, surface: u32, rects: &mut [QXLRect]) {
        let (start, count) = (rects.as_mut_ptr(), rects.len() as u32);
        call!(self.update_area_complete(surface, start, count)
            since QXL_MINOR_CLIENT_CAPABILITIES, else ());
    }

    /// What all connected clients can do. Worker, while running.
    pub fn set_client_capabilities(&self, present: bool, mut caps: [u8; SPICE_CAPABILITIES_SIZE]) {
        call!(self.set_client_capabilities(u8::from(present), caps.as_mut_ptr())
            since QXL_MINOR_CLIENT_CAPABILITIES, else ());
    }

    /// Passes a client's `VDAgentMonitorsConfig`, or asks with `None` whether the
    /// device takes them; false when it does not. Main.
    pub fn client_monitors_config(&self, config: Option<&mut [u8]>) -> bool {
        let config = config.map_or(std::ptr::null_mut(), |bytes| bytes.as_mut_ptr().cast());
        call!(self.client_monitors_config(config) since QXL_MINOR_MONITORS_CONFIG, else 0) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_qxl::FakeQxl;
    use super::*;

    #[test]
    fn other_majors_newer_minors_and_negative_ids_are_refused() {
        for (major, minor) in [(2, 3), (4, 0), (3, 4)] {
            let fake =
                FakeQxl::build(|base, _| (base.major_version, base.minor_version) = (major, minor));
            assert_eq!(fake.try_device().unwrap_err(), DeviceError::Version(major, minor));
        }
        let fake = FakeQxl::with_id(-1);
        assert_eq!(fake.try_device().unwrap_err(), DeviceError::Id(-1));
    }

    #[test]
    fn callbacks_younger_than_the_interface_are_not_called() {
        let fake = FakeQxl::build(|base, _| base.minor_version = 0);
        let device = fake.device();
        device.async_complete(1);
        device.update_area_complete(0, &mut []);
        device.set_client_capabilities(false, [0; SPICE_CAPABILITIES_SIZE]);
        assert!(!device.client_monitors_config(None));
        assert_eq!(fake.events(), Vec::<String>::new());
        device.notify_update(5);
        assert_eq!(fake.events(), ["notify_update 5"]);
    }

    #[test]
    fn missing_callbacks_have_harmless_answers() {
        let fake = FakeQxl::build(|_, interface| {
            interface.get_command = None;
            interface.req_cmd_notification = None;
            interface.flush_resources = None;
            interface.get_init_info = None;
            interface.attached_worker = None;
        });
        let device = fake.device();
        device.attached_worker();
        assert!(device.command().is_none());
        assert!(device.req_cmd_notification());
        assert!(!device.flush_resources());
        assert_eq!(device.init_info().unwrap_err(), DeviceError::NoInitInfo);
    }

    #[test]
    fn a_forgotten_device_is_never_called_again() {
        let fake = FakeQxl::new();
        let device = fake.device();
        device.clone().forget();
        device.async_complete(1);
        device.attached_worker();
        device.set_state(7);
        assert_eq!(fake.events(), Vec::<String>::new());
        assert!(fake.state().is_null());
    }
}
