//! Devices that the host adds, and the calls on char devices and keyboards.

use std::ffi::{c_char, c_int};
use std::ptr::NonNull;
use std::rc::Rc;

use super::{handles, subtypes};
use crate::guard::{guard, guard_for_host, guard_often};
use crate::host::abi::{
    self, InterfaceKind, SpiceBaseInstance, SpiceBaseInterface, SpiceCharDeviceInstance,
    SpiceKbdInstance,
};
use crate::host::attached;
use crate::host::char_device::CharDevice;
use crate::host::input::{InputDevice, Keyboard, Mouse, Tablet};
use crate::host::migration::Migration;
use crate::host::qxl::QxlDevice;
use crate::host::sound::SoundDevice;
use crate::host::{is_kind, version_fits};
use crate::server::audio::SoundKind;
use crate::server::char_device::InService;
use crate::server::{AddError, Server, qxl};

const OK: c_int = 0;
const FAILED: c_int = -1;

/// The kinds of interface the library knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CharDevice,
    Input(InputKind),
    Sound(SoundKind),
    Qxl,
    Migration,
}

/// The kinds of input device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputKind {
    Keyboard,
    Mouse,
    Tablet,
}

const KINDS: [(Kind, InterfaceKind); 8] = [
    (Kind::CharDevice, abi::SPICE_INTERFACE_CHAR_DEVICE),
    (Kind::Input(InputKind::Keyboard), abi::SPICE_INTERFACE_KEYBOARD),
    (Kind::Input(InputKind::Mouse), abi::SPICE_INTERFACE_MOUSE),
    (Kind::Input(InputKind::Tablet), abi::SPICE_INTERFACE_TABLET),
    (Kind::Qxl, abi::SPICE_INTERFACE_QXL),
    (Kind::Sound(SoundKind::Playback), abi::SPICE_INTERFACE_PLAYBACK),
    (Kind::Sound(SoundKind::Record), abi::SPICE_INTERFACE_RECORD),
    (Kind::Migration, abi::SPICE_INTERFACE_MIGRATION),
];

/// Adds a device. 0, also for a kind or a char device subtype that is not served;
/// -1 for a wrong version, a second device of a kind of which there may be one (a
/// smartcard reader is such a kind), and a graphics device whose id is taken.
///
/// Compat: works
/// Shown by: c-tests/test-devices.c, c-tests/test-inputs.c, c-tests/test-audio.c
///
/// # Safety
/// `sin` is NULL or an instance of the kind its interface names; both stay good until
/// the interface is removed or the server destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_interface(
    server: *mut Server,
    sin: *mut SpiceBaseInstance,
) -> c_int {
    const NAME: &str = "spice_server_add_interface";
    guard_for_host(NAME, FAILED, || {
        let Some(server) = handles::server(NAME, server) else {
            return FAILED;
        };
        // SAFETY: the caller's promise.
        let Some((instance, base)) = (unsafe { base_of(sin) }) else {
            crate::warning!("{NAME}: the instance or its interface is missing");
            return FAILED;
        };
        if base.type_.is_null() {
            crate::warning!("{NAME}: the interface names no kind");
            return FAILED;
        }
        let Some((kind, expected)) = KINDS.iter().find(|(_, kind)| is_kind(&base, kind)) else {
            crate::warning!("{NAME}: an interface of an unknown kind is ignored");
            return OK;
        };
        if !version_fits(&base, expected) {
            let (major, minor) = (base.major_version, base.minor_version);
            let name = expected.name.to_string_lossy();
            crate::warning!("{NAME}: {name} interface version {major}.{minor} is not supported");
            return FAILED;
        }
        // SAFETY: the caller's promise, and the kind was just looked at.
        match unsafe { add(&server, *kind, instance) } {
            Ok(()) => OK,
            Err(error) => {
                crate::warning!("{NAME}: {} refused: {error}", expected.name.to_string_lossy());
                FAILED
            }
        }
    })
}

