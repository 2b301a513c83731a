//! A stream device (docs/protocol/stream.md): the port through which a program in the
//! guest sends pictures, and the display and cursor channel that show them.
//!
//! Runs under the host's serialisation. Every call into the device may come back into
//! the library: no borrow is held across one.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::char_device::{InService, Keep, ShownOutput};
use super::deadlines::{DeviceId, Due};
use super::driver::{Driver, Kind, Timed};
use super::served::Served;
use super::stream_cursor::StreamCursor;
use super::stream_display::StreamDisplay;
use crate::channels::stream_device::intake::{Event, Intake};
use crate::chardev::{ClientKey, Origin, Parameters, Pending};
use crate::config::limits;
use crate::config::registry::STREAM_PORT;
use crate::host::char_device::CharDevice;
use crate::host::clock;
use crate::log::Subject;
use crate::stats::Refusal;
use crate::wire::ChannelKey;
use crate::wire::cursor;
use crate::wire::spicevmc::event;
use crate::wire::stream_device::{self as wire, DisplayInfo};

/// One device.
pub(super) type Device = Driver<StreamDevice>;

/// What a stream device has besides the core, which knows no clients of it: those are
/// its channels'.
pub(super) struct StreamDevice {
    server: Weak<Server>,
    this: Weak<Device>,
    intake: RefCell<Intake>,
    opened: Cell<bool>,
    /// Made when the port opens or a client comes.
    channels: RefCell<Option<Channels>>,
    info: RefCell<Option<DisplayInfo>>,
    /// START_STOP is due as soon as the guest has taken what it was told before. So no
    /// more than one of them waits, however often clients come and go.
    restate: Cell<bool>,
    /// The device is not read because a client holds it up, since then.
    held_up: Cell<Option<Instant>>,
    clock: Rc<Clock>,
}

#[derive(Clone)]
struct Channels {
    display: Rc<StreamDisplay>,
    cursor: Rc<StreamCursor>,
}

/// What the device wants done later, on a deadline of its own: the driver has another.
struct Clock {
    id: DeviceId,
    device: Weak<Device>,
    /// Tell the host that the guest's program is not listened to. Not from inside a read:
    /// QEMU's device would come back to a port that is still being read.
    disown_at: Cell<Option<Instant>>,
    /// The host was told; once a fault is enough.
    disowned: Cell<bool>,
    /// Look whether a client still holds the device up.
    look_at: Cell<Option<Instant>>,
}

/// No clients, and no tokens: all that is sent to the guest is the server's own.
const PARAMETERS: Parameters = Parameters { token_interval: 0, self_tokens: 0 };

impl Server {
    /// Takes a stream device into service.
    pub(super) fn add_stream_device(self: &Rc<Self>, host: CharDevice) -> Rc<Device> {
        let (id, clock_id) = (self.new_device_id(), self.new_device_id());
        let server = Rc::downgrade(self);
        let device = Rc::<Device>::new_cyclic(|this| {
            let kind = StreamDevice::new(Weak::clone(&server), Weak::clone(this), clock_id);
            Driver::new(id, server, host, PARAMETERS, kind)
        });
        self.watch_deadlines(id, Rc::downgrade(&device) as Weak<dyn Timed>);
        self.watch_deadlines(clock_id, Rc::downgrade(&device.kind().clock) as Weak<dyn Timed>);
        self.keep_device(Rc::clone(&device) as Rc<dyn InService>);
        host.state(true);
        device
    }

    /// The lowest id for another display channel with its cursor channel. Those of
    /// graphics devices are taken.
    fn free_display_id(&self) -> Option<u8> {
        let displays = self.displays.borrow();
        (0..=u8::MAX).find(|&id| {
            [ChannelKey::DISPLAY, cursor::CHANNEL]
                .into_iter()
                .all(|kind| self.channel_of(ChannelKey { kind, id }).is_none())
                && displays.iter().all(|device| device.id() != u32::from(id))
        })
    }
}

impl StreamDevice {
    fn new(server: Weak<Server>, this: Weak<Device>, clock_id: DeviceId) -> Self {
        let clock = Clock {
            id: clock_id,
            device: Weak::clone(&this),
            disown_at: Cell::new(None),
            disowned: Cell::new(false),
            look_at: Cell::new(None),
        };
        Self {
            server,
            this,
            intake: RefCell::default(),
            opened: Cell::new(false),
            channels: RefCell::default(),
            info: RefCell::default(),
            restate: Cell::new(false),
            held_up: Cell::new(None),
            clock: Rc::new(clock),
        }
    }

