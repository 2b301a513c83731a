//! The inputs channel and the devices behind it: keyboard, mouse and tablet.
//!
//! Runs under the host's serialisation. Every call to a device may come back into the
//! library, which may take the device away: no borrow is held across one, and each call
//! looks up its device anew.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::connection::{Connection, Passage};
use super::deadlines::Due;
use super::interfaces::AddError;
use super::served::{Outcome, SMALL_CHUNK, Served, Terms};
use crate::channel::framing::Message;
use crate::channels::inputs;
use crate::channels::inputs::keyboard::{self, Keyboard as Keys};
use crate::channels::inputs::pointer::{Action, Movements, Pointer};
use crate::fault;
use crate::host::abi::SpiceKbdInstance;
use crate::host::clock;
use crate::host::input::{InputDevice, Keyboard, Mouse, Tablet};
use crate::net::io_thread::ConnectionId;
use crate::wire::ChannelKey;
use crate::wire::common::{self, notify};
use crate::wire::inputs::{self as wire, FromClient, PointerEvent, to_client};
use crate::wire::link::CapSet;
use crate::wire::migration::small as migration;

/// What the server keeps of input: one device of each kind, and what is known of it.
#[derive(Default)]
pub(super) struct Input {
    keyboard: Cell<Option<Keyboard>>,
    mouse: Cell<Option<Mouse>>,
    tablet: Cell<Option<Tablet>>,
    keys: RefCell<Keys>,
    pointer: RefCell<Pointer>,
}

impl Input {
    /// The tablet, if there is one.
    pub(super) fn tablet(&self) -> Option<Tablet> {
        self.tablet.get()
    }
}

/// What clients link to.
struct Channel {
    server: Weak<Server>,
    /// Of each client.
    movements: RefCell<HashMap<ConnectionId, Movements>>,
}

impl Served for Channel {
    fn channel(&self) -> ChannelKey {
        wire::CHANNEL
    }

    fn label(&self) -> String {
        "channel inputs:0".to_owned()
    }

    fn capabilities(&self) -> CapSet {
        CapSet::from_iter([wire::CAP_KEY_SCANCODE])
    }

    fn terms(&self) -> Terms {
        Terms { rules: inputs::rules, chunk: SMALL_CHUNK, data: None, busy: false }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn attach(&self, connection: &Rc<Connection>) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        self.movements.borrow_mut().insert(connection.id, Movements::default());
        // Who comes from another host was told there.
        if !connection.secured && connection.passage() != Passage::Awaited {
            server.warn_of_plain_keys(connection.session);
        }
        let lamps = server.input.keyboard.get().map_or(0, Keyboard::lamps);
        server.send(connection, to_client::INIT, &u16::from(lamps).to_le_bytes());
    }

    /// Whoever held keys or buttons cannot let go of them any more.
    fn detach(&self, connection: &Rc<Connection>) {
        let of_client = self.movements.borrow_mut().remove(&connection.id);
        if let (Some(of_client), Some(server)) = (of_client, self.server.upgrade()) {
            server.release_keys();
            if of_client.holds_buttons() {
                server.move_pointer(PointerEvent::Release { buttons: 0 });
            }
        }
    }

    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome {
        fault::point("inputs message");
        let Some(server) = self.server.upgrade() else {
            return Outcome::Handled;
        };
        match inputs::handle(&message) {
            Ok(None) => {}
            Ok(Some(FromClient::Key(code))) => server.type_in(keyboard::bytes_of(code)),
            Ok(Some(FromClient::Scancodes(bytes))) => server.type_in(bytes.iter().copied()),
            Ok(Some(FromClient::Locks(locks))) => server.match_locks(locks),
            Ok(Some(FromClient::Pointer(event))) => {
                self.acknowledge(&server, connection, &event);
                server.move_pointer(event);
            }
            Err(malformed) => return Outcome::Refused(malformed.to_string()),
        }
        Outcome::Handled
    }

    fn moves(&self) -> bool {
        true
    }

    fn migration_data(&self, connection: &Rc<Connection>) -> Result<Bytes, String> {
        let movements = self.movements.borrow();
        let count = movements.get(&connection.id).map_or(0, Movements::unacknowledged);
        Ok(migration::inputs(count).into())
    }

    /// What the client has missed is said: which locks are on, and that its movements came.
    fn restore(&self, connection: &Rc<Connection>, body: &Bytes) -> Result<(), String> {
        let count = migration::parse_inputs(body).map_err(|bad| bad.to_string())?;
        let Some(server) = self.server.upgrade() else {
            return Ok(());
        };
        let locks = server.input.keys.borrow().locks().to_le_bytes();
        server.send(connection, to_client::KEY_MODIFIERS, &locks);
        let mut movements = self.movements.borrow_mut();
        let earned = movements.entry(connection.id).or_default().restore(count);
        drop(movements);
        for _ in 0..earned {
            server.send(connection, to_client::MOUSE_MOTION_ACK, &[]);
        }
        Ok(())
    }

    fn handle_drained(&self, _: &Rc<Connection>) {}
}

impl Channel {
    fn acknowledge(&self, server: &Server, connection: &Connection, event: &PointerEvent) {
        let mut movements = self.movements.borrow_mut();
        let leaving = connection.passage() == Passage::Leaving;
        let of_client = movements.get_mut(&connection.id);
        let enough = of_client.is_some_and(|of_client| of_client.handle(event, leaving));
        drop(movements);
        if enough {
            server.send(connection, to_client::MOUSE_MOTION_ACK, &[]);
        }
    }
}