/// Removes a device: afterwards it is not called any more. -1 for NULL, for what was
/// not added, and for kinds that cannot be removed.
///
/// Compat: works
/// Shown by: c-tests/test-port.c, c-tests/test-devices.c
///
/// # Safety
/// `sin` is NULL or an instance as in `spice_server_add_interface`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_remove_interface(sin: *mut SpiceBaseInstance) -> c_int {
    const NAME: &str = "spice_server_remove_interface";
    guard_for_host(NAME, FAILED, || {
        // SAFETY: the caller's promise.
        let Some((instance, base)) = (unsafe { base_of(sin) }) else {
            crate::warning!("{NAME}: the instance or its interface is missing");
            return FAILED;
        };
        let kind = KINDS.iter().find(|(_, kind)| is_kind(&base, kind)).map(|(kind, _)| *kind);
        let removed = match kind {
            // SAFETY: the caller's promise, and the kind was just looked at.
            Some(Kind::CharDevice) => unsafe { remove_char_device(instance.cast()) },
            // SAFETY: as above.
            Some(Kind::Input(kind)) => unsafe { remove_input(kind, instance) },
            // SAFETY: as above.
            Some(Kind::Sound(kind)) => unsafe { remove_sound(kind, instance) },
            // SAFETY: as above.
            Some(Kind::Qxl) => unsafe { remove_qxl(instance.cast()) },
            Some(Kind::Migration) | None => false,
        };
        if removed {
            return OK;
        }
        crate::warning!("{NAME}: this interface was not added or cannot be removed");
        FAILED
    })
}

/// Subtypes that `-chardev spicevmc` may name, those that were registered on the newest
/// server among them: a NULL-terminated array that lives for ever. "port" is not among
/// them: ports come by another way.
///
/// Compat: works
/// Shown by: c-tests/test-port.c
#[unsafe(no_mangle)]
pub extern "C" fn spice_server_char_device_recognized_subtypes() -> *mut *const c_char {
    guard("spice_server_char_device_recognized_subtypes", subtypes::upstream(), || {
        let own = handles::newest_server().map(|server| server.registered_subtypes());
        subtypes::table(&own.unwrap_or_default())
    })
}

/// The device has data, or can take some again.
///
/// Compat: works
/// Shown by: c-tests/test-port.c
///
/// # Safety
/// `sin` is NULL or a char-device instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_wakeup(sin: *mut SpiceCharDeviceInstance) {
    const NAME: &str = "spice_server_char_device_wakeup";
    guard_often(NAME, (), || {
        let Some(instance) = NonNull::new(sin) else {
            return crate::warning!("{NAME}: the instance is missing");
        };
        // SAFETY: the caller's promise.
        let Some(device) = handles::any_device(unsafe { instance.as_ref() }.st) else {
            return crate::warning!("{NAME}: the device is not in service");
        };
        device.wakeup();
    });
}

/// The port was opened (0) or closed (1), or a break (2) arrived on it.
///
/// Compat: works
/// Shown by: c-tests/test-port.c, c-tests/test-stream.c
///
/// # Safety
/// `sin` is NULL or a char-device instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_port_event(sin: *mut SpiceCharDeviceInstance, event: u8) {
    const NAME: &str = "spice_server_port_event";
    guard_for_host(NAME, (), || {
        // SAFETY: the caller's promise.
        if let Some(device) = unsafe { device_of(NAME, sin) } {
            device.port_event(event);
        }
    });
}

/// The keyboard's lock lamps changed.
///
/// Compat: works
/// Shown by: c-tests/test-inputs.c
///
/// # Safety
/// `sin` is not followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_kbd_leds(sin: *mut SpiceKbdInstance, leds: c_int) -> c_int {
    const NAME: &str = "spice_server_kbd_leds";
    guard_for_host(NAME, OK, || {
        let [lamps, ..] = leds.to_le_bytes();
        if !handles::all_servers().iter().any(|server| server.handle_lamps(sin, lamps)) {
            crate::warning!("{NAME}: the keyboard is not in service");
        }
        OK
    })
}

/// The instance and its base interface; `None` when one is NULL.
///
/// # Safety
/// `sin` is NULL or an instance with an interface.
unsafe fn base_of(
    sin: *mut SpiceBaseInstance,
) -> Option<(NonNull<SpiceBaseInstance>, SpiceBaseInterface)> {
    let instance = NonNull::new(sin)?;
    // SAFETY: the caller's promise; every interface begins with the base.
    let interface = unsafe { instance.as_ref() }.sif;
    // SAFETY: as above.
    (!interface.is_null()).then(|| (instance, unsafe { *interface }))
}