    fn channels(&self) -> Option<Channels> {
        self.channels.borrow().clone()
    }

    fn make_channels(&self) {
        let Some(server) = self.server.upgrade().filter(|_| self.channels().is_none()) else {
            return;
        };
        let Some(id) = server.free_display_id() else {
            return crate::warning!("no channel id is left for another stream device");
        };
        let channels = Channels {
            display: Rc::new(StreamDisplay::new(id, &self.server, &self.this)),
            cursor: Rc::new(StreamCursor::new(id, &self.server)),
        };
        *self.channels.borrow_mut() = Some(channels.clone());
        server.offer_channel(channels.display as Rc<dyn Served>);
        server.offer_channel(channels.cursor as Rc<dyn Served>);
        server.update_mouse_mode();
    }

    fn count_refusal(&self) {
        if let Some(server) = self.server.upgrade() {
            server.statistics.refusals().count(Refusal::Stream);
        }
    }

    /// Queues a message for the guest.
    fn tell_guest(&self, message: Vec<u8>) {
        if let Some(device) = self.this.upgrade() {
            let length = message.len();
            let pending = Pending {
                buffer: Bytes::from(message),
                length,
                origin: Origin::ServerNoToken,
                price: 0,
            };
            // It comes back only if it is empty or from a client that is gone.
            let _ = device.add(pending);
        }
    }

    /// Tells the guest which codecs a stream may have now, or that nobody watches.
    pub(super) fn state_codecs(&self) {
        let (Some(channels), Some(device)) = (self.channels(), self.this.upgrade()) else {
            return;
        };
        if !self.opened.get() {
            return;
        }
        if device.queued_bytes() > 0 {
            return self.restate.set(true);
        }
        self.tell_guest(wire::start_stop(&channels.display.codecs()));
    }

    /// A client may have got what held the device up: reads on then.
    pub(super) fn go_on(&self) {
        let (Some(channels), Some(device)) = (self.channels(), self.this.upgrade()) else {
            return;
        };
        if self.held_up.get().is_some() && !channels.display.is_behind() {
            self.held_up.set(None);
            device.wakeup();
        }
    }

    /// Whether the device may be read. If not, it is read again when it may.
    fn may_read(&self, channels: &Channels) -> bool {
        if !channels.display.is_behind() {
            return true;
        }
        if self.held_up.get().is_none() {
            let now = Instant::now();
            self.held_up.set(Some(now));
            self.clock.look(self, now + limits::STREAM_HELD_UP);
        }
        false
    }

    fn act_on(&self, channels: &Channels, event: Event) {
        match event {
            Event::Format(format) => channels.display.begin(format),
            Event::Frame(time, frame) => channels.display.show(time, &frame),
            Event::Pointer(shape, picture) => channels.cursor.set(shape, &picture),
            Event::PointerAt(place) => channels.cursor.move_to(place),
            Event::DisplayInfo(info) => {
                *self.info.borrow_mut() = Some(info);
                if let Some(server) = self.server.upgrade() {
                    server.send_graphics_device_info();
                }
            }
            Event::Ignored(what) => {
                crate::warning!(about &Subject::device(STREAM_PORT); "stream device: {what}, ignored");
                self.count_refusal();
            }
        }
    }

    /// The guest's program begins anew, or has ended.
    fn begin_anew(&self, device: &Device, opened: bool) {
        self.opened.set(opened);
        self.clock.disowned.set(false);
        self.intake.borrow_mut().reset();
        self.restate.set(false);
        device.reset();
        if opened {
            self.make_channels();
            self.tell_guest(wire::capabilities());
        }
        if let Some(channels) = self.channels() {
            channels.display.reset();
            if !channels.display.is_deserted() {
                self.state_codecs();
            }
        }
        if let Some(host) = Driver::host(device) {
            host.state(true);
        }
        self.held_up.set(None);
        // QEMU's virtio port takes nothing while it is closed, and does not say that it
        // would now.
        device.wakeup();
    }
}

impl Keep for StreamDevice {
    fn port_event(device: &Device, event: u8) {
        match event {
            event::OPENED => device.kind().begin_anew(device, true),
            event::CLOSED => device.kind().begin_anew(device, false),
            _ => {}
        }
    }

