//! Devices that the host adds and removes.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::Server;
use super::char_device::InService;
use super::deadlines::DeviceId;
use super::driver::{Driver, Kind, Timed};
use super::qxl::{self, QxlHandle, StartError};
use super::qxl_display::QxlDisplay;
use super::served::Served;
use super::spicevmc::Device;
use crate::chardev::Parameters;
use crate::config::registry::{STREAM_PORT, Service};
use crate::host::char_device::CharDevice;
use crate::host::migration::Migration;
use crate::host::qxl::QxlDevice;
use crate::log::Subject;
use crate::stats::Refusal;
use crate::wire::ChannelKey;

/// Why an interface was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There may be one of this kind.
    #[error("there is one already")]
    Second,
    /// The smartcard channel has one reader.
    #[error("there is a smartcard reader already")]
    SecondReader,
    /// There is a graphics device of this id.
    #[error("there is a display with id {0} already")]
    SameId(u32),
    /// Channel ids end at 255.
    #[error("a graphics device with id {0} cannot have a channel")]
    NoChannel(u32),
    /// The graphics device cannot be used.
    #[error(transparent)]
    Qxl(#[from] StartError),
    /// The host has not called init.
    #[error("the server is not initialised")]
    TooEarly,
}

/// Graphics devices are told this level; it only ever shows in QEMU's trace.
const QXL_COMPRESSION_LEVEL: i32 = 0;

impl Server {
    /// Takes a char device into service. `None` when nothing serves it; the host is not
    /// told, because upstream does not tell it either.
    pub fn add_char_device(
        self: &Rc<Self>,
        host: CharDevice,
    ) -> Result<Option<Rc<dyn InService>>, AddError> {
        let subtype = host.subtype();
        match &subtype[..] {
            b"vdagent" => return Ok(self.add_agent(host)),
            b"smartcard" => return self.add_smartcard(host).map(Some),
            _ => (),
        }
        let port_name = host.port_name().filter(|_| subtype == b"port");
        if port_name.as_deref() == Some(STREAM_PORT.as_bytes()) {
            return Ok(Some(self.add_stream_device(host) as Rc<dyn InService>));
        }
        let service = self.registry.borrow().channel_for(&subtype, port_name.as_deref());
        let Some(service) = service else {
            let (subtype, name) =
                (String::from_utf8_lossy(&subtype), port_name.unwrap_or_default());
            let name = String::from_utf8_lossy(&name);
            self.statistics.refusals().count(Refusal::Device);
            crate::warning!(
                about &named(&subtype, &name);
                "char device {subtype} {name} is not served: its data stay in the guest"
            );
            return Ok(None);
        };
        let name = port_name.clone().unwrap_or_default();
        let device = self.add_spicevmc(host, service, port_name);
        if let Some(device) = &device {
            let (subtype, name) =
                (String::from_utf8_lossy(&subtype), String::from_utf8_lossy(&name));
            crate::info!(
                about &named(&subtype, &name).on(device.label());
                "char device {subtype} {name} is served: {}",
                device.label()
            );
        }
        Ok(device.map(|device| device as Rc<dyn InService>))
    }

    /// Gives a char device a channel. `None` when no id is left.
    pub fn add_spicevmc(
        self: &Rc<Self>,
        host: CharDevice,
        service: Service,
        port_name: Option<Vec<u8>>,
    ) -> Option<Rc<Device>> {
        let Some(id) = self.free_channel_id(service.kind) else {
            self.statistics.refusals().count(Refusal::Device);
            crate::warning!("no channel id is left for another {} channel", service.name);
            return None;
        };
        let device_id = self.new_device_id();
        let server = Rc::downgrade(self);
        let device = Rc::new(Device::for_channel(device_id, id, service, server, host, port_name));
        self.watch_deadlines(device_id, Rc::downgrade(&device) as Weak<dyn Timed>);
        self.keep_device(Rc::clone(&device) as Rc<dyn InService>);
        self.offer_channel(Rc::clone(&device) as Rc<dyn Served>);
        Some(device)
    }