/// # Safety
/// `instance` is of this kind and stays good until removed or the server's end.
unsafe fn add(
    server: &Rc<Server>,
    kind: Kind,
    instance: NonNull<SpiceBaseInstance>,
) -> Result<(), AddError> {
    match kind {
        Kind::CharDevice => {
            // SAFETY: the caller's promise.
            let host = unsafe { CharDevice::from_host(instance.cast()) };
            if let Some(device) = server.add_char_device(host)? {
                host.set_handle(handles::number_device(&device));
                server.start_char_device(&*device);
            }
            Ok(())
        }
        Kind::Input(kind) => {
            // SAFETY: the caller's promise.
            server.add_input(unsafe { input(kind, instance) })?;
            // SAFETY: the caller's promise about the kind.
            unsafe { attached::mark(instance, true) };
            Ok(())
        }
        Kind::Sound(kind) => {
            server.add_sound(kind, SoundDevice::at(instance.as_ptr()))?;
            // SAFETY: the caller's promise about the kind.
            unsafe { attached::mark(instance, true) };
            Ok(())
        }
        Kind::Qxl => {
            // SAFETY: the caller's promise.
            let device =
                unsafe { QxlDevice::new(instance.cast()) }.map_err(qxl::StartError::from)?;
            server.add_qxl(&device)
        }
        Kind::Migration => {
            // SAFETY: the caller's promise.
            server.add_migration(unsafe { Migration::from_host(instance.cast()) })?;
            // SAFETY: as above.
            unsafe { attached::mark(instance, true) };
            Ok(())
        }
    }
}

/// # Safety
/// `instance` is a char-device instance.
unsafe fn remove_char_device(instance: NonNull<SpiceCharDeviceInstance>) -> bool {
    // SAFETY: the caller's promise.
    let number = unsafe { instance.as_ref() }.st;
    let Some(device) = handles::device(number) else {
        return false;
    };
    handles::forget_device(number);
    if let Some(host) = device.host() {
        host.set_handle(std::ptr::null_mut());
    }
    if let Some(server) = device.server() {
        server.remove_char_device(&device);
    }
    true
}

/// # Safety
/// `instance` is of this kind and stays good until removed or the server's end.
unsafe fn input(kind: InputKind, instance: NonNull<SpiceBaseInstance>) -> InputDevice {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            InputKind::Keyboard => InputDevice::Keyboard(Keyboard::from_host(instance)),
            InputKind::Mouse => InputDevice::Mouse(Mouse::from_host(instance)),
            InputKind::Tablet => InputDevice::Tablet(Tablet::from_host(instance)),
        }
    }
}

/// # Safety
/// `instance` is of this kind.
unsafe fn remove_input(kind: InputKind, instance: NonNull<SpiceBaseInstance>) -> bool {
    // SAFETY: the caller's promise; the device is only compared with those in service.
    let device = unsafe { input(kind, instance) };
    let found = handles::all_servers().iter().any(|server| server.remove_input(device));
    if found {
        // SAFETY: the caller's promise.
        unsafe { attached::mark(instance, false) };
    }
    found
}

/// # Safety
/// `instance` is of this kind.
unsafe fn remove_sound(kind: SoundKind, instance: NonNull<SpiceBaseInstance>) -> bool {
    let device = SoundDevice::at(instance.as_ptr());
    let found = handles::all_servers().iter().any(|server| server.remove_sound(kind, device));
    if found {
        // SAFETY: the caller's promise.
        unsafe { attached::mark(instance, false) };
    }
    found
}

/// # Safety
/// `instance` is a graphics device's.
unsafe fn remove_qxl(instance: NonNull<abi::QXLInstance>) -> bool {
    // SAFETY: the caller's promise.
    let number = unsafe { instance.as_ref() }.st.addr();
    let Some(handle) = qxl::lookup(number).filter(|handle| handle.device().is(instance)) else {
        return false;
    };
    // A device of a destroyed server was taken out of service then.
    handles::all_servers().iter().any(|server| server.remove_qxl(&handle))
}

/// # Safety
/// `sin` is NULL or a char-device instance.
unsafe fn device_of(entry: &str, sin: *mut SpiceCharDeviceInstance) -> Option<Rc<dyn InService>> {
    let Some(instance) = NonNull::new(sin) else {
        crate::warning!("{entry}: the instance is missing");
        return None;
    };
    // SAFETY: the caller's promise.
    let device = handles::device(unsafe { instance.as_ref() }.st);
    if device.is_none() {
        crate::warning!("{entry}: the device is not in service");
    }
    device
}