    fn withdraw(device: &Device, server: &Rc<Server>) {
        let channels = device.kind().channels.borrow_mut().take();
        if let Some(Channels { display, cursor }) = channels {
            server.withdraw_channel(cursor.channel(), "the stream device was removed");
            server.withdraw_channel(display.channel(), "the stream device was removed");
            server.update_mouse_mode();
        }
        server.cancel_deadline(Due::Device(device.kind().clock.id));
    }

    fn prepare_for_client(device: &Device) {
        device.kind().make_channels();
    }

    fn shown_output(device: &Device) -> Option<ShownOutput> {
        let channel = device.kind().channels()?.display.channel().id;
        let info = device.kind().info.borrow().clone()?;
        Some(ShownOutput { channel, info })
    }
}

impl Kind for StreamDevice {
    /// Nothing passes through the core: what the guest says is for several clients, and
    /// not the same for each.
    type Message = std::convert::Infallible;
    type Buffer = Bytes;

    /// Reads all there is, until a client holds the device up.
    fn read_one(&self, driver: &Driver<Self>) -> Option<Self::Message> {
        let channels = self.channels()?;
        while driver.is_running() {
            let faulty = self.intake.borrow().is_faulty();
            if faulty {
                self.clock.disown(self);
            } else if !self.may_read(&channels) {
                break;
            }
            let mut loan = self.intake.borrow_mut().lend();
            let count = driver.read(loan.room());
            let settled = self.intake.borrow_mut().settle(loan, count, clock::monotonic_ms());
            match settled {
                Ok(Some(event)) => self.act_on(&channels, event),
                Ok(None) => {}
                Err(fault) => {
                    crate::warning!(
                        about &Subject::device(STREAM_PORT);
                        "stream device: invalid message from the guest: {fault}"
                    );
                    self.count_refusal();
                    self.tell_guest(wire::notify_error(&fault.to_string()));
                }
            }
            if count == 0 {
                break;
            }
        }
        None
    }

    fn send(&self, message: &Self::Message, _client: ClientKey) {
        match *message {}
    }

    fn send_tokens(&self, _client: ClientKey, _tokens: u64) {
        // The core knows no clients of this device.
    }

    fn self_token_freed(&self, _driver: &Driver<Self>) {
        // None is ever taken.
    }

    fn remove_client(&self, _client: ClientKey) {
        // The core knows no clients of this device.
    }

    fn released(&self, _buffer: Bytes) {
        let taken = self.this.upgrade().is_some_and(|device| device.queued_bytes() == 0);
        if taken && self.restate.take() {
            self.state_codecs();
        }
    }

    fn broken(&self) {
        if let Some(channels) = self.channels() {
            channels.display.cut_all("internal error");
        }
    }
}

impl Clock {
    fn disown(&self, device: &StreamDevice) {
        if device.opened.get() && !self.disowned.replace(true) {
            self.disown_at.set(Some(Instant::now()));
            self.arm(device);
        }
    }

    fn look(&self, device: &StreamDevice, when: Instant) {
        // An earlier look finds out by itself how long it is still to wait.
        if self.look_at.get().is_none() {
            self.look_at.set(Some(when));
            self.arm(device);
        }
    }

    fn arm(&self, device: &StreamDevice) {
        let next = self.disown_at.get().into_iter().chain(self.look_at.get()).min();
        if let (Some(server), Some(when)) = (device.server.upgrade(), next) {
            server.set_deadline(Due::Device(self.id), when);
        }
    }

    /// Cuts those who hold up what others watch too. A single client holds up nobody.
    fn look_for_idlers(&self, device: &StreamDevice, now: Instant) {
        let (Some(since), Some(channels)) = (device.held_up.get(), device.channels()) else {
            return;
        };
        let due = since + limits::STREAM_HELD_UP;
        if now < due {
            return self.look(device, due);
        }
        channels.display.cut_those_behind();
        self.look(device, now + limits::STREAM_HELD_UP);
    }
}

impl Timed for Clock {
    fn handle_timeout(&self, now: Instant) {
        let Some(device) = self.device.upgrade() else {
            return;
        };
        let kind = device.kind();
        if self.disown_at.get().is_some_and(|when| when <= now) {
            self.disown_at.set(None);
            let faulty = kind.intake.borrow().is_faulty();
            if let Some(host) = Driver::host(&device).filter(|_| faulty && kind.opened.get()) {
                host.state(false);
            }
        }
        if self.look_at.get().is_some_and(|when| when <= now) {
            self.look_at.set(None);
            self.look_for_idlers(kind, now);
        }
        self.arm(kind);
    }

    fn retire(&self) {
        // The device goes with its server.
    }
}
