//! From what C callers pass to devices and clients, and the channels of
//! `spicevmc_device_connect`. What is wrong is logged with the caller's name.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use super::device::{self, Device};
use super::layout::{RedClient, SpiceCharDeviceState};
use crate::ffi::handles::{self, AnyDevice};
use crate::host::abi::SpiceCharDeviceInstance;
use crate::server::Server;
use crate::server::char_device::InService;
use crate::wire::ChannelKey;

impl AnyDevice {
    pub(super) fn start(&self) {
        match self {
            Self::Own(device) => device.start(),
            Self::Served(device) => device.start(),
        }
    }

    pub(super) fn stop(&self) {
        match self {
            Self::Own(device) => device.stop(),
            Self::Served(device) => device.stop(),
        }
    }

    pub(in crate::ffi) fn wakeup(&self) {
        match self {
            Self::Own(device) => device.wakeup(),
            Self::Served(device) => device.wakeup(),
        }
    }

    pub(super) fn opaque(&self) -> *mut c_void {
        match self {
            Self::Own(device) => device.opaque(),
            Self::Served(_) => std::ptr::null_mut(),
        }
    }
}

/// Any device.
pub(super) fn any(entry: &str, dev: *mut SpiceCharDeviceState) -> Option<AnyDevice> {
    let device = handles::any_device(dev.cast());
    if device.is_none() {
        crate::warning!("{entry}: {dev:p} is not a char device");
    }
    device
}

/// A device of the caller's making.
pub(super) fn own(entry: &str, dev: *mut SpiceCharDeviceState) -> Option<Rc<Device>> {
    match any(entry, dev)? {
        AnyDevice::Own(device) => Some(device),
        AnyDevice::Served(_) => {
            crate::warning!("{entry}: not for a device that the server itself serves");
            None
        }
    }
}

pub(super) fn client(entry: &str, client: *mut RedClient) -> Option<NonNull<RedClient>> {
    let client = NonNull::new(client);
    if client.is_none() {
        crate::warning!("{entry}: the client is missing");
    }
    client
}

/// Gives a device a channel.
///
/// # Safety
/// `sin` is NULL or an instance that stays good until it is disconnected or the server
/// ends.
pub(super) unsafe fn connect(
    entry: &str,
    server: &Rc<Server>,
    sin: *mut SpiceCharDeviceInstance,
    kind: u8,
) -> *mut SpiceCharDeviceState {
    // SAFETY: the caller's promise.
    let Some(host) = (unsafe { device::host_of(entry, sin) }) else {
        return std::ptr::null_mut();
    };
    if kind == ChannelKey::MAIN {
        crate::warning!("{entry}: {kind} is the type of the main channel");
        return std::ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    if handles::any_device(unsafe { (*sin).st }).is_some() {
        crate::warning!("{entry}: the instance is in use");
        return std::ptr::null_mut();
    }
    let port_name = host.port_name().filter(|_| host.subtype() == b"port");
    let Some(device) = server.add_spicevmc(host, server.channel_of_type(kind), port_name) else {
        return std::ptr::null_mut();
    };
    let device: Rc<dyn InService> = device;
    let number = handles::number_device(&device);
    host.set_handle(number);
    server.start_char_device(&*device);
    number.cast()
}

/// Takes the channel of a device away; of `server`, if one is given.
///
/// # Safety
/// `sin` is NULL or an instance.
pub(super) unsafe fn disconnect(
    entry: &str,
    server: Option<&Rc<Server>>,
    sin: *mut SpiceCharDeviceInstance,
) {
    let Some(instance) = NonNull::new(sin) else {
        return crate::warning!("{entry}: the instance is missing");
    };
    // SAFETY: the caller's promise.
    let number = unsafe { (*instance.as_ptr()).st };
    let device = handles::device(number).filter(|device| {
        server.is_none_or(|server| device.server().is_some_and(|own| Rc::ptr_eq(&own, server)))
    });
    let Some(device) = device else {
        return crate::warning!("{entry}: the instance has no such channel");
    };
    handles::forget_device(number);
    // SAFETY: the caller's promise; the member is ours to set.
    unsafe { (*instance.as_ptr()).st = std::ptr::null_mut() };
    if let Some(server) = device.server() {
        server.remove_char_device(&device);
    }
}
