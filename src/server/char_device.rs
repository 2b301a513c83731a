//! A char device of the host in service, whatever it is for.
//!
//! Runs under the host's serialisation.

use std::rc::Rc;

use super::Server;
use super::driver::{Driver, Kind};
use crate::host::char_device::CharDevice;
use crate::wire::stream_device::DisplayInfo;

/// What the host can do with a char device that it has added.
pub trait InService {
    /// The host's side of it, unless that was taken away.
    fn host(&self) -> Option<CharDevice>;

    /// The server it was added to, as long as that lives.
    fn server(&self) -> Option<Rc<Server>>;

    /// The host can name it from now on; called once, before anything else.
    fn added(&self) {}

    /// The VM runs: data may flow.
    fn start(&self);

    /// The VM stands still: data are held back.
    fn stop(&self);

    /// The device can take or has got data.
    fn wakeup(&self);

    /// The host's port was opened or closed, or something else happened to it.
    fn port_event(&self, event: u8);

    /// A client is about to have a session: channels that are made late are made now, so
    /// that it finds them in its list.
    fn prepare_for_client(&self) {}

    /// Which output of the guest's the device shows, if it does and has said so.
    fn shown_output(&self) -> Option<ShownOutput> {
        None
    }

    /// The host takes the device away: its channels are withdrawn, and from the return
    /// on it is not called any more.
    fn remove(&self, server: &Rc<Server>);
}

/// What each kind of device that the server keeps a driver for adds to what they all do.
pub(super) trait Keep: Kind {
    /// See [`InService::port_event`].
    fn port_event(device: &Driver<Self>, event: u8);

    /// Withdraws the device's channels; it hears that its clients are gone.
    fn withdraw(device: &Driver<Self>, server: &Rc<Server>);

    /// See [`InService::prepare_for_client`].
    fn prepare_for_client(_device: &Driver<Self>) {}

    /// See [`InService::shown_output`].
    fn shown_output(_device: &Driver<Self>) -> Option<ShownOutput> {
        None
    }
}

impl<K: Keep> InService for Driver<K> {
    fn host(&self) -> Option<CharDevice> {
        Driver::host(self)
    }

    fn server(&self) -> Option<Rc<Server>> {
        Driver::server(self)
    }

    fn start(&self) {
        Driver::start(self);
    }

    fn stop(&self) {
        Driver::stop(self);
    }

    fn wakeup(&self) {
        Driver::wakeup(self);
    }

    fn port_event(&self, event: u8) {
        K::port_event(self, event);
    }

    fn prepare_for_client(&self) {
        K::prepare_for_client(self);
    }

    fn shown_output(&self) -> Option<ShownOutput> {
        K::shown_output(self)
    }

    fn remove(&self, server: &Rc<Server>) {
        Driver::stop(self);
        K::withdraw(self, server);
        self.rebind(None);
        self.destroy();
    }
}

/// An output of a graphics device of the guest's, and the display channel that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOutput {
    /// The id of the display channel.
    pub channel: u8,
    /// What the guest says: its number for the stream, and the output.
    pub info: DisplayInfo,
}

impl Server {
    /// Keeps a device that has just been made.
    pub(super) fn keep_device(&self, device: Rc<dyn InService>) {
        self.devices.borrow_mut().insert(0, device);
    }

    /// Puts a device that has just been added to work, as far as the VM runs.
    pub fn start_char_device(&self, device: &dyn InService) {
        device.added();
        if self.running.get() {
            device.start();
        }
    }

    /// Takes a char device out of service: its clients are cut, and the device is not
    /// called any more.
    pub fn remove_char_device(self: &Rc<Self>, device: &Rc<dyn InService>) {
        device.remove(self);
        self.devices.borrow_mut().retain(|other| !Rc::ptr_eq(other, device));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Takes another device away while it goes, as hosts do from inside their callbacks.
    #[derive(Default)]
    struct Device {
        other: RefCell<Option<Rc<dyn InService>>>,
        removals: Cell<u32>,
    }

    impl InService for Device {
        fn host(&self) -> Option<CharDevice> {
            None
        }

        fn server(&self) -> Option<Rc<Server>> {
            None
        }

        fn start(&self) {}

        fn stop(&self) {}

        fn wakeup(&self) {}

        fn port_event(&self, _: u8) {}

        fn remove(&self, server: &Rc<Server>) {
            self.removals.set(self.removals.get() + 1);
            if let Some(other) = self.other.take() {
                server.remove_char_device(&other);
            }
        }
    }

    #[test]
    fn a_device_may_take_another_one_away_while_the_server_ends() {
        let server = Rc::new(Server::new());
        let (first, second) = (Rc::new(Device::default()), Rc::new(Device::default()));
        let stranger = Rc::new(Device::default());
        *first.other.borrow_mut() = Some(Rc::clone(&stranger) as Rc<dyn InService>);
        for device in [&first, &second] {
            server.keep_device(Rc::clone(device) as Rc<dyn InService>);
        }
        server.destroy();
        let removals = [first, second, stranger].map(|device| device.removals.get());
        assert_eq!(removals, [1, 1, 1]);
    }
}