impl Server {
    /// Puts the channel on offer; it is there as long as the server.
    pub(super) fn offer_inputs(self: &Rc<Self>) {
        let server = Rc::downgrade(self);
        self.offer_channel(Rc::new(Channel { server, movements: RefCell::default() }));
    }

    /// Takes an input device into service. There may be one of each kind.
    pub fn add_input(self: &Rc<Self>, device: InputDevice) -> Result<(), AddError> {
        let input = &self.input;
        match device {
            InputDevice::Keyboard(keyboard) => put(&input.keyboard, keyboard)?,
            InputDevice::Mouse(mouse) => put(&input.mouse, mouse)?,
            InputDevice::Tablet(tablet) => {
                put(&input.tablet, tablet)?;
                self.update_mouse_mode();
                self.tell_tablet_size();
            }
        }
        Ok(())
    }

    /// Forgets an input device: it is not called any more, and its memory may be freed.
    /// Returns whether it was in service.
    pub fn remove_input(self: &Rc<Self>, device: InputDevice) -> bool {
        let input = &self.input;
        match device {
            InputDevice::Keyboard(keyboard) => {
                let ours = take(&input.keyboard, keyboard);
                if ours {
                    input.keys.take();
                    self.cancel_deadline(Due::Locks);
                }
                ours
            }
            InputDevice::Mouse(mouse) => take(&input.mouse, mouse),
            InputDevice::Tablet(tablet) => {
                let ours = take(&input.tablet, tablet);
                if ours {
                    self.update_mouse_mode();
                }
                ours
            }
        }
    }

    /// The lamps of this keyboard changed; false if it is not in service.
    pub fn handle_lamps(&self, keyboard: *const SpiceKbdInstance, lamps: u8) -> bool {
        let ours = self.input.keyboard.get().is_some_and(|own| own.is(keyboard));
        if ours {
            self.input.keys.borrow_mut().handle_lamps(lamps);
            self.tell_locks();
        }
        ours
    }

    /// The lamps have had time to follow the lock keys.
    pub(super) fn handle_locks_timeout(&self, now: Instant) {
        if self.input.keys.borrow_mut().handle_timeout(now) {
            self.tell_locks();
        }
    }

    fn tell_locks(&self) {
        let locks = self.input.keys.borrow().locks().to_le_bytes();
        for connection in self.connections_of(wire::CHANNEL) {
            self.send(&connection, to_client::KEY_MODIFIERS, &locks);
        }
    }

    /// Passes bytes of scan codes to the keyboard. Without one they are dropped.
    fn type_in(&self, bytes: impl Iterator<Item = u8>) {
        let now = Instant::now();
        for byte in bytes {
            let Some(keyboard) = self.input.keyboard.get() else {
                return;
            };
            // First, because the lamps may change inside the call, and they know better.
            self.input.keys.borrow_mut().handle_byte(byte, now);
            keyboard.push_scan(byte);
        }
        self.note_locks_deadline();
    }

    /// Makes the guest's locks the client's.
    fn match_locks(&self, locks: u16) {
        if self.input.keyboard.get().is_some() {
            let bytes = self.input.keys.borrow_mut().handle_locks(locks, Instant::now());
            self.push(&bytes);
            self.note_locks_deadline();
        }
    }

    fn release_keys(&self) {
        let bytes = self.input.keys.borrow_mut().release_all();
        self.push(&bytes);
    }

    /// Passes on what the keys' state has been told of already.
    fn push(&self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(keyboard) = self.input.keyboard.get() {
                keyboard.push_scan(byte);
            }
        }
    }

    fn note_locks_deadline(&self) {
        let deadline = self.input.keys.borrow().deadline();
        if let Some(when) = deadline {
            self.set_deadline(Due::Locks, when);
        }
    }

    fn move_pointer(self: &Rc<Self>, event: PointerEvent) {
        let action = self.input.pointer.borrow_mut().handle(event, self.mover());
        let (mouse, tablet) = (self.input.mouse.get(), self.input.tablet.get());
        match (action, mouse, tablet) {
            (Some(Action::MouseMotion { dx, dy, dz, buttons }), Some(mouse), _) => {
                mouse.motion(dx, dy, dz, buttons);
            }
            (Some(Action::MouseButtons(buttons)), Some(mouse), _) => mouse.buttons(buttons),
            (Some(Action::TabletPosition { x, y, buttons }), _, Some(tablet)) => {
                tablet.position(x, y, buttons);
            }
            (Some(Action::TabletWheel { dz, buttons }), _, Some(tablet)) => {
                tablet.wheel(dz, buttons);
            }
            (Some(Action::TabletButtons(buttons)), _, Some(tablet)) => tablet.buttons(buttons),
            (Some(Action::Agent(state)), _, _) => self.agent_mouse_state(state),
            // Nothing to do, or nobody to do it.
            _ => {}
        }
    }

    /// Everybody on the way can read what is typed; the client may want to say so.
    fn warn_of_plain_keys(&self, session: u32) {
        let main = self.main_connections().into_iter().find(|main| main.session == session);
        if let Some(main) = main {
            let body = common::notification(
                clock::monotonic_ns(),
                notify::WARNING,
                notify::HIGH,
                "keyboard channel is not encrypted",
            );
            self.send(&main, common::NOTIFY, &body);
        }
    }
}

fn put<T: Copy>(place: &Cell<Option<T>>, device: T) -> Result<(), AddError> {
    if place.get().is_some() {
        return Err(AddError::Second);
    }
    place.set(Some(device));
    Ok(())
}

fn take<T: Copy + PartialEq>(place: &Cell<Option<T>>, device: T) -> bool {
    let ours = place.get() == Some(device);
    if ours {
        place.set(None);
    }
    ours
}
