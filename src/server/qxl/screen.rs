//! What other threads may ask about a device: who moves the pointer, how large the
//! picture is, which monitors it has.
//!
//! Shared between the worker and the host's threads; each lock is held for a copy
//! and never across a call.

#![forbid(unsafe_code)]

use super::limits;
use parking_lot::Mutex;

/// Whether the pointer may be the client's, as one device sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientMouse {
    /// Its answer.
    pub allowed: bool,
    /// Width of its picture.
    pub width: u32,
    /// Height of its picture.
    pub height: u32,
}

/// Where a device sits in the guest and which monitors it drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Hardware address, e.g. "pci/0000/02.0".
    pub address: Vec<u8>,
    /// Number of its first display in the guest.
    pub first_display: u32,
    /// How many displays there are.
    pub displays: u32,
}

/// The shared part of a device.
#[derive(Debug)]
pub(super) struct Screen {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    primary: Option<ClientMouse>,
    /// Width and height of a picture in a graphics card's buffers.
    scanout: Option<(u32, u32)>,
    device_info: Option<DeviceInfo>,
    max_monitors: u32,
}

impl Screen {
    pub(super) fn new() -> Self {
        let state = State {
            primary: None,
            scanout: None,
            device_info: None,
            max_monitors: limits::MONITORS,
        };
        Self { state: Mutex::new(state) }
    }

    /// The device's say about the pointer; none without any picture. A scanout
    /// always allows it.
    pub(super) fn client_mouse(&self) -> Option<ClientMouse> {
        let state = self.state.lock();
        let from_scanout =
            state.scanout.map(|(width, height)| ClientMouse { allowed: true, width, height });
        from_scanout.or(state.primary)
    }

    pub(super) fn set_primary(&self, primary: Option<ClientMouse>) {
        self.state.lock().primary = primary;
    }

    pub(super) fn set_scanout(&self, size: Option<(u32, u32)>) {
        self.state.lock().scanout = size;
    }

    pub(super) fn has_scanout(&self) -> bool {
        self.state.lock().scanout.is_some()
    }

    pub(super) fn device_info(&self) -> Option<DeviceInfo> {
        self.state.lock().device_info.clone()
    }

    pub(super) fn set_device_info(&self, info: DeviceInfo) {
        let mut state = self.state.lock();
        state.max_monitors = info.displays.clamp(1, limits::MONITORS);
        state.device_info = Some(info);
    }

    pub(super) fn max_monitors(&self) -> u32 {
        self.state.lock().max_monitors
    }

    pub(super) fn set_max_monitors(&self, count: u32) {
        self.state.lock().max_monitors = count.clamp(1, limits::MONITORS);
    }
}