    /// Makes a device without a channel of ours: what becomes of its data, and whether
    /// it runs, is decided by its maker, as long as the server lives.
    pub fn make_device<K: Kind + 'static>(
        self: &Rc<Self>,
        host: CharDevice,
        parameters: Parameters,
        kind: K,
    ) -> Rc<Driver<K>> {
        let id = self.new_device_id();
        let device = Rc::new(Driver::new(id, Rc::downgrade(self), host, parameters, kind));
        self.watch_deadlines(id, Rc::downgrade(&device) as Weak<dyn Timed>);
        device
    }

    /// A name for another device.
    pub(super) fn new_device_id(&self) -> DeviceId {
        let id = self.next_device.get();
        self.next_device.set(id + 1);
        id
    }

    /// Tells the device when its deadlines have come, as long as it lives.
    pub(super) fn watch_deadlines(&self, id: DeviceId, device: Weak<dyn Timed>) {
        let mut timed = self.timed.borrow_mut();
        timed.retain(|_, other| other.strong_count() > 0);
        timed.insert(id, device);
    }

    /// Registers the migration interface.
    pub fn add_migration(&self, migration: Migration) -> Result<(), AddError> {
        if self.migration.get().is_some() {
            return Err(AddError::Second);
        }
        self.migration.set(Some(migration));
        Ok(())
    }

    /// Takes a graphics device into service. Its worker waits for the VM to start.
    pub fn add_qxl(self: &Rc<Self>, device: &QxlDevice) -> Result<(), AddError> {
        if self.core.get().is_none() {
            return Err(AddError::TooEarly);
        }
        let id = device.id();
        let channel_id = u8::try_from(id).map_err(|_| AddError::NoChannel(id))?;
        let channel = ChannelKey { kind: ChannelKey::DISPLAY, id: channel_id };
        if self.displays.borrow().iter().any(|other| other.id() == id)
            || self.channel_of(channel).is_some()
        {
            return Err(AddError::SameId(id));
        }
        let refusals = Arc::clone(self.statistics.refusals());
        let handle = qxl::attach(device, QXL_COMPRESSION_LEVEL, self.mouse_hook(), refusals)?;
        handle.display().set_policy(self.settings.borrow().picture_policy());
        self.displays.borrow_mut().insert(0, Arc::clone(&handle));
        let pictures = Rc::new(QxlDisplay::new(channel_id, &Rc::downgrade(self), &handle));
        self.pictures.borrow_mut().push(Rc::clone(&pictures));
        self.offer_channel(pictures as Rc<dyn Served>);
        self.offer_cursor(&handle);
        Ok(())
    }

    /// How pictures are compressed was set anew.
    pub fn handle_picture_settings(&self) {
        let policy = self.settings.borrow().picture_policy();
        for display in self.displays.borrow().iter() {
            display.display().set_policy(policy);
        }
    }

    /// Takes a graphics device of this server out of service; it is not called any
    /// more. Returns whether that was possible.
    pub fn remove_qxl(self: &Rc<Self>, handle: &Arc<QxlHandle>) -> bool {
        let ours = self.displays.borrow().iter().any(|other| Arc::ptr_eq(other, handle));
        let removed = ours && qxl::detach(handle);
        if removed {
            self.displays.borrow_mut().retain(|other| !Arc::ptr_eq(other, handle));
            self.withdraw_cursor(handle);
            self.pictures.borrow_mut().retain(|other| !other.is_of(handle));
            if let Ok(id) = u8::try_from(handle.id()) {
                let channel = ChannelKey { kind: ChannelKey::DISPLAY, id };
                self.withdraw_channel(channel, "the graphics device was removed");
            }
            self.ask_displays();
        }
        removed
    }
}

/// A char device for readers of the log: a port by its name, another one by its subtype.
fn named(subtype: &str, port_name: &str) -> Subject {
    Subject::device(if port_name.is_empty() { subtype } else { port_name })
}
